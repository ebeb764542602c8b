/* Options of what to cut, as text, into a plan. Private to prune/. */
#ifndef PARE_PRUNE_PRUNE_OPTIONS_H
#define PARE_PRUNE_PRUNE_OPTIONS_H

#include "prune/prune.h"

PareStatus pare_prune_read_options(const ParePruneOptions *o, const PareDescription *d,
                                   ParePrunePlan *plan, PareError *err);

#endif
