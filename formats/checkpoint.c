/* Opening checkpoints whatever their container, looking tensors up, and gathering their elements.
 */
#include <stdlib.h>
#include <string.h>

#include "formats/checkpoint_folder.h"
#include "formats/checkpoint_reader.h"
#include "formats/checkpoint_sniff.h"

/* ---- Opening ---- */

static PareStatus open_container(PareCheckpoint *c, PareError *err) {
    const char *advice;
    switch (pare_content_sniff(&c->map, &advice)) {
    case PARE_CONTENT_ZIP:
        if (pare_keras_archive_is(&c->map))
            return pare_keras_archive_open(c, err);
        return pare_pytorch_zip_open(c, err);
    case PARE_CONTENT_TORCH_LEGACY:
        return pare_pytorch_legacy_open(c, err);
    case PARE_CONTENT_TORCH_TAR:
        return pare_pytorch_tar_open(c, err);
    case PARE_CONTENT_SAFETENSORS:
        return pare_safetensors_open(c, err);
    case PARE_CONTENT_HDF5:
        return pare_hdf5_open(c, err);
    case PARE_CONTENT_INDEX:
        if (!c->is_shard)
            return pare_sharded_open(c, err);
        return pare_error_set(err, PARE_E_FORMAT,
                              "%s: is the index of a sharded checkpoint; a shard, with tensors, "
                              "was expected",
                              c->path);
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

/* Takes `path` over, which may be NULL for lack of memory. */
static PareStatus open_file(char *path, const char *root, bool is_shard, PareCheckpoint **out,
                            PareError *err) {
    PareStatus status = PARE_OK;
    PareCheckpoint *c = path == NULL ? NULL : pare_alloc(1, sizeof *c);
    if (c == NULL) {
        pare_free(path);
        return pare_memory_error(err, "a checkpoint");
    }
    c->path = path;
    c->root = root;
    c->is_shard = is_shard;
    c->arena = pare_arena_create(0);
    if (c->arena == NULL)
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

PareStatus pare_checkpoint_open(const char *path, const char *root, PareCheckpoint **out,
                                PareError *err) {
    PareError own;
    char *file = NULL;
    *out = NULL;
    err = err == NULL ? &own : err; /* prefixes need the message */
    if (!pare_file_is_folder(path))
        return open_file(pare_strdup(path), root, false, out, err);
    PareStatus status = pare_folder_find_weights(path, &file, err);
    return status != PARE_OK ? status : open_file(file, root, false, out, err);
}

PareStatus pare_checkpoint_open_shard(const char *path, const char *root, PareCheckpoint **out,
                                      PareError *err) {
    *out = NULL;
    return open_file(pare_strdup(path), root, true, out, err);
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
    return c->format != NULL ? c->format : c->reader->format;
}

size_t pare_checkpoint_files(const PareCheckpoint *c) {
    return 1 + c->file_count;
}

const char *pare_checkpoint_file(const PareCheckpoint *c, size_t index) {
    if (index == 0)
        return c->path;
    return index <= c->file_count ? c->files[index - 1] : NULL;
}

const char *pare_checkpoint_warnings(const PareCheckpoint *c) {
    return c->warnings != NULL ? c->warnings : "";
}

const char *pare_checkpoint_dtype_name(const PareCheckpointTensor *t) {
    return t->foreign_dtype != NULL ? t->foreign_dtype : pare_dtype_name(t->type.dtype);
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

/* ---- What containers share ---- */

typedef struct {
    uint64_t id;
    size_t index;
} ViewId;

static int compare_view_ids(const void *a, const void *b) {
    const ViewId *x = a, *y = b;
    if (x->id != y->id)
        return x->id < y->id ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

PareStatus pare_checkpoint_number_views(PareCheckpoint *c, size_t first, PareError *err) {
    ViewId *ids = pare_alloc(c->count - first, sizeof *ids);
    size_t count = 0, head = 0;
    if (ids == NULL)
        return pare_memory_error(err, c->path);
    for (size_t i = first; i < c->count; i++)
        if (c->tensors[i].view_id != 0)
            ids[count++] = (ViewId){c->tensors[i].view_id, i};
    if (count > 0)
        qsort(ids, count, sizeof *ids, compare_view_ids);
    for (size_t i = 0; i < count; i++) {
        head = ids[i].id == ids[head].id ? head : i;
        c->tensors[ids[i].index].view_id = ids[head].index + 1;
    }
    pare_free(ids);
    return PARE_OK;
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

/* Where elements go: into memory, as they are or through float32; or to somebody who takes them in
 * pieces. */
typedef struct Sink Sink;
struct Sink {
    const PareCheckpoint *c;
    PareDtype dtype;
    size_t size;
    PareStatus (*put)(Sink *sink, const uint8_t *src, size_t count); /* at most PIECE_ELEMENTS */
    uint8_t *at;
    /* Of a stream: how many elements to pass over, how many to take after them; those that wait in
     * `room` (PARE_STREAM_ELEMENTS, made when needed) for a full piece. */
    size_t skip, left, used;
    float *room;
    PareTakeFloats take;
    void *context;
    PareError *err;
};

void pare_checkpoint_drop(const PareCheckpoint *c, const uint8_t *bytes, size_t size) {
    c = c->part != NULL ? c->part : c;
    uintptr_t begin = (uintptr_t)c->map.data, at = (uintptr_t)bytes;
    if (at >= begin && at - begin <= c->map.size && size <= c->map.size - (at - begin))
        pare_file_drop(&c->map, at - begin, size);
}

static PareStatus put_raw(Sink *sink, const uint8_t *src, size_t count) {
    memcpy(sink->at, src, count * sink->size);
    sink->at += count * sink->size;
    return PARE_OK;
}

static PareStatus put_f32(Sink *sink, const uint8_t *src, size_t count) {
    pare_convert_to_f32(sink->dtype, src, (float *)(void *)sink->at, count);
    sink->at += count * sizeof(float);
    return PARE_OK;
}

static PareStatus flush_stream(Sink *sink) {
    size_t used = sink->used;
    sink->used = 0;
    return used > 0 ? sink->take(sink->context, sink->room, used, sink->err) : PARE_OK;
}

/* Collects `count` elements, at most as many as fit. */
static PareStatus collect(Sink *sink, const uint8_t *src, size_t count) {
    if (sink->room == NULL)
        sink->room = pare_alloc(PARE_STREAM_ELEMENTS, sizeof *sink->room);
    if (sink->room == NULL)
        return pare_memory_error(sink->err, sink->c->path);
    pare_convert_to_f32(sink->dtype, src, sink->room + sink->used, count);
    sink->used += count;
    return sink->used == PARE_STREAM_ELEMENTS ? flush_stream(sink) : PARE_OK;
}

/* Floats that can be used as they are, enough of them, are taken from where they lie. */
static PareStatus put_stream(Sink *sink, const uint8_t *src, size_t count) {
    size_t skipped = count < sink->skip ? count : sink->skip;
    bool ready = sink->dtype == PARE_F32 && (uintptr_t)src % _Alignof(float) == 0;
    PareStatus status = PARE_OK;
    sink->skip -= skipped;
    src += skipped * sink->size;
    count = count - skipped < sink->left ? count - skipped : sink->left;
    sink->left -= count;
    while (count > 0 && status == PARE_OK) {
        size_t space = PARE_STREAM_ELEMENTS - sink->used, n = count < space ? count : space;
        if (ready && sink->used == 0 && n > GATHER_ELEMENTS)
            status = sink->take(sink->context, (const float *)(const void *)src, n, sink->err);
        else
            status = collect(sink, src, n);
        src += n * sink->size;
        count -= n;
    }
    return status;
}

/* Long runs go in pieces whose pages are given back, so that a tensor is in memory once. */
static PareStatus put_run(Sink *sink, const uint8_t *src, size_t count) {
    PareStatus status = PARE_OK;
    for (; count > PIECE_ELEMENTS && status == PARE_OK; count -= PIECE_ELEMENTS) {
        status = sink->put(sink, src, PIECE_ELEMENTS);
        pare_checkpoint_drop(sink->c, src, PIECE_ELEMENTS * sink->size);
        src += PIECE_ELEMENTS * sink->size;
    }
    return status == PARE_OK ? sink->put(sink, src, count) : status;
}

/* `count` elements that lie `stride` elements apart. */
static PareStatus put_strided(Sink *sink, const uint8_t *src, uint64_t stride, size_t count) {
    uint8_t run[GATHER_ELEMENTS * ELEMENT_MAX];
    size_t step = (size_t)stride * sink->size;
    PareStatus status = PARE_OK;
    if (stride == 1)
        return put_run(sink, src, count);
    for (size_t done = 0; done < count && status == PARE_OK;) {
        size_t length = count - done < GATHER_ELEMENTS ? count - done : GATHER_ELEMENTS;
        for (size_t i = 0; i < length; i++)
            memcpy(run + i * sink->size, src + (done + i) * step, sink->size);
        status = put_run(sink, run, length);
        done += length;
    }
    return status;
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
static PareStatus gather(const PareTensorType *type, const PareTensorView *view, Sink *sink) {
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
        PareStatus status = put_strided(sink, view->data + at * sink->size, stride, (size_t)run);
        uint32_t d = outer;
        while (d > 0 && ++index[d - 1] == type->shape[d - 1])
            index[--d] = 0;
        if (d == 0 || status != PARE_OK)
            return status;
    }
}

static PareStatus read_tensor(PareCheckpoint *c, const PareCheckpointTensor *t, Sink *sink,
                              PareError *err) {
    PareTensorView view;
    size_t elements, index = (size_t)(t - c->tensors);
    PareStatus status = c->reader->view(c, index, &view, err);
    if (status != PARE_OK)
        return status;
    if (!pare_tensor_elements(&t->type, &elements))
        return pare_error_set(err, PARE_E_FORMAT, "%s: tensor '%s' is larger than memory can be",
                              c->path, t->name);
    sink->c = c;
    sink->dtype = t->type.dtype;
    sink->size = pare_dtype_size(t->type.dtype);
    if (elements > 0)
        status = gather(&t->type, &view, sink);
    if (status == PARE_OK)
        status = flush_stream(sink);
    if (c->reader->release != NULL)
        c->reader->release(c, index);
    return status;
}

PareStatus pare_checkpoint_read_f32(PareCheckpoint *c, const PareCheckpointTensor *t, float *dst,
                                    PareError *err) {
    return read_tensor(c, t, &(Sink){.put = put_f32, .at = (uint8_t *)dst}, err);
}

PareStatus pare_checkpoint_read_raw(PareCheckpoint *c, const PareCheckpointTensor *t, void *dst,
                                    PareError *err) {
    return read_tensor(c, t, &(Sink){.put = put_raw, .at = dst}, err);
}

PareStatus pare_checkpoint_stream_f32(PareCheckpoint *c, const PareCheckpointTensor *t,
                                      size_t first, size_t count, PareTakeFloats take,
                                      void *context, PareError *err) {
    Sink sink = {.put = put_stream, .skip = first, .left = count, .take = take, .context = context};
    sink.err = err;
    PareStatus status = read_tensor(c, t, &sink, err);
    pare_free(sink.room);
    return status;
}
