/* What <pare.h> declares: every function is a few calls of text and runtime. */
#include "api/pare.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/version.h"
#include "runtime/kernels/kernels.h"
#include "runtime/selftest.h"
#include "runtime/session.h"
#include "text/encode_input.h"

/* One set of codes under two names, since the installed header includes nothing of ours. */
_Static_assert((int)PARE_DONE == (int)PARE_OK && (int)PARE_ERROR_IO == (int)PARE_E_IO &&
                   (int)PARE_ERROR_FORMAT == (int)PARE_E_FORMAT &&
                   (int)PARE_ERROR_UNSUPPORTED == (int)PARE_E_UNSUPPORTED &&
                   (int)PARE_ERROR_USAGE == (int)PARE_E_USAGE &&
                   (int)PARE_ERROR_MEMORY == (int)PARE_E_MEMORY &&
                   (int)PARE_ERROR_STOPPED == (int)PARE_E_INTERRUPTED,
               "the codes of pare.h are those of core/error.h");

struct Pare {
    PareModel *model;
    PareSession *session;
    PareTokenizer *tokenizer; /* NULL: the file has none */
    const PareDescription *description;
    size_t threads;
    bool truncate;
    PareError error;
    PareIds ids, types, target, decoder; /* of the call that runs */
    float *probabilities;                /* [columns] of the latest classification */
    size_t best;                         /* its label */
};

const char *pare_version(void) {
    return PARE_VERSION;
}

/* -- opening -- */

static PareStatus open_all(Pare *p, const char *path) {
    const void *bytes;
    size_t size;
    PareStatus st = pare_model_open(path, &p->model, &p->error);
    if (st)
        return st;
    p->description = pare_model_description(p->model);
    if (pare_file_section(pare_model_file(p->model), PARE_SECTION_TOKENIZER, &bytes, &size))
        st = pare_tokenizer_from_bytes(bytes, size, path, &p->tokenizer, &p->error);
    if (!st)
        st = pare_session_create(p->model, p->threads, &p->session, &p->error);
    if (!st && !(p->probabilities = pare_alloc(pare_columns(p), sizeof *p->probabilities)))
        st = pare_memory_error(&p->error, "the probabilities");
    return st;
}

int pare_open(const char *path, size_t threads, Pare **out, char *message, size_t size) {
    Pare *p = pare_alloc(1, sizeof *p);
    PareError err = {0};
    *out = p;
    PareStatus st = p ? PARE_OK : pare_memory_error(&err, "the model's handle");
    if (p) {
        p->threads = threads;
        st = path ? open_all(p, path) : pare_error_set(&p->error, PARE_E_USAGE, "no path is given");
        err = p->error;
    }
    if (message && size)
        snprintf(message, size, "%s", err.message);
    if (st) {
        pare_close(p);
        *out = NULL;
    }
    return (int)st;
}

void pare_close(Pare *p) {
    if (!p)
        return;
    pare_session_destroy(p->session);
    pare_tokenizer_free(p->tokenizer);
    pare_model_close(p->model);
    pare_ids_free(&p->ids);
    pare_ids_free(&p->types);
    pare_ids_free(&p->target);
    pare_ids_free(&p->decoder);
    pare_free(p->probabilities);
    pare_free(p);
}

const char *pare_message(const Pare *p) {
    return p->error.message;
}

int pare_self_test(Pare *p) {
    PareSelfTestReport report;
    PareStatus st = pare_selftest_run(p->model, p->threads, &report, &p->error);
    if (!st && report.failed)
        st = pare_error_set(&p->error, PARE_E_FORMAT,
                            "%s: self-test failed: %zu of %zu sequences gave other bits than the "
                            "file says",
                            pare_file_path(pare_model_file(p->model)), report.failed,
                            report.sequences);
    return (int)st;
}

static bool has_decoder(const Pare *p) {
    return p->description->stacks[PARE_DECODER].present;
}

static bool is_pair_of_stacks(const Pare *p) {
    return p->description->stacks[PARE_ENCODER].present && has_decoder(p);
}

size_t pare_columns(const Pare *p) {
    const PareDescription *d = p->description;
    const PareStack *top = &d->stacks[pare_description_top(d)];
    if (d->head.kind == PARE_HEAD_NONE)
        return top->width;
    return d->head.kind == PARE_HEAD_LM ? top->vocabulary : d->head.labels;
}

const char *pare_label_name(const Pare *p, size_t index) {
    return index < p->description->head.labels ? pare_model_label(p->model, (uint32_t)index) : NULL;
}

