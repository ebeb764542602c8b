/* Importance as JSON, both ways:
 *
 *   {"pare_importance": 1, "criterion": "gradient", "loss": "labels", "model_sha256": "…",
 *    "seed": "42", "batches": n, "examples": n,
 *    "heads": [[…], null, …], "cross": [[…], …], "ffn": [[…], …], "layers": […], "width": […]}
 *
 * A list a layer, null where the layer has no such sublayer; "cross" only of a decoder that reads
 * an encoder. Models with two stacks have these lists in "encoder" and "decoder". "loss" is there
 * for criteria that have one. The seed is text, since it may be larger than JSON's numbers. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "prune/importance_impl.h"

static const char *const STACKS[PARE_STACKS] = {"encoder", "decoder"};
static const char *const LISTS[PARE_LISTS] = {"heads", "cross", "ffn"};
static const char *const LOSSES[] = {"own outputs", "labels"};

static bool has_loss(PareCriterion c) {
    return pare_criterion_needs_data(c) && c != PARE_CRITERION_ACTIVATION &&
           c != PARE_CRITERION_RECONSTRUCT;
}

static bool has_list(const PareStack *k, int list) {
    return list != PARE_BLOCK_CROSS || k->cross;
}

static bool is_pair(const PareDescription *d) {
    return d->stacks[PARE_ENCODER].present && d->stacks[PARE_DECODER].present;
}

/* -- writing -- */

static void put_scores(PareBuffer *out, const double *scores, size_t count) {
    if (!scores) {
        pare_buffer_puts(out, "null");
        return;
    }
    pare_buffer_putc(out, '[');
    for (size_t i = 0; i < count; i++)
        pare_buffer_printf(out, "%s%.9g", i ? "," : "", scores[i]);
    pare_buffer_putc(out, ']');
}

static void put_stack(PareBuffer *out, const PareImportance *i, const PareDescription *d, int s) {
    const PareStack *k = &d->stacks[s];
    for (int list = 0; list < PARE_LISTS; list++) {
        if (!has_list(k, list))
            continue;
        pare_buffer_printf(out, "\"%s\":[", LISTS[list]);
        for (uint32_t l = 0; l < k->layer_count; l++) {
            PareScoreList scores = pare_importance_list(i, d, s, l, list);
            pare_buffer_puts(out, l ? ",\n  " : "\n  ");
            put_scores(out, scores.scores, scores.units);
        }
        pare_buffer_puts(out, "],\n");
    }
    pare_buffer_puts(out, "\"layers\":");
    put_scores(out, i->stacks[s].layer, k->layer_count);
    pare_buffer_puts(out, ",\n\"width\":");
    put_scores(out, i->stacks[s].width, k->width);
}

void pare_importance_write(const PareImportance *i, const PareDescription *d, PareBuffer *out) {
    pare_buffer_printf(out, "{\"pare_importance\":1,\"criterion\":\"%s\"",
                       pare_criterion_name(i->criterion));
    if (has_loss(i->criterion))
        pare_buffer_printf(out, ",\"loss\":\"%s\"", LOSSES[i->from_labels]);
    if (i->model_sha256[0])
        pare_buffer_printf(out, ",\"model_sha256\":\"%s\"", i->model_sha256);
    pare_buffer_printf(out, ",\"seed\":\"%llu\",\"batches\":%llu,\"examples\":%llu",
                       (unsigned long long)i->seed, (unsigned long long)i->batches,
                       (unsigned long long)i->examples);
    for (int s = 0; s < PARE_STACKS; s++) {
        if (!d->stacks[s].present)
            continue;
        pare_buffer_puts(out, ",\n");
        if (is_pair(d))
            pare_buffer_printf(out, "\"%s\":{", STACKS[s]);
        put_stack(out, i, d, s);
        if (is_pair(d))
            pare_buffer_puts(out, "}");
    }
    pare_buffer_puts(out, "}\n");
}

/* -- reading -- */

typedef struct {
    const char *where;
    const PareDescription *d;
    PareImportance *out;
    PareError *err;
} Reader;

/* `more`: other members that are known, or NULL. */
static PareStatus check_keys(const Reader *r, const PareJson *object, const char *what,
                             const char *const *known, const char *const *more) {
    if (!pare_json_is_object(object))
        return pare_error_set(r->err, PARE_E_FORMAT, "%s: %s must be an object", r->where, what);
    for (const PareJson *n = pare_json_first(object); n; n = pare_json_next(n)) {
        bool found = false;
        for (size_t i = 0; known[i] && !found; i++)
            found = strcmp(known[i], pare_json_key(n)) == 0;
        for (size_t i = 0; more && more[i] && !found; i++)
            found = strcmp(more[i], pare_json_key(n)) == 0;
        if (!found)
            return pare_error_set(r->err, PARE_E_FORMAT, "%s: %s has an unknown member \"%.100s\"",
                                  r->where, what, pare_json_key(n));
    }
    return PARE_OK;
}

