/* HDF5 checkpoints of TensorFlow and Keras: the side that asks the sandboxed process, and believes
 * nothing that it says.
 *
 * Elements that lie in the file as they are wanted (nearly always) are used from the mapping; the
 * process only told where. Others it converts or unpacks into shared memory, one data set at a
 * time. */
#include "formats/hdf5_reader.h"

#include <stdlib.h>
#include <string.h>

#include "core/buffer.h"
#include "formats/hdf5_child.h"
#include "formats/hdf5_process.h"
#include "formats/keras_layout.h"

enum {
    PATH_MAX_BYTES = 1023,
    FOREIGN_MAX = 16,
    DEFLATE_RATIO_MAX = 1032, /* what the format can reach */
    /* What all compressed data sets together may be, over the file's size. Trained weights reach
     * two; those of which nine tenths are zeros, ten. */
    TOTAL_RATIO_MAX = 64,
    TOTAL_FREE = 16 << 20,
    CPU_SECONDS = 10, /* and one more for each MiB */
    BYTES_PER_CPU_SECOND = 1 << 20
};

typedef struct {
    PareChild *child;
    PareHdf5Image image;
    PareKerasFile file;
    PareKerasPlace *places;
    size_t set_room, list_room, text_room, text_count;
    uint64_t text_bytes, packed_bytes; /* of all texts; of all data sets that are not direct */
} File;

static void hdf5_close(PareCheckpoint *c) {
    File *f = c->self;
    pare_child_stop(f->child);
    pare_free(f->file.sets);
    pare_free(f->file.lists);
    pare_free(f->file.texts);
    pare_free(f);
}

static PareStatus fault(const PareCheckpoint *c, const char *what, const char *name, size_t size,
                        const char *rest, PareError *err) {
    char shown[300];
    return pare_error_set(err, PARE_E_FORMAT, "%s: %s '%s' %s", c->path, what,
                          pare_name_show(name, size, shown, sizeof shown), rest);
}

/* The library of the child has told something that no library tells. */
static PareStatus nonsense(const PareCheckpoint *c, PareError *err) {
    return pare_error_set(
        err, PARE_E_FORMAT,
        "%s: what the HDF5 library says of it makes no sense: the file is damaged "
        "or hostile",
        c->path);
}

/* ---- Fields of messages ---- */

typedef struct {
    const char *at;
    size_t size;
} Bytes;

static Bytes take_bytes(PareCursor *m) {
    size_t size = pare_cursor_u32(m);
    const char *at = (const char *)pare_cursor_take(m, size);
    return at == NULL ? (Bytes){"", 0} : (Bytes){at, size};
}

static char *keep(PareCheckpoint *c, Bytes b) {
    return pare_arena_strndup(c->arena, b.at, b.size);
}

/* NULL when every level of a path is a name. "" is the root. */
static const char *path_fault(Bytes path) {
    if (path.size > PATH_MAX_BYTES)
        return "is a path of more than 1023 bytes";
    for (size_t at = 0; at < path.size || (at > 0 && path.at[at - 1] == '/');) {
        const char *slash = memchr(path.at + at, '/', path.size - at);
        size_t length = slash == NULL ? path.size - at : (size_t)(slash - path.at) - at;
        const char *bad = pare_name_fault(path.at + at, length);
        if (bad != NULL)
            return bad;
        at += length + (slash != NULL);
    }
    return NULL;
}

/* Makes room for one more. */
static bool reserve(void **items, size_t count, size_t *room, size_t size) {
    if (count < *room)
        return true;
    size_t wanted = *room == 0 ? 256 : 2 * *room;
    void *larger = pare_realloc(*items, wanted, size);
    if (larger == NULL)
        return false;
    *items = larger;
    *room = wanted;
    return true;
}

/* ---- What the walk tells ---- */

