/* All tensors of a checkpoint: their names, which of them are the same, and their elements. */
#include "formats/torch_tensors.h"

#include <stdlib.h>
#include <string.h>

#include "core/buffer.h"
#include "formats/torch_tensors_impl.h"

enum {
    MODULES_MAX = 64, /* nested TorchScript modules */
    WARNINGS_MAX = 16
};

typedef struct {
    PareTorchBuilder one; /* the tensor that is read */
    PareTorchView *views;
    size_t capacity, steps;
    PareBuffer warnings;
    size_t warned;
    char path[PARE_NAME_MAX + 1]; /* of the TorchScript module, with its last dot */
} Builder;

/* ---- Reading them ---- */

static PareStatus make_room(Builder *b) {
    PareCheckpoint *c = b->one.c;
    if (c->count < b->capacity)
        return PARE_OK;
    if (c->count == PARE_TENSORS_MAX)
        return pare_error_set(b->one.err, PARE_E_FORMAT, "%s: more than %zu tensors", c->path,
                              PARE_TENSORS_MAX);
    size_t capacity = b->capacity == 0 ? 64 : b->capacity * 2;
    PareCheckpointTensor *tensors = pare_arena_alloc(c->arena, capacity, sizeof *tensors);
    PareTorchView *views = pare_arena_alloc(c->arena, capacity, sizeof *views);
    if (tensors == NULL || views == NULL)
        return pare_memory_error(b->one.err, c->path);
    if (c->count > 0) {
        memcpy(tensors, c->tensors, c->count * sizeof *tensors);
        memcpy(views, b->views, c->count * sizeof *views);
    }
    c->tensors = tensors;
    b->views = views;
    b->capacity = capacity;
    return PARE_OK;
}

/* The name of an entry, with the module's path in front. */
static PareStatus make_name(Builder *b, const ParePickle *key, const char **out) {
    PareCheckpoint *c = b->one.c;
    char shown[80];
    size_t path = strlen(b->path);
    bool is_text = key->kind == PARE_PICKLE_TEXT;
    const char *bad = is_text ? pare_name_fault(key->text, key->size) : "is not a text";
    if (bad == NULL && path + key->size > PARE_NAME_MAX)
        bad = "is longer than 255 bytes with the names of its modules";
    if (bad != NULL)
        return pare_error_set(b->one.err, PARE_E_FORMAT, "%s: the tensor name '%s%s' %s", c->path,
                              b->path,
                              is_text ? pare_name_show(key->text, key->size, shown, sizeof shown)
                                      : pare_pickle_kind_name(key),
                              bad);
    char *name = pare_arena_alloc(c->arena, path + key->size + 1, 1);
    if (name == NULL)
        return pare_memory_error(b->one.err, c->path);
    memcpy(name, b->path, path);
    memcpy(name + path, key->text, key->size);
    *out = name;
    return PARE_OK;
}

static PareStatus add_tensor(Builder *b, const ParePickle *key, const ParePickle *value) {
    PareCheckpoint *c = b->one.c;
    PareStatus status = make_room(b);
    if (status != PARE_OK)
        return status;
    PareCheckpointTensor *t = &c->tensors[c->count];
    status = make_name(b, key, &t->name);
    if (status != PARE_OK)
        return status;
    b->one.name = t->name;
    status = pare_torch_read_tensor(&b->one, value, t, &b->views[c->count]);
    if (status == PARE_OK)
        c->count++;
    return status;
}

/* Tensors inside of something that is no tensor are not read, and that is said. */
static void warn(Builder *b, const ParePickle *key, const ParePickle *value) {
    char shown[80];
    if (!pare_torch_holds_tensor(value, &b->steps) || b->warned++ >= WARNINGS_MAX)
        return;
    pare_buffer_printf(
        &b->warnings, "'%s%s' is %s with tensors inside, which are not read\n", b->path,
        key->kind == PARE_PICKLE_TEXT ? pare_name_show(key->text, key->size, shown, sizeof shown)
                                      : pare_pickle_kind_name(key),
        pare_pickle_kind_name(value));
}

