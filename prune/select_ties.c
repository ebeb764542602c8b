/* Lists of a plan, and which of them are cut alike. */
#include <string.h>

#include "prune/select.h"

enum { KINDS_OF_LAYER = 3 };

static uint32_t layers_before(const PareDescription *d, unsigned stack) {
    const PareStack *encoder = &d->stacks[PARE_ENCODER];
    return stack == PARE_DECODER && encoder->present ? encoder->layer_count : 0;
}

static uint32_t layers_of(const PareDescription *d) {
    const PareStack *decoder = &d->stacks[PARE_DECODER];
    return layers_before(d, PARE_DECODER) + (decoder->present ? decoder->layer_count : 0);
}

uint32_t pare_plan_list_number(const PareDescription *d, ParePlanList list) {
    if (list.kind == PARE_PLAN_WIDTH)
        return layers_of(d) * KINDS_OF_LAYER + (uint32_t)list.stack;
    return (layers_before(d, list.stack) + list.layer) * KINDS_OF_LAYER + (uint32_t)list.kind;
}

ParePlanList pare_plan_list_at(const PareDescription *d, uint32_t number) {
    uint32_t layers = layers_of(d), second = layers_before(d, PARE_DECODER);
    uint32_t layer = number / KINDS_OF_LAYER;
    if (number >= layers * KINDS_OF_LAYER)
        return (ParePlanList){PARE_PLAN_WIDTH, (PareStackIndex)(number - layers * KINDS_OF_LAYER),
                              0};
    bool decoder = !d->stacks[PARE_ENCODER].present || layer >= second;
    return (ParePlanList){(ParePlanKind)(number % KINDS_OF_LAYER),
                          decoder ? PARE_DECODER : PARE_ENCODER, decoder ? layer - second : layer};
}

PareStatus pare_ties_none(const PareDescription *d, PareArena *arena, PareTies *out,
                          PareError *err) {
    out->count = layers_of(d) * KINDS_OF_LAYER + PARE_STACKS;
    out->first = pare_arena_alloc(arena, out->count, sizeof *out->first);
    if (!out->first)
        return pare_memory_error(err, "the lists of a plan");
    for (uint32_t i = 0; i < out->count; i++)
        out->first[i] = i;
    return PARE_OK;
}

void pare_ties_join(PareTies *t, uint32_t a, uint32_t b) {
    uint32_t low = t->first[a] < t->first[b] ? t->first[a] : t->first[b];
    uint32_t high = t->first[a] < t->first[b] ? t->first[b] : t->first[a];
    for (uint32_t i = 0; i < t->count; i++)
        if (t->first[i] == high)
            t->first[i] = low;
}

/* The list that cuts a dimension; false: none does. Key/value heads that are fewer than the heads
 * follow the heads' list, but unit by unit they are not the same. */
static bool list_of(const PareDescription *d, PareAxis axis, ParePlanList *out) {
    unsigned s = axis.stack < PARE_STACKS ? axis.stack : (unsigned)pare_description_top(d);
    bool cross = axis.block == PARE_BLOCK_CROSS;
    *out = (ParePlanList){.stack = (PareStackIndex)s, .layer = axis.layer};
    switch ((PareAxisKind)axis.kind) {
    case PARE_AXIS_WIDTH:
    case PARE_AXIS_HIDDEN:
        out->kind = PARE_PLAN_WIDTH;
        out->layer = 0;
        return true;
    case PARE_AXIS_HEAD:
    case PARE_AXIS_KV:
        out->kind = cross ? PARE_PLAN_CROSS : PARE_PLAN_SELF;
        return true;
    case PARE_AXIS_FFN:
        out->kind = PARE_PLAN_FFN;
        return true;
    default:
        return false;
    }
}

static const char *stored_name(const PareFile *f, const char *name) {
    const PareFileTensor *t = pare_file_find(f, name);
    return !t ? NULL : t->alias_of ? t->alias_of : t->name;
}

/* Dimensions of one tensor that two slots call by different axes. */
static void join_slots(const PareDescription *d, const PareSlot *a, const PareSlot *b,
                       PareTies *ties) {
    for (uint32_t k = 0; k < a->dims && k < b->dims; k++) {
        ParePlanList first, second;
        if (a->axes[k].kind == b->axes[k].kind && a->axes[k].group == b->axes[k].group &&
            list_of(d, a->axes[k], &first) && list_of(d, b->axes[k], &second))
            pare_ties_join(ties, pare_plan_list_number(d, first), pare_plan_list_number(d, second));
    }
}

PareStatus pare_ties_read(const PareModel *m, PareArena *arena, PareTies *out, PareError *err) {
    const PareDescription *d = pare_model_description(m);
    const PareSlots *slots = pare_model_slots(m);
    PareStatus st = pare_ties_none(d, arena, out, err);
    for (size_t i = 0; i < slots->count && !st; i++) {
        const char *owner = stored_name(pare_model_file(m), slots->items[i].name);
        if (!owner || strcmp(owner, slots->items[i].name) == 0)
            continue;
        const PareSlot *other = pare_slots_find(slots, owner);
        if (other)
            join_slots(d, other, &slots->items[i], out);
    }
    return st;
}
