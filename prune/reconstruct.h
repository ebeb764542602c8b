/* Which heads and units the others can stand in for: scores by reconstruction.
 *
 * What a sublayer gives is a linear function of its units. Taking a unit out and moving the others'
 * weights as least squares says (as repair does afterwards) raises the squared error of the output
 * by w^T [H^-1]_uu^-1 w, with H = X^T X + lambda I over calibration rows and w the unit's weights
 * (Hassibi, Stork 1993; for groups of weights Kurtic, Frantar, Alistarh 2023). The cheapest unit is
 * taken out, the rest moved, and so on until one is left. A unit's score is the error when it goes,
 * relative to the output's variation: ascending in the order of leaving, and comparable between
 * layers. Unlike the other criteria it sees that two units which are copies need not both stay. */
#ifndef PARE_PRUNE_RECONSTRUCT_H
#define PARE_PRUNE_RECONSTRUCT_H

#include "prune/importance.h"
#include "prune/repair.h"

/* Fills `heads` and `ffn` of all layers; `layer` and `width` stay NULL. No labels are needed. The
 * lists are made in `arena`. The same bits at any number of threads. Polls for interruption. */
PareStatus pare_reconstruct_measure(const PareWeights *original, const PareRepairOptions *o,
                                    PareArena *arena, PareStackScores out[PARE_STACKS],
                                    PareError *err);

#endif