size_t pare_max_tokens(const Pare *p, int decoder) {
    return pare_session_max_positions(p->session, decoder != 0);
}

void pare_set_truncate(Pare *p, int on) {
    p->truncate = on != 0;
}

/* -- text and token ids -- */

static PareStatus check_text(Pare *p, const char *text) {
    if (!p->tokenizer)
        return pare_error_set(&p->error, PARE_E_UNSUPPORTED,
                              "the model file has no tokenizer, so it knows no text; the "
                              "functions for token ids work");
    return text ? PARE_OK : pare_error_set(&p->error, PARE_E_USAGE, "no text is given");
}

/* `limit`: what is too long is cut to it when that is asked for; 0: none. */
static PareStatus encode(Pare *p, PareSide side, const char *text, size_t limit, PareIds *out) {
    bool cut;
    PareStatus st = check_text(p, text);
    out->count = 0;
    return st ? st
              : pare_encode_text(p->tokenizer, side, (PareText){text, strlen(text)},
                                 p->truncate ? limit : 0, &cut, out, &p->error);
}

static PareStatus encode_pair(Pare *p, const char *text, const char *second) {
    bool cut;
    size_t limit = pare_max_tokens(p, 0);
    p->ids.count = p->types.count = 0;
    if (!second)
        return encode(p, PARE_SIDE_SOURCE, text, limit, &p->ids);
    PareStatus st = check_text(p, text);
    if (!st && has_decoder(p))
        st = pare_error_set(&p->error, PARE_E_UNSUPPORTED,
                            "there are two texts, but the model reads one");
    return st ? st
              : pare_encode_pair(p->tokenizer, (PareText){text, strlen(text)},
                                 (PareText){second, strlen(second)}, p->truncate ? limit : 0, &cut,
                                 &p->ids, &p->types, &p->error);
}

/* The types of what encode_pair has left; NULL where the model or the text has none. */
static const int32_t *types_of(const Pare *p) {
    bool known = p->description->stacks[PARE_ENCODER].types > 0;
    return known && p->types.count ? p->types.data : NULL;
}

int pare_tokenize(Pare *p, const char *text, const char *second, const int32_t **ids,
                  const int32_t **types, size_t *count) {
    PareStatus st = encode_pair(p, text, second);
    *ids = p->ids.data;
    *count = p->ids.count;
    if (types)
        *types = types_of(p);
    return (int)st;
}

int pare_detokenize(Pare *p, const int32_t *ids, size_t count, char **text) {
    PareSide side = is_pair_of_stacks(p) ? PARE_SIDE_TARGET : PARE_SIDE_SOURCE;
    PareBuffer b = {0};
    *text = NULL;
    PareStatus st = check_text(p, "");
    if (!st)
        st = pare_tokenizer_decode(p->tokenizer, side, ids, count, true, &b, &p->error);
    if (!st && !(*text = pare_buffer_steal(&b, NULL)))
        st = pare_memory_error(&p->error, "the text");
    pare_buffer_free(&b);
    return (int)st;
}

void pare_text_free(char *text) {
    pare_free(text);
}

/* Lengths in words of our own: the session's speak of an option that only programs have. */
static PareStatus check(Pare *p, const PareSequence *q) {
    size_t limit = pare_max_tokens(p, 0), decoder_limit = pare_max_tokens(p, 1);
    bool decoder = decoder_limit && q->decoder_count > decoder_limit;
    if (q->decoder_count && !is_pair_of_stacks(p))
        return pare_error_set(&p->error, PARE_E_USAGE,
                              "there are decoder_ids, but the model is no encoder-decoder");
    if (decoder || (limit && q->count > limit))
        return pare_error_set(
            &p->error, PARE_E_FORMAT, "the %s has %zu tokens, but the model has positions for %zu",
            decoder ? "decoder's input" : "input", decoder ? q->decoder_count : q->count,
            decoder ? decoder_limit : limit);
    return pare_session_check(p->session, q, "the input", &p->error);
}

/* -- labels -- */

static PareStatus put_label(void *context, size_t sequence, size_t row, const float *values,
                            size_t n, PareError *err) {
    Pare *p = context;
    (void)sequence, (void)row;
    p->best = 0;
    for (size_t i = 0; i < n; i++) {
        if (!isfinite(values[i]))
            return pare_error_set(err, PARE_E_FORMAT, "the model's scores are not finite");
        p->best = values[i] > values[p->best] ? i : p->best;
    }
    pare_kernels()->softmax(p->probabilities, values, n);
    return PARE_OK;
}

