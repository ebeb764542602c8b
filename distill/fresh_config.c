/* A student's description as JSON, laid over its teacher's. Both are JSON trees; the merged text is
 * read by the strict reader of descriptions, which names what is unknown or makes no sense. */
#include <math.h>
#include <string.h>

#include "distill/fresh.h"

typedef struct {
    PareBuffer out;
    const char *comma;
    PareStatus status;
    PareError *err;
} Merge;

static void put_key(Merge *m, const char *key) {
    pare_buffer_puts(&m->out, m->comma);
    pare_buffer_put_json_string(&m->out, key, strlen(key));
    pare_buffer_putc(&m->out, ':');
    m->comma = ",";
}

static void put(Merge *m, const PareJson *n) {
    char *text = pare_json_print(n);
    if (!text && !m->status)
        m->status = pare_memory_error(m->err, "a description");
    pare_buffer_puts(&m->out, text ? text : "null");
    pare_free(text);
}

static void open_part(Merge *m, char bracket) {
    pare_buffer_putc(&m->out, bracket);
    m->comma = "";
}

static void close_part(Merge *m, char bracket) {
    pare_buffer_putc(&m->out, bracket);
    m->comma = ",";
}

static double number(const PareJson *object, const char *key) {
    const PareJson *n = pare_json_get(object, key);
    return pare_json_is_number(n) ? pare_json_number(n) : 0;
}

static bool about(double a, double b) {
    return fabs(a - b) <= 1e-5 * fabs(b);
}

/* A member that is not given but follows from one that is, as it does in the teacher; false when it
 * does not. */
typedef bool (*Derive)(const char *key, const PareJson *base, const PareJson *over, double *out);

/* Puts one member of an object otherwise than as a whole; false when it is none of its business. */
typedef bool (*PutMember)(Merge *m, const char *key, const PareJson *base, const PareJson *over);

/* Every member of `base`, replaced where `over` has it, and what only `over` has. `skip` (may be
 * NULL) is no member. */
static void merge(Merge *m, const PareJson *base, const PareJson *over, Derive derive,
                  PutMember special, const char *skip) {
    double value;
    if (!pare_json_is_object(over) || !pare_json_is_object(base)) {
        put(m, over ? over : base);
        return;
    }
    open_part(m, '{');
    for (const PareJson *b = pare_json_first(base); b; b = pare_json_next(b)) {
        const char *key = pare_json_key(b);
        const PareJson *o = pare_json_get(over, key);
        put_key(m, key);
        if (special && special(m, key, b, o))
            continue;
        if (o)
            put(m, o);
        else if (derive && derive(key, base, over, &value))
            pare_buffer_put_json_double(&m->out, value);
        else
            put(m, b);
    }
    for (const PareJson *o = pare_json_first(over); o; o = pare_json_next(o)) {
        const char *key = pare_json_key(o);
        if (pare_json_get(base, key) || (skip && strcmp(key, skip) == 0))
            continue;
        put_key(m, key);
        put(m, o);
    }
    close_part(m, '}');
}

/* -- the parts of a description -- */

static bool derive_attention(const char *key, const PareJson *base, const PareJson *over,
                             double *out) {
    const PareJson *size = pare_json_get(over, "head_size"), *heads = pare_json_get(over, "heads");
    if (strcmp(key, "kv_heads") == 0 && heads && number(base, key) == number(base, "heads")) {
        *out = number(over, "heads");
        return true;
    }
    if (strcmp(key, "scale") != 0 || !size || number(over, "head_size") <= 0 ||
        !about(number(base, key), 1 / sqrt(number(base, "head_size"))))
        return false;
    *out = 1 / sqrt(number(over, "head_size"));
    return true;
}

static bool put_attention(Merge *m, const char *key, const PareJson *base, const PareJson *over) {
    if (strcmp(key, "self") != 0 && strcmp(key, "cross") != 0)
        return false;
    merge(m, base, over ? over : base, derive_attention, NULL, NULL);
    return true;
}

/* A list of layers, or one object for all. */
static bool put_layers(Merge *m, const char *key, const PareJson *base, const PareJson *over) {
    enum { MAX_LAYERS = 1 << 12 };
    if (strcmp(key, "layers") != 0 || !over)
        return false;
    bool list = pare_json_is_array(over);
    const PareJson *own = list ? pare_json_first(over) : over, *theirs = pare_json_first(base);
    const PareJson *count = pare_json_get(over, "count");
    double layers = count ? number(over, "count") : (double)pare_json_size(base);
    if (!list && !pare_json_is_object(over))
        return false;
    if (!list && !(layers >= 1 && layers <= MAX_LAYERS && layers == floor(layers))) {
        if (!m->status)
            m->status = pare_error_set(m->err, PARE_E_FORMAT,
                                       "\"count\" of \"layers\" must be from 1 to %d", MAX_LAYERS);
        layers = 1;
    }
    open_part(m, '[');
    for (size_t i = 0; list ? own != NULL : (double)i < layers; i++) {
        pare_buffer_puts(&m->out, i ? "," : "");
        merge(m, theirs, own, NULL, put_attention, list ? NULL : "count");
        own = list ? pare_json_next(own) : own;
        theirs = theirs && pare_json_next(theirs) ? pare_json_next(theirs) : theirs;
    }
    close_part(m, ']');
    return true;
}