/* Everything that is said of the elements is held against the size of the file. */
static PareStatus check_sizes(const PareCheckpoint *c, File *f, PareKerasSet *s, bool deflated,
                              PareError *err) {
    size_t bytes, length = strlen(s->path);
    if (s->foreign != NULL)
        return PARE_OK; /* never read */
    if (!pare_tensor_bytes(&s->type, &bytes))
        return fault(c, "the data set", s->path, length, "is larger than memory can be", err);
    if (s->address >= f->image.size)
        return nonsense(c, err);
    if (s->direct && (s->offset > f->image.size || bytes > f->image.size - s->offset))
        return fault(c, "the data set", s->path, length,
                     "does not lie inside the file; the download may be incomplete", err);
    if (s->direct)
        return PARE_OK;
    uint64_t ratio = deflated ? DEFLATE_RATIO_MAX : 1;
    if (s->stored > f->image.size || bytes / ratio > s->stored)
        return fault(c, "the data set", s->path, length,
                     "declares a size that its bytes in the file cannot have", err);
    f->packed_bytes += bytes; /* each is below 2^63, and the next line ends it */
    if (f->packed_bytes / TOTAL_RATIO_MAX > f->image.size + TOTAL_FREE / TOTAL_RATIO_MAX)
        return fault(c, "the data set", s->path, length,
                     "makes the file unpack to more than 64 times its size, which trained weights "
                     "do not",
                     err);
    return PARE_OK;
}

static PareStatus take_set(PareCheckpoint *c, File *f, PareCursor *m, PareError *err) {
    if (f->file.set_count >= PARE_TENSORS_MAX ||
        !reserve((void **)&f->file.sets, f->file.set_count, &f->set_room, sizeof *f->file.sets))
        return pare_memory_error(err, c->path);
    PareKerasSet *s = &f->file.sets[f->file.set_count];
    *s = (PareKerasSet){0};
    Bytes path = take_bytes(m), foreign = take_bytes(m);
    uint8_t dtype = pare_cursor_u8(m);
    s->type.dims = pare_cursor_u8(m);
    if (m->bad || dtype > PARE_DTYPE_COUNT || s->type.dims > PARE_MAX_DIMS ||
        (dtype == PARE_DTYPE_COUNT) != (foreign.size > 0) || foreign.size > FOREIGN_MAX ||
        (foreign.size > 0 && pare_name_fault(foreign.at, foreign.size) != NULL))
        return nonsense(c, err);
    s->type.dtype = (PareDtype)dtype;
    for (uint32_t d = 0; d < s->type.dims; d++)
        s->type.shape[d] = pare_cursor_u64(m);
    s->direct = pare_cursor_u8(m) != 0;
    bool deflated = pare_cursor_u8(m) != 0;
    s->offset = pare_cursor_u64(m);
    s->stored = pare_cursor_u64(m);
    s->address = pare_cursor_u64(m);
    if (m->bad || path.size == 0)
        return nonsense(c, err);
    const char *bad = path_fault(path);
    if (bad != NULL)
        return fault(c, "the data set", path.at, path.size, bad, err);
    s->path = keep(c, path);
    s->foreign = foreign.size > 0 ? keep(c, foreign) : NULL;
    if (s->path == NULL || (foreign.size > 0 && s->foreign == NULL))
        return pare_memory_error(err, c->path);
    f->file.set_count++;
    return check_sizes(c, f, s, deflated, err);
}

static PareStatus take_list(PareCheckpoint *c, File *f, PareCursor *m, PareError *err) {
    Bytes group = take_bytes(m), name = take_bytes(m);
    if (m->bad || name.size == 0)
        return nonsense(c, err);
    const char *bad = path_fault(group);
    if (bad == NULL)
        bad = pare_name_fault(name.at, name.size);
    if (bad != NULL)
        return fault(c, "the group", group.at, group.size, bad, err);
    if (f->file.list_count >= PARE_TENSORS_MAX ||
        !reserve((void **)&f->file.lists, f->file.list_count, &f->list_room, sizeof *f->file.lists))
        return pare_memory_error(err, c->path);
    char *path = pare_arena_printf(c->arena, "%.*s%s%.*s", (int)group.size, group.at,
                                   group.size > 0 ? "/" : "", (int)name.size, name.at);
    if (path == NULL)
        return pare_memory_error(err, c->path);
    f->file.lists[f->file.list_count++] = (PareKerasList){path, f->text_count, 0};
    return PARE_OK;
}

/* Names are paths: each level of them is a name. */
static PareStatus take_text(PareCheckpoint *c, File *f, PareCursor *m, PareError *err) {
    Bytes text = take_bytes(m);
    if (m->bad || f->file.list_count == 0)
        return nonsense(c, err);
    f->text_bytes += text.size;
    if (f->text_count >= PARE_TENSORS_MAX || f->text_bytes > f->image.size)
        return pare_error_set(err, PARE_E_FORMAT, "%s: has more names than the file has room for",
                              c->path);
    const char *bad = text.size == 0 ? "is empty" : path_fault(text);
    if (bad != NULL)
        return fault(c, "the name", text.at, text.size, bad, err);
    if (!reserve((void **)&f->file.texts, f->text_count, &f->text_room, sizeof *f->file.texts))
        return pare_memory_error(err, c->path);
    const char *kept = keep(c, text);
    if (kept == NULL)
        return pare_memory_error(err, c->path);
    f->file.texts[f->text_count++] = kept;
    f->file.lists[f->file.list_count - 1].count++;
    return PARE_OK;
}

