/* Planning: finding each slot's tensor, resolving ties, naming what is missing or left over. */
#include "convert/plan.h"

#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/hash.h"

enum { NAME_SIZE = 512, LISTED = 8 };

typedef struct {
    const PareFamilyModel *model;
    PareCheckpoint *checkpoint;
    ParePlan *plan;
    PareBuffer *warnings;
    PareError *err;
} Planner;

static const char *file_of(const Planner *p) {
    return pare_file_basename(pare_checkpoint_path(p->checkpoint));
}

/* The checkpoint's tensor called `name`, or as old versions spelled it. */
static const PareCheckpointTensor *find_spelled(const Planner *p, const char *name) {
    const PareCheckpointTensor *t = pare_checkpoint_find(p->checkpoint, name);
    size_t size = strlen(name);
    for (const PareOldEnding *o = p->model->family->old_endings; !t && o && o->ending; o++) {
        size_t ending = strlen(o->ending);
        char old[NAME_SIZE];
        if (size < ending || strcmp(name + size - ending, o->ending) != 0)
            continue;
        snprintf(old, sizeof old, "%.*s%s", (int)(size - ending), name, o->old);
        t = pare_checkpoint_find(p->checkpoint, old);
    }
    return t;
}

static const PareCheckpointTensor *find_by_rule(const Planner *p, const PareRule *r,
                                                const char *slot) {
    char name[NAME_SIZE];
    for (int prefixed = 1; prefixed >= 0; prefixed--) {
        const PareCheckpointTensor *t;
        if (pare_rule_tensor_name(p->model->family, r, slot, prefixed, name, sizeof name) &&
            (t = find_spelled(p, name)))
            return t;
    }
    return NULL;
}

/* The first rule whose tensor is there; otherwise the fallback that a rule names. */
static void find_source(const Planner *p, ParePlanItem *item) {
    char name[NAME_SIZE];
    for (const PareRule *r = p->model->family->rules; r->slot; r++) {
        if (!pare_rule_applies(r, p->model) ||
            !pare_pattern_rewrite(r->slot, r->tensor, item->slot->name, name, sizeof name))
            continue;
        item->tensor = find_by_rule(p, r, item->slot->name);
        if (item->tensor) {
            item->rule = r;
            item->kind = PARE_FROM_TENSOR;
            return;
        }
        if (r->flags & PARE_RULE_ZERO)
            item->kind = PARE_FROM_ZEROS;
        if (r->flags & PARE_RULE_COMPUTED)
            item->kind = PARE_FROM_FAMILY;
    }
}

static size_t item_index(const ParePlan *plan, const char *slot) {
    size_t i = 0;
    while (i < plan->count && strcmp(plan->items[i].slot->name, slot) != 0)
        i++;
    return i;
}

/* XXH64 of a tensor's values as float32. */
static PareStatus hash_values(Planner *p, const PareCheckpointTensor *t, uint64_t *out) {
    size_t count;
    float *values =
        pare_tensor_elements(&t->type, &count) ? pare_alloc(count, sizeof *values) : NULL;
    if (!values)
        return pare_memory_error(p->err, t->name);
    PareStatus st = pare_checkpoint_read_f32(p->checkpoint, t, values, p->err);
    if (!st)
        *out = pare_hash_xxh64(values, count * sizeof *values);
    pare_free(values);
    return st;
}

/* Whether two tensors hold the same values; one is in memory at a time. */
static PareStatus same_values(Planner *p, const PareCheckpointTensor *a,
                              const PareCheckpointTensor *b, bool *same) {
    uint64_t hash[2] = {0, 0};
    size_t count[2];
    *same = a == b || (a->view_id != 0 && a->view_id == b->view_id);
    if (*same || !pare_tensor_elements(&a->type, &count[0]) ||
        !pare_tensor_elements(&b->type, &count[1]) || count[0] != count[1])
        return PARE_OK;
    PareStatus st = hash_values(p, a, &hash[0]);
    if (!st)
        st = hash_values(p, b, &hash[1]);
    *same = !st && hash[0] == hash[1];
    return st;
}

/* transformers 5 ties what config.json says is tied, from whichever side is in the checkpoint, but
 * not when both sides are and differ. (Version 4 threw the output layer's own away.) */
