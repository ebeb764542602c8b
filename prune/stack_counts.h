/* A number for each stack, as options say it: "4", "enc=6,dec=3". */
#ifndef PARE_PRUNE_STACK_COUNTS_H
#define PARE_PRUNE_STACK_COUNTS_H

#include "core/error.h"
#include "runtime/description.h"

typedef struct {
    uint32_t count[PARE_STACKS]; /* 0: the stack is not named */
} PareStackCounts;

/* Numbers are 1 or more. Of a model with two stacks "4" means both if `both` allows it, otherwise a
 * stack must be named. `option` is for messages. PARE_E_USAGE for anything else, and for a stack
 * that is named twice or that the model does not have. */
PareStatus pare_stack_counts_parse(const char *option, const char *text, const PareDescription *d,
                                   bool both, PareStackCounts *out, PareError *err);

#endif
