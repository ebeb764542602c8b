/* Descriptions as JSON: one table of fields a struct, read and written by the same walk. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "runtime/description.h"

static const char *const ACTIVATIONS[] = {"identity",   "relu", "gelu", "gelu_tanh",
                                          "gelu_quick", "silu", "tanh", "sigmoid"};
static const char *const NORMS[] = {"layer", "rms"};
static const char *const POSITIONS[] = {"none", "table", "relative"};
static const char *const HEADS[] = {"none", "lm", "sequence", "tokens", "span"};
static const char *const POOLS[] = {"none", "first", "last"};

_Static_assert(sizeof ACTIVATIONS / sizeof *ACTIVATIONS == PARE_ACT_COUNT, "a name for each");

typedef enum { F_BOOL, F_U32, F_FLOAT, F_ENUM } FieldKind;

typedef struct {
    const char *name;
    size_t offset;
    FieldKind kind;
    const char *const *words; /* F_ENUM; enums are stored as int-sized unsigned */
    uint32_t word_count;
} Field;

#define FIELD(type, kind, member)                                                                  \
    { #member, offsetof(type, member), kind, NULL, 0 }
#define CHOICE(type, member, words)                                                                \
    { #member, offsetof(type, member), F_ENUM, words, sizeof(words) / sizeof *(words) }
#define COUNT(a) (sizeof(a) / sizeof *(a))

static const Field ATTENTION_FIELDS[] = {
    FIELD(PareAttentionShape, F_U32, heads),     FIELD(PareAttentionShape, F_U32, kv_heads),
    FIELD(PareAttentionShape, F_U32, head_size), FIELD(PareAttentionShape, F_FLOAT, scale),
    FIELD(PareAttentionShape, F_U32, window),
};

static const Field STACK_FIELDS[] = {
    FIELD(PareStack, F_U32, width),
    FIELD(PareStack, F_U32, embedding_width),
    FIELD(PareStack, F_U32, vocabulary),
    FIELD(PareStack, F_U32, types),
    CHOICE(PareStack, position, POSITIONS),
    FIELD(PareStack, F_U32, positions),
    FIELD(PareStack, F_U32, position_offset),
    FIELD(PareStack, F_U32, relative_buckets),
    FIELD(PareStack, F_U32, relative_max_distance),
    FIELD(PareStack, F_FLOAT, embedding_scale),
    FIELD(PareStack, F_BOOL, embedding_norm),
    FIELD(PareStack, F_BOOL, final_norm),
    FIELD(PareStack, F_BOOL, pre_norm),
    CHOICE(PareStack, norm, NORMS),
    FIELD(PareStack, F_FLOAT, norm_eps),
    CHOICE(PareStack, activation, ACTIVATIONS),
    FIELD(PareStack, F_BOOL, gated),
    FIELD(PareStack, F_BOOL, attention_bias),
    FIELD(PareStack, F_BOOL, ffn_bias),
    FIELD(PareStack, F_BOOL, cross),
};

static const Field HEAD_FIELDS[] = {
    CHOICE(PareOutputHead, kind, HEADS),
    FIELD(PareOutputHead, F_U32, labels),
    CHOICE(PareOutputHead, pool, POOLS),
    FIELD(PareOutputHead, F_BOOL, pool_dense),
    CHOICE(PareOutputHead, pool_activation, ACTIVATIONS),
    FIELD(PareOutputHead, F_BOOL, transform),
    CHOICE(PareOutputHead, transform_activation, ACTIVATIONS),
    FIELD(PareOutputHead, F_BOOL, bias),
    FIELD(PareOutputHead, F_FLOAT, scale),
};

_Static_assert(sizeof(PareActivation) == sizeof(uint32_t), "enums are stored as 32 bits");

const char *pare_activation_name(PareActivation a) {
    return (unsigned)a < PARE_ACT_COUNT ? ACTIVATIONS[a] : "unknown";
}

const char *pare_head_kind_name(PareHeadKind k) {
    return (unsigned)k < COUNT(HEADS) ? HEADS[k] : "unknown";
}

const char *pare_head_text(const PareOutputHead *h, char out[PARE_HEAD_TEXT]) {
    if (h->kind == PARE_HEAD_NONE || h->kind == PARE_HEAD_LM)
        snprintf(out, PARE_HEAD_TEXT, "%s",
                 h->kind == PARE_HEAD_LM ? "a language-model head" : "no head");
    else
        snprintf(out, PARE_HEAD_TEXT, "a %s head of %u label%s", pare_head_kind_name(h->kind),
                 h->labels, h->labels == 1 ? "" : "s");
    return out;
}

/* -- writing -- */

static void write_fields(const void *object, const Field *fields, size_t count, PareBuffer *out) {
    for (size_t i = 0; i < count; i++) {
        const char *at = (const char *)object + fields[i].offset;
        uint32_t u = 0;
        float f;
        pare_buffer_printf(out, "%s\"%s\":", i ? "," : "", fields[i].name);
        switch (fields[i].kind) {
        case F_BOOL:
            pare_buffer_puts(out, *(const bool *)at ? "true" : "false");
            break;
        case F_U32:
            memcpy(&u, at, sizeof u);
            pare_buffer_printf(out, "%u", u);
            break;
        case F_FLOAT:
            memcpy(&f, at, sizeof f);
            pare_buffer_put_json_float(out, f);
            break;
        case F_ENUM:
            memcpy(&u, at, sizeof u);
            pare_buffer_printf(out, "\"%s\"", fields[i].words[u]);
            break;
        }
    }
}

static void write_attention(const char *name, const PareAttentionShape *a, PareBuffer *out) {
    pare_buffer_printf(out, "\"%s\":{", name);
    write_fields(a, ATTENTION_FIELDS, COUNT(ATTENTION_FIELDS), out);
    pare_buffer_puts(out, "},");
}

static void write_stack(const PareStack *s, PareBuffer *out) {
    pare_buffer_putc(out, '{');
    write_fields(s, STACK_FIELDS, COUNT(STACK_FIELDS), out);
    pare_buffer_puts(out, ",\"layers\":[");
    for (uint32_t i = 0; i < s->layer_count; i++) {
        const PareLayerShape *l = &s->layers[i];
        pare_buffer_puts(out, i ? ",{" : "{");
        write_attention("self", &l->self, out);
        if (s->cross)
            write_attention("cross", &l->cross, out);
        pare_buffer_printf(out, "\"ffn\":%u}", l->ffn);
    }
    pare_buffer_puts(out, "]}");
}

void pare_description_write(const PareDescription *d, PareBuffer *out) {
    static const char *const NAMES[PARE_STACKS] = {"encoder", "decoder"};
    pare_buffer_putc(out, '{');
    for (int s = 0; s < PARE_STACKS; s++) {
        pare_buffer_printf(out, "\"%s\":", NAMES[s]);
        if (d->stacks[s].present)
            write_stack(&d->stacks[s], out);
        else
            pare_buffer_puts(out, "null");
        pare_buffer_putc(out, ',');
    }
    pare_buffer_puts(out, "\"head\":{");
    write_fields(&d->head, HEAD_FIELDS, COUNT(HEAD_FIELDS), out);
    pare_buffer_puts(out, "}}");
}

/* -- reading -- */

static PareStatus bad_field(const char *where, const char *name, const char *expected,
                            PareError *err) {
    return pare_error_set(err, PARE_E_FORMAT, "%s: field \"%s\" must be %s", where, name, expected);
}

static PareStatus read_field(void *object, const Field *f, const PareJson *n, const char *where,
                             PareError *err) {
    char *at = (char *)object + f->offset;
    switch (f->kind) {
    case F_BOOL:
        if (!pare_json_is_bool(n))
            return bad_field(where, f->name, "true or false", err);
        *(bool *)at = pare_json_true(n);
        return PARE_OK;
    case F_U32: {
        if (!pare_json_is_integer(n) || pare_json_integer(n) < 0 ||
            pare_json_integer(n) > INT32_MAX)
            return bad_field(where, f->name, "an integer from 0 to 2^31 - 1", err);
        uint32_t u = (uint32_t)pare_json_integer(n);
        memcpy(at, &u, sizeof u);
        return PARE_OK;
    }
    case F_FLOAT: {
        if (!pare_json_is_number(n))
            return bad_field(where, f->name, "a number", err);
        float v = (float)pare_json_number(n);
        memcpy(at, &v, sizeof v);
        return PARE_OK;
    }
    case F_ENUM:
        for (uint32_t i = 0; pare_json_is_string(n) && i < f->word_count; i++)
            if (strcmp(pare_json_string(n), f->words[i]) == 0) {
                memcpy(at, &i, sizeof i);
                return PARE_OK;
            }
        return bad_field(where, f->name, "one of the words that the format defines", err);
    }
    return PARE_OK;
}

static const Field *find_field(const Field *fields, size_t count, const char *name) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(fields[i].name, name) == 0)
            return &fields[i];
    return NULL;
}

