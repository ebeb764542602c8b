/* What the parts of importance share. Only prune/importance*.c include this. */
#ifndef PARE_PRUNE_IMPORTANCE_IMPL_H
#define PARE_PRUNE_IMPORTANCE_IMPL_H

#include "prune/importance.h"

/* Lists of one layer: of PARE_BLOCK_SELF, PARE_BLOCK_CROSS, and of the feed-forward sublayer. */
enum { PARE_LIST_FFN = 2, PARE_LISTS };

typedef struct {
    double *scores; /* NULL: there is no such sublayer */
    uint32_t units;
    uint32_t columns; /* of one unit, in what the sublayer's last matrix reads */
} PareScoreList;

PareScoreList pare_importance_list(const PareImportance *i, const PareDescription *d, int stack,
                                   uint32_t layer, int list);
/* All lists that `d` calls for, zeroed, in `arena`. */
PareStatus pare_importance_allocate(const PareDescription *d, PareArena *arena, PareImportance *out,
                                    PareError *err);

/* The criteria that look at data (importance_data.c), and those that look at weights or at nothing
 * (importance_weights.c). `out` has its lists. */
PareStatus pare_importance_from_data(const PareWeights *w, const PareImportanceOptions *o,
                                     PareImportance *out, PareError *err);
void pare_importance_from_weights(const PareWeights *w, PareImportance *out);
void pare_importance_at_random(const PareDescription *d, uint64_t seed, PareImportance *out);

#endif
