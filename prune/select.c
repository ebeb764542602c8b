/* Which heads, units and parts of the width stay. */
#include "prune/select.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Lists that are cut alike. */
typedef struct {
    uint32_t first;       /* number of the first list */
    uint32_t count;       /* units of each list */
    uint32_t members;     /* lists, of layers that stay */
    uint32_t least, kept; /* units */
    uint32_t step;        /* alignment, in units */
    double *scores;       /* [count] */
    bool *gone;           /* [count] */
} Group;

/* What goes at once: a unit, or several heads where key/value heads are fewer than heads. */
typedef struct {
    uint32_t group, size;
    const uint32_t *units; /* [size], ascending */
    double score;          /* mean of its units' */
    bool cut;
} Atom;

typedef struct {
    const PareDescription *d;
    const PareTies *ties;
    const PareImportance *scores;
    const PareSelection *s;
    ParePrunePlan *plan;
    PareArena *arena; /* of what lives as long as one selection */
    PareError *err;
    Group *groups;
    Atom *atoms;
    uint32_t group_count, atom_count;
} Job;

/* -- lists of the plan -- */

static ParePlannedLayer *planned(ParePrunePlan *p, ParePlanList list) {
    ParePlannedStack *s = &p->stacks[list.stack];
    for (uint32_t i = 0; i < s->layer_count; i++)
        if (s->layers[i].layer == list.layer)
            return &s->layers[i];
    return NULL;
}

static const PareAttentionShape *shape_of(const PareDescription *d, ParePlanList list) {
    const PareLayerShape *l = &d->stacks[list.stack].layers[list.layer];
    return list.kind == PARE_PLAN_CROSS ? &l->cross : &l->self;
}

/* NULL: the layer or the sublayer is gone, or never was. `of`: how many units there were. */
static PareKeep *keep_of(const Job *j, ParePlanList list, uint32_t *of) {
    PareKeep *keep = NULL;
    if (list.kind == PARE_PLAN_WIDTH) {
        *of = j->d->stacks[list.stack].present ? j->d->stacks[list.stack].width : 0;
        return *of ? &j->plan->stacks[list.stack].width : NULL;
    }
    ParePlannedLayer *l = planned(j->plan, list);
    if (list.kind == PARE_PLAN_FFN) {
        *of = j->d->stacks[list.stack].layers[list.layer].ffn;
        keep = l ? &l->ffn : NULL;
    } else {
        *of = shape_of(j->d, list)->heads;
        keep =
            l ? &l->heads[list.kind == PARE_PLAN_CROSS ? PARE_BLOCK_CROSS : PARE_BLOCK_SELF] : NULL;
    }
    return keep && *of > 0 && (keep->all || keep->count > 0) ? keep : NULL;
}

static const double *scores_of(const Job *j, ParePlanList list) {
    const PareStackScores *s = &j->scores->stacks[list.stack];
    switch (list.kind) {
    case PARE_PLAN_WIDTH:
        return s->width;
    case PARE_PLAN_FFN:
        return s->layers[list.layer].ffn;
    case PARE_PLAN_CROSS:
        return s->layers[list.layer].heads[PARE_BLOCK_CROSS];
    default:
        return s->layers[list.layer].heads[PARE_BLOCK_SELF];
    }
}

/* -- groups -- */

