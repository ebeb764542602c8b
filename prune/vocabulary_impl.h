/* What choosing a vocabulary and rewriting the metadata for it have in common. */
#ifndef PARE_PRUNE_VOCABULARY_IMPL_H
#define PARE_PRUNE_VOCABULARY_IMPL_H

#include "core/json.h"
#include "prune/vocabulary.h"

/* The tokenizer of a model's file; NULL when it has none. Refused: more ids than a table's rows. */
PareStatus pare_vocabulary_tokenizer(const PareModel *m, PareTokenizer **out, PareError *err);
/* Whether a setting of this name is a token id, or a list of them. */
bool pare_vocabulary_is_id(const char *key);
/* The stack whose own settings a member of the settings holds; -1: it holds none. */
int pare_vocabulary_nested(const PareJson *member);

#endif
