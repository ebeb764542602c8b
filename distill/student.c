/* Choosing a teacher's layers and copying them. */
#include "distill/student.h"

#include <stdio.h>
#include <string.h>

#include "core/options.h"

/* Shleifer & Rush 2020 and its program: layers copied, and layers that supervise. */
typedef struct {
    uint8_t of, count, layers[12];
} Row;

static const Row COPIED[] = {
    {6, 1, {0}},
    {6, 2, {0, 5}},
    {6, 3, {0, 2, 5}},
    {6, 4, {0, 1, 3, 5}},
    {12, 1, {0}},
    {12, 2, {0, 6}},
    {12, 3, {0, 6, 11}},
    {12, 4, {0, 4, 8, 11}},
    {12, 6, {0, 2, 4, 7, 9, 11}},
    {12, 9, {0, 1, 2, 4, 5, 7, 9, 10, 11}},
    {16, 1, {0}},
    {16, 2, {0, 15}},
    {16, 3, {0, 8, 15}},
    {16, 4, {0, 5, 10, 15}},
    {16, 6, {0, 3, 6, 9, 12, 15}},
    {16, 8, {0, 2, 4, 6, 8, 10, 12, 15}},
    {16, 9, {0, 1, 3, 5, 7, 9, 11, 13, 15}},
    {16, 12, {0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 13, 15}},
};

static const Row SUPERVISING[] = {
    {6, 1, {5}},
    {6, 2, {3, 5}},
    {6, 3, {1, 4, 5}},
    {6, 4, {1, 2, 4, 5}},
    {12, 1, {11}},
    {12, 2, {5, 11}},
    {12, 3, {3, 7, 11}},
    {12, 6, {1, 3, 5, 8, 10, 11}},
    {16, 1, {15}},
    {16, 4, {4, 9, 12, 15}},
    {16, 8, {1, 3, 5, 7, 9, 11, 13, 15}},
};

static bool look_up(const Row *table, size_t rows, uint32_t of, uint32_t count, uint32_t *out) {
    for (size_t i = 0; i < rows; i++) {
        if (table[i].of != of || table[i].count != count)
            continue;
        for (uint32_t k = 0; k < count; k++)
            out[k] = table[i].layers[k];
        return true;
    }
    return false;
}

void pare_student_spread(uint32_t of, uint32_t count, uint32_t *out) {
    if (count == of || !look_up(COPIED, sizeof COPIED / sizeof *COPIED, of, count, out))
        for (uint32_t k = 0; k < count; k++) /* rounded to the nearest */
            out[k] = count == 1 ? 0 : (2 * k * (of - 1) + (count - 1)) / (2 * (count - 1));
}

void pare_student_supervisors(uint32_t of, uint32_t count, uint32_t *out) {
    if (count == of ||
        !look_up(SUPERVISING, sizeof SUPERVISING / sizeof *SUPERVISING, of, count, out))
        for (uint32_t k = 0; k < count; k++)
            out[k] = (k + 1) * of / count - 1;
}

/* -- the option -- */

typedef struct {
    const PareDescription *d;
    PareArena *arena;
    PareStudentLayers *out;
    const char *text; /* the whole option, for messages */
    PareError *err;
} Parser;

static PareStatus refuse(const Parser *p, const char *why) {
    return pare_error_set(p->err, PARE_E_USAGE, "--layers '%s': %s", p->text, why);
}

static PareStatus choose(const Parser *p, PareStackIndex s, uint32_t count) {
    PareLayerChoice *c = &p->out->stacks[s];
    c->count = count;
    c->layers = pare_arena_alloc(p->arena, count, sizeof *c->layers);
    return c->layers ? PARE_OK : pare_memory_error(p->err, "the student's layers");
}

static PareStatus read_number(const Parser *p, const char *text, size_t length, uint32_t of,
                              int64_t *out) {
    char word[16];
    if (length >= sizeof word)
        return refuse(p, "a number is too long");
    memcpy(word, text, length);
    word[length] = 0;
    if (!pare_parse_int(word, out) || *out < 0 || *out > of)
        return pare_error_set(p->err, PARE_E_USAGE,
                              "--layers '%s': '%s' is no number up to %u, the teacher's layers",
                              p->text, word, of);
    return PARE_OK;
}

/* "3", or "0+2+5" */
static PareStatus read_choice(const Parser *p, PareStackIndex s, const char *text, size_t length) {
    uint32_t of = p->d->stacks[s].layer_count, count = 1;
    int64_t number = 0;
    if (of == 0)
        return refuse(p, "this stack of the teacher has no layers");
    for (size_t i = 0; i < length; i++)
        count += text[i] == '+';
    if (count == 1) {
        PareStatus st = read_number(p, text, length, of, &number);
        if (!st && number == 0)
            st = refuse(p, "a student needs at least one layer; to name layer 0 alone write 0+");
        if (!st)
            st = choose(p, s, (uint32_t)number);
        if (!st)
            pare_student_spread(of, (uint32_t)number, p->out->stacks[s].layers);
        return st;
    }
    if (text[length - 1] == '+') { /* "0+": one layer by its number */
        length--;
        count--;
    }
    PareStatus st = choose(p, s, count);
    const char *at = text, *end = text + length;
    for (uint32_t k = 0; k < count && !st; k++) {
        const char *plus = memchr(at, '+', (size_t)(end - at));
        plus = plus ? plus : end;
        st = read_number(p, at, (size_t)(plus - at), of - 1, &number);
        p->out->stacks[s].layers[k] = (uint32_t)number;
        at = plus < end ? plus + 1 : end;
    }
    for (uint32_t k = 1; k < count && !st; k++)
        if (p->out->stacks[s].layers[k] <= p->out->stacks[s].layers[k - 1])
            st = refuse(p, "layers must be named in ascending order, each once");
    return st;
}

