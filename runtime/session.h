/* A session: one user of a model, with its own activations and threads.
 *
 * Sessions over one model may run side by side in different threads; one session is used by one
 * thread at a time. Results do not depend on what is batched together or on the number of threads
 * (to the bit for INT8, F16 and BF16 weights). */
#ifndef PARE_RUNTIME_SESSION_H
#define PARE_RUNTIME_SESSION_H

#include "core/error.h"
#include "runtime/model.h"
#include "runtime/sequence.h"

typedef struct PareSession PareSession;

/* threads 0: as many as the process may use. The model must outlive the session. */
PareStatus pare_session_create(const PareModel *m, size_t threads, PareSession **out,
                               PareError *err);
void pare_session_destroy(PareSession *s); /* NULL is allowed */
const PareModel *pare_session_model(const PareSession *s);

/* The longest sequence of ids (decoder_ids) that the model's position tables serve; 0: no limit. */
size_t pare_session_max_positions(const PareSession *s, bool decoder);
/* Ids within the vocabulary, types known, lengths within the positions, not empty; `what` names the
 * input in messages ("line 3"). */
PareStatus pare_session_check(const PareSession *s, const PareSequence *q, const char *what,
                              PareError *err);

/* What pare_session_run gives, row by row. */
typedef enum {
    PARE_ROWS_LOGITS, /* the head's scores: one row a sequence for sequence heads, otherwise one a
                         position (of the decoder where there is one); n = labels or vocabulary */
    PARE_ROWS_HIDDEN, /* the top stack's result, one row a position */
    PARE_ROWS_POOLED, /* one row a sequence; for heads that pool */
    PARE_ROWS_ENCODER /* the encoder's result, one row a position */
} PareRowKind;

/* Called in order of sequences and, within one, of positions; `row` counts within the sequence;
 * `values` (n of them) are valid during the call. A status other than PARE_OK ends the run. */
typedef PareStatus (*PareRowSink)(void *context, size_t sequence, size_t row, const float *values,
                                  size_t n, PareError *err);

/* Runs all sequences as one packed batch and hands over the rows of one kind. The output layer is
 * computed in chunks of rows, so that logits of many positions need little memory. */
PareStatus pare_session_run(PareSession *s, const PareSequence *sequences, size_t count,
                            PareRowKind kind, PareRowSink sink, void *context, PareError *err);

/* Sum of -log p(targets[i]) over rows with a target >= 0 (others are not counted), for models with
 * an LM head: nll[i] is sequence i's sum in nats, in double; targets of a sequence lie behind those
 * of the one before, one a row of its top stack. */
PareStatus pare_session_nll(PareSession *s, const PareSequence *sequences, size_t count,
                            const int32_t *targets, double *nll, PareError *err);

/* Whether a model of this description can generate for `count` inputs at once by these settings:
 * what pare_session_generate refuses before it decodes, except for what depends on inputs. */
PareStatus pare_session_check_generation(const PareDescription *d, const PareGeneration *g,
                                         size_t count, PareError *err);

/* One generated text. */
typedef struct {
    const int32_t *ids; /* with the prompt or the decoder's start token, and the end token */
    size_t count;
    double score; /* sum of log-probabilities / n^length_penalty, n generated ids */
} PareGenerated;

/* Decodes every sequence (decoder_ids are ignored); out[count]. The ids belong to the session
 * and live until its next call. Greedy with num_beams 1, otherwise beam search; transformers'
 * meaning of every setting. Polls for interruption. */
PareStatus pare_session_generate(PareSession *s, const PareSequence *sequences, size_t count,
                                 const PareGeneration *g, PareGenerated *out, PareError *err);

#endif
