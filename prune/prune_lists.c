/* Lists of heads, units, layers and sublayers. */
#include "prune/prune_impl.h"

#include <stdio.h>
#include <string.h>

static const char *const STACKS[PARE_STACKS] = {"enc", "dec"};
static const char *const STACK_NAMES[PARE_STACKS] = {"encoder", "decoder"};

/* A cursor over one option's text. */
typedef struct {
    const char *option, *text; /* for messages */
    const char *at;
    const PareDescription *d;
    ParePrunePlan *plan;
    PareError *err;
} Reader;

typedef enum { PART_NONE, PART_SELF, PART_CROSS, PART_FFN } Part;

typedef struct {
    int stack;
    uint32_t layer;
    Part part;
} Place;

static PareStatus refuse(const Reader *r, const char *why) {
    return pare_error_set(r->err, PARE_E_USAGE, "%s '%s': %s at '%.20s'", r->option, r->text, why,
                          r->at);
}

static bool take(Reader *r, const char *word) {
    size_t length = strlen(word);
    if (strncmp(r->at, word, length) != 0)
        return false;
    r->at += length;
    return true;
}

static PareStatus number(Reader *r, uint32_t below, const char *what, uint32_t *out) {
    uint64_t value = 0;
    const char *begin = r->at;
    for (; *r->at >= '0' && *r->at <= '9'; r->at++)
        if (value <= UINT32_MAX) /* more digits change nothing */
            value = value * 10 + (uint64_t)(*r->at - '0');
    if (r->at == begin)
        return refuse(r, "a number was expected");
    if (value >= below)
        return pare_error_set(r->err, PARE_E_USAGE, "%s '%s': %s %.*s does not exist; there are %u",
                              r->option, r->text, what, (int)(r->at - begin), begin, below);
    *out = (uint32_t)value;
    return PARE_OK;
}

static PareStatus place(Reader *r, Place *out) {
    const PareStack *stacks = r->d->stacks;
    bool both = stacks[PARE_ENCODER].present && stacks[PARE_DECODER].present;
    *out = (Place){.stack = stacks[PARE_ENCODER].present ? PARE_ENCODER : PARE_DECODER};
    bool named = false;
    for (int s = 0; s < PARE_STACKS && !named; s++)
        if (take(r, STACKS[s])) {
            out->stack = s;
            named = take(r, ".");
            if (!named)
                return refuse(r, "a '.' and a layer were expected");
        }
    if (both && !named)
        return refuse(r, "the model has two stacks: 'enc.' or 'dec.' was expected");
    if (!stacks[out->stack].present)
        return refuse(r, "the model has no such stack before");
    PareStatus st = number(r, stacks[out->stack].layer_count, "layer", &out->layer);
    if (!st && take(r, ".")) {
        out->part = take(r, "self")    ? PART_SELF
                    : take(r, "cross") ? PART_CROSS
                    : take(r, "ffn")   ? PART_FFN
                                       : PART_NONE;
        if (out->part == PART_NONE)
            st = refuse(r, "self, cross or ffn was expected");
    }
    return st;
}

static PareKeep *keep_of(const Reader *r, const Place *p, Part part, uint32_t *of) {
    ParePlannedLayer *l = &r->plan->stacks[p->stack].layers[p->layer];
    const PareLayerShape *shape = &r->d->stacks[p->stack].layers[p->layer];
    if (part == PART_FFN) {
        *of = shape->ffn;
        return &l->ffn;
    }
    *of = part == PART_CROSS ? shape->cross.heads : shape->self.heads;
    return &l->heads[part == PART_CROSS ? PARE_BLOCK_CROSS : PARE_BLOCK_SELF];
}

/* "1", "0-63" */
static PareStatus drop_range(Reader *r, PareKeep *keep, uint32_t of, uint32_t layer,
                             const char *what) {
    uint32_t first, last;
    const char *said =
        pare_arena_printf(r->plan->arena, "%s '%s': layer %u: %s", r->option, r->text, layer, what);
    if (!said)
        return pare_memory_error(r->err, r->option);
    PareStatus st = number(r, of, what, &first);
    last = first;
    if (!st && take(r, "-"))
        st = number(r, of, what, &last);
    if (!st && last < first)
        st = refuse(r, "a range must ascend");
    for (uint32_t u = first; !st && u <= last; u++)
        st = pare_prune_plan_drop(r->plan, keep, u, of, said, r->err);
    return st;
}

/* "0:1,2;dec.1.cross:0-3" */
static PareStatus read_units(Reader *r, Part part, const char *what) {
    PareStatus st = PARE_OK;
    do {
        Place p;
        uint32_t of;
        st = place(r, &p);
        if (st)
            return st;
        if (part == PART_FFN ? p.part != PART_NONE && p.part != PART_FFN : p.part == PART_FFN)
            return refuse(r, "heads and feed-forward units have options of their own, before");
        PareKeep *keep = keep_of(r, &p, part == PART_FFN ? PART_FFN : p.part, &of);
        if (!take(r, ":"))
            return refuse(r, "':' and numbers were expected");
        do
            st = drop_range(r, keep, of, p.layer, what);
        while (!st && take(r, ","));
        if (!st && !keep->all && keep->count == 0)
            st = pare_error_set(r->err, PARE_E_USAGE,
                                "%s '%s': nothing of layer %u would be left; --drop-sublayers "
                                "removes all of it",
                                r->option, r->text, p.layer);
    } while (!st && take(r, ";"));
    return st || *r->at == 0 ? st : refuse(r, "',' or ';' was expected");
}

