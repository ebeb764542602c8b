/* pare.h: run a .pare model inside your own program. Installed as <pare.h>; C11 and C++.
 *
 *     Pare *model;
 *     PareLabel label;
 *     char message[256];
 *     if (pare_open("intent.int8.pare", 1, &model, message, sizeof message) == 0 &&
 *         pare_classify(model, "turn off the lights", NULL, &label) == 0)
 *         puts(label.name);
 *
 * Link with what `pkg-config --cflags --libs pare` prints.
 *
 * Errors: a function that returns int returns 0 (PARE_DONE) when it has done its work and another
 *     PareCode when it has not; pare_message then says why, in one sentence for a person. What it
 *     should have written is undefined then, unless told otherwise. The handle stays usable.
 * Threads: one handle is used by one thread at a time. Many handles, over one file or over several,
 *     may run side by side in different threads, and are the way to do so: opening costs little,
 *     and all handles and processes share one mapping of the file.
 * Ownership: text and ids that go in are borrowed during the call. What a function hands out
 *     belongs to the handle and lives until the next call with it, which may take it as an
 *     argument; except texts in a `char **`: those are the caller's (pare_text_free).
 * Texts are UTF-8 and end in a NUL; invalid bytes read as U+FFFD. Token ids are the model's own.
 *
 * With INT8, FP16 and BF16 files results are the same bits on every CPU and with every number of
 * threads. The library neither prints nor exits nor touches signals. A file that is open must not
 * be written into; replacing it by renaming another one is safe, and what pare's programs do. */
#ifndef PARE_API_PARE_H
#define PARE_API_PARE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    PARE_DONE = 0,
    PARE_ERROR_IO = 1,          /* the operating system refused: open, read, map */
    PARE_ERROR_FORMAT = 2,      /* the file or an input is not what it must be: broken, too long */
    PARE_ERROR_UNSUPPORTED = 3, /* this model cannot do this */
    PARE_ERROR_USAGE = 4,       /* an argument is wrong */
    PARE_ERROR_MEMORY = 5,
    PARE_ERROR_STOPPED = 7 /* the caller's own function ended the run */
} PareCode;

/* An open model with its working memory and threads. */
typedef struct Pare Pare;

/* "0.1.0". Any thread, any time. */
const char *pare_version(void);

/* -- opening -- */

/* Opens the model file `path`; `threads` (0: as many as the process may use, at most 256) includes
 * the caller's. *out is the new handle, or NULL on an error; then `message` holds its sentence, cut
 * to `size` bytes with the NUL (`message` may be NULL). Checks the file's structure and shapes. The
 * environment's PARE_CPU=scalar|avx2|... forces an instruction set. Any thread. */
int pare_open(const char *path, size_t threads, Pare **out, char *message, size_t size);

/* Frees the handle and what it handed out. NULL is allowed. */
void pare_close(Pare *p);

/* What was wrong with the last call that returned an error; "" when none has. */
const char *pare_message(const Pare *p);

/* Replays the self-test that pare-quantize stores in a file: PARE_DONE when this machine computes
 * the bits that the file expects, PARE_ERROR_FORMAT when it does not, PARE_ERROR_UNSUPPORTED when
 * the file has none (F32 files). Takes the time of a few short inputs. */
int pare_self_test(Pare *p);

/* Floats in a row of logits: the number of labels, or the size of the vocabulary; the width of the
 * hidden states for a model without a head. */
size_t pare_columns(const Pare *p);

/* The name of a label, or NULL when there is no such label or the file has no names. */
const char *pare_label_name(const Pare *p, size_t index);

/* The longest input in tokens, special tokens included: of the text that goes in, or (`decoder` not
 * 0) of an encoder-decoder's decoder. 0: no limit. */
size_t pare_max_tokens(const Pare *p, int decoder);

/* What happens to a text that is longer: with `on` its end is cut off (special tokens stay, and a
 * prompt leaves room for max_new_tokens; of a pair the longer text is cut); otherwise, and for ids
 * always, it is PARE_ERROR_FORMAT. Off in a new handle. */
void pare_set_truncate(Pare *p, int on);

/* -- text and token ids -- */

/* The ids that the model reads for `text`, special tokens included: *ids, and *types beside them:
 * 0 for the first text, 1 for the second, NULL when the model has no types or `second` is NULL.
 * `second` (NULL: none) makes a pair, for models that are an encoder alone. `types` may be NULL. */
int pare_tokenize(Pare *p, const char *text, const char *second, const int32_t **ids,
                  const int32_t **types, size_t *count);

/* The text of ids[count], of an encoder-decoder's output vocabulary; special tokens are left out.
 * *text is the caller's (pare_text_free), NULL on an error. */
