/* Whether the framework can hold the model: everything but heads and feed-forward units must be
 * equal, and where those are fewer than the framework's, zeros must be able to stand in. */
#include <string.h>

#include "convert/export_impl.h"

enum { LISTED = 6 };
static const char *const STACK_NAMES[PARE_STACKS] = {"encoder", "decoder"};

/* ---- What must be equal ---- */

/* The first member that differs, as a path in `where`. */
static bool find_difference(const PareJson *a, const PareJson *b, PareBuffer *where) {
    size_t before = where->size;
    if (!pare_json_is_object(a) || !pare_json_is_object(b)) {
        char *x = pare_json_print(a), *y = b ? pare_json_print(b) : pare_strdup("absent");
        bool same = x && y && strcmp(x, y) == 0;
        if (!same)
            pare_buffer_printf(where, " is %s in the model and would be %s", x ? x : "",
                               y ? y : "");
        where->failed = where->failed || !x || !y;
        pare_free(x);
        pare_free(y);
        return !same;
    }
    for (const PareJson *n = pare_json_first(a); n; n = pare_json_next(n)) {
        pare_buffer_printf(where, "%s%s", before ? "." : "", pare_json_key(n));
        if (find_difference(n, pare_json_get(b, pare_json_key(n)), where))
            return true;
        if (!where->failed)
            where->data[where->size = before] = 0;
    }
    return false;
}

static PareStatus parse_description(const PareDescription *d, PareJsonDoc **out, PareError *err) {
    PareBuffer text = {0};
    pare_description_write(d, &text);
    PareStatus st = pare_buffer_ok(&text, "a description", err);
    if (!st)
        st = pare_json_parse(text.data, text.size, "the description", out, err);
    pare_buffer_free(&text);
    return st;
}

static PareStatus check_equal(PareExport *e, PareError *err) {
    PareDescription theirs = e->theirs.description;
    PareJsonDoc *a = NULL, *b = NULL;
    PareBuffer where = {0};
    for (int s = 0; s < PARE_STACKS; s++) {
        if (theirs.stacks[s].layer_count != e->held.stacks[s].layer_count)
            return pare_error_set(err, PARE_E_UNSUPPORTED,
                                  "%s: the %s has %u layers, but config.json cannot say so",
                                  e->options.model, STACK_NAMES[s], e->held.stacks[s].layer_count);
        theirs.stacks[s].layers = e->held.stacks[s].layers; /* compared one by one, below */
    }
    PareStatus st = parse_description(&e->held, &a, err);
    if (!st)
        st = parse_description(&theirs, &b, err);
    bool differs = !st && find_difference(pare_json_root(a), pare_json_root(b), &where);
    if (!st)
        st = pare_buffer_ok(&where, "comparing descriptions", err);
    if (!st && differs)
        st = pare_error_set(err, PARE_E_UNSUPPORTED,
                            "%s: config.json of %s cannot say what the model is: %.400s",
                            e->options.model, e->theirs.architecture->name, where.data);
    pare_buffer_free(&where);
    pare_json_free(a);
    pare_json_free(b);
    return st;
}

/* ---- What may be filled up ---- */

typedef struct {
    PareExport *e;
    PareError *err;
    PareBuffer ragged; /* the first few, for people */
    size_t count;
} Check;

static PareStatus refuse(const Check *c, int stack, uint32_t layer, const char *part,
                         const char *why) {
    return pare_error_set(c->err, PARE_E_UNSUPPORTED, "%s: %s of layer %u of the %s: %s",
                          c->e->options.model, part, layer, STACK_NAMES[stack], why);
}

static void add_ragged(Check *c, int stack, uint32_t layer, const char *what, uint32_t have,
                       uint32_t want) {
    if (c->count++ < LISTED)
        pare_buffer_printf(&c->ragged, "%s%s layer %u has %u of %u %s", c->count > 1 ? ", " : "",
                           STACK_NAMES[stack], layer, have, want, what);
}

/* A sublayer that was removed behind a norm adds nothing: zeros do the same. One in front of a norm
 * took the norm with it. */
static PareStatus check_removed(const Check *c, int stack, uint32_t layer, const char *part) {
    if (c->e->held.stacks[stack].pre_norm)
        return PARE_OK;
    return refuse(c, stack, layer, part,
                  "it was removed together with the norm behind it, which the framework always "
                  "applies; zeros cannot stand in for it");
}

static PareStatus check_attention(Check *c, int stack, uint32_t layer, const char *part,
                                  const PareAttentionShape *have, const PareAttentionShape *want) {
    if (have->heads > want->heads)
        return refuse(c, stack, layer, part,
                      "it has more heads than config.json can say (the width divided by the size "
                      "of a head)");
    if (have->heads < want->heads)
        add_ragged(c, stack, layer, strcmp(part, "self") ? "cross heads" : "heads", have->heads,
                   want->heads);
    if (!have->heads)
        return want->heads ? check_removed(c, stack, layer, part) : PARE_OK;
    if (have->head_size != want->head_size || have->window != want->window)
        return refuse(c, stack, layer, part, "config.json cannot say its size of heads or window");
    if (memcmp(&have->scale, &want->scale, sizeof have->scale) != 0)
        return refuse(c, stack, layer, part,
                      "its scores are scaled otherwise than the framework would: the number of the "
                      "layer or the size of its heads was changed");
    if (have->kv_heads != want->kv_heads && have->kv_heads != have->heads)
        return refuse(c, stack, layer, part,
                      "its groups of heads for keys and values are others than in the framework");
    return PARE_OK;
}

static PareStatus check_layer(Check *c, int stack, uint32_t layer) {
    const PareLayerShape *have = &c->e->held.stacks[stack].layers[layer];
    const PareLayerShape *want = &c->e->theirs.description.stacks[stack].layers[layer];
    PareStatus st = check_attention(c, stack, layer, "self", &have->self, &want->self);
    if (!st)
        st = check_attention(c, stack, layer, "cross", &have->cross, &want->cross);
    if (!st && have->ffn > want->ffn)
        st = refuse(c, stack, layer, "ffn", "it has more units than config.json can say");
    if (!st && have->ffn < want->ffn) {
        add_ragged(c, stack, layer, "feed-forward units", have->ffn, want->ffn);
        st = have->ffn ? PARE_OK : check_removed(c, stack, layer, "ffn");
    }
    return st;
}

static PareStatus report(Check *c) {
    const PareExport *e = c->e;
    if (!c->count)
        return PARE_OK;
    if (c->count > LISTED)
        pare_buffer_printf(&c->ragged, " and %zu more", c->count - LISTED);
    PareStatus st = pare_buffer_ok(&c->ragged, "a message", c->err);
    if (st || e->options.pad_pruned)
        return st;
    return pare_error_set(c->err, PARE_E_UNSUPPORTED,
                          "%s: config.json of %s cannot say that layers differ: %s; --pad-pruned "
                          "fills up with zeros, which computes the same",
                          e->options.model, e->theirs.architecture->name, c->ragged.data);
}

PareStatus pare_export_compare(PareExport *e, PareError *err) {
    Check c = {.e = e, .err = err};
    PareStatus st = check_equal(e, err);
    for (int s = 0; s < PARE_STACKS; s++)
        for (uint32_t i = 0; i < e->held.stacks[s].layer_count && !st; i++)
            st = check_layer(&c, s, i);
    if (!st)
        st = report(&c);
    pare_buffer_free(&c.ragged);
    return st;
}
