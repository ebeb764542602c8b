/* Training examples: a data set, tokenized once.
 *
 * Opening reads the whole file and writes every example as token ids to a temporary file, which has
 * no name and is gone with the program; examples are views into its mapping. In memory there are 16
 * bytes an example, so that a training file may be larger than memory. */
#ifndef PARE_LEARN_EXAMPLES_H
#define PARE_LEARN_EXAMPLES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/log.h"
#include "runtime/description.h"
#include "runtime/sequence.h"
#include "text/dataset.h"
#include "text/tokenizer.h"

typedef enum {
    PARE_EXAMPLES_CLASSIFICATION, /* a text or two, or ids: `label` */
    PARE_EXAMPLES_REGRESSION,     /* the same: `value` */
    PARE_EXAMPLES_TOKENS,         /* JSON lines of input_ids and labels: a target a position */
    PARE_EXAMPLES_LM,             /* text, cut to windows, or input_ids, a window each: next ids.
                                     Of a stack that sees all positions: input_ids and labels */
    PARE_EXAMPLES_SEQ2SEQ         /* a text or ids, and a target text, labels, or decoder ids */
} PareExamplesTask;

enum { PARE_IGNORED = -100 }; /* a target that does not count, or a label that is not known */

typedef struct {
    size_t line;            /* in the file, for messages; of LM windows where they begin */
    PareSequence sequence;  /* decoder_ids: of encoder-decoders, where targets or they are given */
    const int32_t *targets; /* one for each position of the top stack, PARE_IGNORED: does not
                               count; of LMs the next id, that is, shifted already */
    size_t target_count;    /* 0: none */
    int32_t label;
    float value; /* NaN: not known */
} PareExample;

typedef struct {
    const char *path; /* "-" is refused: training reads its data more than once */
    PareDataOptions data;
    PareExamplesTask task;
    const PareDescription *description;
    const PareTokenizer *tokenizer; /* NULL: token ids only */
    const char *const *labels;      /* CLASSIFICATION: the names, description->head.labels of them,
                                       NULL where there is none; or NULL: numbers only */
    size_t max_source, max_target;  /* ids; 0: what the positions of the model allow */
    /* Of another model that reads the same (0: no limit): as if they were this one's. */
    size_t source_positions, target_positions;
    bool truncate;              /* cut what is longer, instead of refusing it */
    size_t block;               /* LM: ids of a window of text; 0: max_source or positions */
    int32_t decoder_start, pad; /* what the decoder reads first, and for a label of -100; -1: not
                                   set */
    bool unlabelled;            /* rows without label or target are taken as they are */
    bool no_empty;              /* of those too a row without any text is refused */
    uint64_t limit;             /* only so many rows; 0: all */
    const char *folder;         /* of the temporary file, where $TMPDIR is not set; NULL: /tmp */
    PareProgress *progress;
} PareExamplesOptions;

typedef struct PareExamples PareExamples;

/* Messages name file and line. Refused: labels and ids out of range, targets of which none counts,
 * no example at all. Polls for interruption. */
PareStatus pare_examples_open(const PareExamplesOptions *options, PareExamples **out,
                              PareError *err);
void pare_examples_close(PareExamples *x); /* NULL is allowed */

/* The same from examples that a program makes itself (pseudo-labels): create, append, finish. The
 * examples are copied. */
PareStatus pare_examples_create(const char *folder, PareExamples **out, PareError *err);
PareStatus pare_examples_append(PareExamples *x, const PareExample *e, PareError *err);
PareStatus pare_examples_finish(PareExamples *x, PareError *err);

/* Once open or finished; any thread may call these. */
size_t pare_examples_count(const PareExamples *x);
PareExample pare_examples_get(const PareExamples *x, size_t index);
/* How many ids the first stack and an encoder-decoder's decoder read; touches no example. */
void pare_examples_lengths(const PareExamples *x, size_t index, size_t *source, size_t *target);
size_t pare_examples_cut(const PareExamples *x); /* how many were too long, and truncated */
/* Of the content of all examples in order: another digest means other data. */
uint64_t pare_examples_digest(const PareExamples *x);

#endif
