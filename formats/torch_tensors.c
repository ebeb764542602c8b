/* From a pickled state dict to tensors: see torch_tensors.h. */
#include "formats/torch_tensors.h"

#include <stdlib.h>
#include <string.h>

/* Codes of the allow-list; storages and dtypes carry DTYPE + their PareDtype. */
enum {
    CODE_ORDERED_DICT,
    CODE_REBUILD,
    CODE_REBUILD_V2,
    CODE_REBUILD_V3,
    CODE_PARAMETER,
    CODE_UNTYPED,
    CODE_TYPED,
    CODE_SIZE,
    CODE_DEVICE,
    CODE_STORAGE = 100,
    CODE_DTYPE = 200
};

static const ParePickleGlobal globals[] = {
    {"collections", "OrderedDict", CODE_ORDERED_DICT, true},
    {"torch._utils", "_rebuild_tensor", CODE_REBUILD, false},
    {"torch._utils", "_rebuild_tensor_v2", CODE_REBUILD_V2, false},
    {"torch._utils", "_rebuild_tensor_v3", CODE_REBUILD_V3, false},
    {"torch._utils", "_rebuild_parameter", CODE_PARAMETER, false},
    {"torch", "FloatStorage", CODE_STORAGE + PARE_F32, false},
    {"torch", "DoubleStorage", CODE_STORAGE + PARE_F64, false},
    {"torch", "HalfStorage", CODE_STORAGE + PARE_F16, false},
    {"torch", "BFloat16Storage", CODE_STORAGE + PARE_BF16, false},
    {"torch", "LongStorage", CODE_STORAGE + PARE_I64, false},
    {"torch", "IntStorage", CODE_STORAGE + PARE_I32, false},
    {"torch", "ShortStorage", CODE_STORAGE + PARE_I16, false},
    {"torch", "CharStorage", CODE_STORAGE + PARE_I8, false},
    {"torch", "ByteStorage", CODE_STORAGE + PARE_U8, false},
    {"torch", "BoolStorage", CODE_STORAGE + PARE_BOOL, false},
    {"torch.storage", "UntypedStorage", CODE_UNTYPED, false},
    {"torch.storage", "TypedStorage", CODE_TYPED, false},
    {"torch", "Size", CODE_SIZE, false},
    {"torch", "device", CODE_DEVICE, false},
    {"torch", "float32", CODE_DTYPE + PARE_F32, false},
    {"torch", "float64", CODE_DTYPE + PARE_F64, false},
    {"torch", "float16", CODE_DTYPE + PARE_F16, false},
    {"torch", "bfloat16", CODE_DTYPE + PARE_BF16, false},
    {"torch", "int64", CODE_DTYPE + PARE_I64, false},
    {"torch", "int32", CODE_DTYPE + PARE_I32, false},
    {"torch", "int16", CODE_DTYPE + PARE_I16, false},
    {"torch", "int8", CODE_DTYPE + PARE_I8, false},
    {"torch", "uint8", CODE_DTYPE + PARE_U8, false},
    {"torch", "bool", CODE_DTYPE + PARE_BOOL, false},
};

const ParePickleAllowList pare_torch_allow_list = {globals, sizeof globals / sizeof *globals, NULL};

/* What is needed while one tensor is built. */
typedef struct {
    PareCheckpoint *c;
    const PareTorchStorages *storages;
    const char *name; /* of the tensor */
    PareError *err;
} Builder;

static PareStatus fault(const Builder *b, const char *what) {
    return pare_error_set(b->err, PARE_E_FORMAT, "%s: tensor '%s' %s", b->c->path, b->name, what);
}

static bool is_code(const ParePickle *v, int code) {
    return v->kind == PARE_PICKLE_GLOBAL && v->global->code == code;
}

static bool is_call(const ParePickle *v) {
    return v->kind == PARE_PICKLE_CALL;
}