static PareStatus resolve_tie(Planner *p, size_t index) {
    ParePlanItem *item = &p->plan->items[index];
    bool active = false, same = true;
    char name[NAME_SIZE];
    const PareTie *tie = pare_family_tie(p->model, item->slot->name, &active);
    size_t target = p->plan->count;
    if (tie && pare_tie_target(tie, item->slot->name, name, sizeof name))
        target = item_index(p->plan, name);
    if (target >= index)
        return PARE_OK;
    if (p->plan->items[target].kind == PARE_FROM_ALIAS)
        target = p->plan->items[target].target;
    ParePlanItem *root = &p->plan->items[target];
    bool both = item->kind == PARE_FROM_TENSOR && root->kind == PARE_FROM_TENSOR;
    if (both && !active)
        same = item->tensor->view_id != 0 && item->tensor->view_id == root->tensor->view_id;
    else if (both) {
        PareStatus st = same_values(p, item->tensor, root->tensor, &same);
        if (st)
            return st;
    } else if (!active)
        return PARE_OK;
    if (both && active && !same)
        pare_buffer_printf(p->warnings,
                           "%s: the settings tie \"%s\" to \"%s\", but the checkpoint holds both "
                           "with different values; both are kept, as transformers 5 does\n",
                           file_of(p), item->tensor->name, root->tensor->name);
    if (both && !same)
        return PARE_OK;
    if (root->kind == PARE_FROM_NOTHING) { /* only this side is there */
        root->kind = item->kind;
        root->rule = item->rule;
        root->tensor = item->tensor;
    }
    *item = (ParePlanItem){.slot = item->slot, .kind = PARE_FROM_ALIAS, .target = target};
    return PARE_OK;
}

/* The shape that the checkpoint must have for an item. */
static PareTensorType expected_type(const ParePlanItem *item) {
    const PareSlot *s = item->slot;
    const PareRule *r = item->rule;
    PareTensorType t = {.dtype = PARE_F32, .dims = s->dims, .shape = {s->shape[0], s->shape[1]}};
    t.shape[0] *= r->parts > 1 ? r->parts : 1;
    if ((r->flags & PARE_RULE_TRANSPOSE) && t.dims == 2) {
        uint64_t rows = t.shape[0];
        t.shape[0] = t.shape[1];
        t.shape[1] = rows;
    }
    return t;
}

static PareStatus check_shape(Planner *p, const ParePlanItem *item) {
    const PareTensorType *found = &item->tensor->type;
    PareTensorType want = expected_type(item), flat = *found;
    char have_text[96], want_text[96];
    while ((item->rule->flags & PARE_RULE_FLAT) && flat.dims > want.dims && flat.shape[0] == 1) {
        memmove(flat.shape, flat.shape + 1, sizeof flat.shape - sizeof *flat.shape);
        flat.dims--;
    }
    if (!pare_dtype_is_float(found->dtype))
        return pare_error_set(p->err, PARE_E_FORMAT,
                              "%s: tensor \"%s\" holds %s; expected floating-point numbers",
                              file_of(p), item->tensor->name, pare_dtype_name(found->dtype));
    if (pare_tensor_same_shape(&flat, &want))
        return PARE_OK;
    return pare_error_set(
        p->err, PARE_E_FORMAT,
        "%s: tensor \"%s\" has the shape %s; expected %s by the settings in config.json",
        file_of(p), item->tensor->name, pare_tensor_shape_text(found, have_text, sizeof have_text),
        pare_tensor_shape_text(&want, want_text, sizeof want_text));
}

static PareStatus check_items(Planner *p) {
    PareStatus st = PARE_OK;
    for (size_t i = 0; i < p->plan->count && !st; i++) {
        const ParePlanItem *item = &p->plan->items[i];
        size_t count =
            (size_t)item->slot->shape[0] * (item->slot->dims == 2 ? item->slot->shape[1] : 1);
        if (item->kind == PARE_FROM_TENSOR) {
            st = check_shape(p, item);
            size_t stored;
            if (!st && pare_tensor_elements(&item->tensor->type, &stored) && stored > count)
                count = stored;
        }
        if (count > p->plan->largest)
            p->plan->largest = count;
    }
    return st;
}

/* A list of names that stops after a few. */
typedef struct {
    PareBuffer text;
    size_t count;
} NameList;

static void add_name(NameList *list, const char *name) {
    if (list->count++ < LISTED)
        pare_buffer_printf(&list->text, "%s%.100s", list->count > 1 ? ", " : "", name);
}

static const char *end_list(NameList *list) {
    if (list->count > LISTED)
        pare_buffer_printf(&list->text, " and %zu more", list->count - LISTED);
    return list->text.data ? list->text.data : "";
}

/* The name that a checkpoint should have had for a slot. */
static void missing_name(const Planner *p, const char *slot, char *out, size_t size) {
    for (const PareRule *r = p->model->family->rules; r->slot; r++)
        if (!(r->flags & PARE_RULE_ALTERNATIVE) && pare_rule_applies(r, p->model) &&
            pare_rule_tensor_name(p->model->family, r, slot,
                                  p->model->description.head.kind != PARE_HEAD_NONE, out, size))
            return;
    snprintf(out, size, "%s", slot);
}

static const char *without_prefix(const Planner *p, const char *name) {
    size_t size = strlen(p->model->family->prefix);
    return strncmp(name, p->model->family->prefix, size) == 0 ? name + size : name;
}

static bool is_used(const Planner *p, const PareCheckpointTensor *t) {
    for (size_t i = 0; i < p->plan->count; i++)
        if (p->plan->items[i].tensor == t)
            return true;
    return false;
}