/* One list into `out`, or null for what the model has not (`out` NULL). */
static PareStatus read_scores(const Reader *r, const PareJson *list, const char *what, size_t count,
                              double *out) {
    if (!out && pare_json_is_null(list))
        return PARE_OK;
    if (!out)
        return pare_error_set(r->err, PARE_E_FORMAT,
                              "%s: %s must be null: the model has no such sublayer", r->where,
                              what);
    if (!pare_json_is_array(list) || pare_json_size(list) != count)
        return pare_error_set(r->err, PARE_E_FORMAT,
                              "%s: %s must be a list of as many numbers as the model has, %zu",
                              r->where, what, count);
    size_t at = 0;
    for (const PareJson *n = pare_json_first(list); n; n = pare_json_next(n), at++) {
        double value = pare_json_is_number(n) ? pare_json_number(n) : NAN;
        if (!(value >= 0 && isfinite(value)))
            return pare_error_set(r->err, PARE_E_FORMAT,
                                  "%s: %s: number %zu is no score; expected a number, 0 or more",
                                  r->where, what, at);
        out[at] = value + 0; /* a zero without sign */
    }
    return PARE_OK;
}

static PareStatus read_list(const Reader *r, const PareJson *object, int s, int list) {
    const PareStack *k = &r->d->stacks[s];
    const PareJson *layers = pare_json_get(object, LISTS[list]);
    PareStatus st = PARE_OK;
    uint32_t l = 0;
    if (!pare_json_is_array(layers) || pare_json_size(layers) != k->layer_count)
        return pare_error_set(r->err, PARE_E_FORMAT,
                              "%s: \"%s\" of the %s must be a list of as many lists as it has "
                              "layers, %u",
                              r->where, LISTS[list], STACKS[s], k->layer_count);
    for (const PareJson *n = pare_json_first(layers); n && !st; n = pare_json_next(n), l++) {
        PareScoreList scores = pare_importance_list(r->out, r->d, s, l, list);
        char what[80];
        snprintf(what, sizeof what, "\"%s\" of layer %u of the %s", LISTS[list], l, STACKS[s]);
        st = read_scores(r, n, what, scores.units, scores.scores);
    }
    return st;
}

static PareStatus read_row(const Reader *r, const PareJson *object, const char *name, int s,
                           size_t count, double *out) {
    char what[80];
    snprintf(what, sizeof what, "\"%s\" of the %s", name, STACKS[s]);
    return read_scores(r, pare_json_get(object, name), what, count, out);
}

static PareStatus read_stack(const Reader *r, const PareJson *object, int s) {
    const PareStack *k = &r->d->stacks[s];
    PareStatus st = PARE_OK;
    for (int list = 0; list < PARE_LISTS && !st; list++)
        if (has_list(k, list))
            st = read_list(r, object, s, list);
    if (!st)
        st = read_row(r, object, "layers", s, k->layer_count, r->out->stacks[s].layer);
    return st ? st : read_row(r, object, "width", s, k->width, r->out->stacks[s].width);
}

static PareStatus read_stacks(const Reader *r, const PareJson *object) {
    static const char *const LISTS_OF_ENCODER[] = {"heads", "ffn", "layers", "width", NULL};
    static const char *const LISTS_OF_DECODER[] = {"heads",  "cross", "ffn",
                                                   "layers", "width", NULL};
    PareStatus st = PARE_OK;
    for (int s = 0; s < PARE_STACKS && !st; s++) {
        const PareJson *stack = is_pair(r->d) ? pare_json_get(object, STACKS[s]) : object;
        if (!r->d->stacks[s].present)
            continue;
        if (is_pair(r->d))
            st = check_keys(r, stack, s == PARE_ENCODER ? "\"encoder\"" : "\"decoder\"",
                            r->d->stacks[s].cross ? LISTS_OF_DECODER : LISTS_OF_ENCODER, NULL);
        if (!st)
            st = read_stack(r, stack, s);
    }
    return st;
}

/* -- what the scores are -- */