/* Every field must be there and every member must be a field or one of `extra` (NULL-ended). */
static PareStatus read_fields(void *object, const Field *fields, size_t count,
                              const char *const *extra, const PareJson *n, const char *where,
                              PareError *err) {
    if (!pare_json_is_object(n))
        return pare_error_set(err, PARE_E_FORMAT, "%s: must be an object", where);
    size_t seen = 0;
    for (const PareJson *m = pare_json_first(n); m; m = pare_json_next(m)) {
        const char *key = pare_json_key(m);
        const Field *f = find_field(fields, count, key);
        bool known = false;
        for (const char *const *e = extra; e && *e; e++)
            known = known || strcmp(*e, key) == 0;
        if (!f && !known)
            return pare_error_set(err, PARE_E_FORMAT, "%s: unknown field \"%s\"", where, key);
        PareStatus st = f ? read_field(object, f, m, where, err) : PARE_OK;
        if (st)
            return st;
        seen += f != NULL;
    }
    for (size_t i = 0; seen != count && i < count; i++)
        if (!pare_json_get(n, fields[i].name))
            return pare_error_set(err, PARE_E_FORMAT, "%s: field \"%s\" is missing", where,
                                  fields[i].name);
    return PARE_OK;
}

static PareStatus read_attention(PareAttentionShape *a, const char *name, const PareJson *layer,
                                 const char *where, PareError *err) {
    const PareJson *n = pare_json_get(layer, name);
    if (!pare_json_is_object(n))
        return bad_field(where, name, "an object in every layer", err);
    return read_fields(a, ATTENTION_FIELDS, COUNT(ATTENTION_FIELDS), NULL, n, where, err);
}