/* The dtype that a global of one of the two blocks of codes stands for. */
static bool dtype_of(const ParePickle *v, int block, PareDtype *out) {
    if (v->kind != PARE_PICKLE_GLOBAL || v->global->code < block ||
        v->global->code >= block + PARE_DTYPE_COUNT)
        return false;
    *out = (PareDtype)(v->global->code - block);
    return true;
}

/* A tuple (or torch.Size, or list) of at most PARE_MAX_DIMS non-negative integers. */
static bool read_sizes(const ParePickle *v, uint64_t out[PARE_MAX_DIMS], uint32_t *count) {
    if (is_call(v) && is_code(v->items[0], CODE_SIZE) && v->items[1]->size == 1)
        v = v->items[1]->items[0];
    if ((v->kind != PARE_PICKLE_TUPLE && v->kind != PARE_PICKLE_LIST) || v->size > PARE_MAX_DIMS)
        return false;
    for (uint32_t i = 0; i < v->size; i++) {
        if (v->items[i]->kind != PARE_PICKLE_INT || v->items[i]->integer < 0)
            return false;
        out[i] = (uint64_t)v->items[i]->integer;
    }
    *count = v->size;
    return true;
}

/* ('storage', type, key, location, elements), as torch.save's persistent_id makes it. */
typedef struct {
    bool untyped; /* elements are bytes, the tensor says what they are */
    PareDtype dtype;
    uint32_t record;
    uint64_t bytes; /* as declared; the record has at least as many */
} Storage;

static PareStatus read_storage(const Builder *b, const ParePickle *v, Storage *out) {
    const ParePickle *id = v->kind == PARE_PICKLE_PERSISTENT ? v->items[0] : v;
    char key[64];
    uint64_t available, elements;
    if (v->kind != PARE_PICKLE_PERSISTENT || id->kind != PARE_PICKLE_TUPLE || id->size != 5 ||
        !pare_pickle_text_is(id->items[0], "storage") || id->items[2]->kind != PARE_PICKLE_TEXT ||
        id->items[4]->kind != PARE_PICKLE_INT || id->items[4]->integer < 0)
        return fault(b, "has no storage of the kind that torch.save writes");
    out->untyped = is_code(id->items[1], CODE_UNTYPED);
    out->dtype = PARE_U8;
    if (!out->untyped && !dtype_of(id->items[1], CODE_STORAGE, &out->dtype))
        return fault(b, "has a storage of an unknown type");
    if (id->items[2]->size >= sizeof key || memchr(id->items[2]->text, 0, id->items[2]->size))
        return fault(b, "has a storage whose key is too long");
    memcpy(key, id->items[2]->text, id->items[2]->size);
    key[id->items[2]->size] = '\0';
    if (!b->storages->find(b->storages->container, key, &out->record, &available))
        return pare_error_set(b->err, PARE_E_FORMAT, "%s: tensor '%s': there is no record data/%s",
                              b->c->path, b->name, key);
    elements = (uint64_t)id->items[4]->integer;
    if (elements > available / pare_dtype_size(out->dtype))
        return pare_error_set(b->err, PARE_E_FORMAT,
                              "%s: tensor '%s': the record data/%s has %llu bytes; %llu elements "
                              "of %s were expected",
                              b->c->path, b->name, key, (unsigned long long)available,
                              (unsigned long long)elements, pare_dtype_name(out->dtype));
    out->bytes = elements * pare_dtype_size(out->dtype);
    return PARE_OK;
}

/* Whether every element lies inside `elements`, and no sum on the way overflows. */
static bool inside(const PareTensorType *type, const uint64_t *strides, uint64_t offset,
                   uint64_t elements) {
    uint64_t last = offset;
    for (uint32_t d = 0; d < type->dims; d++)
        if (type->shape[d] == 0)
            return true;
    for (uint32_t d = 0; d < type->dims; d++) {
        uint64_t steps = type->shape[d] - 1;
        if (strides[d] != 0 && steps > (UINT64_MAX - last) / strides[d])
            return false;
        last += steps * strides[d];
    }
    return last < elements;
}