int pare_classify_ids(Pare *p, const int32_t *ids, const int32_t *types, size_t count,
                      PareLabel *out) {
    const PareOutputHead *h = &p->description->head;
    PareSequence q = {.ids = ids, .types = types, .count = count};
    if (h->kind != PARE_HEAD_SEQUENCE || h->labels < 2)
        return (int)pare_error_set(&p->error, PARE_E_UNSUPPORTED,
                                   "the model does not choose a label for a text (its head: %s)",
                                   pare_head_kind_name(h->kind));
    PareStatus st = check(p, &q);
    if (!st)
        st = pare_session_run(p->session, &q, 1, PARE_ROWS_LOGITS, put_label, p, &p->error);
    *out = (PareLabel){p->best, pare_label_name(p, p->best), p->probabilities, h->labels};
    return (int)st;
}

int pare_classify(Pare *p, const char *text, const char *second, PareLabel *out) {
    PareStatus st = encode_pair(p, text, second);
    return st ? (int)st : pare_classify_ids(p, p->ids.data, types_of(p), p->ids.count, out);
}

/* -- writing -- */

void pare_generate_options(const Pare *p, PareGenerateOptions *out) {
    const PareGeneration *g = pare_model_generation(p->model);
    *out = (PareGenerateOptions){.num_beams = g->num_beams,
                                 .max_length = g->max_length,
                                 .max_new_tokens = g->max_new_tokens,
                                 .min_length = g->min_length,
                                 .no_repeat_ngram_size = g->no_repeat_ngram_size,
                                 .early_stopping = (uint32_t)g->early_stopping,
                                 .length_penalty = g->length_penalty,
                                 .repetition_penalty = g->repetition_penalty};
}

/* The file's settings with the caller's (NULL: none) in their place. */
static PareGeneration settings(const Pare *p, const PareGenerateOptions *o) {
    PareGeneration g = *pare_model_generation(p->model);
    if (!o)
        return g;
    g.num_beams = o->num_beams;
    g.max_length = o->max_length;
    g.max_new_tokens = o->max_new_tokens;
    g.min_length = o->min_length;
    g.no_repeat_ngram_size = o->no_repeat_ngram_size;
    g.early_stopping = (PareEarlyStop)o->early_stopping;
    g.length_penalty = o->length_penalty;
    g.repetition_penalty = o->repetition_penalty;
    return g;
}

int pare_generate_ids(Pare *p, const int32_t *ids, size_t count, const PareGenerateOptions *options,
                      const int32_t **out, size_t *out_count, double *score) {
    PareGeneration g = settings(p, options);
    PareGenerated result = {0};
    PareSequence q = {.ids = ids, .count = count};
    PareStatus st = check(p, &q);
    if (!st && options && options->early_stopping > PARE_STOP_EARLY_NEVER)
        st = pare_error_set(&p->error, PARE_E_USAGE, "early_stopping is %u; expected 0, 1 or 2",
                            options->early_stopping);
    if (!st)
        st = pare_session_generate(p->session, &q, 1, &g, &result, &p->error);
    *out = result.ids;
    *out_count = result.count;
    if (score)
        *score = result.score;
    return (int)st;
}

/* The last new token is never read, so it needs no position. */
static size_t prompt_limit(const Pare *p, const PareGeneration *g) {
    size_t positions = pare_max_tokens(p, 0), more = g->max_new_tokens;
    bool prompt = !is_pair_of_stacks(p) && more && more <= positions;
    return prompt ? positions + 1 - more : positions;
}

int pare_generate(Pare *p, const char *text, const PareGenerateOptions *options, char **out) {
    PareGeneration g = settings(p, options);
    const int32_t *ids;
    size_t count;
    *out = NULL;
    PareStatus st = encode(p, PARE_SIDE_SOURCE, text, prompt_limit(p, &g), &p->ids);
    int code =
        st ? (int)st : pare_generate_ids(p, p->ids.data, p->ids.count, options, &ids, &count, NULL);
    if (code)
        return code;
    p->ids.count = 0;
    for (size_t i = 0; i < count; i++) /* ids of a padded vocabulary have no text */
        if ((size_t)ids[i] < pare_tokenizer_size(p->tokenizer) && !pare_ids_push(&p->ids, ids[i]))
            return (int)pare_memory_error(&p->error, "token ids");
    return pare_detokenize(p, p->ids.data, p->ids.count, out);
}

/* -- likelihood -- */

