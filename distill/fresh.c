/* Random initial values. */
#include "distill/fresh.h"

#include <math.h>
#include <string.h>

#include "core/random.h"
#include "runtime/kernels/kernels_table.h"

/* Marsaglia's polar method: a point in the unit circle, two to a block of four words. A point
 * outside is drawn again, from a block that no index reaches. The logarithm is our own, so that the
 * values are the same everywhere. */
float pare_fresh_normal(uint64_t seed, uint64_t stream, uint64_t index) {
    for (uint64_t attempt = 0;; attempt++) {
        uint32_t words[4];
        pare_random_block(seed, stream, index ^ attempt << 56, words);
        for (int k = 0; k < 4; k += 2) {
            float x = (float)(words[k] >> 8) * 0x1p-23F - 1;
            float y = (float)(words[k + 1] >> 8) * 0x1p-23F - 1;
            float s = x * x + y * y;
            if (s > 0 && s < 1)
                return x * sqrtf(-2 * pare_kernels_log(s) / s);
        }
    }
}

static uint64_t stream_of(const char *name) {
    uint64_t stream = 0x6672657368; /* apart from everybody else's */
    for (const char *c = name; *c; c++)
        stream = stream * 31 + (unsigned char)*c;
    return stream;
}

static const PareStack *stack_of(const PareDescription *d, const char *name) {
    if (strncmp(name, "encoder.", 8) == 0)
        return &d->stacks[PARE_ENCODER];
    return &d->stacks[strncmp(name, "decoder.", 8) == 0 ? PARE_DECODER : pare_description_top(d)];
}

static bool contains(const char *name, const char *part) {
    return strstr(name, part) != NULL;
}

static float deviation_rms(const PareStack *stack, const PareSlot *slot) {
    float cols = (float)slot->shape[1];
    if (slot->role == PARE_ROLE_EMBEDDING || strcmp(slot->name, "head.output.weight") == 0)
        return 1;
    if (slot->role == PARE_ROLE_TABLE)
        return 1 / sqrtf((float)stack->width);
    if (contains(slot->name, ".query.")) {
        uint32_t size = 1;
        for (uint32_t l = 0; l < stack->layer_count; l++)
            size = stack->layers[l].self.heads ? stack->layers[l].self.head_size : size;
        return 1 / sqrtf(cols * (float)size);
    }
    return 1 / sqrtf(cols);
}

static float deviation(const PareStack *stack, const PareSlot *slot) {
    const float usual = 0.02F;
    if (stack->norm == PARE_NORM_RMS)
        return deviation_rms(stack, slot);
    bool writes = contains(slot->name, ".layers.") && (contains(slot->name, ".output.weight") ||
                                                       contains(slot->name, ".ffn.out.weight"));
    return stack->pre_norm && writes ? usual / sqrtf(2 * (float)stack->layer_count) : usual;
}

static void fill_slot(const PareFreshValues *v, const PareSlot *slot, size_t count, float *values) {
    size_t length = strlen(slot->name);
    bool bias = length > 5 && strcmp(slot->name + length - 5, ".bias") == 0;
    if (slot->role == PARE_ROLE_BIAS || slot->role == PARE_ROLE_NORM) {
        for (size_t i = 0; i < count; i++)
            values[i] = bias ? 0 : 1;
        return;
    }
    uint64_t stream = stream_of(slot->name);
    float std = deviation(stack_of(v->d, slot->name), slot);
    for (size_t i = 0; i < count; i++)
        values[i] = std * pare_fresh_normal(v->seed, stream, i);
}

void pare_fresh_fill(const PareFreshValues *v, const char *name, uint64_t rows, uint64_t cols,
                     float *values) {
    const PareSlot *slot = pare_slots_find(&v->slots, name);
    if (slot)
        fill_slot(v, slot, (size_t)(rows * cols), values);
    else
        v->extras->fill(v->extras->context, name, rows, cols, values);
}

/* -- a student of a teacher's kind -- */

typedef struct {
    const PareFreshStudent *s;
    PareStudentLayers layers; /* of the teacher, that the student's stand for */
    PareFreshValues values;
    const PareJson *fixed;
} Student;

static const PareModel *source(void *context, const PareSlot *slot, char *name, size_t size) {
    Student *c = context;
    pare_student_source_name(&c->layers, slot, name, size);
    return c->s->teacher;
}

static bool is_fixed(const Student *c, const char *name) {
    for (const PareJson *n = pare_json_first(c->fixed); n; n = pare_json_next(n))
        if (pare_json_is_string(n) && strcmp(pare_json_string(n), name) == 0)
            return true;
    return false;
}

static bool is_fresh(void *context, const PareSlot *slot) {
    const Student *c = context;
    bool outer = contains(slot->name, ".embed.") || strncmp(slot->name, "head.", 5) == 0;
    if (is_fixed(c, slot->name))
        return false;
    if (!c->s->copy_embeddings || !outer)
        return true;
    const PareFileTensor *t = pare_file_find(pare_model_file(c->s->teacher), slot->name);
    return !t || t->dims != slot->dims || t->shape[0] != slot->shape[0] ||
           (t->dims == 2 && t->shape[1] != slot->shape[1]);
}

static void fill(void *context, const char *name, uint64_t rows, uint64_t cols, float *values) {
    pare_fresh_fill(&((Student *)context)->values, name, rows, cols, values);
}

/* Layers of a description of its own stand for the teacher's as if they had been taken from it;
 * those that are too many for its last one. */
static PareStatus spread_layers(const PareFreshStudent *s, PareArena *arena, PareStudentLayers *out,
                                PareError *err) {
    *out = (PareStudentLayers){0};
    for (int k = 0; k < PARE_STACKS; k++) {
        uint32_t of = pare_model_description(s->teacher)->stacks[k].layer_count;
        uint32_t count = s->d->stacks[k].present ? s->d->stacks[k].layer_count : 0;
        uint32_t *layers = pare_arena_alloc(arena, count, sizeof *layers);
        if (!layers)
            return pare_memory_error(err, "a student");
        for (uint32_t l = 0; l < count; l++)
            layers[l] = l < of || of == 0 ? l : of - 1;
        if (count < of && count > 0)
            pare_student_spread(of, count, layers);
        out->stacks[k] = (PareLayerChoice){count, layers};
    }
    return PARE_OK;
}

static PareStatus create(const PareFreshStudent *s, PareArena *arena, PareWeights **out,
                         PareError *err) {
    const PareDescription *teacher = pare_model_description(s->teacher);
    Student c = {.s = s, .values = {.d = s->d, .seed = s->seed, .extras = s->extras}};
    PareWeightsFrom from = {.source = source, .fresh = is_fresh, .fill = fill, .context = &c};
    c.fixed = pare_json_get_set(pare_model_metadata(s->teacher), "fixed");
    if (s->extras) {
        from.extras = s->extras->extras;
        from.extra_count = s->extras->extra_count;
    }
    PareStatus st = s->layers ? pare_student_layers_parse(s->layers, teacher, arena, &c.layers, err)
                              : spread_layers(s, arena, &c.layers, err);
    if (!st)
        st = pare_slots_list(s->d, arena, &c.values.slots, err);
    return st ? st : pare_weights_create(s->teacher, s->d, &from, out, err);
}

PareStatus pare_fresh_create(const PareFreshStudent *s, PareWeights **out, PareError *err) {
    PareArena *arena = pare_arena_create(0);
    PareStatus st = arena ? create(s, arena, out, err) : pare_memory_error(err, "a student");
    pare_arena_destroy(arena);
    return st;
}
