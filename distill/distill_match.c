/* Which layers of student and teacher are compared, and the projections between their widths. */
#include <math.h>
#include <stdio.h>

#include "core/random.h"
#include "distill/distill_impl.h"
#include "distill/student.h"

/* The stream of random numbers that initial projections are drawn from. */
enum { PROJECTION_STREAM = 0x70726f6a };

/* Uniform with the variance that keeps the size of what passes (Glorot & Bengio 2010). */
static void fill_projection(void *context, const char *name, uint64_t rows, uint64_t cols,
                            float *values) {
    const PareDistill *j = context;
    float limit = sqrtf(6.0F / (float)(rows + cols));
    uint64_t stream = PROJECTION_STREAM;
    for (const char *c = name; *c; c++)
        stream = stream * 31 + (unsigned char)*c;
    for (uint64_t i = 0; i < rows * cols; i++)
        values[i] = limit * (2 * pare_random_float(j->o->batches.seed, stream, i) - 1);
}

static char *projection_name(const PareDistill *j, int stack, uint32_t layer) {
    return pare_arena_printf(j->arena, "projection.%s.%u.weight", stack ? "decoder" : "encoder",
                             layer);
}

PareStatus pare_distill_projections(PareDistill *j) {
    const PareStack *own = j->planned.stacks;
    if (j->o->hidden <= 0 || !j->teacher)
        return PARE_OK;
    const PareStack *above = pare_model_description(j->teacher)->stacks;
    PareWeightExtra *extras =
        pare_arena_alloc(j->arena, own[0].layer_count + own[1].layer_count, sizeof *extras);
    if (!extras)
        return pare_memory_error(j->err, "projections");
    size_t count = 0;
    for (int s = 0; s < PARE_STACKS; s++)
        for (uint32_t l = 0; own[s].width != above[s].width && l < own[s].layer_count; l++) {
            extras[count].name = projection_name(j, s, l);
            extras[count].rows = above[s].width;
            extras[count].cols = own[s].width;
            if (!extras[count++].name)
                return pare_memory_error(j->err, "projections");
        }
    j->from = (PareWeightsFrom){
        .fill = fill_projection, .context = j, .extras = extras, .extra_count = count};
    return PARE_OK;
}

static PareStatus match_stack(PareDistill *j, int s) {
    const PareStack *a = &j->weights->description.stacks[s];
    const PareStack *b = &pare_model_description(j->teacher)->stacks[s];
    uint32_t *supervisors = pare_arena_alloc(j->arena, a->layer_count, sizeof *supervisors);
    PareLinear *projections = pare_arena_alloc(j->arena, a->layer_count, sizeof *projections);
    if (!supervisors || !projections)
        return pare_memory_error(j->err, "pairs of layers");
    if (a->layer_count > b->layer_count)
        return pare_error_set(j->err, PARE_E_USAGE,
                              "hidden states and attention cannot be matched: the student has %u "
                              "layers, the teacher %u",
                              a->layer_count, b->layer_count);
    pare_student_supervisors(b->layer_count, a->layer_count, supervisors);
    j->matching.supervisors[s] = supervisors;
    for (uint32_t l = 0; l < a->layer_count && a->width != b->width; l++)
        projections[l].weight =
            (PareWeight){.dtype = PARE_F32,
                         .layout = PARE_LAYOUT_ROWS,
                         .N = b->width,
                         .K = a->width,
                         .data = pare_weights_extra(j->weights, projection_name(j, s, l))};
    if (a->width != b->width && j->o->hidden > 0)
        j->matching.projections[s] = projections;
    return PARE_OK;
}

PareStatus pare_distill_match(PareDistill *j) {
    PareStatus st = PARE_OK;
    if (j->o->hidden <= 0 && j->o->attention <= 0)
        return PARE_OK;
    j->matching.hidden = (float)j->o->hidden;
    j->matching.attention = (float)j->o->attention;
    for (int s = 0; s < PARE_STACKS && !st; s++)
        if (j->weights->description.stacks[s].present)
            st = match_stack(j, s);
    if (!st && j->o->recompute && j->o->attention > 0)
        st = pare_error_set(j->err, PARE_E_USAGE,
                            "--checkpoint-layers and --attention-weight exclude each other: "
                            "attention of layers that are computed again cannot be matched");
    if (!st)
        st = pare_matching_check(&j->matching, &j->weights->description,
                                 pare_model_description(j->teacher), j->err);
    j->setup.objective.matching = &j->matching;
    return st;
}