static PareStatus add_entries(Builder *b, const ParePickle *dict, int depth);

/* A TorchScript module inside of another: its name and a dot go before those of its tensors. */
static PareStatus add_module(Builder *b, const ParePickle *key, const ParePickle *attributes,
                             int depth) {
    size_t path = strlen(b->path);
    if (depth == MODULES_MAX)
        return pare_error_set(b->one.err, PARE_E_FORMAT, "%s: more than %d nested modules",
                              b->one.c->path, MODULES_MAX);
    if (key->kind != PARE_PICKLE_TEXT || pare_name_fault(key->text, key->size) != NULL ||
        path + key->size + 1 > PARE_NAME_MAX)
        return pare_error_set(b->one.err, PARE_E_FORMAT,
                              "%s: a module in '%s' has no name that is a short text",
                              b->one.c->path, b->path);
    memcpy(b->path + path, key->text, key->size);
    memcpy(b->path + path + key->size, ".", 2);
    PareStatus status = add_entries(b, attributes, depth + 1);
    b->path[path] = '\0';
    return status;
}

/* Numbers, texts and None beside the tensors (an epoch, a version) are no weights. */
static PareStatus add_entries(Builder *b, const ParePickle *dict, int depth) {
    PareStatus status = PARE_OK;
    for (uint32_t i = 0; i + 1 < dict->size && status == PARE_OK; i += 2) {
        const ParePickle *key = dict->items[i], *value = dict->items[i + 1];
        const ParePickle *attributes = pare_torch_script_attributes(value);
        if (pare_torch_is_tensor(value))
            status = add_tensor(b, key, value);
        else if (attributes != NULL)
            status = add_module(b, key, attributes, depth);
        else
            warn(b, key, value);
        if (b->steps == 0 || --b->steps == 0)
            return pare_error_set(b->one.err, PARE_E_FORMAT,
                                  "%s: its objects are nested as no checkpoint's are",
                                  b->one.c->path);
    }
    return status;
}

static PareStatus finish_warnings(Builder *b) {
    PareCheckpoint *c = b->one.c;
    if (b->warned > WARNINGS_MAX)
        pare_buffer_printf(&b->warnings, "so are %zu more\n", b->warned - WARNINGS_MAX);
    PareStatus status = pare_buffer_ok(&b->warnings, c->path, b->one.err);
    if (status == PARE_OK && b->warnings.size > 0) {
        c->warnings = pare_arena_strdup(c->arena, b->warnings.data);
        if (c->warnings == NULL)
            status = pare_memory_error(b->one.err, c->path);
    }
    return status;
}

/* ---- Prefixes of wrappers ---- */

static bool strip(PareCheckpoint *c, const char *prefix) {
    size_t length = strlen(prefix);
    for (size_t i = 0; i < c->count; i++)
        if (strncmp(c->tensors[i].name, prefix, length) != 0 || c->tensors[i].name[length] == '\0')
            return false;
    for (size_t i = 0; i < c->count; i++)
        c->tensors[i].name += length;
    return c->count > 0;
}

/* DataParallel and torch.compile put theirs before every name, in any order; so does a
 * LightningModule whose one attribute is the model. */
static void strip_prefixes(PareCheckpoint *c, bool is_lightning) {
    while (strip(c, "module.") || strip(c, "_orig_mod."))
        ;
    if (is_lightning && strip(c, "model."))
        strip_prefixes(c, false);
}

/* ---- Tied tensors ---- */

typedef struct {
    const PareCheckpointTensor *tensor;
    const PareTorchView *view;
} Viewed;

static int compare_u64(uint64_t a, uint64_t b) {
    return a < b ? -1 : a > b;
}

static int compare_views(const Viewed *a, const Viewed *b) {
    const PareTensorType *s = &a->tensor->type, *t = &b->tensor->type;
    int order = compare_u64(a->view->record, b->view->record);
    if (order == 0)
        order = compare_u64(a->view->offset, b->view->offset);
    if (order == 0)
        order = compare_u64(s->dtype, t->dtype);
    if (order == 0)
        order = compare_u64(s->dims, t->dims);
    if (order == 0)
        order = memcmp(s->shape, t->shape, sizeof s->shape);
    if (order == 0)
        order = memcmp(a->view->strides, b->view->strides, sizeof a->view->strides);
    return order;
}

