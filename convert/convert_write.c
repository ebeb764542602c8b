/* Writing the .pare file of a planned conversion, one tensor at a time, in pieces that fit into a
 * cache wherever the values need not be moved about. Meanwhile other threads take the checksums of
 * the input files, which need about as long. */
#include <stdatomic.h>
#include <string.h>

#include "convert/convert_impl.h"
#include "core/file.h"
#include "core/threads.h"
#include "formats/pare_file.h"

/* Buffers that grow to the largest tensor and are used again. */
typedef struct {
    float *data;
    size_t capacity;
} Room;

typedef struct {
    PareConvert *c;
    PareFileWriter *file;
    PareProgress *progress;
    uint64_t done;
    const char *name; /* of the tensor that is being written */
    size_t nonfinite; /* of its values */
    Room stored, turned;
    const atomic_bool *stop; /* another thread has failed */
    PareError *err;
} Writer;

static float *room_for(Room *room, size_t count) {
    if (count <= room->capacity && room->data)
        return room->data;
    pare_free(room->data);
    room->data = pare_alloc(count, sizeof *room->data);
    room->capacity = room->data ? count : 0;
    return room->data;
}

static size_t slot_elements(const PareSlot *s) {
    return (size_t)s->shape[0] * (s->dims == 2 ? (size_t)s->shape[1] : 1);
}

enum { TILE = 16 };

/* By a tile of its own, so that each cache line of `in` and `out` is touched once: in matrices
 * whose width is a power of two they would drive each other out. */
static void transpose_tile(float *out, const float *in, size_t C, size_t stride) {
    float tile[TILE][TILE];
    for (size_t c = 0; c < TILE; c++)
        for (size_t r = 0; r < TILE; r++)
            tile[r][c] = in[c * stride + r];
    for (size_t r = 0; r < TILE; r++)
        memcpy(out + r * C, tile[r], sizeof tile[r]);
}

/* out[R, C] = columns first .. first + R - 1 of in[C, stride], turned. */
static void transpose(float *out, const float *in, size_t R, size_t C, size_t stride,
                      size_t first) {
    for (size_t r0 = 0; r0 < R; r0 += TILE)
        for (size_t c0 = 0; c0 < C; c0 += TILE) {
            if (R - r0 >= TILE && C - c0 >= TILE) {
                transpose_tile(out + r0 * C + c0, in + c0 * stride + first + r0, C, stride);
                continue;
            }
            for (size_t r = r0; r < R && r < r0 + TILE; r++)
                for (size_t c = c0; c < C && c < c0 + TILE; c++)
                    out[r * C + c] = in[c * stride + first + r];
        }
}

/* The slot's matrix, which the checkpoint holds turned, perhaps as a part of a larger one. */
static PareStatus turn_item(Writer *w, const ParePlanItem *item, const float **out) {
    const PareSlot *s = item->slot;
    const PareRule *r = item->rule;
    size_t R = (size_t)s->shape[0], C = (size_t)s->shape[1], stored = 0;
    float *in =
        pare_tensor_elements(&item->tensor->type, &stored) ? room_for(&w->stored, stored) : NULL;
    float *turned = room_for(&w->turned, R * C);
    if (!in || !turned)
        return pare_memory_error(w->err, item->tensor->name);
    PareStatus st = pare_checkpoint_read_f32(w->c->checkpoint, item->tensor, in, w->err);
    if (!st)
        transpose(turned, in, R, C, R * (r->parts > 1 ? r->parts : 1), R * r->part);
    *out = turned;
    return st;
}

/* Values that the checkpoint does not hold. */
static PareStatus make_item(Writer *w, const ParePlanItem *item, const float **out) {
    size_t count = slot_elements(item->slot);
    float *made = room_for(&w->stored, count);
    if (!made)
        return pare_memory_error(w->err, item->slot->name);
    if (item->kind == PARE_FROM_FAMILY)
        w->c->model.family->compute(&w->c->model, item->slot, made);
    else
        memset(made, 0, count * sizeof *made);
    *out = made;
    return PARE_OK;
}