static PareStatus read_sublayers(Reader *r) {
    PareStatus st = PARE_OK;
    do {
        Place p;
        uint32_t of;
        st = place(r, &p);
        if (!st && p.part == PART_NONE)
            st = refuse(r, ".self, .cross or .ffn was expected");
        if (st)
            return st;
        PareKeep *keep = keep_of(r, &p, p.part, &of);
        if (of == 0)
            return refuse(r, "the model has no such sublayer before");
        st = pare_prune_plan_keep(r->plan, keep, NULL, 0, of, r->option, r->err);
    } while (!st && take(r, ","));
    return st || *r->at == 0 ? st : refuse(r, "',' was expected");
}

static PareStatus read_layers(Reader *r) {
    PareStatus st = PARE_OK;
    do {
        Place p;
        st = place(r, &p);
        if (!st && p.part != PART_NONE)
            st = refuse(r, "whole layers have no part before");
        if (st)
            return st;
        ParePlannedStack *s = &r->plan->stacks[p.stack];
        uint32_t i = 0;
        while (i < s->layer_count && s->layers[i].layer != p.layer)
            i++;
        if (i == s->layer_count)
            return refuse(r, "a layer is named twice before");
        memmove(&s->layers[i], &s->layers[i + 1], (s->layer_count - i - 1) * sizeof *s->layers);
        s->layer_count--;
    } while (!st && take(r, ","));
    if (!st && *r->at != 0)
        return refuse(r, "',' was expected");
    for (int s = 0; s < PARE_STACKS && !st; s++)
        if (r->plan->stacks[s].layer_count == 0 && r->d->stacks[s].layer_count > 0)
            return pare_error_set(r->err, PARE_E_USAGE,
                                  "%s '%s': no layer of the %s would be left; one must stay",
                                  r->option, r->text, STACK_NAMES[s]);
    return st;
}

/* Every attention block that has a multiple of its stack's count of key/value heads left gets so
 * many means. */
static PareStatus merge_kv(const ParePruneOptions *o, const PareDescription *d, ParePrunePlan *plan,
                           PareError *err) {
    const uint32_t *wanted = o->selection.head_multiple.count;
    PareDescription after;
    PareStatus st = pare_prune_plan_describe(plan, d, &after, err);
    for (int s = 0; s < PARE_STACKS && !st; s++)
        for (uint32_t l = 0; wanted[s] && l < plan->stacks[s].layer_count && !st; l++) {
            const PareLayerShape *shape = &after.stacks[s].layers[l];
            const PareAttentionShape *blocks[] = {&shape->self, &shape->cross};
            for (int b = 0; b < 2 && !st; b++) {
                if (blocks[b]->heads == 0 || blocks[b]->kv_heads == wanted[s])
                    continue;
                if (blocks[b]->kv_heads % wanted[s] != 0)
                    st =
                        pare_error_set(err, PARE_E_USAGE,
                                       "--kv-heads %s: a block of layer %u has %u key/value heads, "
                                       "no multiple of %u",
                                       o->kv_heads, plan->stacks[s].layers[l].layer,
                                       blocks[b]->kv_heads, wanted[s]);
                plan->stacks[s].layers[l].kv_merged[b] = wanted[s];
            }
        }
    return st;
}

/* As many as there are would be a cut that does nothing. */
static PareStatus check_positions(const ParePruneOptions *o, const PareDescription *d,
                                  PareError *err) {
    uint32_t most = 0;
    for (int s = 0; s < PARE_STACKS && o->positions; s++) {
        uint32_t had = d->stacks[s].present ? d->stacks[s].positions : 0;
        most = had > most ? had : most;
        if (had && o->positions > had)
            return pare_error_set(err, PARE_E_USAGE, "--positions %u: the model has %u",
                                  o->positions, had);
    }
    if (o->positions && most == 0)
        return pare_error_set(err, PARE_E_USAGE,
                              "--positions %u: the model has no table of positions", o->positions);
    if (o->positions && o->positions == most)
        return pare_error_set(err, PARE_E_USAGE,
                              "--positions %u: the model has no more; expected fewer",
                              o->positions);
    return PARE_OK;
}

PareStatus pare_prune_read_lists(const ParePruneOptions *o, const PareDescription *d,
                                 ParePrunePlan *plan, PareError *err) {
    PareStatus st = check_positions(o, d, err);
    Reader r = {.d = d, .plan = plan, .err = err};
#define OPTION(name, value) (r.option = (name), r.text = r.at = (value), (value) != NULL)
    if (!st && OPTION("--heads-list", o->heads))
        st = read_units(&r, PART_NONE, "head");
    if (!st && OPTION("--ffn-list", o->units))
        st = read_units(&r, PART_FFN, "unit");
    if (!st && OPTION("--drop-sublayers", o->sublayers))
        st = read_sublayers(&r);
    if (!st && OPTION("--drop-layers", o->layers)) /* last: places count the original layers */
        st = read_layers(&r);
#undef OPTION
    if (!st)
        st = pare_select_follow_heads(d, plan, err);
    return st ? st : pare_prune_plan_check(plan, d, err);
}

PareStatus pare_prune_read_rest(const ParePruneOptions *o, const PareDescription *d,
                                ParePrunePlan *plan, PareError *err) {
    PareStatus st = o->kv_heads ? merge_kv(o, d, plan, err) : PARE_OK;
    for (int s = 0; s < PARE_STACKS && !st && o->positions; s++)
        if (d->stacks[s].present && d->stacks[s].positions)
            plan->stacks[s].positions = o->positions;
    return st ? st : pare_prune_plan_check(plan, d, err);
}
