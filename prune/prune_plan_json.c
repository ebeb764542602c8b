/* Plans as JSON, both ways:
 *
 *   {"pare_plan": 1, "model_sha256": "…", "made_by": {…},
 *    "encoder": {"width": [...], "vocabulary": [...], "positions": n,
 *                "layers": [{"layer": 0, "self": {"heads": [0, 2], "kv": [...], "kv_merged": n},
 *                            "cross": {…}, "ffn": [...]}, …]},
 *    "decoder": {…}}
 *
 * Lists are what is kept; what is absent stays whole; layers that are not listed go. A sublayer
 * that goes is null; an empty list of one is refused, for it may be the slip of an editor. */
#include <stdio.h>
#include <string.h>

#include "prune/prune_plan.h"

static const char *const STACKS[PARE_STACKS] = {"encoder", "decoder"};
static const char *const BLOCKS[] = {"self", "cross"};

/* -- writing -- */

static void put_list(PareBuffer *out, const char *name, const PareKeep *keep, bool *comma) {
    if (keep->all)
        return;
    pare_buffer_printf(out, "%s\"%s\":[", *comma ? "," : "", name);
    for (uint32_t i = 0; i < keep->count; i++)
        pare_buffer_printf(out, "%s%u", i ? "," : "", keep->units[i]);
    pare_buffer_puts(out, "]");
    *comma = true;
}

static void put_number(PareBuffer *out, const char *name, uint32_t value, bool *comma) {
    if (value == 0)
        return;
    pare_buffer_printf(out, "%s\"%s\":%u", *comma ? "," : "", name, value);
    *comma = true;
}

static bool is_removed(const PareKeep *keep) {
    return !keep->all && keep->count == 0;
}

static void put_layer(PareBuffer *out, const ParePlannedLayer *l) {
    bool comma = true;
    pare_buffer_printf(out, "{\"layer\":%u", l->layer);
    for (int b = 0; b < 2; b++) {
        bool inner = false;
        bool removed = is_removed(&l->heads[b]);
        if (l->heads[b].all && l->kv[b].all && !l->kv_merged[b])
            continue;
        pare_buffer_printf(out, ",\"%s\":%s", BLOCKS[b], removed ? "null" : "{");
        if (removed)
            continue;
        put_list(out, "heads", &l->heads[b], &inner);
        put_list(out, "kv", &l->kv[b], &inner);
        put_number(out, "kv_merged", l->kv_merged[b], &inner);
        pare_buffer_puts(out, "}");
    }
    if (is_removed(&l->ffn))
        pare_buffer_puts(out, ",\"ffn\":null");
    else
        put_list(out, "ffn", &l->ffn, &comma);
    pare_buffer_puts(out, "}");
}

void pare_prune_plan_write(const ParePrunePlan *p, const PareDescription *d, PareBuffer *out) {
    pare_buffer_puts(out, "{\"pare_plan\":1");
    if (p->model_sha256[0])
        pare_buffer_printf(out, ",\"model_sha256\":\"%s\"", p->model_sha256);
    if (p->made_by)
        pare_buffer_printf(out, ",\n\"made_by\":%s", p->made_by);
    for (int s = 0; s < PARE_STACKS; s++) {
        const ParePlannedStack *k = &p->stacks[s];
        bool comma = false;
        if (!d->stacks[s].present)
            continue;
        pare_buffer_printf(out, ",\n\"%s\":{", STACKS[s]);
        put_list(out, "width", &k->width, &comma);
        put_list(out, "vocabulary", &k->vocabulary, &comma);
        put_number(out, "positions", k->positions, &comma);
        pare_buffer_printf(out, "%s\"layers\":[", comma ? "," : "");
        for (uint32_t l = 0; l < k->layer_count; l++) {
            pare_buffer_puts(out, l ? ",\n  " : "\n  ");
            put_layer(out, &k->layers[l]);
        }
        pare_buffer_puts(out, "]}");
    }
    pare_buffer_puts(out, "}\n");
}

/* -- reading -- */

typedef struct {
    const char *where;
    const PareDescription *d;
    ParePrunePlan *plan;
    PareError *err;
} Reader;

/* Refuses members that the format does not have: a mistyped name would keep what was to go. */
static PareStatus check_keys(const Reader *r, const PareJson *object, const char *what,
                             const char *const *known) {
    if (!pare_json_is_object(object))
        return pare_error_set(r->err, PARE_E_FORMAT, "%s: %s must be an object", r->where, what);
    for (const PareJson *n = pare_json_first(object); n; n = pare_json_next(n)) {
        size_t i = 0;
        while (known[i] && strcmp(known[i], pare_json_key(n)) != 0)
            i++;
        if (!known[i])
            return pare_error_set(r->err, PARE_E_FORMAT, "%s: %s has an unknown member \"%.100s\"",
                                  r->where, what, pare_json_key(n));
    }
    return PARE_OK;
}

