/* The residual streams of a model on calibration rows: kept in memory, and advanced sublayer by
 * sublayer, so that the cost is that of one pass however many layers there are. Private to prune/.
 */
#ifndef PARE_PRUNE_REPAIR_STREAMS_H
#define PARE_PRUNE_REPAIR_STREAMS_H

#include "learn/examples.h"
#include "prune/repair.h"
#include "runtime/transformer.h"

/* Sequences that are run together, and where their rows lie in the streams. */
typedef struct {
    size_t first, count;
    size_t row[PARE_STACKS], rows[PARE_STACKS];
} PareCalibrationBatch;

/* The rows that both models see. */
typedef struct {
    PareSequence *sequences;
    size_t count;
    PareCalibrationBatch *batches;
    size_t batch_count;
    size_t rows[PARE_STACKS];
    size_t longest; /* sequence */
    PareArena *arena;
} PareCalibration;

/* The options with their defaults. */
size_t pare_repair_rows(const PareRepairOptions *o);
double pare_repair_ridge(const PareRepairOptions *o);
/* Examples spread evenly over the data, with at most `rows` positions in each stack (or a single
 * longer example); sequences end where the positions of `d` or `pruned` do. `path` is for messages.
 */
PareStatus pare_calibration_choose(const PareExamples *x, const char *path,
                                   const PareDescription *d, const PareDescription *pruned,
                                   size_t rows, PareArena *arena, PareCalibration *out,
                                   PareError *err);

/* One model's. */
typedef struct {
    PareRun *r;
    const PareCalibration *c;
    PareTransformer t;
    PareRelatives relatives;
    float *x[PARE_STACKS]; /* [rows, width]; the encoder's become its result */
} PareStreams;

/* The run's arena holds the relative biases from here on. All functions poll for interruption and
 * fill the run's status. */
PareStatus pare_streams_open(PareStreams *s, PareRun *r, const PareCalibration *c,
                             const PareDescription *d, const PareParams *p);
void pare_streams_close(PareStreams *s); /* a zeroed one is allowed */
/* Whether a layer has the sublayer. */
bool pare_streams_has(const PareLayerShape *l, PareSublayer which);
/* Buffers for the largest sublayer's inputs and outputs, to be freed; how many sublayers there are.
 */
PareStatus pare_streams_buffers(const PareCalibration *c, const PareDescription *d, float **x,
                                float **y, size_t *sublayers, PareError *err);
/* The stream begins: embeddings. */
PareStatus pare_streams_embed(PareStreams *s, PareStackIndex stack);
/* What the last matrix of a sublayer reads: out[rows, inputs of that]. */
PareStatus pare_streams_inside(const PareStreams *s, PareStackIndex stack, uint32_t layer,
                               PareSublayer which, float *out);
/* y[rows, N] = x W^T + b. */
PareStatus pare_streams_linear(const PareStreams *s, PareStackIndex stack, const PareLinear *l,
                               const float *x, float *y);
/* The stream goes on: + y, and with post-norm the sublayer's norm. */
PareStatus pare_streams_advance(const PareStreams *s, PareStackIndex stack, uint32_t layer,
                                PareSublayer which, const float *y);
/* The final norm, where there is one. */
PareStatus pare_streams_finish(const PareStreams *s, PareStackIndex stack);

#endif