static uint32_t greatest_divisor(uint32_t a, uint32_t b) {
    while (b) {
        uint32_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

static PareStatus add_group(Job *j, uint32_t number, ParePlanList list, uint32_t of, Group **out) {
    Group *g = NULL;
    for (uint32_t i = 0; i < j->group_count && !g; i++)
        if (j->groups[i].first == j->ties->first[number])
            g = &j->groups[i];
    *out = g;
    if (g)
        return PARE_OK;
    *out = g = &j->groups[j->group_count++];
    g->first = j->ties->first[number];
    g->count = of;
    g->least = (uint32_t)ceil(j->s->min_kept * of - 1e-9);
    g->least = g->least ? g->least : 1;
    g->step = j->s->align ? j->s->align : 1;
    if (list.kind == PARE_PLAN_SELF || list.kind == PARE_PLAN_CROSS) {
        uint32_t multiple = j->s->head_multiple.count[list.stack];
        multiple = multiple ? multiple : 1;
        g->step /= greatest_divisor(g->step, shape_of(j->d, list)->head_size);
        g->step *= multiple / greatest_divisor(g->step, multiple);
    }
    g->scores = pare_arena_alloc(j->arena, of, sizeof *g->scores);
    g->gone = pare_arena_alloc(j->arena, of, sizeof *g->gone);
    return g->scores && g->gone ? PARE_OK : pare_memory_error(j->err, "a selection");
}

static void add_member(const Job *j, Group *g, ParePlanList list, const PareKeep *keep) {
    const double *scores = scores_of(j, list);
    g->members++;
    for (uint32_t u = 0, next = 0; u < g->count; u++) {
        bool here = keep->all || (next < keep->count && keep->units[next] == u);
        next += here && !keep->all;
        g->gone[u] = g->gone[u] || !here;
        g->scores[u] += scores ? scores[u] : 0;
    }
}

/* Of what is left: an earlier round's cut leaves no trace. */
static void normalize(Group *g) {
    double sum = 0;
    for (uint32_t u = 0; u < g->count; u++)
        sum += g->gone[u] ? 0 : g->scores[u] * g->scores[u];
    for (uint32_t u = 0; sum > 0 && u < g->count; u++)
        g->scores[u] /= sqrt(sum);
}

static bool is_of(ParePlanKind list, PareCutKind cut) {
    return cut == PARE_CUT_WIDTH   ? list == PARE_PLAN_WIDTH
           : cut == PARE_CUT_UNITS ? list == PARE_PLAN_FFN
                                   : list == PARE_PLAN_SELF || list == PARE_PLAN_CROSS;
}

static PareStatus collect(Job *j, PareCutKind cut) {
    PareStatus st = PARE_OK;
    j->group_count = j->atom_count = 0;
    j->groups = pare_arena_alloc(j->arena, j->ties->count, sizeof *j->groups);
    if (!j->groups)
        return pare_memory_error(j->err, "a selection");
    for (uint32_t i = 0; i < j->ties->count && !st; i++) {
        ParePlanList list = pare_plan_list_at(j->d, i);
        uint32_t of;
        Group *g;
        PareKeep *keep = is_of(list.kind, cut) ? keep_of(j, list, &of) : NULL;
        if (!keep)
            continue;
        st = add_group(j, i, list, of, &g);
        if (!st && g->count == of)
            add_member(j, g, list, keep);
    }
    for (uint32_t i = 0; i < j->group_count && !st; i++) {
        Group *g = &j->groups[i];
        for (uint32_t u = 0; u < g->count; u++)
            g->kept += !g->gone[u];
        if (j->s->normalize && j->s->scope == PARE_SCOPE_GLOBAL)
            normalize(g);
    }
    return st;
}

/* -- atoms -- */

static void add_atom(Job *j, uint32_t group, const uint32_t *units, uint32_t size) {
    Atom *a = &j->atoms[j->atom_count++];
    double sum = 0;
    for (uint32_t i = 0; i < size; i++)
        sum += j->groups[group].scores[units[i]];
    *a = (Atom){.group = group, .size = size, .units = units, .score = sum / size};
}

typedef struct {
    uint32_t unit;
    double score;
} Ranked;

/* Lower scores first; of equal ones the higher unit. */
static int by_score(const void *a, const void *b) {
    const Ranked *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? -1 : 1;
    return x->unit > y->unit ? -1 : 1;
}

static int by_number(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* Heads of fewer key/value heads: `ranked` [kv][left] are those that are left in each group of
 * heads, `left` in each of `kv` groups. Either the groups are the atoms, or the lowest heads of all
 * groups are the first one, the next lowest the second, and so on. */
static void add_grouped(Job *j, uint32_t group, const Ranked *ranked, uint32_t kv, uint32_t left,
                        uint32_t *units) {
    bool whole = left < kv;
    uint32_t atoms = whole ? kv : left, size = whole ? left : kv;
    for (uint32_t a = 0; a < atoms; a++, units += size) {
        for (uint32_t i = 0; i < size; i++)
            units[i] = whole ? ranked[a * left + i].unit : ranked[i * left + a].unit;
        qsort(units, size, sizeof *units, by_number);
        add_atom(j, group, units, size);
    }
}

static PareStatus add_atoms(Job *j, uint32_t group) {
    const Group *g = &j->groups[group];
    ParePlanList list = pare_plan_list_at(j->d, g->first);
    bool heads = list.kind == PARE_PLAN_SELF || list.kind == PARE_PLAN_CROSS;
    uint32_t kv = heads ? shape_of(j->d, list)->kv_heads : g->count, n = 0, used = 0;
    uint32_t *units = pare_arena_alloc(j->arena, g->count, sizeof *units);
    Ranked *ranked = pare_arena_alloc(j->arena, g->count, sizeof *ranked);
    if (!units || !ranked)
        return pare_memory_error(j->err, "a selection");
    for (uint32_t begin = 0, each = g->count / kv; begin < g->count; begin += each) {
        uint32_t before = n;
        for (uint32_t u = begin; u < begin + each; u++)
            if (!g->gone[u])
                ranked[n++] = (Ranked){u, g->scores[u]};
        qsort(ranked + before, n - before, sizeof *ranked, by_score);
        used += n > before;
    }
    if (kv != g->count && used)
        add_grouped(j, group, ranked, used, n / used, units);
    for (uint32_t i = 0; kv == g->count && i < n; i++) {
        units[i] = ranked[i].unit;
        add_atom(j, group, units + i, 1);
    }
    return PARE_OK;
}

/* The order in which atoms go. */
static int by_rank(const void *a, const void *b) {
    const Atom *x = a, *y = b;
    if (x->score != y->score)
        return x->score < y->score ? -1 : 1;
    if (x->group != y->group)
        return x->group > y->group ? -1 : 1;
    return x->units[0] > y->units[0] ? -1 : x->units[0] < y->units[0];
}

static PareStatus make_atoms(Job *j) {
    size_t count = 0;
    PareStatus st = PARE_OK;
    for (uint32_t i = 0; i < j->group_count; i++)
        count += j->groups[i].count;
    j->atoms = pare_arena_alloc(j->arena, count, sizeof *j->atoms);
    if (!j->atoms)
        return pare_memory_error(j->err, "a selection");
    for (uint32_t i = 0; i < j->group_count && !st; i++)
        st = add_atoms(j, i);
    qsort(j->atoms, j->atom_count, sizeof *j->atoms, by_rank);
    return st;
}

/* -- cutting -- */

static bool may_go(const Group *g, const Atom *a) {
    return !a->cut && g->kept >= a->size + g->least;
}

/* To the nearest unit; 1e-9 makes halves of shares that binary cannot hold (0.35 of 10) go up. */
static uint64_t share_of(double share, uint64_t count) {
    return (uint64_t)floor(share * (double)count + 0.5 + 1e-9);
}

static void cut_atom(Job *j, Atom *a) {
    a->cut = true;
    j->groups[a->group].kept -= a->size;
}

/* Half a step or more of what is still to go makes a step: the result is the nearest one. */
static void cut_each(Job *j, double share) {
    for (uint32_t i = 0; i < j->atom_count; i++) {
        Atom *a = &j->atoms[i];
        const Group *g = &j->groups[a->group];
        uint64_t keep = g->count - share_of(share, g->count);
        if (g->kept > keep && 2 * (g->kept - keep) >= a->size && may_go(g, a))
            cut_atom(j, a);
    }
}

static void cut_ranked(Job *j, double share) {
    uint64_t all = 0, gone = 0;
    for (uint32_t i = 0; i < j->group_count; i++) {
        const Group *g = &j->groups[i];
        all += (uint64_t)g->count * g->members;
        gone += (uint64_t)(g->count - g->kept) * g->members;
    }
    uint64_t wanted = share_of(share, all);
    for (uint32_t i = 0; i < j->atom_count && gone < wanted; i++) {
        Atom *a = &j->atoms[i];
        uint64_t size = (uint64_t)a->size * j->groups[a->group].members;
        if (2 * (wanted - gone) < size || !may_go(&j->groups[a->group], a))
            continue;
        cut_atom(j, a);
        gone += size;
    }
}

/* Takes back the best of what was cut until sizes are multiples; returns how many units. */
static uint64_t align(Job *j) {
    uint64_t back = 0;
    for (uint32_t i = j->atom_count; i-- > 0;) {
        Atom *a = &j->atoms[i];
        Group *g = &j->groups[a->group];
        if (!a->cut || g->kept % g->step == 0)
            continue;
        a->cut = false;
        g->kept += a->size;
        back += (uint64_t)a->size * g->members;
    }
    return back;
}

/* -- the plan -- */

static PareStatus write_list(Job *j, uint32_t number, const Group *g) {
    ParePlanList list = pare_plan_list_at(j->d, number);
    uint32_t of, n = 0;
    PareKeep *keep = keep_of(j, list, &of);
    uint32_t *units = pare_arena_alloc(j->arena, g->count, sizeof *units);
    if (!units)
        return pare_memory_error(j->err, "a selection");
    if (!keep || of != g->count)
        return PARE_OK;
    for (uint32_t u = 0; u < g->count; u++)
        if (!g->gone[u])
            units[n++] = u;
    if (n == of)
        return PARE_OK;
    return pare_prune_plan_keep(j->plan, keep, units, n, of, "a selection", j->err);
}

static PareStatus write_plan(Job *j) {
    PareStatus st = PARE_OK;
    for (uint32_t i = 0; i < j->atom_count; i++)
        for (uint32_t k = 0; j->atoms[i].cut && k < j->atoms[i].size; k++)
            j->groups[j->atoms[i].group].gone[j->atoms[i].units[k]] = true;
    for (uint32_t i = 0; i < j->group_count; i++)
        for (uint32_t n = 0; n < j->ties->count && !st; n++)
            if (j->ties->first[n] == j->groups[i].first)
                st = write_list(j, n, &j->groups[i]);
    return st;
}

static PareStatus select_kind(Job *j, PareCutKind cut, double share, uint64_t *kept) {
    *kept = 0;
    if (share <= 0)
        return PARE_OK;
    PareStatus st = collect(j, cut);
    if (!st)
        st = make_atoms(j);
    if (st)
        return st;
    if (j->s->scope == PARE_SCOPE_GLOBAL && cut != PARE_CUT_WIDTH)
        cut_ranked(j, share);
    else
        cut_each(j, share);
    *kept = align(j);
    return write_plan(j);
}

PareStatus pare_select(const PareDescription *d, const PareTies *ties, const PareImportance *scores,
                       const PareSelection *s, ParePrunePlan *plan, PareSelectKept *kept,
                       PareError *err) {
    Job j = {.d = d, .ties = ties, .scores = scores, .s = s, .plan = plan, .err = err};
    *kept = (PareSelectKept){0};
    j.arena = pare_arena_create(0);
    if (!j.arena)
        return pare_memory_error(err, "a selection");
    PareStatus st = select_kind(&j, PARE_CUT_HEADS, s->heads, &kept->heads);
    if (!st)
        st = select_kind(&j, PARE_CUT_UNITS, s->units, &kept->units);
    if (!st)
        st = select_kind(&j, PARE_CUT_WIDTH, s->width, &kept->width);
    pare_arena_destroy(j.arena);
    return st ? st : pare_select_follow_heads(d, plan, err);
}

/* -- key/value heads that are fewer than heads -- */

static PareStatus follow_block(const PareAttentionShape *a, int block, ParePlannedLayer *l,
                               ParePrunePlan *plan, PareError *err) {
    const PareKeep *heads = &l->heads[block];
    if (a->kv_heads == a->heads || heads->all || heads->count == 0)
        return PARE_OK;
    uint32_t *kv = pare_arena_alloc(plan->arena, heads->count, sizeof *kv), n = 0;
    if (!kv)
        return pare_memory_error(err, "a plan");
    for (uint32_t i = 0; i < heads->count; i++) {
        uint32_t reads = heads->units[i] * a->kv_heads / a->heads;
        if (n == 0 || kv[n - 1] != reads)
            kv[n++] = reads;
    }
    if (n == a->kv_heads)
        return PARE_OK;
    return pare_prune_plan_keep(plan, &l->kv[block], kv, n, a->kv_heads, "key/value heads", err);
}

PareStatus pare_select_follow_heads(const PareDescription *d, ParePrunePlan *plan, PareError *err) {
    PareStatus st = PARE_OK;
    for (int s = 0; s < PARE_STACKS; s++)
        for (uint32_t i = 0; i < plan->stacks[s].layer_count && !st; i++) {
            ParePlannedLayer *l = &plan->stacks[s].layers[i];
            const PareLayerShape *shape = &d->stacks[s].layers[l->layer];
            st = follow_block(&shape->self, PARE_BLOCK_SELF, l, plan, err);
            if (!st)
                st = follow_block(&shape->cross, PARE_BLOCK_CROSS, l, plan, err);
        }
    return st;
}
