/* The tensors of the checkpoint: names by the family's rules, shapes by what config.json will say,
 * dtypes by what is stored. */
#include <stdio.h>
#include <string.h>

#include "convert/export_impl.h"
#include "formats/tf_names.h"

enum { NAME_SIZE = 512 };

typedef struct {
    PareExport *e;
    PareError *err;
    bool prefixed;
} Planner;

static const PareFileTensor *stored(const PareExport *e, const PareSlot *s) {
    return pare_file_find(pare_model_file(e->model), s->name);
}

/* ---- Names ---- */

static const PareRule *find_rule(const Planner *p, const PareSlot *s, char *name) {
    for (const PareRule *r = p->e->theirs.family->rules; r->slot; r++)
        if (!(r->flags & PARE_RULE_ALTERNATIVE) && pare_rule_applies(r, &p->e->theirs) &&
            pare_rule_tensor_name(p->e->theirs.family, r, s->name, p->prefixed, name, NAME_SIZE))
            return r;
    return NULL;
}

static PareExportItem *find_item(PareExport *e, const char *name) {
    for (size_t i = e->count; i-- > 0;) /* parts of one tensor are near each other */
        if (strcmp(e->items[i].name, name) == 0)
            return &e->items[i];
    return NULL;
}

static PareExportItem *find_slot_item(PareExport *e, const char *slot) {
    for (size_t i = 0; i < e->count; i++)
        if (e->items[i].part_count == 1 && strcmp(e->items[i].parts[0]->name, slot) == 0)
            return &e->items[i];
    return NULL;
}

static PareStatus add_item(const Planner *p, const char *name, PareExportItem **out) {
    PareExport *e = p->e;
    char *copy = pare_arena_strdup(e->arena, name);
    if (!copy || e->count == e->capacity)
        return pare_memory_error(p->err, "the names of tensors");
    *out = &e->items[e->count];
    (*out)->name = copy;
    e->tensors[e->count++] = (PareSavedTensor){.name = copy, .same_as = SIZE_MAX};
    return PARE_OK;
}

/* ---- Types ---- */

static PareTfRole tf_role(const PareSlot *s, const PareRule *r, PareNormKind norm) {
    switch (s->role) {
    case PARE_ROLE_EMBEDDING:
        return PARE_TF_TOKENS;
    case PARE_ROLE_TABLE:
        return PARE_TF_TABLE;
    case PARE_ROLE_NORM:
        return norm == PARE_NORM_RMS ? PARE_TF_RMS_NORM : PARE_TF_NORM;
    case PARE_ROLE_BIAS:
        return PARE_TF_BIAS;
    case PARE_ROLE_MATRIX:
        break;
    }
    return r->flags & PARE_RULE_TRANSPOSE ? PARE_TF_PROJECTION : PARE_TF_MATRIX;
}

static PareStatus name_for_hdf5(const Planner *p, PareExportItem *item, PareTensorType *t,
                                bool *turned) {
    const PareDescription *d = &p->e->theirs.description;
    PareTfRole role = tf_role(item->parts[0], item->rule, d->stacks[pare_description_top(d)].norm);
    /* A projection that is stored [in, out] has a bias of [1, out] there. */
    bool projected = (item->rule->flags & PARE_RULE_TRANSPOSE) && role == PARE_TF_BIAS;
    char group[NAME_SIZE], name[NAME_SIZE];
    PareTfLayout layout;
    if (!pare_tf_name_from_torch(item->name, role, group, sizeof group, name, sizeof name, &layout))
        return pare_error_set(p->err, PARE_E_UNSUPPORTED,
                              "%s: tensor \"%s\" has no name in TensorFlow", p->e->options.model,
                              item->name);
    item->name = pare_arena_strdup(p->e->arena, name);
    item->group = pare_arena_strdup(p->e->arena, group);
    if (!item->name || !item->group)
        return pare_memory_error(p->err, "the names of tensors");
    if (layout == PARE_TF_TRANSPOSED && t->dims == 2) {
        uint64_t rows = t->shape[0];
        t->shape[0] = t->shape[1];
        t->shape[1] = rows;
        *turned = !*turned;
    } else if (t->dims == 1 && (layout == PARE_TF_FLAT || projected)) {
        *t = (PareTensorType){t->dtype, 2, {1, t->shape[0]}};
    }
    return PARE_OK;
}

