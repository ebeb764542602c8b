/* Repair: what a cut broke, mended by least squares instead of training.
 *
 * After a cut, the next linear map reads fewer inputs. With X its inputs in the pruned model on
 * calibration rows and Y what it should give, W' = argmin |X W'^T + b' - Y|^2 + lambda |W' - W|^2,
 * W being the sliced original: one Cholesky factorisation of X^T X + lambda I for each map (the
 * layer-wise branch of Hassibi, Stork 1993; Frantar, Alistarh 2022). Sublayers in order, so that
 * later ones see what earlier ones became. */
#ifndef PARE_PRUNE_REPAIR_H
#define PARE_PRUNE_REPAIR_H

#include "learn/weights.h"
#include "prune/prune_data.h"
#include "prune/slice.h"

typedef struct {
    const ParePruneData *data;
    uint64_t rows; /* calibration rows (token positions) at most, from the front; 0: a default */
    double ridge;  /* lambda relative to the mean of the diagonal of X^T X; 0: a default */
    size_t threads;
    PareProgress *(*progress)(const char *what, uint64_t total); /* NULL: none */
} PareRepairOptions;

/* What one sublayer's output lost, relative to the original's: |Y' - Y|^2 / |Y|^2. */
typedef struct {
    PareStackIndex stack;
    uint32_t layer; /* number in the original */
    enum { PARE_REPAIRED_SELF, PARE_REPAIRED_CROSS, PARE_REPAIRED_FFN } sublayer;
    double before, after;
} PareRepairLine;

typedef struct PareRepair PareRepair;

/* Solves all sublayers' last maps. `original` holds the uncut model's weights; the pruned values
 * come from `slices`. The same bits at any number of threads. Polls for interruption. */
PareStatus pare_repair_solve(const PareModel *m, const PareWeights *original,
                             const PareSlices *slices, const PareRepairOptions *o, PareRepair **out,
                             PareError *err);
void pare_repair_destroy(PareRepair *r); /* NULL is allowed */
/* New values of a slot of the pruned model (pare_slices_slots), or NULL: as sliced. */
const float *pare_repair_values(const PareRepair *r, size_t slot);
const PareRepairLine *pare_repair_lines(const PareRepair *r, size_t *count);

#endif
