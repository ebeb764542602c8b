/* Plans: making, checking, and what model they lead to. */
#include "prune/prune_plan.h"

#include <stdio.h>
#include <string.h>

static const char *const STACKS[PARE_STACKS] = {"encoder", "decoder"};
static const char *const BLOCKS[] = {"self", "cross"};
enum { WHAT_SIZE = 96 };

static const PareKeep ALL = {.all = true};

static const PareAttentionShape *block_of(const PareLayerShape *l, int block) {
    return block == PARE_BLOCK_SELF ? &l->self : &l->cross;
}

PareStatus pare_prune_plan_whole(const PareDescription *d, PareArena *arena, ParePrunePlan *out,
                                 PareError *err) {
    *out = (ParePrunePlan){.arena = arena};
    for (int s = 0; s < PARE_STACKS; s++) {
        ParePlannedStack *p = &out->stacks[s];
        p->layer_count = d->stacks[s].present ? d->stacks[s].layer_count : 0;
        p->layers = pare_arena_alloc(arena, p->layer_count, sizeof *p->layers);
        p->width = p->vocabulary = ALL;
        if (!p->layers)
            return pare_memory_error(err, "a plan");
        for (uint32_t l = 0; l < p->layer_count; l++)
            p->layers[l] =
                (ParePlannedLayer){.layer = l, .heads = {ALL, ALL}, .kv = {ALL, ALL}, .ffn = ALL};
    }
    return PARE_OK;
}

PareStatus pare_prune_plan_keep(ParePrunePlan *p, PareKeep *keep, const uint32_t *units,
                                uint32_t count, uint32_t of, const char *what, PareError *err) {
    for (uint32_t i = 0; i < count; i++) {
        if (units[i] >= of)
            return pare_error_set(err, PARE_E_USAGE, "%s: number %u; there are %u", what, units[i],
                                  of);
        if (i > 0 && units[i] <= units[i - 1])
            return pare_error_set(err, PARE_E_USAGE,
                                  "%s: %u behind %u; numbers must ascend, each once", what,
                                  units[i], units[i - 1]);
    }
    uint32_t *copy = pare_arena_alloc(p->arena, count, sizeof *copy);
    if (!copy)
        return pare_memory_error(err, what);
    if (count)
        memcpy(copy, units, count * sizeof *copy);
    *keep = (PareKeep){.all = false, .count = count, .units = copy};
    return PARE_OK;
}

PareStatus pare_prune_plan_drop(ParePrunePlan *p, PareKeep *keep, uint32_t unit, uint32_t of,
                                const char *what, PareError *err) {
    uint32_t *left = pare_arena_alloc(p->arena, of, sizeof *left), count = 0;
    bool found = false;
    if (!left)
        return pare_memory_error(err, what);
    if (unit >= of)
        return pare_error_set(err, PARE_E_USAGE, "%s %u: there are %u", what, unit, of);
    for (uint32_t i = 0; i < (keep->all ? of : keep->count); i++) {
        uint32_t number = keep->all ? i : keep->units[i];
        found = found || number == unit;
        if (number != unit)
            left[count++] = number;
    }
    if (!found)
        return pare_error_set(err, PARE_E_USAGE, "%s %u is named twice", what, unit);
    *keep = (PareKeep){.all = false, .count = count, .units = left};
    return PARE_OK;
}

/* -- the pruned description -- */

static uint32_t kept(const PareKeep *keep, uint32_t of) {
    return keep->all ? of : keep->count;
}

static uint32_t kept_unit(const PareKeep *keep, uint32_t index) {
    return keep->all ? index : keep->units[index];
}

/* Key/value heads go with their query heads where each has its own. */
static const PareKeep *kv_keep(const ParePlannedLayer *l, const PareAttentionShape *a, int block) {
    return a->kv_heads == a->heads ? &l->heads[block] : &l->kv[block];
}

static void describe_block(const ParePlannedLayer *l, const PareAttentionShape *from, int block,
                           PareAttentionShape *to) {
    *to = *from;
    to->heads = kept(&l->heads[block], from->heads);
    to->kv_heads =
        l->kv_merged[block] ? l->kv_merged[block] : kept(kv_keep(l, from, block), from->kv_heads);
    if (to->heads == 0)
        *to = (PareAttentionShape){0};
}