/* F16 and BF16 stay what they are where all parts agree; everything else is F32. */
static PareDtype item_dtype(const PareExport *e, const PareExportItem *item) {
    PareDtype found = PARE_DTYPE_COUNT;
    if (e->options.change_dtype)
        return e->options.dtype;
    for (uint32_t i = 0; i < item->part_count; i++) {
        const PareFileTensor *t = stored(e, item->parts[i]);
        if (!t)
            continue;
        if (t->dtype == PARE_I8 || (found != PARE_DTYPE_COUNT && found != t->dtype))
            return PARE_F32;
        found = t->dtype;
    }
    return found == PARE_DTYPE_COUNT ? PARE_F32 : found;
}

static PareStatus incomplete(const Planner *p, const char *name) {
    return pare_error_set(p->err, PARE_E_UNSUPPORTED,
                          "%s: tensor \"%s\" cannot be put together of its parts",
                          p->e->options.model, name);
}

/* The shape in the file, from that of the parts. */
static PareStatus finish_item(const Planner *p, size_t index) {
    PareExportItem *item = &p->e->items[index];
    PareSavedTensor *saved = &p->e->tensors[index];
    const PareSlot *s = item->parts[0];
    PareTensorType t = {.dtype = item_dtype(p->e, item), .dims = s->dims};
    PareStatus st = PARE_OK;
    if (item->part_count != (item->rule->parts > 1 ? item->rule->parts : 1))
        return incomplete(p, item->name);
    t.shape[1] = s->shape[1];
    for (uint32_t i = 0; i < item->part_count; i++)
        t.shape[0] += item->parts[i]->shape[0];
    item->turned = (item->rule->flags & PARE_RULE_TRANSPOSE) && t.dims == 2;
    if (item->turned) {
        uint64_t rows = t.shape[0];
        t.shape[0] = t.shape[1];
        t.shape[1] = rows;
    }
    if (item->rule->flags & PARE_RULE_FLAT)
        t = (PareTensorType){t.dtype, 2, {1, t.shape[0]}};
    if (p->e->options.format == PARE_SAVE_HDF5)
        st = name_for_hdf5(p, item, &t, &item->turned);
    saved->name = item->name;
    saved->group = item->group;
    saved->type = t;
    return st;
}

/* ---- Ties ---- */

static bool same_blob(const PareExport *e, const char *a, const char *b) {
    const PareFileTensor *s = pare_file_find(pare_model_file(e->model), a);
    const PareFileTensor *t = pare_file_find(pare_model_file(e->model), b);
    return s && t && s->data == t->data && s->bytes == t->bytes;
}

/* What the settings tie is written once. What only happens to be shared is a tensor of its own in
 * formats that the framework reads name by name. */
static void tie_item(const Planner *p, size_t index) {
    PareExport *e = p->e;
    const PareSlot *s = e->items[index].parts[0];
    bool active = false;
    const PareTie *tie = pare_family_tie(&e->theirs, s->name, &active);
    const PareExportItem *target = tie ? find_slot_item(e, tie->target) : NULL;
    if (!target || !same_blob(e, s->name, tie->target) ||
        target->turned != e->items[index].turned ||
        (!active && e->options.format != PARE_SAVE_PYTORCH))
        return;
    size_t at = (size_t)(target - e->items);
    at = e->tensors[at].same_as == SIZE_MAX ? at : e->tensors[at].same_as;
    e->tensors[index].type.dtype = e->tensors[at].type.dtype;
    if (at < index && pare_tensor_same_shape(&e->tensors[at].type, &e->tensors[index].type))
        e->tensors[index].same_as = at;
}

/* PyTorch's dictionary has a parameter under each of its names. */
static PareStatus add_twins(const Planner *p) {
    PareExport *e = p->e;
    char name[NAME_SIZE];
    PareStatus st = PARE_OK;
    size_t count = e->count;
    for (size_t i = 0; i < count && e->options.format == PARE_SAVE_PYTORCH && !st; i++) {
        const PareSlot *s = e->items[i].parts[0];
        for (const PareRule *r = e->theirs.family->rules; r->slot && !st; r++) {
            PareExportItem *twin;
            if (!(r->flags & PARE_RULE_TWIN) || !pare_rule_applies(r, &e->theirs) ||
                !pare_rule_tensor_name(e->theirs.family, r, s->name, p->prefixed, name,
                                       sizeof name) ||
                find_item(e, name))
                continue;
            st = add_item(p, name, &twin);
            if (st)
                break;
            char *own = twin->name;
            size_t root = e->tensors[i].same_as == SIZE_MAX ? i : e->tensors[i].same_as;
            *twin = e->items[i];
            twin->name = own;
            e->tensors[e->count - 1] = e->tensors[i];
            e->tensors[e->count - 1].name = own;
            e->tensors[e->count - 1].same_as = root;
        }
    }
    return st;
}