/* What the loss was, for criteria that have one and only for those. */
static PareStatus read_loss(const Reader *r, const PareJson *object) {
    const char *loss = NULL;
    PareStatus st = pare_json_get_string(object, "loss", &loss, r->where, r->err);
    bool wanted = has_loss(r->out->criterion);
    if (st || (!wanted && !loss))
        return st;
    r->out->from_labels = wanted && loss && strcmp(loss, LOSSES[true]) == 0;
    if (wanted && (r->out->from_labels || (loss && strcmp(loss, LOSSES[false]) == 0)))
        return PARE_OK;
    return pare_error_set(r->err, PARE_E_FORMAT,
                          "%s: \"loss\" is %s%.40s%s; expected \"%s\" or \"%s\" for gradient, "
                          "taylor and fisher, and none for others",
                          r->where, loss ? "\"" : "", loss ? loss : "missing", loss ? "\"" : "",
                          LOSSES[true], LOSSES[false]);
}

static PareStatus read_criterion(const Reader *r, const PareJson *object) {
    const char *name = NULL;
    PareStatus st = pare_json_get_string(object, "criterion", &name, r->where, r->err);
    if (!st && (!name || !pare_criterion_parse(name, &r->out->criterion)))
        st = pare_error_set(r->err, PARE_E_FORMAT,
                            "%s: \"criterion\" is %s%.40s%s; expected gradient, taylor, fisher, "
                            "activation, magnitude or random",
                            r->where, name ? "\"" : "", name ? name : "missing", name ? "\"" : "");
    return st ? st : read_loss(r, object);
}

static PareStatus read_sha256(const Reader *r, const PareJson *object) {
    const char *hash = NULL;
    PareStatus st = pare_json_get_string(object, "model_sha256", &hash, r->where, r->err);
    if (st || !hash)
        return st;
    if (strlen(hash) != sizeof r->out->model_sha256 - 1 ||
        strspn(hash, "0123456789abcdef") != strlen(hash))
        return pare_error_set(r->err, PARE_E_FORMAT, "%s: \"model_sha256\" is no SHA-256",
                              r->where);
    memcpy(r->out->model_sha256, hash, sizeof r->out->model_sha256);
    return PARE_OK;
}

static PareStatus read_seed(const Reader *r, const PareJson *object) {
    const char *text = NULL;
    PareStatus st = pare_json_get_string(object, "seed", &text, r->where, r->err);
    if (st || !text)
        return st;
    uint64_t value = 0;
    bool bad = !*text || strlen(text) > 20;
    for (const char *c = text; *c && !bad; c++) {
        uint64_t digit = (uint64_t)(*c - '0');
        bad = *c < '0' || *c > '9' || value > (UINT64_MAX - digit) / 10;
        value = 10 * value + digit;
    }
    if (bad)
        return pare_error_set(r->err, PARE_E_FORMAT,
                              "%s: \"seed\" is \"%.40s\"; expected the digits of a number below "
                              "2^64",
                              r->where, text);
    r->out->seed = value;
    return PARE_OK;
}

static PareStatus read_count(const Reader *r, const PareJson *object, const char *name,
                             uint64_t *out) {
    int64_t value = 0;
    PareStatus st = pare_json_get_int(object, name, 0, INT64_C(1) << 53, &value, r->where, r->err);
    *out = (uint64_t)value;
    return st;
}

static PareStatus read_version(const Reader *r, const PareJson *object) {
    int64_t version = 0;
    PareStatus st = pare_json_get_int(object, "pare_importance", 1, 1, &version, r->where, r->err);
    if (!st && version != 1)
        st = pare_error_set(r->err, PARE_E_FORMAT,
                            "%s: this is no importance: \"pare_importance\" is missing", r->where);
    return st;
}

PareStatus pare_importance_read(const PareJson *object, const char *where, const PareDescription *d,
                                PareArena *arena, PareImportance *out, PareError *err) {
    static const char *const KNOWN[] = {"pare_importance", "criterion", "loss",
                                        "model_sha256",    "seed",      "batches",
                                        "examples",        NULL};
    static const char *const OF_ONE[] = {"heads", "ffn", "layers", "width", NULL};
    static const char *const OF_TWO[] = {"encoder", "decoder", NULL};
    const Reader r = {where, d, out, err};
    PareStatus st = pare_importance_allocate(d, arena, out, err);
    if (!st)
        st = check_keys(&r, object, "the importance", KNOWN, is_pair(d) ? OF_TWO : OF_ONE);
    if (!st)
        st = read_version(&r, object);
    if (!st)
        st = read_criterion(&r, object);
    if (!st)
        st = read_sha256(&r, object);
    if (!st)
        st = read_seed(&r, object);
    if (!st)
        st = read_count(&r, object, "batches", &out->batches);
    if (!st)
        st = read_count(&r, object, "examples", &out->examples);
    return st ? st : read_stacks(&r, object);
}