static PareStatus read_list(const Reader *r, const PareJson *object, const char *name, uint32_t of,
                            const char *what, PareKeep *out) {
    const PareJson *list = pare_json_get_set(object, name);
    char text[160];
    snprintf(text, sizeof text, "%s: \"%s\" of %s", r->where, name, what);
    if (!list)
        return PARE_OK;
    if (!pare_json_is_array(list) || pare_json_size(list) > of)
        return pare_error_set(r->err, PARE_E_FORMAT, "%s must be a list of at most %u numbers",
                              text, of);
    uint32_t count = 0;
    uint32_t *units = pare_arena_alloc(r->plan->arena, pare_json_size(list), sizeof *units);
    if (!units)
        return pare_memory_error(r->err, text);
    for (const PareJson *n = pare_json_first(list); n; n = pare_json_next(n)) {
        if (!pare_json_is_integer(n) || pare_json_integer(n) < 0 || pare_json_integer(n) >= of)
            return pare_error_set(r->err, PARE_E_FORMAT, "%s: expected numbers from 0 to %u", text,
                                  of - 1);
        units[count++] = (uint32_t)pare_json_integer(n);
    }
    return pare_prune_plan_keep(r->plan, out, units, count, of, text, r->err);
}

static PareStatus read_count(const Reader *r, const PareJson *object, const char *name,
                             uint32_t most, uint32_t *out) {
    int64_t value = *out;
    PareStatus st = pare_json_get_int(object, name, 1, most, &value, r->where, r->err);
    *out = (uint32_t)value;
    return st;
}

/* A sublayer: false when it is read, since it is absent or null. */
static bool has_lists(const Reader *r, const PareJson *layer, const char *name, uint32_t of,
                      PareKeep *keep, PareStatus *st) {
    const PareJson *value = pare_json_get(layer, name);
    if (pare_json_is_null(value))
        *st = pare_prune_plan_keep(r->plan, keep, NULL, 0, of, name, r->err);
    return value && !pare_json_is_null(value);
}

static PareStatus check_left(const Reader *r, const PareKeep *keep, uint32_t layer,
                             const char *name) {
    if (!is_removed(keep))
        return PARE_OK;
    return pare_error_set(r->err, PARE_E_FORMAT,
                          "%s: layer %u keeps nothing of \"%s\"; \"%s\":null would remove the "
                          "sublayer",
                          r->where, layer, name, name);
}

static PareStatus read_block(const Reader *r, const PareJson *layer, int block,
                             const PareAttentionShape *a, ParePlannedLayer *out) {
    static const char *const KNOWN[] = {"heads", "kv", "kv_merged", NULL};
    const char *name = BLOCKS[block];
    const PareJson *object = pare_json_get(layer, name);
    PareStatus st = PARE_OK;
    char what[64];
    snprintf(what, sizeof what, "\"%s\" of layer %u", name, out->layer);
    if (!has_lists(r, layer, name, a->heads, &out->heads[block], &st))
        return st;
    st = check_keys(r, object, what, KNOWN);
    if (!st)
        st = read_list(r, object, "heads", a->heads, what, &out->heads[block]);
    if (!st)
        st = check_left(r, &out->heads[block], out->layer, name);
    if (!st)
        st = read_list(r, object, "kv", a->kv_heads, what, &out->kv[block]);
    if (!st)
        st = read_count(r, object, "kv_merged", a->kv_heads, &out->kv_merged[block]);
    return st;
}

static PareStatus read_layer(const Reader *r, const PareJson *object, const PareStack *stack,
                             ParePlannedLayer *out) {
    static const char *const KNOWN[] = {"layer", "self", "cross", "ffn", NULL};
    static const PareKeep all = {.all = true};
    int64_t number = -1;
    PareStatus st = check_keys(r, object, "a layer", KNOWN);
    if (!st)
        st = pare_json_get_int(object, "layer", 0, (int64_t)stack->layer_count - 1, &number,
                               r->where, r->err);
    if (!st && number < 0)
        st = pare_error_set(r->err, PARE_E_FORMAT, "%s: a layer does not say which one it is",
                            r->where);
    if (st)
        return st;
    *out = (ParePlannedLayer){
        .layer = (uint32_t)number, .heads = {all, all}, .kv = {all, all}, .ffn = all};
    const PareLayerShape *shape = &stack->layers[number];
    char what[32];
    snprintf(what, sizeof what, "layer %u", out->layer);
    st = read_block(r, object, PARE_BLOCK_SELF, &shape->self, out);
    if (!st)
        st = read_block(r, object, PARE_BLOCK_CROSS, &shape->cross, out);
    if (st || !has_lists(r, object, "ffn", shape->ffn, &out->ffn, &st))
        return st;
    st = read_list(r, object, "ffn", shape->ffn, what, &out->ffn);
    return st ? st : check_left(r, &out->ffn, out->layer, "ffn");
}