static bool is_ignored(const Planner *p, const char *name) {
    for (const char *const *pattern = p->model->family->ignored; *pattern; pattern++)
        if (pare_glob_match(*pattern, without_prefix(p, name)))
            return true;
    return false;
}

/* Whether a left-over tensor is a second copy of one that a slot was filled from. */
static PareStatus is_copy(Planner *p, const PareCheckpointTensor *t, bool *copy) {
    char slot[NAME_SIZE];
    *copy = false;
    for (const PareRule *r = p->model->family->rules; r->slot; r++) {
        const char *name = r->flags & PARE_RULE_OUTER ? t->name : without_prefix(p, t->name);
        if (!pare_rule_applies(r, p->model) ||
            !pare_pattern_rewrite(r->tensor, r->slot, name, slot, sizeof slot))
            continue;
        size_t at = item_index(p->plan, slot);
        if (at == p->plan->count)
            continue;
        if (p->plan->items[at].kind == PARE_FROM_ALIAS)
            at = p->plan->items[at].target;
        if (p->plan->items[at].kind == PARE_FROM_TENSOR)
            return same_values(p, t, p->plan->items[at].tensor, copy);
    }
    return PARE_OK;
}

static PareStatus list_unused(Planner *p, const PareStringList *allowed, NameList *unused) {
    bool *hit = pare_alloc(allowed->count, sizeof *hit);
    PareStatus st = hit ? PARE_OK : pare_memory_error(p->err, "the plan");
    for (size_t i = 0; i < pare_checkpoint_count(p->checkpoint) && !st; i++) {
        const PareCheckpointTensor *t = pare_checkpoint_tensor(p->checkpoint, i);
        bool done = is_used(p, t) || is_ignored(p, t->name);
        for (size_t g = 0; g < allowed->count && !done; g++)
            if (pare_glob_match(allowed->items[g], t->name))
                done = hit[g] = true;
        if (!done)
            st = is_copy(p, t, &done);
        if (!st && !done)
            add_name(unused, t->name);
    }
    for (size_t g = 0; g < allowed->count && !st; g++)
        if (!hit[g])
            pare_buffer_printf(p->warnings, "--allow-unused %s: no tensor was left unused by it\n",
                               allowed->items[g]);
    pare_free(hit);
    return st;
}

static PareStatus check_complete(Planner *p, const PareStringList *allowed) {
    NameList missing = {0}, unused = {0};
    char name[NAME_SIZE];
    for (size_t i = 0; i < p->plan->count; i++)
        if (p->plan->items[i].kind == PARE_FROM_NOTHING) {
            missing_name(p, p->plan->items[i].slot->name, name, sizeof name);
            add_name(&missing, name);
        }
    PareStatus st = list_unused(p, allowed, &unused);
    const char *what = p->model->architecture->name, *file = file_of(p);
    if (!st && missing.count && unused.count)
        st = pare_error_set(
            p->err, PARE_E_FORMAT,
            "%s: not the tensors of %s: %zu are missing (%.400s), %zu have no place in "
            "it (%.400s)",
            file, what, missing.count, end_list(&missing), unused.count, end_list(&unused));
    else if (!st && missing.count)
        st = pare_error_set(p->err, PARE_E_FORMAT, "%s: %zu tensor%s of %s missing: %s", file,
                            missing.count, missing.count == 1 ? "" : "s", what, end_list(&missing));
    else if (!st && unused.count)
        st = pare_error_set(p->err, PARE_E_FORMAT,
                            "%s: %zu tensor%s no place in %s: %s; --allow-unused GLOB leaves out "
                            "what matches",
                            file, unused.count, unused.count == 1 ? " has" : "s have", what,
                            end_list(&unused));
    pare_buffer_free(&missing.text);
    pare_buffer_free(&unused.text);
    return st;
}

PareStatus pare_plan_make(const PareFamilyModel *model, PareCheckpoint *checkpoint,
                          const PareStringList *unused, PareArena *arena, ParePlan *out,
                          PareBuffer *warnings, PareError *err) {
    Planner p = {model, checkpoint, out, warnings, err};
    *out = (ParePlan){0};
    PareStatus st = pare_slots_list(&model->description, arena, &out->slots, err);
    if (st)
        return st;
    out->items = pare_arena_alloc(arena, out->slots.count, sizeof *out->items);
    if (!out->items)
        return pare_memory_error(err, "the plan of the conversion");
    out->count = out->slots.count;
    for (size_t i = 0; i < out->count; i++) {
        out->items[i].slot = &out->slots.items[i];
        find_source(&p, &out->items[i]);
    }
    for (size_t i = 0; i < out->count && !st; i++)
        st = resolve_tie(&p, i);
    if (!st)
        st = check_complete(&p, unused);
    return st ? st : check_items(&p);
}
