/* Whole layers by number, and shares by what they are to reach. */
#include <string.h>

#include "prune/select.h"

/* -- layers -- */

PareStatus pare_layer_counts_parse(const char *text, const PareDescription *d, PareStackCounts *out,
                                   PareError *err) {
    static const char *const NAMES[PARE_STACKS] = {"encoder", "decoder"};
    PareStackCounts left;
    PareStatus st = pare_stack_counts_parse("--keep-layers", text, d, false, &left, err);
    for (int s = 0; s < PARE_STACKS && !st; s++) {
        uint32_t of = d->stacks[s].present ? d->stacks[s].layer_count : 0;
        out->count[s] = left.count[s] ? left.count[s] : of;
        if (out->count[s] > of)
            st = pare_error_set(err, PARE_E_USAGE,
                                "--keep-layers '%s': %u layers; the %s has %u, and one must stay",
                                text, out->count[s], NAMES[s], of);
    }
    return st;
}

/* The place of the layer that goes next; of equal ones the last. */
static uint32_t least_layer(const ParePlannedStack *p, const double *scores) {
    uint32_t least = 0;
    for (uint32_t i = 1; i < p->layer_count; i++)
        if (scores[p->layers[i].layer] <= scores[p->layers[least].layer])
            least = i;
    return least;
}

PareStatus pare_select_layers(const PareDescription *d, const PareImportance *scores,
                              const PareStackCounts *counts, ParePrunePlan *plan, PareError *err) {
    for (int s = 0; s < PARE_STACKS; s++) {
        ParePlannedStack *p = &plan->stacks[s];
        if (!d->stacks[s].present)
            continue;
        if (counts->count[s] < d->stacks[s].layer_count && p->layer_count < counts->count[s])
            return pare_error_set(err, PARE_E_USAGE,
                                  "--keep-layers: %u layers of the %s are to stay; the lists leave "
                                  "only %u",
                                  counts->count[s], s == PARE_ENCODER ? "encoder" : "decoder",
                                  p->layer_count);
        while (p->layer_count > counts->count[s]) {
            uint32_t i = least_layer(p, scores->stacks[s].layer);
            memmove(&p->layers[i], &p->layers[i + 1], (p->layer_count - i - 1) * sizeof *p->layers);
            p->layer_count--;
        }
    }
    return PARE_OK;
}

/* -- targets -- */

/* Shares differ by less than one unit of any model after so many halvings. */
enum { HALVINGS = 32 };

typedef struct {
    const PareDescription *d;
    const PareTies *ties;
    const PareImportance *scores;
    const PareTarget *t;
    const ParePrunePlan *plan;
    PareError *err;
} Search;

static PareStatus try_share(const Search *s, double share, double *out) {
    ParePrunePlan plan;
    PareSelectKept kept;
    PareSelection selection = s->t->selection;
    if (s->t->cut & PARE_CUT_HEADS)
        selection.heads = share;
    if (s->t->cut & PARE_CUT_UNITS)
        selection.units = share;
    if (s->t->cut & PARE_CUT_WIDTH)
        selection.width = share;
    PareArena *arena = pare_arena_create(0);
    if (!arena)
        return pare_memory_error(s->err, "a selection");
    PareStatus st = pare_select_copy(s->plan, arena, &plan, s->err);
    if (!st)
        st = pare_select(s->d, s->ties, s->scores, &selection, &plan, &kept, s->err);
    if (!st)
        st = s->t->measure(s->t->context, &plan, out, s->err);
    pare_arena_destroy(arena);
    return st;
}

PareStatus pare_select_target(const PareDescription *d, const PareTies *ties,
                              const PareImportance *scores, const PareTarget *t,
                              const ParePrunePlan *plan, PareTargetResult *out, PareError *err) {
    Search s = {d, ties, scores, t, plan, err};
    double low = 0, high = 1, value;
    *out = (PareTargetResult){.found = true};
    PareStatus st = try_share(&s, 0, &out->reached);
    if (st || out->reached <= t->limit)
        return st;
    st = try_share(&s, 1, &out->reached);
    out->least = out->reached;
    out->share = 1;
    out->found = !st && out->reached <= t->limit;
    for (int i = 0; i < HALVINGS && !st && out->found; i++) {
        double middle = (low + high) / 2;
        st = try_share(&s, middle, &value);
        if (!st && value <= t->limit) {
            high = out->share = middle;
            out->reached = value;
        } else {
            low = middle;
        }
    }
    return st;
}