static PareStatus read_layers(const Reader *r, const PareJson *list, int s) {
    ParePlannedStack *out = &r->plan->stacks[s];
    const PareStack *stack = &r->d->stacks[s];
    PareStatus st = PARE_OK;
    uint32_t count = 0;
    if (!list)
        return PARE_OK;
    if (!pare_json_is_array(list) || pare_json_size(list) > stack->layer_count)
        return pare_error_set(r->err, PARE_E_FORMAT,
                              "%s: \"layers\" of the %s must be a list of at most %u", r->where,
                              STACKS[s], stack->layer_count);
    for (const PareJson *n = pare_json_first(list); n && !st; n = pare_json_next(n))
        st = read_layer(r, n, stack, &out->layers[count++]);
    out->layer_count = count;
    return st;
}

static PareStatus read_stack(const Reader *r, const PareJson *object, int s) {
    static const char *const KNOWN[] = {"width", "vocabulary", "positions", "layers", NULL};
    ParePlannedStack *out = &r->plan->stacks[s];
    const PareStack *stack = &r->d->stacks[s];
    if (!object)
        return PARE_OK;
    if (!stack->present)
        return pare_error_set(r->err, PARE_E_FORMAT, "%s: the model has no %s", r->where,
                              STACKS[s]);
    PareStatus st = check_keys(r, object, STACKS[s], KNOWN);
    if (!st)
        st = read_list(r, object, "width", stack->width, STACKS[s], &out->width);
    if (!st)
        st = read_list(r, object, "vocabulary", stack->vocabulary, STACKS[s], &out->vocabulary);
    if (!st)
        st = read_count(r, object, "positions", stack->positions, &out->positions);
    return st ? st : read_layers(r, pare_json_get_set(object, "layers"), s);
}

/* Kept as it is, for the provenance of what is made with the plan. */
static PareStatus read_origin(const Reader *r, const PareJson *object) {
    if (!object)
        return PARE_OK;
    if (!pare_json_is_object(object))
        return pare_error_set(r->err, PARE_E_FORMAT, "%s: \"made_by\" must be an object", r->where);
    char *text = pare_json_print(object);
    r->plan->made_by = text ? pare_arena_strdup(r->plan->arena, text) : NULL;
    pare_free(text);
    return r->plan->made_by ? PARE_OK : pare_memory_error(r->err, "a plan");
}

PareStatus pare_prune_plan_read(const PareJson *object, const char *where, const PareDescription *d,
                                PareArena *arena, ParePrunePlan *out, PareError *err) {
    static const char *const KNOWN[] = {"pare_plan", "model_sha256", "made_by",
                                        "encoder",   "decoder",      NULL};
    Reader r = {where, d, out, err};
    const char *hash = NULL;
    int64_t version = 0;
    PareStatus st = pare_prune_plan_whole(d, arena, out, err);
    if (!st)
        st = check_keys(&r, object, "the plan", KNOWN);
    if (!st)
        st = pare_json_get_int(object, "pare_plan", 1, 1, &version, where, err);
    if (!st && version != 1)
        st = pare_error_set(err, PARE_E_FORMAT, "%s: this is no plan: \"pare_plan\" is missing",
                            where);
    if (!st)
        st = pare_json_get_string(object, "model_sha256", &hash, where, err);
    if (!st && !hash)
        st = pare_error_set(err, PARE_E_FORMAT,
                            "%s: \"model_sha256\" is missing: a plan names the model that it is "
                            "for, so that it is not applied twice",
                            where);
    if (!st && strlen(hash) == sizeof out->model_sha256 - 1)
        memcpy(out->model_sha256, hash, sizeof out->model_sha256);
    else if (!st)
        st = pare_error_set(err, PARE_E_FORMAT, "%s: \"model_sha256\" is no SHA-256", where);
    if (!st)
        st = read_origin(&r, pare_json_get_set(object, "made_by"));
    for (int s = 0; s < PARE_STACKS && !st; s++)
        st = read_stack(&r, pare_json_get_set(object, STACKS[s]), s);
    if (st)
        return st;
    if ((st = pare_prune_plan_check(out, d, err)))
        pare_error_prefix(err, "%s", where);
    return st;
}
