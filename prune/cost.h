/* Predicted time: how long a pruned model takes on this machine.
 *
 * The steps that cost time (linear products, attention, activations, norms) are timed through the
 * runtime's own operators with random weights, at the shapes of the whole model and at quarters of
 * them, for one batch of 8 sequences of 32 tokens; sizes between are interpolated. It is an
 * estimate: the speed of the model itself is what `pare-bench` measures. Times differ from run to
 * run. */
#ifndef PARE_PRUNE_COST_H
#define PARE_PRUNE_COST_H

#include "core/log.h"
#include "prune/weight_format.h"
#include "runtime/description.h"

typedef struct PareCost PareCost;

/* Times the steps of `d`, the whole model. `progress` may be NULL; it counts steps. Polls for
 * interruption. */
PareStatus pare_cost_measure(const PareDescription *d, PareWeightFormat format, size_t threads,
                             PareProgress *progress, PareCost **out, PareError *err);
void pare_cost_destroy(PareCost *c); /* NULL is allowed */
/* How many steps are timed. */
size_t pare_cost_steps(const PareDescription *d);
/* Seconds of one batch through a model that was pruned out of the measured one. */
double pare_cost_seconds(const PareCost *c, const PareDescription *pruned);

#endif