int pare_detokenize(Pare *p, const int32_t *ids, size_t count, char **text);

/* Frees a text that a function of this header gave to the caller. NULL is allowed. Any thread. */
void pare_text_free(char *text);

/* -- models that label a text -- */

typedef struct {
    size_t index;               /* of the most probable label, the first of equals */
    const char *name;           /* its name; NULL when the file has none; lives as the handle */
    const float *probabilities; /* [count], by label: the softmax of the logits */
    size_t count;
} PareLabel;

/* Labels `text`, or the pair with `second` (NULL: none). A model with one output (a regression) or
 * with an output for every token is PARE_ERROR_UNSUPPORTED: pare_logits reads those. Logits that
 * are not finite are PARE_ERROR_FORMAT. */
int pare_classify(Pare *p, const char *text, const char *second, PareLabel *out);

/* The same for ids[count] with types[count] (NULL: all 0). */
int pare_classify_ids(Pare *p, const int32_t *ids, const int32_t *types, size_t count,
                      PareLabel *out);

/* -- models that write -- */

/* As transformers' generate() calls them. Lengths are in tokens. */
typedef struct {
    uint32_t num_beams;            /* 1 is greedy; at most 1024 */
    uint32_t max_length;           /* with the prompt or the decoder's start token; 0: not set */
    uint32_t max_new_tokens;       /* without; wins over max_length; 0: not set. With both not set
                                      20, as far as the positions reach */
    uint32_t min_length;           /* no end token before this length */
    uint32_t no_repeat_ngram_size; /* no so many tokens in a row occur twice; 0: off */
    uint32_t early_stopping;       /* of beam search: 0 false, 1 true, 2 "never" */
    float length_penalty;          /* a result's score is sum log p / n^length_penalty */
    float repetition_penalty;      /* logits of ids that occurred are divided by it; 1: off */
} PareGenerateOptions;

/* The settings of the model file, to be changed by the caller. Those that are not in the struct
 * (end tokens, forbidden words, ...) are always the file's. */
void pare_generate_options(const Pare *p, PareGenerateOptions *out);

/* Continues `text` (a decoder alone: *out begins with the prompt) or translates, summarizes, ...
 * (an encoder-decoder). `options` NULL: the file's. *out is the caller's (pare_text_free), NULL on
 * an error; special tokens are left out. */
int pare_generate(Pare *p, const char *text, const PareGenerateOptions *options, char **out);

/* The same for ids[count]: *out holds the prompt or the decoder's start token, what was generated,
 * and the end token. *score (may be NULL): the sum of log-probabilities / n^length_penalty. */
int pare_generate_ids(Pare *p, const int32_t *ids, size_t count, const PareGenerateOptions *options,
                      const int32_t **out, size_t *out_count, double *score);

/* The negative log-likelihood in nats, summed over *tokens predicted tokens, so that the perplexity
 * is exp(nll / tokens). A decoder alone predicts every token of `text` but the first, and `target`
 * is NULL; an encoder-decoder predicts `target`, its end token included. */
int pare_score(Pare *p, const char *text, const char *target, double *nll, size_t *tokens);

/* The same for ids[count] and target[target_count], without the decoder's start token. */
int pare_score_ids(Pare *p, const int32_t *ids, size_t count, const int32_t *target,
                   size_t target_count, double *nll, size_t *tokens);

/* -- raw scores -- */

/* Is given one row: values[n], n = pare_columns, valid during the call. `row` counts from 0. Not 0
 * ends the run with PARE_ERROR_STOPPED. Must not use the handle. */
typedef int (*PareRow)(void *context, size_t row, const float *values, size_t n);

/* The logits of ids[count] with types[count] (NULL: all 0), row by row, called in this thread: one
 * row for models that label a whole text, otherwise one a position: of decoder_ids for an
 * encoder-decoder (its start token included), of ids for all others, where decoder_ids is NULL and
 * decoder_count 0. Span models have two columns: start and end. */
int pare_logits(Pare *p, const int32_t *ids, const int32_t *types, size_t count,
                const int32_t *decoder_ids, size_t decoder_count, PareRow row, void *context);

/* The same into `out`, row-major [*rows, pare_columns]. When `capacity` floats are too few, nothing
 * is computed: PARE_ERROR_USAGE, and *rows tells how many rows there would be. */
int pare_logits_into(Pare *p, const int32_t *ids, const int32_t *types, size_t count,
                     const int32_t *decoder_ids, size_t decoder_count, float *out, size_t capacity,
                     size_t *rows);

#ifdef __cplusplus
}
#endif

#endif