/* The arguments of the _rebuild_tensor functions: storage, offset, sizes, strides[, requires_grad,
 * hooks[, metadata]], and for v3 requires_grad, hooks, dtype[, metadata]. */
static PareStatus read_rebuild(const Builder *b, const ParePickle *call, PareTensorType *type,
                               PareTorchView *view) {
    const ParePickle *a = call->items[1];
    int code = call->items[0]->global->code;
    uint32_t needed = code == CODE_REBUILD ? 4 : code == CODE_REBUILD_V2 ? 6 : 7;
    uint32_t strides = 0;
    size_t bytes;
    Storage storage;
    if (a->size < needed || a->size > needed + 1 || a->items[1]->kind != PARE_PICKLE_INT ||
        a->items[1]->integer < 0)
        return fault(b, "is not rebuilt as torch.save writes it");
    if (!read_sizes(a->items[2], type->shape, &type->dims) ||
        !read_sizes(a->items[3], view->strides, &strides) || strides != type->dims)
        return fault(b, "has sizes or strides that are not up to eight non-negative integers");
    PareStatus status = read_storage(b, a->items[0], &storage);
    if (status != PARE_OK)
        return status;
    type->dtype = storage.dtype;
    if (code == CODE_REBUILD_V3 ? !dtype_of(a->items[6], CODE_DTYPE, &type->dtype)
                                : storage.untyped)
        return fault(b, "does not say what its elements are");
    uint64_t offset = (uint64_t)a->items[1]->integer;
    size_t size = pare_dtype_size(type->dtype);
    if (!pare_tensor_bytes(type, &bytes) || bytes > PTRDIFF_MAX / 8)
        return fault(b, "is larger than memory can be");
    if (!inside(type, view->strides, offset, storage.bytes / size)) {
        char shape[128];
        return pare_error_set(
            b->err, PARE_E_FORMAT,
            "%s: tensor '%s' of shape %s at element %llu does not fit into its "
            "storage of %llu elements",
            b->c->path, b->name, pare_tensor_shape_text(type, shape, sizeof shape),
            (unsigned long long)offset, (unsigned long long)(storage.bytes / size));
    }
    view->record = storage.record;
    view->offset = bytes == 0 ? 0 : offset * size;
    return PARE_OK;
}

/* A tensor, or a parameter around one. */
static PareStatus read_tensor(const Builder *b, const ParePickle *v, PareTensorType *type,
                              PareTorchView *view) {
    if (is_call(v) && is_code(v->items[0], CODE_PARAMETER) && v->items[1]->size == 3)
        v = v->items[1]->items[0];
    if (is_call(v) &&
        (is_code(v->items[0], CODE_REBUILD) || is_code(v->items[0], CODE_REBUILD_V2) ||
         is_code(v->items[0], CODE_REBUILD_V3)))
        return read_rebuild(b, v, type, view);
    return pare_error_set(b->err, PARE_E_FORMAT, "%s: '%s' is %s, not a tensor", b->c->path,
                          b->name, pare_pickle_kind_name(v));
}

static const ParePickle *dict_get(const ParePickle *dict, const char *key) {
    for (uint32_t i = 0; i + 1 < dict->size; i += 2)
        if (pare_pickle_text_is(dict->items[i], key))
            return dict->items[i + 1];
    return NULL;
}

/* Training scripts wrap the state dict; the bound stops a dict that contains itself. */
static const ParePickle *find_state_dict(const ParePickle *root) {
    static const char *const keys[] = {"state_dict", "model_state_dict", "model"};
    for (int depth = 0; depth < 4; depth++) {
        const ParePickle *inner = NULL;
        for (size_t i = 0; i < 3 && inner == NULL && root->kind == PARE_PICKLE_DICT; i++) {
            inner = dict_get(root, keys[i]);
            if (inner != NULL && inner->kind != PARE_PICKLE_DICT)
                inner = NULL;
        }
        if (inner == NULL)
            break;
        root = inner;
    }
    return root;
}

/* Numbers, texts and None beside the tensors (an epoch, a version) are no weights. */
static bool is_plain(const ParePickle *v) {
    return v->kind <= PARE_PICKLE_BYTES;
}