static bool derive_stack(const char *key, const PareJson *base, const PareJson *over, double *out) {
    double old = number(base, "width"), width = number(over, "width");
    if (width <= 0)
        return false;
    *out = strcmp(key, "embedding_width") == 0 ? width : sqrt(width);
    if (strcmp(key, "embedding_width") == 0)
        return number(base, key) == old;
    return strcmp(key, "embedding_scale") == 0 && old > 1 && about(number(base, key), sqrt(old));
}

static void put_description(Merge *m, const PareJson *base, const PareJson *over) {
    static const char *const STACKS[PARE_STACKS] = {"encoder", "decoder"};
    open_part(m, '{');
    for (int s = 0; s < PARE_STACKS; s++) {
        put_key(m, STACKS[s]);
        merge(m, pare_json_get(base, STACKS[s]), pare_json_get(over, STACKS[s]), derive_stack,
              put_layers, NULL);
    }
    put_key(m, "head");
    merge(m, pare_json_get(base, "head"), pare_json_get(over, "head"), NULL, NULL, NULL);
    for (const PareJson *o = pare_json_first(over); o; o = pare_json_next(o))
        if (!pare_json_get(base, pare_json_key(o))) {
            put_key(m, pare_json_key(o));
            put(m, o);
        }
    close_part(m, '}');
}

static void set_head_scale(const PareJson *over, const PareDescription *teacher,
                           PareDescription *d) {
    PareStackIndex top = pare_description_top(teacher);
    double old = teacher->stacks[top].width;
    if (old > 1 && !pare_json_get(pare_json_get(over, "head"), "scale") &&
        about((double)teacher->head.scale, 1 / sqrt(old)))
        d->head.scale = (float)(1 / sqrt((double)d->stacks[top].width));
}

/* -- what must be the teacher's -- */

static PareStatus check(const char *path, const PareDescription *d, const PareDescription *teacher,
                        PareError *err) {
    static const char *const STACKS[PARE_STACKS] = {"encoder", "decoder"};
    char ours[PARE_HEAD_TEXT], theirs[PARE_HEAD_TEXT];
    for (int s = 0; s < PARE_STACKS; s++) {
        const PareStack *a = &d->stacks[s], *b = &teacher->stacks[s];
        if (a->present != b->present)
            return pare_error_set(err, PARE_E_FORMAT, "%s: the student has %s %s, the teacher %s",
                                  path, a->present ? "a" : "no", STACKS[s],
                                  b->present ? "has one" : "has none");
        if (a->present && a->vocabulary != b->vocabulary)
            return pare_error_set(err, PARE_E_FORMAT,
                                  "%s: %s vocabulary is %u; expected %u, as in the teacher, whose "
                                  "tokenizer the student gets",
                                  path, STACKS[s], a->vocabulary, b->vocabulary);
    }
    if (d->head.kind != teacher->head.kind || d->head.labels != teacher->head.labels)
        return pare_error_set(err, PARE_E_FORMAT, "%s: %s; expected %s, as the teacher has", path,
                              pare_head_text(&d->head, ours),
                              pare_head_text(&teacher->head, theirs));
    return PARE_OK;
}

/* -- all of it -- */

static const PareJson *find_description(const PareJsonDoc *doc) {
    const PareJson *root = pare_json_root(doc), *metadata = pare_json_get(root, "metadata");
    const PareJson *inner = pare_json_get(metadata ? metadata : root, "description");
    return inner ? inner : root;
}

static PareStatus read_merged(Merge *m, const char *path, PareArena *arena, PareDescription *out,
                              PareError *err) {
    PareJsonDoc *doc = NULL;
    PareStatus st = pare_buffer_ok(&m->out, "a description", err);
    if (!st)
        st = pare_json_parse(m->out.data, m->out.size, path, &doc, err);
    if (!st)
        st = pare_description_read(pare_json_root(doc), path, arena, out, err);
    pare_json_free(doc);
    return st;
}

PareStatus pare_fresh_describe(const char *path, const PareDescription *teacher, PareArena *arena,
                               PareDescription *out, PareError *err) {
    PareBuffer text = {0};
    PareJsonDoc *base = NULL, *own = NULL;
    Merge m = {.err = err};
    PareStatus st = pare_json_read(path, &own, err);
    const PareJson *over = st ? NULL : find_description(own);
    if (!st && !pare_json_is_object(over))
        st = pare_error_set(err, PARE_E_FORMAT, "%s: a description must be an object", path);
    pare_description_write(teacher, &text);
    if (!st)
        st = pare_buffer_ok(&text, "a description", err);
    if (!st)
        st = pare_json_parse(text.data, text.size, "the teacher's description", &base, err);
    if (!st) {
        put_description(&m, pare_json_root(base), over);
        st = m.status ? pare_error_prefix(err, "%s", path) : PARE_OK;
    }
    if (!st)
        st = read_merged(&m, path, arena, out, err);
    if (!st)
        st = check(path, out, teacher, err);
    if (!st)
        set_head_scale(over, teacher, out);
    pare_buffer_free(&m.out);
    pare_buffer_free(&text);
    pare_json_free(base);
    pare_json_free(own);
    return st;
}
