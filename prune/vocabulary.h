/* Smaller vocabularies: rows of the token tables that a corpus never uses leave the model.
 *
 * A token stays when the tokenizer makes it of the corpus's texts (the source column as source, the
 * target column as target, nothing truncated), or when the data give its id; when the generation
 * settings name it; and when the others need it (pare_tokenizer_close_subset), so that the corpus
 * is cut into the same tokens as before and any other text into smaller ones. Rows that no token
 * names go unless ids use them. The kept ids, in ascending order, are numbered anew: the tokenizer
 * and every id of the metadata are rewritten to match.
 *
 * One tokenizer serves both stacks, so both keep the same rows. Only stacks of models without
 * tokenizer whose tables differ in size have lists of their own. */
#ifndef PARE_PRUNE_VOCABULARY_H
#define PARE_PRUNE_VOCABULARY_H

#include <stdbool.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/log.h"
#include "prune/prune_plan.h"
#include "runtime/model.h"
#include "text/dataset.h"

typedef struct {
    const char *path; /* "-" reads standard input */
    PareDataOptions format;
    uint64_t limit;    /* rows; 0: all */
    uint32_t max_size; /* of each table: the most frequent tokens, those of the same count by id,
                          with what they need, as long as they fit; 0: all that the data use */
    PareProgress *progress; /* may be NULL: counts rows */
} PareVocabularyOptions;

typedef struct {
    uint64_t rows;     /* that were read */
    uint64_t tokens;   /* occurrences that were counted, without special tokens of templates */
    uint64_t outside;  /* of these: of tokens that do not stay, because of max_size */
    uint32_t used;     /* different tokens that the data use */
    uint32_t least;    /* the smallest max_size that is possible */
} PareVocabularyFacts; /* of both stacks together, where their tables differ */

/* Sets plan->stacks[…].vocabulary of every stack. A list that would keep every row is set to all.
 * Refused: a max_size below what the model cannot do without (the message names that), ids beyond
 * the table, texts for a model without tokenizer, data without a row. `facts` may be NULL. Polls
 * for interruption. */
PareStatus pare_vocabulary_choose(const PareModel *m, const PareVocabularyOptions *o,
                                  ParePrunePlan *plan, PareVocabularyFacts *facts, PareError *err);

/* Whether a plan cuts a token table. */
bool pare_vocabulary_is_cut(const ParePrunePlan *plan, const PareDescription *d);

/* What must change in the file when the plan cuts token tables. `metadata` is the metadata of the
 * pruned model as pare_metadata_append makes it, NUL-terminated or not; *rewritten gets it with new
 * ids: generation settings (a bad word of tokens that are gone goes, too), the tokenizer's size,
 * and the source's settings (token ids and vocab_size, also of nested encoders and decoders). The
 * history stays as it is. *tokenizer gets the bytes of the tokenizer section; nothing when the
 * model has none. Refused: plans (they may be edited by hand) whose kept ids are not enough for the
 * tokenizer or the generation settings, or that differ between stacks of one tokenizer; the message
 * names a token that is missing. */
PareStatus pare_vocabulary_rewrite(const PareModel *m, const ParePrunePlan *plan,
                                   const PareBuffer *metadata, PareBuffer *rewritten,
                                   PareBuffer *tokenizer, PareError *err);

#endif