/* A piece of the tensor that is being written. */
static PareStatus take_piece(void *context, const float *values, size_t count, PareError *err) {
    Writer *w = context;
    w->nonfinite += pare_count_nonfinite(values, count);
    PareStatus st = pare_file_writer_piece(w->file, values, count * sizeof *values, err);
    w->done += count * sizeof *values;
    pare_progress_update(w->progress, w->done, w->name);
    if (!st && atomic_load(w->stop))
        st = pare_error_set(err, PARE_E_INTERRUPTED, "writing was given up");
    return st ? st : pare_interrupt_check(err);
}

static PareStatus take_all(Writer *w, const float *values, size_t count) {
    PareStatus st = PARE_OK;
    for (size_t at = 0; at < count && !st; at += PARE_STREAM_ELEMENTS) {
        size_t left = count - at, piece = left < PARE_STREAM_ELEMENTS ? left : PARE_STREAM_ELEMENTS;
        st = take_piece(w, values + at, piece, w->err);
    }
    return st;
}

static PareStatus write_values(Writer *w, const ParePlanItem *item) {
    const float *values = NULL;
    size_t count = slot_elements(item->slot);
    bool stored = item->kind == PARE_FROM_TENSOR;
    if (stored && (!(item->rule->flags & PARE_RULE_TRANSPOSE) || item->slot->dims != 2))
        return pare_checkpoint_stream_f32(w->c->checkpoint, item->tensor, count * item->rule->part,
                                          count, take_piece, w, w->err);
    PareStatus st = stored ? turn_item(w, item, &values) : make_item(w, item, &values);
    return st ? st : take_all(w, values, count);
}

static PareStatus check_finite(Writer *w, const ParePlanItem *item) {
    size_t bad = w->nonfinite;
    w->c->summary.nonfinite += bad;
    if (bad == 0)
        return PARE_OK;
    const char *name = item->tensor ? item->tensor->name : item->slot->name;
    if (w->c->options.allow_nonfinite) {
        pare_buffer_printf(&w->c->warnings, "%s: tensor \"%s\" holds %zu NaN or infinite value%s\n",
                           w->c->summary.weights, name, bad, bad == 1 ? "" : "s");
        return PARE_OK;
    }
    return pare_error_set(w->err, PARE_E_FORMAT,
                          "%s: tensor \"%s\" holds %zu NaN or infinite value%s; --allow-nonfinite "
                          "keeps them",
                          w->c->summary.weights, name, bad, bad == 1 ? "" : "s");
}

static PareStatus write_item(Writer *w, const ParePlanItem *item) {
    const PareSlot *s = item->slot;
    PareFileTensor t = {.name = s->name,
                        .dtype = PARE_F32,
                        .layout = PARE_LAYOUT_ROWS,
                        .dims = s->dims,
                        .shape = {s->shape[0], s->shape[1]},
                        .axes = {s->axes[0], s->axes[1]}};
    if (item->kind == PARE_FROM_ALIAS)
        return pare_file_writer_alias(w->file, &t, w->c->plan.items[item->target].slot->name,
                                      w->err);
    w->name = s->name;
    w->nonfinite = 0;
    PareStatus st = pare_file_writer_begin(w->file, &t, w->err);
    if (!st)
        st = write_values(w, item);
    if (!st)
        st = check_finite(w, item);
    return st ? st : pare_file_writer_end(w->file, w->err);
}

static PareStatus write_items(Writer *w) {
    PareStatus st = PARE_OK;
    for (size_t i = 0; i < w->c->plan.count && !st; i++)
        st = write_item(w, &w->c->plan.items[i]);
    pare_free(w->stored.data);
    pare_free(w->turned.data);
    return st;
}

/* ---- Tensors and checksums at the same time ------------------------------------------------ */

typedef struct {
    Writer *writer;
    PareStatus written;
    const char **paths; /* of the inputs, with what is found out about each */
    PareInputFile *inputs;
    PareError *faults;
    size_t count;
    atomic_size_t next; /* the input that nobody has begun with yet */
    atomic_bool stop;   /* something failed: there will be no output */
} Work;

