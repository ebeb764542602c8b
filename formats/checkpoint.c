/* Opening checkpoints whatever their container, looking tensors up, and gathering their elements.
 */
#include <string.h>

#include "formats/checkpoint_reader.h"
#include "formats/checkpoint_sniff.h"

/* ---- Opening ---- */

/* The weights file of a folder, in the order of preference. */
static const char *const wanted[] = {"model.safetensors", "pytorch_model.bin"};
/* What else a folder may hold, to say why it cannot be used. */
static const struct {
    const char *name, *what;
} unsupported[] = {
    {"model.safetensors.index.json", "a sharded safetensors checkpoint"},
    {"pytorch_model.bin.index.json", "a sharded PyTorch checkpoint"},
    {"tf_model.h5", "a TensorFlow checkpoint"},
    {"flax_model.msgpack", "a Flax checkpoint"},
    {"model.onnx", "an ONNX graph"},
};

/* Whether folder/name exists; its path goes to `*path` (pare_free) when it does. */
static PareStatus look_for(const char *folder, const char *name, char **path, PareError *err) {
    char *joined = pare_file_join(folder, name);
    *path = NULL;
    if (joined == NULL)
        return pare_memory_error(err, folder);
    if (pare_file_exists(joined))
        *path = joined;
    else
        pare_free(joined);
    return PARE_OK;
}

static PareStatus find_in_folder(const char *folder, char **out, PareError *err) {
    PareStatus status;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        status = look_for(folder, wanted[i], out, err);
        if (status != PARE_OK || *out != NULL)
            return status;
    }
    for (size_t i = 0; i < sizeof unsupported / sizeof *unsupported; i++) {
        char *path;
        status = look_for(folder, unsupported[i].name, &path, err);
        if (status != PARE_OK)
            return status;
        if (path == NULL)
            continue;
        pare_free(path);
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "%s: the folder holds %s (%s), which this version does not read; "
                              "save it as one model.safetensors or pytorch_model.bin",
                              folder, unsupported[i].what, unsupported[i].name);
    }
    return pare_error_set(err, PARE_E_IO,
                          "%s: the folder holds no checkpoint; looked for model.safetensors and "
                          "pytorch_model.bin",
                          folder);
}

static PareStatus open_container(PareCheckpoint *c, PareError *err) {
    const char *advice;
    switch (pare_content_sniff(&c->map, &advice)) {
    case PARE_CONTENT_ZIP:
        return pare_pytorch_zip_open(c, err);
    case PARE_CONTENT_SAFETENSORS:
        return pare_safetensors_open(c, err);
    default:
        return pare_error_set(err, PARE_E_FORMAT, "%s: %s", c->path, advice);
    }
}

static PareStatus index_names(PareCheckpoint *c, PareError *err) {
    for (size_t i = 0; i < c->count; i++)
        if (pare_name_index_add(&c->names, c->tensors[i].name, err) != PARE_OK)
            return pare_error_prefix(err, "%s", c->path);
    return PARE_OK;
}

PareStatus pare_checkpoint_open(const char *path, const char *root, PareCheckpoint **out,
                                PareError *err) {
    PareStatus status = PARE_OK;
    PareError own;
    *out = NULL;
    err = err == NULL ? &own : err; /* prefixes need the message */
    PareCheckpoint *c = pare_alloc(1, sizeof *c);
    if (c == NULL)
        return pare_memory_error(err, path);
    c->root = root;
    c->arena = pare_arena_create(0);
    if (pare_file_is_folder(path))
        status = find_in_folder(path, &c->path, err);
    else
        c->path = pare_strdup(path);
    if (status == PARE_OK && (c->arena == NULL || c->path == NULL))
        status = pare_memory_error(err, path);
    if (status == PARE_OK)
        status = pare_file_map(c->path, &c->map, err);
    if (status == PARE_OK)
        status = open_container(c, err);
    if (status == PARE_OK)
        status = index_names(c, err);
    if (status == PARE_OK)
        *out = c;
    else
        pare_checkpoint_close(c);
    return status;
}

void pare_checkpoint_close(PareCheckpoint *c) {
    if (c == NULL)
        return;
    if (c->reader != NULL && c->reader->close != NULL)
        c->reader->close(c);
    pare_name_index_free(&c->names);
    pare_file_unmap(&c->map);
    pare_arena_destroy(c->arena);
    pare_free(c->path);
    pare_free(c);
}

const char *pare_checkpoint_path(const PareCheckpoint *c) {
    return c->path;
}

const char *pare_checkpoint_format(const PareCheckpoint *c) {
    return c->reader->format;
}

size_t pare_checkpoint_count(const PareCheckpoint *c) {
    return c->count;
}

const PareCheckpointTensor *pare_checkpoint_tensor(const PareCheckpoint *c, size_t index) {
    return index < c->count ? &c->tensors[index] : NULL;
}

const PareCheckpointTensor *pare_checkpoint_find(const PareCheckpoint *c, const char *name) {
    size_t number;
    return pare_name_index_find(&c->names, name, &number) ? &c->tensors[number] : NULL;
}

