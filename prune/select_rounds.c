/* Several rounds: copies of plans, and scores of what is left by the original's numbers. */
#include <string.h>

#include "prune/select.h"

PareStatus pare_select_copy(const ParePrunePlan *from, PareArena *arena, ParePrunePlan *out,
                            PareError *err) {
    *out = *from;
    out->arena = arena;
    for (int s = 0; s < PARE_STACKS; s++) {
        size_t count = from->stacks[s].layer_count;
        ParePlannedLayer *layers = pare_arena_alloc(arena, count, sizeof *layers);
        if (!layers)
            return pare_memory_error(err, "a plan");
        if (count)
            memcpy(layers, from->stacks[s].layers, count * sizeof *layers);
        out->stacks[s].layers = layers;
    }
    return PARE_OK;
}

typedef struct {
    PareArena *arena;
    bool failed;
} Mapper;

/* Scores of `of` units, of which `keep` have some. */
static double *map_list(Mapper *m, const double *scores, const PareKeep *keep, uint32_t of) {
    double *list = of ? pare_arena_alloc(m->arena, of, sizeof *list) : NULL;
    m->failed = m->failed || (of && !list);
    for (uint32_t i = 0; list && scores && i < (keep->all ? of : keep->count); i++)
        list[keep->all ? i : keep->units[i]] = scores[i];
    return list;
}

static void map_layer(Mapper *m, const PareLayerScores *from, const ParePlannedLayer *plan,
                      const PareLayerShape *shape, PareLayerScores *to) {
    to->heads[PARE_BLOCK_SELF] =
        map_list(m, from->heads[PARE_BLOCK_SELF], &plan->heads[PARE_BLOCK_SELF], shape->self.heads);
    to->heads[PARE_BLOCK_CROSS] = map_list(m, from->heads[PARE_BLOCK_CROSS],
                                           &plan->heads[PARE_BLOCK_CROSS], shape->cross.heads);
    to->ffn = map_list(m, from->ffn, &plan->ffn, shape->ffn);
}

static void map_stack(Mapper *m, const PareStackScores *from, const ParePlannedStack *plan,
                      const PareStack *k, PareStackScores *to) {
    static const PareLayerScores none;
    static const ParePlannedLayer gone;
    to->layers = pare_arena_alloc(m->arena, k->layer_count, sizeof *to->layers);
    to->layer = pare_arena_alloc(m->arena, k->layer_count, sizeof *to->layer);
    to->width = map_list(m, from->width, &plan->width, k->width);
    m->failed = m->failed || !to->layers || !to->layer;
    for (uint32_t l = 0, next = 0; l < k->layer_count && !m->failed; l++) {
        bool here = next < plan->layer_count && plan->layers[next].layer == l;
        map_layer(m, here ? &from->layers[next] : &none, here ? &plan->layers[next] : &gone,
                  &k->layers[l], &to->layers[l]);
        to->layer[l] = here ? from->layer[next] : 0;
        next += here;
    }
}

PareStatus pare_select_map(const PareImportance *pruned, const ParePrunePlan *plan,
                           const PareDescription *d, PareArena *arena, PareImportance *out,
                           PareError *err) {
    Mapper m = {.arena = arena};
    *out = *pruned;
    out->arena = arena;
    for (int s = 0; s < PARE_STACKS; s++)
        if (d->stacks[s].present)
            map_stack(&m, &pruned->stacks[s], &plan->stacks[s], &d->stacks[s], &out->stacks[s]);
    return m.failed ? pare_memory_error(err, "importance") : PARE_OK;
}