static void hash_inputs(Work *work) {
    for (;;) {
        size_t i = atomic_fetch_add(&work->next, 1);
        if (i >= work->count)
            return;
        if (pare_input_file_hash(work->paths[i], &work->stop, &work->inputs[i], &work->faults[i]))
            atomic_store(&work->stop, true);
    }
}

/* One thread writes, the others begin with the inputs; so does the writer when it is done. */
static void do_work(void *context, size_t begin, size_t end, size_t thread) {
    Work *work = context;
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        if (i == 0 && (work->written = write_items(work->writer)) != PARE_OK)
            atomic_store(&work->stop, true);
        hash_inputs(work);
    }
}

/* Whoever was told to give up is not the one to blame. */
static PareStatus find_fault(const Work *work, PareError *err) {
    const PareError *fault = work->written ? err : NULL;
    for (size_t i = 0; i < work->count; i++)
        if (work->faults[i].code && (!fault || fault->code == PARE_E_INTERRUPTED))
            fault = &work->faults[i];
    if (fault && fault != err)
        *err = *fault;
    return fault ? fault->code : PARE_OK;
}

static PareStatus write_and_hash(Work *work, size_t threads, PareError *err) {
    ParePool *pool = NULL;
    size_t useful = 1 + work->count, available = threads ? threads : pare_threads_available();
    PareStatus st = pare_pool_create(available < useful ? available : useful, &pool, err);
    if (st)
        return st;
    pare_pool_for(pool, pare_pool_threads(pool), 1, do_work, work);
    pare_pool_destroy(pool);
    return find_fault(work, err);
}

static PareStatus write_sections(Writer *w, const PareInputFile *inputs, size_t count) {
    PareBuffer metadata = {0};
    PareStatus st = pare_convert_metadata(w->c, inputs, count, &metadata, w->err);
    if (!st)
        st = pare_file_writer_section(w->file, PARE_SECTION_METADATA, metadata.data, metadata.size,
                                      w->err);
    if (!st && w->c->tokenizer)
        st = pare_file_writer_section(w->file, PARE_SECTION_TOKENIZER, w->c->tokenizer_bytes.data,
                                      w->c->tokenizer_bytes.size, w->err);
    pare_buffer_free(&metadata);
    return st;
}

static PareStatus check_output(const char *out, const char *const *paths, size_t count,
                               PareError *err) {
    for (size_t i = 0; i < count; i++)
        if (pare_file_exists(out) && pare_file_same(out, paths[i]))
            return pare_error_set(err, PARE_E_IO, "%s: the output is an input of the conversion",
                                  out);
    return PARE_OK;
}

static PareStatus prepare(PareConvert *c, const char *out, Work *work, PareError *err) {
    PareStatus st = pare_convert_inputs(c, &work->paths, &work->count, err);
    if (st)
        return st;
    work->inputs = pare_arena_alloc(c->arena, work->count, sizeof *work->inputs);
    work->faults = pare_arena_alloc(c->arena, work->count, sizeof *work->faults);
    if (!work->inputs || !work->faults)
        return pare_memory_error(err, "the names of the inputs");
    return check_output(out, work->paths, work->count, err);
}

PareStatus pare_convert_write(PareConvert *c, const char *out, bool force, PareProgress *progress,
                              PareError *err) {
    PareError own = {0};
    err = err ? err : &own; /* what one thread says may be replaced by what another has to say */
    Writer w = {.c = c, .progress = progress, .err = err};
    Work work = {.writer = &w};
    w.stop = &work.stop;
    PareStatus st = prepare(c, out, &work, err);
    if (!st)
        st = pare_file_writer_open(out, force, &w.file, err);
    if (!st)
        st = write_and_hash(&work, c->options.threads, err);
    if (!st)
        st = write_sections(&w, work.inputs, work.count);
    if (!st)
        st = pare_buffer_ok(&c->warnings, "the warnings", err);
    if (st) {
        pare_file_writer_abort(w.file);
        return st;
    }
    return pare_file_writer_commit(w.file, err);
}