static PareStatus read_layer(PareLayerShape *l, bool cross, const PareJson *n, const char *where,
                             PareError *err) {
    static const Field FFN[] = {FIELD(PareLayerShape, F_U32, ffn)};
    const char *extra[] = {"self", cross ? "cross" : NULL, NULL};
    PareStatus st = read_fields(l, FFN, 1, extra, n, where, err);
    if (!st)
        st = read_attention(&l->self, "self", n, where, err);
    if (!st && cross)
        st = read_attention(&l->cross, "cross", n, where, err);
    return st;
}

static PareStatus read_stack(PareDescription *d, PareStackIndex s, const PareJson *n,
                             const char *where, PareError *err) {
    static const char *const EXTRA[] = {"layers", NULL};
    PareStack *stack = &d->stacks[s];
    PareStatus st = read_fields(stack, STACK_FIELDS, COUNT(STACK_FIELDS), EXTRA, n, where, err);
    if (st)
        return st;
    const PareJson *layers = pare_json_get(n, "layers");
    if (!pare_json_is_array(layers))
        return bad_field(where, "layers", "a list", err);
    size_t count = pare_json_size(layers);
    stack->present = true;
    st = pare_stack_set_layers(d, s, count > UINT32_MAX ? UINT32_MAX : (uint32_t)count,
                               (PareLayerShape){0}, err);
    if (st)
        pare_error_prefix(err, "%s", where);
    uint32_t i = 0;
    for (const PareJson *l = pare_json_first(layers); l && !st; l = pare_json_next(l))
        st = read_layer(&stack->layers[i++], stack->cross, l, where, err);
    return st;
}

PareStatus pare_description_read(const PareJson *object, const char *where, PareArena *arena,
                                 PareDescription *out, PareError *err) {
    static const char *const KEYS[] = {"encoder", "decoder", "head", NULL};
    *out = (PareDescription){.arena = arena};
    PareStatus st = read_fields(out, NULL, 0, KEYS, object, where, err);
    for (int s = 0; s < PARE_STACKS && !st; s++) {
        const PareJson *n = pare_json_get(object, KEYS[s]);
        if (!n)
            st = pare_error_set(err, PARE_E_FORMAT, "%s: field \"%s\" is missing", where, KEYS[s]);
        else if (!pare_json_is_null(n) && !pare_json_is_object(n))
            st = bad_field(where, KEYS[s], "an object or null", err);
        else if (!pare_json_is_null(n))
            st = read_stack(out, (PareStackIndex)s, n, where, err);
    }
    if (!st && !pare_json_is_object(pare_json_get(object, "head")))
        st = bad_field(where, "head", "an object", err);
    if (!st)
        st = read_fields(&out->head, HEAD_FIELDS, COUNT(HEAD_FIELDS), NULL,
                         pare_json_get(object, "head"), where, err);
    return st ? st : pare_description_check(out, where, err);
}
