/* What the parts of the examples share. Only learn/examples*.c include this. */
#ifndef PARE_LEARN_EXAMPLES_IMPL_H
#define PARE_LEARN_EXAMPLES_IMPL_H

#include "learn/examples.h"

/* Reads all rows of a data set and appends what they make (examples_read.c). `cut` counts those
 * that were truncated. */
PareStatus pare_examples_read(const PareExamplesOptions *options, PareExamples *x, size_t *cut,
                              PareError *err);

#endif