PareStatus pare_prune_plan_describe(const ParePrunePlan *p, const PareDescription *d,
                                    PareDescription *out, PareError *err) {
    *out = *d;
    out->arena = p->arena;
    for (int s = 0; s < PARE_STACKS; s++) {
        const PareStack *from = &d->stacks[s];
        const ParePlannedStack *plan = &p->stacks[s];
        PareStack *to = &out->stacks[s];
        if (!from->present)
            continue;
        to->layer_count = plan->layer_count;
        to->layers = pare_arena_alloc(p->arena, plan->layer_count, sizeof *to->layers);
        if (!to->layers)
            return pare_memory_error(err, "a plan");
        for (uint32_t l = 0; l < plan->layer_count; l++) {
            const ParePlannedLayer *layer = &plan->layers[l];
            const PareLayerShape *shape = &from->layers[layer->layer];
            describe_block(layer, &shape->self, PARE_BLOCK_SELF, &to->layers[l].self);
            describe_block(layer, &shape->cross, PARE_BLOCK_CROSS, &to->layers[l].cross);
            to->layers[l].ffn = kept(&layer->ffn, shape->ffn);
        }
        to->width = kept(&plan->width, from->width);
        if (from->embedding_width == from->width)
            to->embedding_width = to->width;
        to->vocabulary = kept(&plan->vocabulary, from->vocabulary);
        to->positions = plan->positions ? plan->positions : from->positions;
    }
    return PARE_OK;
}

/* -- checks -- */

typedef struct {
    const PareDescription *d;
    PareError *err;
} Checker;

static PareStatus check_list(const Checker *c, const PareKeep *keep, uint32_t of,
                             const char *what) {
    for (uint32_t i = 0; !keep->all && i < keep->count; i++)
        if (keep->units[i] >= of || (i > 0 && keep->units[i] <= keep->units[i - 1]))
            return pare_error_set(c->err, PARE_E_FORMAT,
                                  "%s: keeps number %u; numbers must ascend and be below %u", what,
                                  keep->units[i], of);
    return PARE_OK;
}

/* Query head i of the pruned block reads key/value head i * kv / heads: the kept ones must divide
 * among their old key/value heads just so. */
static PareStatus check_groups(const Checker *c, const ParePlannedLayer *l,
                               const PareAttentionShape *a, int block, const char *what) {
    const PareKeep *heads = &l->heads[block], *kv = kv_keep(l, a, block);
    uint32_t n = kept(heads, a->heads), m = kept(kv, a->kv_heads);
    if (n == 0)
        return PARE_OK;
    if (m == 0 || n % m != 0)
        return pare_error_set(c->err, PARE_E_FORMAT,
                              "%s: %u query heads cannot be divided among %u key/value heads", what,
                              n, m);
    for (uint32_t i = 0; i < n; i++) {
        uint32_t head = kept_unit(heads, i), reads = head * a->kv_heads / a->heads;
        if (reads != kept_unit(kv, i / (n / m)))
            return pare_error_set(
                c->err, PARE_E_FORMAT,
                "%s: query head %u reads key/value head %u, which would no longer "
                "be the one of its group",
                what, head, reads);
    }
    uint32_t merged = l->kv_merged[block];
    if (merged && (merged > m || m % merged != 0 || n % merged != 0))
        return pare_error_set(c->err, PARE_E_FORMAT,
                              "%s: %u key/value heads of %u query heads cannot be merged into %u",
                              what, m, n, merged);
    return PARE_OK;
}

static PareStatus check_block(const Checker *c, const ParePlannedLayer *l, int stack, int block) {
    const PareAttentionShape *a = block_of(&c->d->stacks[stack].layers[l->layer], block);
    char what[WHAT_SIZE];
    snprintf(what, sizeof what, "heads of %s layer %u, %s-attention", STACKS[stack], l->layer,
             BLOCKS[block]);
    PareStatus st = check_list(c, &l->heads[block], a->heads, what);
    if (!st)
        st = check_list(c, &l->kv[block], a->kv_heads, what);
    return st ? st : check_groups(c, l, a, block, what);
}

static PareStatus check_layers(const Checker *c, const ParePlannedStack *p, int stack) {
    const PareStack *d = &c->d->stacks[stack];
    PareStatus st = PARE_OK;
    if (p->layer_count == 0 && d->layer_count > 0)
        return pare_error_set(c->err, PARE_E_FORMAT, "%s: no layer is kept; one must stay",
                              STACKS[stack]);
    for (uint32_t l = 0; l < p->layer_count && !st; l++) {
        const ParePlannedLayer *layer = &p->layers[l];
        char what[WHAT_SIZE];
        snprintf(what, sizeof what, "units of %s layer %u", STACKS[stack], layer->layer);
        if (layer->layer >= d->layer_count || (l > 0 && layer->layer <= p->layers[l - 1].layer))
            return pare_error_set(c->err, PARE_E_FORMAT,
                                  "%s: keeps layer %u; numbers must ascend and be below %u",
                                  STACKS[stack], layer->layer, d->layer_count);
        st = check_list(c, &layer->ffn, d->layers[layer->layer].ffn, what);
        for (int block = 0; block < 2 && !st; block++)
            st = check_block(c, layer, stack, block);
    }
    return st;
}