static PareStatus take_refusal(const PareCheckpoint *c, PareCursor *m, PareError *err) {
    char path_shown[300], why_shown[300];
    Bytes path = take_bytes(m), why = take_bytes(m);
    if (m->bad)
        return nonsense(c, err);
    pare_name_show(path.at, path.size, path_shown, sizeof path_shown);
    pare_name_show(why.at, why.size, why_shown, sizeof why_shown);
    if (path.size > 0)
        return pare_error_set(err, PARE_E_FORMAT, "%s: '%s' %s", c->path, path_shown, why_shown);
    return pare_error_set(err, PARE_E_FORMAT,
                          "%s: the HDF5 file cannot be read (%s); it is damaged, or the download "
                          "is incomplete",
                          c->path, why.size > 0 ? why_shown : "it is no HDF5 file inside");
}

/* Messages until the child is done with what it does. */
static PareStatus listen(PareCheckpoint *c, File *f, bool walking, PareError *err) {
    for (;;) {
        const uint8_t *bytes;
        size_t size;
        PareStatus status = pare_child_receive(f->child, &bytes, &size, err);
        if (status != PARE_OK)
            return status;
        PareCursor m = pare_cursor(bytes, size);
        uint8_t kind = pare_cursor_u8(&m);
        if (kind == PARE_H5_DONE)
            return PARE_OK;
        if (kind == PARE_H5_REFUSED)
            return take_refusal(c, &m, err);
        if (kind == PARE_H5_DATASET && walking)
            status = take_set(c, f, &m, err);
        else if (kind == PARE_H5_LIST && walking)
            status = take_list(c, f, &m, err);
        else if (kind == PARE_H5_TEXT && walking)
            status = take_text(c, f, &m, err);
        else if (kind != PARE_H5_PROGRESS)
            status = nonsense(c, err);
        if (status != PARE_OK)
            return status;
    }
}

/* ---- What the data sets say of each other ---- */

static int by_address(const void *a, const void *b) {
    const PareKerasSet *s = *(const PareKerasSet *const *)a, *t = *(const PareKerasSet *const *)b;
    return s->address < t->address ? -1 : s->address > t->address;
}

static int by_offset(const void *a, const void *b) {
    const PareKerasSet *s = *(const PareKerasSet *const *)a, *t = *(const PareKerasSet *const *)b;
    return s->offset < t->offset ? -1 : s->offset > t->offset ? 1 : by_address(a, b);
}

/* Two links to one data set must say the same of it. */
static PareStatus check_same(const PareCheckpoint *c, const PareKerasSet *s, const PareKerasSet *t,
                             PareError *err) {
    if (s->address == t->address &&
        (s->type.dtype != t->type.dtype || s->direct != t->direct || s->offset != t->offset ||
         !pare_tensor_same_shape(&s->type, &t->type)))
        return nonsense(c, err);
    return PARE_OK;
}

static PareStatus check_apart(const PareCheckpoint *c, const PareKerasSet *s, const PareKerasSet *t,
                              PareError *err) {
    size_t bytes = 0;
    if (s->address == t->address || !s->direct || !t->direct ||
        !pare_tensor_bytes(&s->type, &bytes) || bytes <= t->offset - s->offset)
        return PARE_OK;
    return fault(c, "the data set", t->path, strlen(t->path), "overlaps another one", err);
}

static PareStatus check_pairs(const PareCheckpoint *c, const File *f, PareError *err) {
    size_t count = 0;
    PareStatus status = PARE_OK;
    const PareKerasSet **sorted = pare_alloc(f->file.set_count, sizeof *sorted);
    if (sorted == NULL)
        return pare_memory_error(err, c->path);
    for (size_t i = 0; i < f->file.set_count; i++)
        if (f->file.sets[i].foreign == NULL)
            sorted[count++] = &f->file.sets[i];
    qsort(sorted, count, sizeof *sorted, by_address);
    for (size_t i = 1; i < count && status == PARE_OK; i++)
        status = check_same(c, sorted[i - 1], sorted[i], err);
    size_t direct = 0;
    for (size_t i = 0; i < count; i++)
        if (sorted[i]->direct)
            sorted[direct++] = sorted[i];
    qsort(sorted, direct, sizeof *sorted, by_offset);
    for (size_t i = 1; i < direct && status == PARE_OK; i++)
        status = check_apart(c, sorted[i - 1], sorted[i], err);
    pare_free(sorted);
    return status;
}