/* TensorFlow has no variable at all for what is tied, whichever way round it would lie. */
static bool tied_away(PareExport *e, const char *slot) {
    bool active = false;
    const PareTie *tie = pare_family_tie(&e->theirs, slot, &active);
    if (e->options.format != PARE_SAVE_HDF5 || !tie || !active || !same_blob(e, slot, tie->target))
        return false;
    return find_slot_item(e, tie->target) != NULL || tied_away(e, tie->target);
}

/* ---- All of it ---- */

/* Part `number` of a tensor: the parts come in their order, all of them. */
static PareStatus add_part(const Planner *p, const PareSlot *s, const PareRule *r,
                           const char *name) {
    PareExportItem *item = r->parts > 1 ? find_item(p->e, name) : NULL;
    PareStatus st = item ? PARE_OK : add_item(p, name, &item);
    if (st)
        return st;
    if (item->part_count != (r->parts > 1 ? r->part : 0) || item->part_count == PARE_EXPORT_PARTS)
        return incomplete(p, name);
    item->rule = r;
    item->parts[item->part_count++] = s;
    return PARE_OK;
}

static PareStatus add_slot(const Planner *p, const PareSlot *s) {
    char name[NAME_SIZE];
    bool computed = false, active = false;
    if (tied_away(p->e, s->name))
        return PARE_OK;
    const PareRule *r = find_rule(p, s, name);
    if (!r) {
        if (pare_family_tie(&p->e->theirs, s->name, &active) && active)
            return PARE_OK; /* the framework has no tensor for it: the target's serves */
        return pare_error_set(p->err, PARE_E_UNSUPPORTED,
                              "%s: tensor \"%s\" has no name in a checkpoint of %s",
                              p->e->options.model, s->name, p->e->theirs.architecture->name);
    }
    if (r->flags & PARE_RULE_COMPUTED) {
        PareStatus st = pare_export_is_computed(p->e, s, &computed, p->err);
        if (st || computed)
            return st; /* the framework computes it as well, and does not save it */
    }
    return add_part(p, s, r, name);
}

static PareStatus check_precision(const Planner *p) {
    const PareFile *f = pare_model_file(p->e->model);
    size_t count = 0;
    for (size_t i = 0; i < pare_file_count(f); i++)
        count += pare_file_tensor(f, i)->dtype == PARE_I8;
    if (!count || p->e->options.dequantize)
        return PARE_OK;
    return pare_error_set(p->err, PARE_E_UNSUPPORTED,
                          "%s: %zu tensor%s INT8, which a checkpoint has no place for; "
                          "--dequantize writes the values as floating-point numbers",
                          p->e->options.model, count, count == 1 ? " is" : "s are");
}

PareStatus pare_export_plan(PareExport *e, PareError *err) {
    Planner p = {e, err, e->theirs.description.head.kind != PARE_HEAD_NONE};
    PareStatus st = check_precision(&p);
    if (!st)
        st = pare_slots_list(&e->theirs.description, e->arena, &e->slots, err);
    if (st)
        return st;
    e->capacity = 2 * e->slots.count; /* room for a twin of each */
    e->items = pare_arena_alloc(e->arena, e->capacity, sizeof *e->items);
    e->tensors = pare_arena_alloc(e->arena, e->capacity, sizeof *e->tensors);
    if (!e->items || !e->tensors)
        return pare_memory_error(err, "the list of tensors");
    for (size_t i = 0; i < e->slots.count && !st; i++)
        st = add_slot(&p, &e->slots.items[i]);
    for (size_t i = 0; i < e->count && !st; i++)
        st = finish_item(&p, i);
    for (size_t i = 0; i < e->count && !st; i++)
        tie_item(&p, i);
    return st ? st : add_twins(&p);
}
