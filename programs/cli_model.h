/* What programs that run a model on inputs ask of it first: its tokenizer, whether it can generate,
 * and how long inputs may be. */
#ifndef PARE_PROGRAMS_CLI_MODEL_H
#define PARE_PROGRAMS_CLI_MODEL_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "programs/cli_inputs.h"
#include "runtime/generation.h"
#include "runtime/model.h"
#include "text/tokenizer.h"

/* The tokenizer that the model's file carries. *out is NULL where it has none, which is refused
 * when `text` is to be read. */
PareStatus pare_cli_model_tokenizer(const PareModel *m, bool text, PareTokenizer **out,
                                    PareError *err);
/* What the head does, for messages: "labels whole inputs". */
const char *pare_cli_model_head(const PareDescription *d);

/* Whether it has a decoder that predicts tokens, and the sentence about a model that has not. */
bool pare_cli_model_generates(const PareDescription *d);
PareStatus pare_cli_model_check_generates(const PareModel *m, PareError *err);

/* Sets how long inputs may become, and what the decoder begins with. `generate`: new tokens are to
 * follow what is read. */
void pare_cli_model_limits(const PareDescription *d, const PareGeneration *g, bool generate,
                           PareInputOptions *o);
/* Refuses an input of `tokens` behind which there is nothing to generate, or more than there are
 * positions for; the session would refuse the whole batch. */
PareStatus pare_cli_model_check_prompt(const PareDescription *d, const PareGeneration *g,
                                       size_t tokens, const char *where, PareError *err);

#endif