/* ---- Reading ---- */

void pare_view_set_contiguous(PareTensorView *view, const PareTensorType *type) {
    uint64_t stride = 1;
    for (uint32_t d = type->dims; d-- > 0;) {
        view->strides[d] = stride;
        stride *= type->shape[d] == 0 ? 1 : type->shape[d];
    }
}

enum { GATHER_ELEMENTS = 512, ELEMENT_MAX = 8, PIECE_ELEMENTS = 1 << 22 };

/* Where elements go: as they are, or through float32. */
typedef struct {
    const PareCheckpoint *c;
    PareDtype dtype;
    size_t size;
    bool to_f32;
    uint8_t *at;
} Sink;

void pare_checkpoint_drop(const PareCheckpoint *c, const uint8_t *bytes, size_t size) {
    uintptr_t begin = (uintptr_t)c->map.data, at = (uintptr_t)bytes;
    if (at >= begin && at - begin <= c->map.size && size <= c->map.size - (at - begin))
        pare_file_drop(&c->map, at - begin, size);
}

/* Long runs go in pieces whose pages are given back, so that a tensor is in memory once. */
static void put_run(Sink *sink, const uint8_t *src, size_t count) {
    while (count > PIECE_ELEMENTS) {
        put_run(sink, src, PIECE_ELEMENTS);
        pare_checkpoint_drop(sink->c, src, PIECE_ELEMENTS * sink->size);
        src += PIECE_ELEMENTS * sink->size;
        count -= PIECE_ELEMENTS;
    }
    if (sink->to_f32) {
        pare_convert_to_f32(sink->dtype, src, (float *)(void *)sink->at, count);
        sink->at += count * sizeof(float);
    } else {
        memcpy(sink->at, src, count * sink->size);
        sink->at += count * sink->size;
    }
}

/* `count` elements that lie `stride` elements apart. */
static void put_strided(Sink *sink, const uint8_t *src, uint64_t stride, size_t count) {
    uint8_t run[GATHER_ELEMENTS * ELEMENT_MAX];
    size_t step = (size_t)stride * sink->size;
    if (stride == 1) {
        put_run(sink, src, count);
        return;
    }
    for (size_t done = 0; done < count;) {
        size_t length = count - done < GATHER_ELEMENTS ? count - done : GATHER_ELEMENTS;
        for (size_t i = 0; i < length; i++)
            memcpy(run + i * sink->size, src + (done + i) * step, sink->size);
        put_run(sink, run, length);
        done += length;
    }
}

/* How many of the last dimensions lie without gaps, as one run of `*run` elements. */
static uint32_t contiguous_tail(const PareTensorType *type, const PareTensorView *view,
                                uint64_t *run) {
    uint32_t d = type->dims;
    *run = 1;
    while (d > 0 && (view->strides[d - 1] == *run || type->shape[d - 1] == 1)) {
        *run *= type->shape[d - 1];
        d--;
    }
    return type->dims - d;
}

/* All elements in row-major order. There are some: no dimension is zero. */
static void gather(const PareTensorType *type, const PareTensorView *view, Sink *sink) {
    uint64_t run, index[PARE_MAX_DIMS] = {0};
    uint32_t outer = type->dims - contiguous_tail(type, view, &run);
    uint64_t stride = 1;
    if (outer > 0 && run == 1) { /* the innermost dimension has gaps: it is the run */
        outer--;
        run = type->shape[outer];
        stride = view->strides[outer];
    }
    for (;;) {
        uint64_t at = 0;
        for (uint32_t d = 0; d < outer; d++)
            at += index[d] * view->strides[d];
        put_strided(sink, view->data + at * sink->size, stride, (size_t)run);
        uint32_t d = outer;
        while (d > 0 && ++index[d - 1] == type->shape[d - 1])
            index[--d] = 0;
        if (d == 0)
            return;
    }
}

static PareStatus read_tensor(PareCheckpoint *c, const PareCheckpointTensor *t, bool to_f32,
                              void *dst, PareError *err) {
    PareTensorView view;
    size_t elements, index = (size_t)(t - c->tensors);
    PareStatus status = c->reader->view(c, index, &view, err);
    if (status != PARE_OK)
        return status;
    if (!pare_tensor_elements(&t->type, &elements))
        return pare_error_set(err, PARE_E_FORMAT, "%s: tensor '%s' is larger than memory can be",
                              c->path, t->name);
    Sink sink = {c, t->type.dtype, pare_dtype_size(t->type.dtype), to_f32, dst};
    if (elements > 0)
        gather(&t->type, &view, &sink);
    if (c->reader->release != NULL)
        c->reader->release(c, index);
    return PARE_OK;
}

PareStatus pare_checkpoint_read_f32(PareCheckpoint *c, const PareCheckpointTensor *t, float *dst,
                                    PareError *err) {
    return read_tensor(c, t, true, dst, err);
}

PareStatus pare_checkpoint_read_raw(PareCheckpoint *c, const PareCheckpointTensor *t, void *dst,
                                    PareError *err) {
    return read_tensor(c, t, false, dst, err);
}
