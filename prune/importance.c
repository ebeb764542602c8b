/* Criteria, and the lists of scores. */
#include "prune/importance.h"

#include <math.h>
#include <string.h>

#include "prune/importance_impl.h"
#include "prune/reconstruct.h"

static const struct {
    const char *name;
    bool needs_data, loss;
} CRITERIA[PARE_CRITERION_COUNT] = {
    [PARE_CRITERION_GRADIENT] = {"gradient", true, true},
    [PARE_CRITERION_TAYLOR] = {"taylor", true, true},
    [PARE_CRITERION_FISHER] = {"fisher", true, true},
    [PARE_CRITERION_ACTIVATION] = {"activation", true, false},
    [PARE_CRITERION_MAGNITUDE] = {"magnitude", false, false},
    [PARE_CRITERION_RANDOM] = {"random", false, false},
    [PARE_CRITERION_RECONSTRUCT] = {"reconstruct", true, false},
};

const char *pare_criterion_name(PareCriterion c) {
    return CRITERIA[c].name;
}

bool pare_criterion_parse(const char *name, PareCriterion *out) {
    for (int i = 0; i < PARE_CRITERION_COUNT; i++)
        if (strcmp(CRITERIA[i].name, name) == 0) {
            *out = (PareCriterion)i;
            return true;
        }
    return false;
}

bool pare_criterion_needs_data(PareCriterion c) {
    return CRITERIA[c].needs_data;
}

bool pare_criterion_has_loss(PareCriterion c) {
    return CRITERIA[c].loss;
}

PareStatus pare_importance_check_head(PareCriterion c, PareHeadKind head, PareError *err) {
    if (!CRITERIA[c].loss || (head != PARE_HEAD_SPAN && head != PARE_HEAD_NONE))
        return PARE_OK;
    return pare_error_set(err, PARE_E_UNSUPPORTED,
                          "importance by %s is that of a loss, and %s has none; activation, "
                          "reconstruct, magnitude and random need no loss",
                          CRITERIA[c].name,
                          head == PARE_HEAD_SPAN ? "a span head" : "a model without a head");
}

/* -- lists -- */

static uint32_t units_of(const PareLayerShape *shape, int list) {
    if (list == PARE_LIST_FFN)
        return shape->ffn;
    return list == PARE_BLOCK_SELF ? shape->self.heads : shape->cross.heads;
}

static uint32_t columns_of(const PareLayerShape *shape, int list) {
    if (list == PARE_LIST_FFN)
        return 1;
    return list == PARE_BLOCK_SELF ? shape->self.head_size : shape->cross.head_size;
}

static double **place_of(PareLayerScores *l, int list) {
    return list == PARE_LIST_FFN ? &l->ffn : &l->heads[list];
}

PareScoreList pare_importance_list(const PareImportance *i, const PareDescription *d, int stack,
                                   uint32_t layer, int list) {
    const PareLayerShape *shape = &d->stacks[stack].layers[layer];
    return (PareScoreList){.scores = *place_of(&i->stacks[stack].layers[layer], list),
                           .units = units_of(shape, list),
                           .columns = columns_of(shape, list)};
}

static bool allocate_stack(const PareStack *k, PareArena *arena, PareStackScores *out) {
    out->layers = pare_arena_alloc(arena, k->layer_count, sizeof *out->layers);
    out->layer = pare_arena_alloc(arena, k->layer_count, sizeof *out->layer);
    out->width = pare_arena_alloc(arena, k->width, sizeof *out->width);
    bool all = out->layers && out->layer && out->width;
    for (uint32_t l = 0; l < k->layer_count && all; l++)
        for (int list = 0; list < PARE_LISTS && all; list++) {
            uint32_t units = units_of(&k->layers[l], list);
            double **at = place_of(&out->layers[l], list);
            *at = units ? pare_arena_alloc(arena, units, sizeof **at) : NULL;
            all = !units || *at;
        }
    return all;
}

PareStatus pare_importance_allocate(const PareDescription *d, PareArena *arena, PareImportance *out,
                                    PareError *err) {
    *out = (PareImportance){.arena = arena};
    for (int s = 0; s < PARE_STACKS; s++)
        if (d->stacks[s].present && !allocate_stack(&d->stacks[s], arena, &out->stacks[s]))
            return pare_memory_error(err, "importance");
    return PARE_OK;
}

/* -- measuring -- */

static bool are_finite(const double *scores, size_t count) {
    for (size_t i = 0; i < count; i++)
        if (!isfinite(scores[i]))
            return false;
    return true;
}

static bool is_finite_layer(const PareImportance *i, const PareDescription *d, int s, uint32_t l) {
    bool all = isfinite(i->stacks[s].layer[l]);
    for (int list = 0; list < PARE_LISTS && all; list++) {
        PareScoreList scores = pare_importance_list(i, d, s, l, list);
        all = !scores.scores || are_finite(scores.scores, scores.units);
    }
    return all;
}

/* What is not a number cannot be ranked. */
static PareStatus check_finite(const PareImportance *i, const PareDescription *d, PareError *err) {
    static const char *const STACKS[PARE_STACKS] = {"encoder", "decoder"};
    for (int s = 0; s < PARE_STACKS; s++) {
        const PareStack *k = &d->stacks[s];
        for (uint32_t l = 0; k->present && l < k->layer_count; l++)
            if (!is_finite_layer(i, d, s, l))
                return pare_error_set(err, PARE_E_FORMAT,
                                      "importance by %s: a score of layer %u of the %s is not a "
                                      "finite number; the model's values or gradients overflow",
                                      pare_criterion_name(i->criterion), l, STACKS[s]);
        if (k->present && !are_finite(i->stacks[s].width, k->width))
            return pare_error_set(err, PARE_E_FORMAT,
                                  "importance by %s: a score of the width of the %s is not a "
                                  "finite number; the model's values or gradients overflow",
                                  pare_criterion_name(i->criterion), STACKS[s]);
    }
    return PARE_OK;
}

/* The lists of heads and units are reconstruct.c's; what it does not score stays 0. */
static PareStatus from_reconstruction(const PareWeights *w, const PareImportanceOptions *o,
                                      PareImportance *out, PareError *err) {
    PareStackScores scores[PARE_STACKS];
    PareRepairOptions options = {.data = o->data,
                                 .rows = o->rows,
                                 .ridge = o->ridge,
                                 .threads = o->threads,
                                 .progress = o->start};
    PareStatus st = pare_reconstruct_measure(w, &options, out->arena, scores, err);
    for (int s = 0; s < PARE_STACKS && !st; s++)
        if (w->description.stacks[s].present)
            out->stacks[s].layers = scores[s].layers;
    out->examples = st ? 0 : pare_examples_count(o->data->examples);
    return st;
}

PareStatus pare_importance_measure(const PareWeights *w, const PareImportanceOptions *o,
                                   PareArena *arena, PareImportance *out, PareError *err) {
    const PareDescription *d = &w->description;
    PareStatus st = pare_importance_allocate(d, arena, out, err);
    if (st)
        return st;
    out->criterion = o->criterion;
    out->seed = o->seed;
    if (o->criterion == PARE_CRITERION_RECONSTRUCT)
        st = from_reconstruction(w, o, out, err);
    else if (pare_criterion_needs_data(o->criterion))
        st = pare_importance_from_data(w, o, out, err);
    else if (o->criterion == PARE_CRITERION_MAGNITUDE)
        pare_importance_from_weights(w, out);
    else
        pare_importance_at_random(d, o->seed, out);
    return st ? st : check_finite(out, d, err);
}
