/* What a model's file says about the data that it learns from. */
#ifndef PARE_LEARN_MODEL_DATA_H
#define PARE_LEARN_MODEL_DATA_H

#include "core/error.h"
#include "core/memory.h"
#include "learn/examples.h"
#include "runtime/model.h"
#include "text/tokenizer.h"

/* The file's tokenizer, to be freed; a file without one leaves *out as it is. */
PareStatus pare_model_data_tokenizer(const PareModel *m, PareTokenizer **out, PareError *err);
/* The task that the head of `d` is made for; heads that cannot be trained are refused. `m` tells
 * whether its labels are values. */
PareStatus pare_model_data_task(const PareModel *m, const PareDescription *d, PareExamplesTask *out,
                                PareError *err);
/* The names of the labels of d's head (NULL where a label has none), in the arena; borrows from
 * `m`. */
PareStatus pare_model_data_labels(const PareModel *m, const PareDescription *d, PareArena *arena,
                                  const char *const **out, PareError *err);

#endif
