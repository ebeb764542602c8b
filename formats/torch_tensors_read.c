/* One tensor: from the call that would rebuild it in Python to where its elements lie. */
#include <string.h>

#include "formats/torch_tensors_impl.h"

/* A tensor that shows its storage's elements several times (expand) is read as if all were there.
 * More elements than this are no model's, unless the storage has them too. */
#define EXPANDED_MAX ((size_t)1 << 28)

PareStatus pare_torch_fault(const PareTorchBuilder *b, const char *what) {
    return pare_error_set(b->err, PARE_E_FORMAT, "%s: tensor '%s' %s", b->c->path, b->name, what);
}

static PareStatus fault_form(const PareTorchBuilder *b) {
    return pare_torch_fault(b, "is not rebuilt as torch.save writes it");
}

/* A tuple (or torch.Size, or list) of at most PARE_MAX_DIMS non-negative integers. */
static bool read_sizes(const ParePickle *v, uint64_t out[PARE_MAX_DIMS], uint32_t *count) {
    if (pare_torch_is_call(v, PARE_TORCH_SIZE) && v->items[1]->size == 1)
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

/* ---- Storages ---- */

typedef struct {
    const PareTorchDtype *dtype; /* NULL: untyped, the tensor says what the elements are */
    uint32_t record;
    uint64_t offset, bytes; /* inside the record; `bytes` as declared, and they are there */
} Storage;

static const char *dtype_name(const PareTorchDtype *d) {
    return d == NULL ? "bytes" : d->dtype == PARE_DTYPE_COUNT ? d->name : pare_dtype_name(d->dtype);
}

/* A storage's key as text of its own; false when it is none or too long. */
static bool read_key(const ParePickle *v, char *out, size_t size) {
    if (v->kind != PARE_PICKLE_TEXT || v->size >= size || memchr(v->text, 0, v->size) != NULL)
        return false;
    memcpy(out, v->text, v->size);
    out[v->size] = '\0';
    return true;
}

/* Before 0.4, a storage could be a view of another: (key, first element, elements). */
static PareStatus apply_view(const PareTorchBuilder *b, const ParePickle *v, Storage *s) {
    uint64_t size = s->dtype == NULL ? 1 : s->dtype->size, elements = s->bytes / size;
    if (v->kind == PARE_PICKLE_NONE)
        return PARE_OK;
    if (v->kind != PARE_PICKLE_TUPLE || v->size != 3 || v->items[1]->kind != PARE_PICKLE_INT ||
        v->items[2]->kind != PARE_PICKLE_INT || v->items[1]->integer < 0 ||
        v->items[2]->integer < 0)
        return pare_torch_fault(b, "has a view of a storage that is not (key, offset, size)");
    uint64_t offset = (uint64_t)v->items[1]->integer, count = (uint64_t)v->items[2]->integer;
    if (offset > elements || count > elements - offset)
        return pare_error_set(
            b->err, PARE_E_FORMAT,
            "%s: tensor '%s' has a view of elements %llu to %llu of a storage of %llu", b->c->path,
            b->name, (unsigned long long)offset, (unsigned long long)(offset + count),
            (unsigned long long)elements);
    s->offset = offset * size;
    s->bytes = count * size;
    return PARE_OK;
}

/* ('storage', type, key, location, elements), and the view of old streams as the sixth. */
static PareStatus read_storage(const PareTorchBuilder *b, const ParePickle *v, Storage *out) {
    const ParePickle *id = v->kind == PARE_PICKLE_PERSISTENT ? v->items[0] : v;
    char key[64], shown[80];
    uint64_t available = 0;
    if (v->kind != PARE_PICKLE_PERSISTENT || id->kind != PARE_PICKLE_TUPLE || id->size < 5 ||
        id->size > 6 || !pare_pickle_text_is(id->items[0], "storage") ||
        id->items[4]->kind != PARE_PICKLE_INT || id->items[4]->integer < 0)
        return pare_torch_fault(b, "has no storage of the kind that torch.save writes");
    *out = (Storage){.dtype = pare_torch_dtype(id->items[1], PARE_TORCH_STORAGE)};
    if (out->dtype == NULL && !pare_torch_is_global(id->items[1], PARE_TORCH_UNTYPED))
        return pare_torch_fault(b, "has a storage of an unknown type");
    if (!read_key(id->items[2], key, sizeof key))
        return pare_torch_fault(b, "has a storage whose key is no short text");
    pare_name_show(key, strlen(key), shown, sizeof shown);
    if (!b->storages->find(b->storages->container, key, &out->record, &available))
        return pare_error_set(b->err, PARE_E_FORMAT,
                              "%s: tensor '%s': the file has no storage '%s'", b->c->path, b->name,
                              shown);
    uint64_t elements = (uint64_t)id->items[4]->integer;
    uint64_t size = out->dtype == NULL ? 1 : out->dtype->size;
    if (elements > available / size)
        return pare_error_set(b->err, PARE_E_FORMAT,
                              "%s: tensor '%s': the storage '%s' has %llu bytes; %llu elements of "
                              "%s were expected",
                              b->c->path, b->name, shown, (unsigned long long)available,
                              (unsigned long long)elements, dtype_name(out->dtype));
    out->bytes = elements * size;
    return id->size == 6 ? apply_view(b, id->items[5], out) : PARE_OK;
}

/* ---- Views ---- */

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

static PareStatus check_view(const PareTorchBuilder *b, const PareTensorType *type,
                             const PareTorchView *view, uint64_t offset, uint64_t available) {
    size_t elements, bytes;
    char shape[128];
    if (!pare_tensor_elements(type, &elements) || !pare_size_mul(elements, 8, &bytes) ||
        bytes > PTRDIFF_MAX)
        return pare_torch_fault(b, "is larger than memory can be");
    if (!inside(type, view->strides, offset, available))
        return pare_error_set(
            b->err, PARE_E_FORMAT,
            "%s: tensor '%s' of shape %s at element %llu does not fit into its storage of %llu "
            "elements",
            b->c->path, b->name, pare_tensor_shape_text(type, shape, sizeof shape),
            (unsigned long long)offset, (unsigned long long)available);
    if (elements > EXPANDED_MAX && elements > available)
        return pare_error_set(b->err, PARE_E_FORMAT,
                              "%s: tensor '%s' of shape %s expands %llu elements beyond %zu, which "
                              "no checkpoint needs",
                              b->c->path, b->name,
                              pare_tensor_shape_text(type, shape, sizeof shape),
                              (unsigned long long)available, EXPANDED_MAX);
    return PARE_OK;
}

/* Arguments that all of the functions have: storage, offset, sizes, strides. `dtype` is what the
 * elements are if not what the storage says. */
static PareStatus read_view(const PareTorchBuilder *b, const ParePickle *a,
                            const PareTorchDtype **dtype, PareTensorType *type,
                            PareTorchView *view) {
    uint32_t strides = 0;
    Storage storage;
    if (a->items[1]->kind != PARE_PICKLE_INT || a->items[1]->integer < 0)
        return fault_form(b);
    if (!read_sizes(a->items[2], type->shape, &type->dims) ||
        !read_sizes(a->items[3], view->strides, &strides) || strides != type->dims)
        return pare_torch_fault(
            b, "has sizes or strides that are not up to eight non-negative integers");
    PareStatus status = read_storage(b, a->items[0], &storage);
    if (status != PARE_OK)
        return status;
    *dtype = *dtype != NULL ? *dtype : storage.dtype;
    if (*dtype == NULL)
        return pare_torch_fault(b, "does not say what its elements are");
    type->dtype = (*dtype)->dtype;
    uint64_t offset = (uint64_t)a->items[1]->integer, size = (*dtype)->size;
    status = check_view(b, type, view, offset, storage.bytes / size);
    if (status != PARE_OK)
        return status;
    view->record = storage.record;
    view->offset = storage.offset;
    for (uint32_t d = 0; d < type->dims; d++)
        if (type->shape[d] == 0) /* without elements any offset was allowed */
            return PARE_OK;
    view->offset += offset * size;
    return PARE_OK;
}

/* ---- The functions ---- */

/* Signs that PyTorch keeps beside the elements of some views. */
static bool is_negated(const ParePickle *metadata) {
    for (uint32_t i = 0; metadata->kind == PARE_PICKLE_DICT && i + 1 < metadata->size; i += 2) {
        const ParePickle *value = metadata->items[i + 1];
        if ((pare_pickle_text_is(metadata->items[i], "neg") ||
             pare_pickle_text_is(metadata->items[i], "conj")) &&
            value->kind == PARE_PICKLE_BOOL && value->integer != 0)
            return true;
    }
    return false;
}

static void make_foreign(PareCheckpointTensor *t, PareTorchView *view, const char *name) {
    t->type.dtype = PARE_DTYPE_COUNT;
    t->foreign_dtype = name;
    view->record = UINT32_MAX;
}

/* (storage, offset, sizes, strides[, requires_grad, hooks[, metadata]]), and for the third version
 * (…, requires_grad, hooks, dtype[, metadata]). */
static PareStatus read_rebuild(const PareTorchBuilder *b, int code, const ParePickle *a,
                               PareCheckpointTensor *t, PareTorchView *view) {
    uint32_t needed = code == PARE_TORCH_REBUILD ? 4 : code == PARE_TORCH_REBUILD_V2 ? 6 : 7;
    const PareTorchDtype *dtype = NULL;
    if (a->size < needed || a->size > needed + 1)
        return fault_form(b);
    if (code == PARE_TORCH_REBUILD_V3) {
        dtype = pare_torch_dtype(a->items[6], PARE_TORCH_DTYPE);
        if (dtype == NULL)
            return pare_torch_fault(b, "does not say what its elements are");
    }
    PareStatus status = read_view(b, a, &dtype, &t->type, view);
    if (status != PARE_OK)
        return status;
    if (dtype->dtype == PARE_DTYPE_COUNT || dtype->quantized)
        make_foreign(t, view, dtype->name);
    else if (code != PARE_TORCH_REBUILD && a->size > needed && is_negated(a->items[needed]))
        make_foreign(t, view, "a view with changed signs");
    return PARE_OK;
}

/* (storage, offset, sizes, strides, quantizer, requires_grad, hooks[, metadata]). */
static PareStatus read_quantized(const PareTorchBuilder *b, const ParePickle *a,
                                 PareCheckpointTensor *t, PareTorchView *view) {
    const PareTorchDtype *dtype = NULL;
    if (a->size < 7 || a->size > 8)
        return fault_form(b);
    PareStatus status = read_view(b, a, &dtype, &t->type, view);
    if (status != PARE_OK)
        return status;
    if (!dtype->quantized)
        return pare_torch_fault(b, "is quantized but its storage is not");
    if (dtype->dtype == PARE_DTYPE_COUNT) { /* several elements in a byte */
        make_foreign(t, view, dtype->name);
        return PARE_OK;
    }
    PareTorchQuantizer *q = pare_arena_alloc(b->c->arena, 1, sizeof *q);
    if (q == NULL)
        return pare_memory_error(b->err, b->c->path);
    q->stored = dtype;
    view->quantizer = q;
    t->type.dtype = PARE_F32;
    return pare_torch_read_quantizer(b, a->items[4], &t->type, q);
}

/* (layout, (…, size)): listed with its shape. */
static PareStatus read_sparse(const PareTorchBuilder *b, const ParePickle *a,
                              PareCheckpointTensor *t, PareTorchView *view) {
    const ParePickle *data = a->size == 2 ? a->items[1] : NULL;
    bool found = false;
    if (data == NULL || data->kind != PARE_PICKLE_TUPLE)
        return fault_form(b);
    for (uint32_t i = 0; i < data->size && !found; i++)
        found = read_sizes(data->items[i], t->type.shape, &t->type.dims);
    if (!found)
        return fault_form(b);
    make_foreign(t, view, "sparse");
    return PARE_OK;
}

/* (dtype, size, strides, requires_grad): a shape without elements. */
static PareStatus read_meta(const PareTorchBuilder *b, const ParePickle *a, PareCheckpointTensor *t,
                            PareTorchView *view) {
    if (a->size != 4 || !read_sizes(a->items[1], t->type.shape, &t->type.dims))
        return fault_form(b);
    make_foreign(t, view, "meta");
    return PARE_OK;
}

/* Through parameters and subclasses to the function that makes the tensor and its arguments. */
static bool unwrap(const ParePickle *v, int *code, const ParePickle **arguments) {
    enum { WRAPPERS = 4 };
    for (int i = 0; i < WRAPPERS; i++) {
        if (v->kind != PARE_PICKLE_CALL)
            return false;
        *code = v->items[0]->global->code;
        *arguments = v->items[1];
        if (*code == PARE_TORCH_FROM_TYPE) {
            const ParePickle *a = v->items[1];
            if (a->size != 4 || a->items[0]->kind != PARE_PICKLE_GLOBAL ||
                a->items[2]->kind != PARE_PICKLE_TUPLE)
                return false;
            *code = a->items[0]->global->code;
            *arguments = a->items[2];
        }
        if (*code != PARE_TORCH_PARAMETER)
            return true;
        if ((*arguments)->size == 0)
            return false;
        v = (*arguments)->items[0];
    }
    return false;
}

bool pare_torch_is_tensor(const ParePickle *v) {
    if (v->kind != PARE_PICKLE_CALL)
        return false;
    int code = v->items[0]->global->code;
    return code >= PARE_TORCH_REBUILD && code <= PARE_TORCH_FROM_TYPE;
}

PareStatus pare_torch_read_tensor(const PareTorchBuilder *b, const ParePickle *v,
                                  PareCheckpointTensor *t, PareTorchView *view) {
    const ParePickle *a;
    int code;
    if (!unwrap(v, &code, &a))
        return fault_form(b);
    switch (code) {
    case PARE_TORCH_REBUILD:
    case PARE_TORCH_REBUILD_V2:
    case PARE_TORCH_REBUILD_V3:
        return read_rebuild(b, code, a, t, view);
    case PARE_TORCH_REBUILD_QUANTIZED:
        return read_quantized(b, a, t, view);
    case PARE_TORCH_REBUILD_SPARSE:
        return read_sparse(b, a, t, view);
    case PARE_TORCH_REBUILD_META:
        return read_meta(b, a, t, view);
    case PARE_TORCH_REBUILD_NUMPY:
        return pare_error_set(b->err, PARE_E_UNSUPPORTED,
                              "%s: tensor '%s' was saved from another device as a NumPy array; "
                              "move the model to the CPU in Python and save it again",
                              b->c->path, b->name);
    default:
        return fault_form(b);
    }
}
