/* Repair: what a cut broke, mended by least squares instead of training.
 *
 * After a cut, the next linear map reads fewer inputs. With X its inputs in the pruned model on
 * calibration rows and Y what it should give, W' = argmin |X W'^T + b' - Y|^2 + lambda |W' - W|^2,
 * W being the sliced original: one Cholesky factorisation of X^T X + lambda I for each map (the
 * layer-wise branch of Hassibi, Stork 1993; Frantar, Alistarh 2022). Sublayers in order, so that
 * later ones see what earlier ones became, the encoder before the decoder that reads it.
 *
 * Y is the original's residual stream behind the sublayer (before the norm, in post-norm models)
 * less the pruned model's stream in front of it: every map also takes back what maps and layers
 * before it left wrong. Sublayers and layers that are gone are so taken over by what follows. Maps
 * that several layers share stay as they are, since each layer would need another one. Maps without
 * a bias do not get one.
 *
 * Memory, beside both models' weights: rows * (5 * width + inputs of the largest map) floats, 0.9
 * GB for 32768 rows of width 768 (two stacks: 7 * width); and 2 * inputs^2 doubles. Time: that of
 * one pass of both models over the rows, and rows * inputs^2 / 2 products for every map. */
#ifndef PARE_PRUNE_REPAIR_H
#define PARE_PRUNE_REPAIR_H

#include "learn/weights.h"
#include "prune/prune_data.h"
#include "prune/slice.h"

typedef struct {
    const ParePruneData *data;
    uint64_t rows; /* calibration rows (positions) of a stack at most, of examples that are spread
                      over the data; 0: 32768 */
    double ridge;  /* lambda relative to the mean of the diagonal of X^T X; 0: 0.01 */
    size_t threads;
    PareProgress *(*progress)(const char *what, uint64_t total); /* NULL: none */
} PareRepairOptions;

/* What a sublayer's output misses of Y, relative to what the original's sublayer gave; before: with
 * the sliced weights. `before` includes what earlier sublayers left wrong, and may exceed 1. */
typedef struct {
    PareStackIndex stack;
    uint32_t layer; /* number in the original */
    enum { PARE_REPAIRED_SELF, PARE_REPAIRED_CROSS, PARE_REPAIRED_FFN } sublayer;
    double before, after;
} PareRepairLine;

typedef struct PareRepair PareRepair;

/* Solves all sublayers' last maps. `original` holds the uncut model's weights; the pruned values
 * come from `slices`. The same bits at any number of threads. Polls for interruption. */
PareStatus pare_repair_solve(const PareWeights *original, const PareSlices *slices,
                             const PareRepairOptions *o, PareRepair **out, PareError *err);
void pare_repair_destroy(PareRepair *r); /* NULL is allowed */
/* New values of a slot of the pruned model (pare_slices_slots), or NULL: as sliced. */
const float *pare_repair_values(const PareRepair *r, size_t slot);
const PareRepairLine *pare_repair_lines(const PareRepair *r, size_t *count);

#endif