static PareStatus read_entry(Builder *b, const ParePickle *key, const ParePickle *value,
                             PareCheckpointTensor *t, PareTorchView *view) {
    char shown[80];
    const char *bad =
        key->kind == PARE_PICKLE_TEXT ? pare_name_fault(key->text, key->size) : "is not a text";
    if (bad != NULL)
        return pare_error_set(b->err, PARE_E_FORMAT, "%s: the tensor name '%s' %s", b->c->path,
                              key->kind == PARE_PICKLE_TEXT
                                  ? pare_name_show(key->text, key->size, shown, sizeof shown)
                                  : pare_pickle_kind_name(key),
                              bad);
    t->name = pare_arena_strndup(b->c->arena, key->text, key->size);
    if (t->name == NULL)
        return pare_memory_error(b->err, b->c->path);
    b->name = t->name;
    return read_tensor(b, value, &t->type, view);
}

static void strip_prefix(PareCheckpoint *c) {
    static const char prefix[] = "module.";
    size_t length = sizeof prefix - 1;
    for (size_t i = 0; i < c->count; i++)
        if (strncmp(c->tensors[i].name, prefix, length) != 0 || c->tensors[i].name[length] == '\0')
            return;
    for (size_t i = 0; i < c->count; i++)
        c->tensors[i].name += length;
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

static PareStatus set_view_ids(PareCheckpoint *c, const PareTorchView *views, PareError *err) {
    Viewed *sorted = pare_alloc(c->count, sizeof *sorted);
    if (sorted == NULL)
        return pare_memory_error(err, c->path);
    for (size_t i = 0; i < c->count; i++)
        sorted[i] = (Viewed){&c->tensors[i], &views[i]};
    if (c->count > 0)
        qsort(sorted, c->count, sizeof *sorted, compare_viewed);
    for (size_t i = 0; i < c->count; i++) {
        size_t index = (size_t)(sorted[i].tensor - c->tensors), elements = 0;
        if (!pare_tensor_elements(&c->tensors[index].type, &elements) || elements == 0)
            continue;
        bool same = i > 0 && compare_views(&sorted[i - 1], &sorted[i]) == 0;
        c->tensors[index].view_id = same ? sorted[i - 1].tensor->view_id : index + 1;
    }
    pare_free(sorted);
    return PARE_OK;
}

PareStatus pare_torch_tensors_build(PareCheckpoint *c, const ParePickle *root,
                                    const PareTorchStorages *storages, PareTorchView **views,
                                    PareError *err) {
    Builder b = {c, storages, "", err};
    const ParePickle *dict = find_state_dict(root);
    if (dict->kind != PARE_PICKLE_DICT)
        return pare_error_set(err, PARE_E_FORMAT,
                              "%s: holds %s; a state dict (model.state_dict()) was expected",
                              c->path, pare_pickle_kind_name(dict));
    if (dict->size / 2 > PARE_TENSORS_MAX)
        return pare_error_set(err, PARE_E_FORMAT, "%s: more than %zu tensors", c->path,
                              PARE_TENSORS_MAX);
    c->tensors = pare_arena_alloc(c->arena, dict->size / 2, sizeof *c->tensors);
    *views = pare_arena_alloc(c->arena, dict->size / 2, sizeof **views);
    if (c->tensors == NULL || *views == NULL)
        return pare_memory_error(err, c->path);
    for (uint32_t i = 0; i + 1 < dict->size; i += 2) {
        if (is_plain(dict->items[i + 1]))
            continue;
        PareStatus status = read_entry(&b, dict->items[i], dict->items[i + 1],
                                       &c->tensors[c->count], &(*views)[c->count]);
        if (status != PARE_OK)
            return status;
        c->count++;
    }
    if (c->count == 0)
        return pare_error_set(err, PARE_E_FORMAT, "%s: the state dict holds no tensors", c->path);
    strip_prefix(c);
    return set_view_ids(c, *views, err);
}