/* Equal views come to lie together, in the order of the file. */
static int compare_viewed(const void *a, const void *b) {
    const Viewed *x = a, *y = b;
    int order = compare_views(x, y);
    return order != 0 ? order : (x->tensor < y->tensor ? -1 : x->tensor > y->tensor);
}

/* Two quantized tensors may see the same elements with different scales: they are left alone. */
static bool can_be_tied(const PareCheckpointTensor *t, const PareTorchView *view) {
    size_t elements = 0;
    return t->type.dtype != PARE_DTYPE_COUNT && view->quantizer == NULL &&
           pare_tensor_elements(&t->type, &elements) && elements > 0;
}

static PareStatus set_view_ids(PareCheckpoint *c, const PareTorchView *views, PareError *err) {
    size_t count = 0;
    Viewed *sorted = pare_alloc(c->count, sizeof *sorted);
    if (sorted == NULL)
        return pare_memory_error(err, c->path);
    for (size_t i = 0; i < c->count; i++)
        if (can_be_tied(&c->tensors[i], &views[i]))
            sorted[count++] = (Viewed){&c->tensors[i], &views[i]};
    if (count > 0)
        qsort(sorted, count, sizeof *sorted, compare_viewed);
    for (size_t i = 0; i < count; i++) {
        size_t index = (size_t)(sorted[i].tensor - c->tensors);
        bool same = i > 0 && compare_views(&sorted[i - 1], &sorted[i]) == 0;
        c->tensors[index].view_id = same ? sorted[i - 1].tensor->view_id : index + 1;
    }
    pare_free(sorted);
    return PARE_OK;
}

/* ---- All of it ---- */

PareStatus pare_torch_tensors_build(PareCheckpoint *c, const ParePickle *root,
                                    PareTorchTensors *out, PareError *err) {
    Builder b = {.one = {c, &out->storages, "", err}, .steps = PARE_TORCH_STEPS};
    const ParePickle *place = NULL;
    bool is_lightning = false;
    PareStatus status = pare_torch_find_root(c, root, &place, &is_lightning, err);
    if (status != PARE_OK)
        return status;
    const ParePickle *attributes = pare_torch_script_attributes(place);
    status = add_entries(&b, attributes != NULL ? attributes : place, 0);
    if (status == PARE_OK)
        status = finish_warnings(&b);
    pare_buffer_free(&b.warnings);
    if (status != PARE_OK)
        return status;
    if (c->count == 0)
        return pare_error_set(err, PARE_E_FORMAT, "%s: the %s holds no tensors", c->path,
                              attributes != NULL ? "TorchScript module" : "state dict");
    strip_prefixes(c, is_lightning);
    out->views = b.views;
    return set_view_ids(c, b.views, err);
}

PareStatus pare_torch_tensors_view(PareCheckpoint *c, PareTorchTensors *t, size_t index,
                                   PareTensorView *out, PareError *err) {
    const PareTorchView *view = &t->views[index];
    const PareCheckpointTensor *tensor = &c->tensors[index];
    const uint8_t *bytes;
    PareStatus status;
    if (tensor->type.dtype == PARE_DTYPE_COUNT)
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "%s: tensor '%s' has dtype %s, which this version does not read",
                              c->path, tensor->name, tensor->foreign_dtype);
    if (view->quantizer != NULL) {
        status = pare_torch_dequantize(c, t, index, err);
        out->data = (const uint8_t *)t->dequantized;
        pare_view_set_contiguous(out, &tensor->type);
        return status;
    }
    status = t->storages.fetch(c, view->record, &bytes, err);
    if (status != PARE_OK)
        return status;
    out->data = bytes + view->offset;
    memcpy(out->strides, view->strides, sizeof out->strides);
    return PARE_OK;
}

void pare_torch_tensors_free(PareTorchTensors *t) {
    pare_free(t->dequantized);
    t->dequantized = NULL;
}