static PareStatus check_stack(const Checker *c, const ParePlannedStack *p, int stack) {
    const PareStack *d = &c->d->stacks[stack];
    char what[WHAT_SIZE];
    PareStatus st = check_layers(c, p, stack);
    snprintf(what, sizeof what, "width of the %s", STACKS[stack]);
    if (!st)
        st = check_list(c, &p->width, d->width, what);
    snprintf(what, sizeof what, "vocabulary of the %s", STACKS[stack]);
    if (!st)
        st = check_list(c, &p->vocabulary, d->vocabulary, what);
    if (!st && (kept(&p->width, d->width) == 0 || kept(&p->vocabulary, d->vocabulary) == 0))
        st = pare_error_set(c->err, PARE_E_FORMAT, "%s: nothing of the %s is left", STACKS[stack],
                            kept(&p->width, d->width) ? "vocabulary" : "width");
    if (!st && p->positions > d->positions)
        st = pare_error_set(c->err, PARE_E_FORMAT, "%s: keeps %u positions; there are %u",
                            STACKS[stack], p->positions, d->positions);
    return st;
}

PareStatus pare_prune_plan_check(const ParePrunePlan *p, const PareDescription *d, PareError *err) {
    Checker c = {d, err};
    PareStatus st = PARE_OK;
    for (int s = 0; s < PARE_STACKS && !st; s++)
        if (d->stacks[s].present)
            st = check_stack(&c, &p->stacks[s], s);
    return st;
}

/* -- what keeps everything -- */

static bool is_whole_layer(const ParePlannedLayer *l, const PareLayerShape *shape) {
    bool whole = kept(&l->ffn, shape->ffn) == shape->ffn;
    for (int b = 0; b < 2; b++) {
        const PareAttentionShape *a = block_of(shape, b);
        whole = whole && kept(&l->heads[b], a->heads) == a->heads &&
                kept(&l->kv[b], a->kv_heads) == a->kv_heads &&
                (!l->kv_merged[b] || l->kv_merged[b] == a->kv_heads);
    }
    return whole;
}

static bool is_whole_stack(const ParePlannedStack *p, const PareStack *d) {
    bool whole = p->layer_count == d->layer_count && kept(&p->width, d->width) == d->width &&
                 kept(&p->vocabulary, d->vocabulary) == d->vocabulary &&
                 (!p->positions || p->positions == d->positions);
    for (uint32_t l = 0; l < d->layer_count && whole; l++)
        whole = is_whole_layer(&p->layers[l], &d->layers[l]);
    return whole;
}

bool pare_prune_plan_is_whole(const ParePrunePlan *p, const PareDescription *d) {
    bool whole = true;
    for (int s = 0; s < PARE_STACKS; s++)
        whole = whole && (!d->stacks[s].present || is_whole_stack(&p->stacks[s], &d->stacks[s]));
    return whole;
}

/* -- axes -- */

static const ParePlannedLayer *find_layer(const ParePlannedStack *p, uint32_t layer) {
    for (uint32_t l = 0; l < p->layer_count; l++)
        if (p->layers[l].layer == layer)
            return &p->layers[l];
    return NULL;
}

const PareKeep *pare_prune_plan_axis(const ParePrunePlan *p, const PareDescription *d,
                                     PareAxis axis) {
    /* The head's own hidden layer is as wide as the stack below it. */
    unsigned s = axis.stack < PARE_STACKS ? axis.stack : (unsigned)pare_description_top(d);
    const ParePlannedStack *stack = &p->stacks[s];
    const ParePlannedLayer *l = find_layer(stack, axis.layer);
    const PareKeep *keep = NULL;
    switch ((PareAxisKind)axis.kind) {
    case PARE_AXIS_WIDTH:
    case PARE_AXIS_HIDDEN:
        keep = &stack->width;
        break;
    case PARE_AXIS_VOCABULARY:
        keep = &stack->vocabulary;
        break;
    case PARE_AXIS_HEAD:
        keep = l ? &l->heads[axis.block] : NULL;
        break;
    case PARE_AXIS_KV:
        keep = l ? kv_keep(l, block_of(&d->stacks[s].layers[axis.layer], axis.block), axis.block)
                 : NULL;
        break;
    case PARE_AXIS_FFN:
        keep = l ? &l->ffn : NULL;
        break;
    default: /* positions are a prefix; the others cannot be pruned */
        break;
    }
    return keep && !keep->all ? keep : NULL;
}