/* ---- Reading ---- */

static PareStatus request(PareCheckpoint *c, File *f, const PareKerasSet *s, size_t bytes,
                          PareError *err) {
    PareBuffer message = {0};
    pare_buffer_put_u8(&message, (uint8_t)s->type.dtype);
    pare_buffer_put_u64(&message, bytes);
    pare_buffer_put_u32(&message, (uint32_t)strlen(s->path));
    pare_buffer_append(&message, s->path, strlen(s->path) + 1);
    PareStatus status = pare_buffer_ok(&message, c->path, err);
    if (status == PARE_OK)
        status = pare_child_send(f->child, message.data, message.size, err);
    pare_buffer_free(&message);
    return status;
}

static PareStatus hdf5_view(PareCheckpoint *c, size_t index, PareTensorView *out, PareError *err) {
    File *f = c->self;
    const PareKerasPlace *p = &f->places[index];
    const PareKerasSet *s = &f->file.sets[p->set];
    PareTensorType type;
    size_t bytes;
    if (s->foreign != NULL)
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "%s: tensor '%s' has dtype %s, which this version does not read",
                              c->path, c->tensors[index].name, s->foreign);
    pare_keras_arrange(&s->type, p->layout, &type, out->strides);
    if (s->direct) {
        out->data = f->image.data + s->offset;
        return PARE_OK;
    }
    if (!pare_tensor_bytes(&s->type, &bytes))
        return pare_memory_error(err, c->path);
    PareStatus status = pare_child_memory(f->child, bytes, &out->data, err);
    if (status == PARE_OK)
        status = request(c, f, s, bytes, err);
    return status == PARE_OK ? listen(c, f, false, err) : status;
}

static void hdf5_release(PareCheckpoint *c, size_t index) {
    File *f = c->self;
    const PareKerasSet *s = &f->file.sets[f->places[index].set];
    size_t bytes;
    if (!s->direct)
        pare_child_forget_memory(f->child);
    else if (pare_tensor_bytes(&s->type, &bytes))
        pare_checkpoint_drop(c, f->image.data + s->offset, bytes);
}

static const PareCheckpointReader hdf5 = {"HDF5", hdf5_view, hdf5_release, hdf5_close};

/* The child is kept only where it is needed again. */
static PareStatus settle(PareCheckpoint *c, File *f, PareError *err) {
    bool all_direct = true;
    PareStatus status = check_pairs(c, f, err);
    if (status == PARE_OK)
        status = pare_keras_layout(c, &f->file, &f->places, err);
    if (status == PARE_OK)
        status = pare_checkpoint_number_views(c, 0, err);
    for (size_t i = 0; status == PARE_OK && i < c->count; i++)
        all_direct = all_direct && f->file.sets[f->places[i].set].direct;
    if (status == PARE_OK && all_direct) {
        pare_child_stop(f->child);
        f->child = NULL;
    }
    return status;
}

PareStatus pare_hdf5_open_part(PareCheckpoint *c, const uint8_t *data, size_t size,
                               PareError *err) {
    PareError own;
    File *f = pare_alloc(1, sizeof *f);
    if (f == NULL)
        return pare_memory_error(err, c->path);
    err = err == NULL ? &own : err; /* prefixes need the message */
    f->image = (PareHdf5Image){data, size};
    f->file.image = data;
    c->self = f;
    c->reader = &hdf5;
    const PareChildWork work = {.prepare = pare_hdf5_child_prepare,
                                .serve = pare_hdf5_child_serve,
                                .context = &f->image,
                                .cpu_seconds = CPU_SECONDS + size / BYTES_PER_CPU_SECOND,
                                .what = "the HDF5 library",
                                .path = c->path};
    PareStatus status = pare_child_start(&work, &f->child, err);
    if (status == PARE_OK)
        status = listen(c, f, true, err);
    return status == PARE_OK ? settle(c, f, err) : status;
}

PareStatus pare_hdf5_open(PareCheckpoint *c, PareError *err) {
    return pare_hdf5_open_part(c, c->map.data, c->map.size, err);
}