static PareStatus read_part(const Parser *p, const char *text, size_t length) {
    const PareStack *stacks = p->d->stacks;
    PareStackIndex s = stacks[PARE_ENCODER].present ? PARE_ENCODER : PARE_DECODER;
    if (length == 0)
        return refuse(p, *p->text ? "a part between commas is empty" : "a number is missing");
    if (length > 4 && (memcmp(text, "enc=", 4) == 0 || memcmp(text, "dec=", 4) == 0)) {
        s = text[0] == 'e' ? PARE_ENCODER : PARE_DECODER;
        text += 4;
        length -= 4;
    } else if (stacks[PARE_ENCODER].present && stacks[PARE_DECODER].present) {
        return refuse(p, "the model has two stacks; say enc=N,dec=N");
    }
    if (!stacks[s].present)
        return refuse(p,
                      s == PARE_ENCODER ? "the model has no encoder" : "the model has no decoder");
    if (p->out->stacks[s].count)
        return refuse(p, "a stack is named twice");
    return read_choice(p, s, text, length);
}

PareStatus pare_student_layers_parse(const char *text, const PareDescription *teacher,
                                     PareArena *arena, PareStudentLayers *out, PareError *err) {
    Parser p = {.d = teacher, .arena = arena, .out = out, .text = text, .err = err};
    PareStatus st = PARE_OK;
    *out = (PareStudentLayers){0};
    for (const char *at = text; at && !st;) {
        const char *comma = strchr(at, ',');
        st = read_part(&p, at, comma ? (size_t)(comma - at) : strlen(at));
        at = comma ? comma + 1 : NULL;
    }
    for (int s = 0; s < PARE_STACKS && !st; s++) {
        uint32_t all = teacher->stacks[s].layer_count;
        if (!teacher->stacks[s].present || out->stacks[s].count)
            continue;
        st = choose(&p, (PareStackIndex)s, all);
        for (uint32_t k = 0; k < all && !st; k++)
            out->stacks[s].layers[k] = k;
    }
    return st;
}

/* -- copying -- */

void pare_student_source_name(const PareStudentLayers *layers, const PareSlot *slot, char *name,
                              size_t size) {
    static const char *const PREFIXES[PARE_STACKS] = {"encoder.layers.", "decoder.layers."};
    snprintf(name, size, "%s", slot->name);
    for (int s = 0; s < PARE_STACKS; s++) {
        size_t length = strlen(PREFIXES[s]), layer = 0;
        if (strncmp(slot->name, PREFIXES[s], length) != 0)
            continue;
        const char *at = slot->name + length;
        for (; *at >= '0' && *at <= '9'; at++)
            layer = layer * 10 + (size_t)(*at - '0');
        snprintf(name, size, "%s%u%s", PREFIXES[s], layers->stacks[s].layers[layer], at);
    }
}

PareStatus pare_student_describe(const PareDescription *teacher, const PareStudentLayers *layers,
                                 PareArena *arena, PareDescription *out, PareError *err) {
    *out = *teacher;
    out->arena = arena;
    for (int s = 0; s < PARE_STACKS; s++) {
        PareStack *stack = &out->stacks[s];
        const PareLayerChoice *c = &layers->stacks[s];
        if (!stack->present)
            continue;
        PareLayerShape *shapes = pare_arena_alloc(arena, c->count, sizeof *shapes);
        if (!shapes)
            return pare_memory_error(err, "a student");
        for (uint32_t k = 0; k < c->count; k++)
            shapes[k] = stack->layers[c->layers[k]];
        stack->layers = shapes;
        stack->layer_count = c->count;
    }
    return PARE_OK;
}

/* The extra tensors are filled by whoever wants them. */
typedef struct {
    const PareModel *teacher;
    PareStudentLayers layers;
    const PareWeightsFrom *extras;
} Copy;

static const PareModel *copy_source(void *context, const PareSlot *slot, char *name, size_t size) {
    Copy *copy = context;
    pare_student_source_name(&copy->layers, slot, name, size);
    return copy->teacher;
}

static void copy_fill(void *context, const char *name, uint64_t rows, uint64_t cols,
                      float *values) {
    const PareWeightsFrom *extras = ((Copy *)context)->extras;
    extras->fill(extras->context, name, rows, cols, values);
}

PareStatus pare_student_create(const PareModel *teacher, const PareStudentLayers *layers,
                               const PareWeightsFrom *extras, PareWeights **out, PareError *err) {
    PareDescription d;
    PareArena *arena = pare_arena_create(0);
    Copy copy = {teacher, *layers, extras};
    PareWeightsFrom from = {.source = copy_source, .fill = copy_fill, .context = &copy};
    if (extras) {
        from.extras = extras->extras;
        from.extra_count = extras->extra_count;
    }
    PareStatus st =
        arena ? pare_student_describe(pare_model_description(teacher), layers, arena, &d, err)
              : pare_memory_error(err, "a student");
    if (!st)
        st = pare_weights_create(teacher, &d, &from, out, err);
    pare_arena_destroy(arena);
    return st;
}