static PareStatus check_score(Pare *p, int32_t start, const int32_t *target, size_t count) {
    bool both = is_pair_of_stacks(p);
    if (p->description->head.kind != PARE_HEAD_LM || !has_decoder(p))
        return pare_error_set(&p->error, PARE_E_UNSUPPORTED,
                              "score needs a model that predicts each token from those before it");
    if (both != (target != NULL))
        return pare_error_set(&p->error, PARE_E_USAGE,
                              both ? "there is no target, which an encoder-decoder needs here"
                                   : "there is a target, but the model reads one text only");
    if (target && (!count || target[count - 1] < 0))
        return pare_error_set(&p->error, PARE_E_FORMAT,
                              "the target has no tokens, or a negative id");
    if (target && start < 0)
        return pare_error_set(&p->error, PARE_E_UNSUPPORTED,
                              "the model has no decoder_start_token_id");
    return PARE_OK;
}

/* What the decoder reads when it is to predict the target: its start, then the target but the last
 * id. */
static PareStatus read_target(Pare *p, int32_t start, const int32_t *target, size_t count,
                              PareSequence *q) {
    p->decoder.count = 0;
    bool pushed = pare_ids_push(&p->decoder, start);
    for (size_t i = 0; i + 1 < count && pushed; i++)
        pushed = pare_ids_push(&p->decoder, target[i]);
    q->decoder_ids = p->decoder.data;
    q->decoder_count = p->decoder.count;
    return pushed ? PARE_OK : pare_memory_error(&p->error, "token ids");
}

int pare_score_ids(Pare *p, const int32_t *ids, size_t count, const int32_t *target,
                   size_t target_count, double *nll, size_t *tokens) {
    const PareGeneration *g = pare_model_generation(p->model);
    int32_t start = g->decoder_start >= 0 ? g->decoder_start : g->bos;
    PareSequence q = {.ids = ids, .count = count};
    PareStatus st = check_score(p, start, target, target_count);
    if (!st && target)
        st = read_target(p, start, target, target_count, &q);
    if (!st)
        st = check(p, &q);
    if (st)
        return (int)st;
    if (!target)
        q.count--; /* nothing follows the last id */
    *tokens = target ? target_count : q.count;
    *nll = 0;
    if (*tokens)
        st = pare_session_nll(p->session, &q, 1, target ? target : ids + 1, nll, &p->error);
    return (int)st;
}

int pare_score(Pare *p, const char *text, const char *target, double *nll, size_t *tokens) {
    PareStatus st = encode(p, PARE_SIDE_SOURCE, text, pare_max_tokens(p, 0), &p->ids);
    if (!st && target)
        st = encode(p, PARE_SIDE_TARGET, target, pare_max_tokens(p, 1), &p->target);
    if (st)
        return (int)st;
    return pare_score_ids(p, p->ids.data, p->ids.count, target ? p->target.data : NULL,
                          target ? p->target.count : 0, nll, tokens);
}

/* -- raw scores -- */

typedef struct {
    PareRow row;
    void *context;
} Logits;

static PareStatus give_row(void *context, size_t sequence, size_t row, const float *values,
                           size_t n, PareError *err) {
    const Logits *l = context;
    (void)sequence;
    if (l->row(l->context, row, values, n))
        return pare_error_set(err, PARE_E_INTERRUPTED, "stopped by the caller at row %zu", row);
    return PARE_OK;
}

int pare_logits(Pare *p, const int32_t *ids, const int32_t *types, size_t count,
                const int32_t *decoder_ids, size_t decoder_count, PareRow row, void *context) {
    PareSequence q = {ids, count, types, decoder_ids, decoder_count};
    PareRowKind kind =
        p->description->head.kind == PARE_HEAD_NONE ? PARE_ROWS_HIDDEN : PARE_ROWS_LOGITS;
    Logits l = {row, context};
    PareStatus st = check(p, &q);
    return (int)(st ? st : pare_session_run(p->session, &q, 1, kind, give_row, &l, &p->error));
}

static int copy_row(void *context, size_t row, const float *values, size_t n) {
    memcpy((float *)context + row * n, values, n * sizeof *values);
    return 0;
}

int pare_logits_into(Pare *p, const int32_t *ids, const int32_t *types, size_t count,
                     const int32_t *decoder_ids, size_t decoder_count, float *out, size_t capacity,
                     size_t *rows) {
    size_t columns = pare_columns(p);
    *rows = is_pair_of_stacks(p) ? decoder_count : count;
    if (p->description->head.kind == PARE_HEAD_SEQUENCE)
        *rows = 1;
    if (capacity / columns < *rows)
        return (int)pare_error_set(&p->error, PARE_E_USAGE,
                                   "room for %zu floats, but there are %zu rows of %zu", capacity,
                                   *rows, columns);
    return pare_logits(p, ids, types, count, decoder_ids, decoder_count, copy_row, out);
}
