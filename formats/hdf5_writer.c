/* Writing tf_model.h5 as Keras 2 lays it out: a group for each top-level layer, with the list of
 * its weights, and the list of the layers on the root.
 *
 * The library's bytes go through PareOutput, so that the file appears whole or not at all. It gives
 * out addresses from the front to the back but writes what describes the data sets last: what lies
 * behind the end is appended (with zeros in between, if need be), the rest overwrites. */
#include <string.h>

#include "core/buffer.h"
#include "core/file.h"
#include "core/memory.h"
#include "formats/checkpoint_writer.h"
#include "formats/hdf5_library.h"

enum {
    /* An attribute must fit into an object header of 64 KiB; Keras cuts lists at this size, and
     * readers join name0, name1, … again. */
    LIST_BYTES_MAX = 64512,
    PATH_BYTES = 1024
};

/* What readers ask for: which of Keras' layouts this is. */
#define KERAS_VERSION "2.15.0"
#define BACKEND "tensorflow"

typedef struct {
    const PareSaveJob *job;
    PareOutput *out;
    PareHdf5 *h;
    PareStatus failure; /* of `out`; afterwards what the library writes is thrown away */
    PareError *err;
} Writer;

/* ---- The library's bytes ---- */

static PareStatus append_or_patch(Writer *w, uint64_t at, size_t size, const uint8_t *bytes) {
    static const uint8_t zeros[4096];
    PareStatus status = PARE_OK;
    uint64_t end = pare_output_offset(w->out);
    while (end < at && status == PARE_OK) {
        size_t gap = at - end < sizeof zeros ? (size_t)(at - end) : sizeof zeros;
        status = pare_output_write(w->out, zeros, gap, w->err);
        end += gap;
    }
    size_t old = end - at < size ? (size_t)(end - at) : size;
    if (status == PARE_OK && old > 0)
        status = pare_output_patch(w->out, at, bytes, old, w->err);
    if (status == PARE_OK && old < size)
        status = pare_output_write(w->out, bytes + old, size - old, w->err);
    return status;
}

static bool output_write(void *context, uint64_t at, size_t size, const void *bytes) {
    Writer *w = context;
    if (w->failure == PARE_OK)
        w->failure = append_or_patch(w, at, size, bytes);
    return true; /* so that the library can still end and free its memory */
}

/* The library keeps all that it may want to see again (pare_hdf5_create). */
static bool output_read(void *context, uint64_t at, size_t size, void *out) {
    (void)context, (void)at, (void)size, (void)out;
    return false;
}

static PareStatus library_error(Writer *w, const char *what) {
    if (w->failure != PARE_OK)
        return w->failure;
    return pare_error_set(w->err, PARE_E_IO, "%s: cannot write %s: the HDF5 library says '%s'",
                          w->job->path, what, pare_hdf5_complaint());
}

/* ---- Lists of names ---- */

typedef struct {
    const char **names;
    size_t count;
} Names;

/* How many of the names from `first` on fit into one attribute, padded to the longest. */
static size_t fitting(const Names *n, size_t first, size_t *width) {
    size_t count = 0;
    *width = 1;
    for (size_t i = first; i < n->count; i++) {
        size_t length = strlen(n->names[i]), wider = length > *width ? length : *width;
        if ((count + 1) * wider > LIST_BYTES_MAX)
            break;
        *width = wider;
        count++;
    }
    return count;
}

static PareStatus write_part(Writer *w, const char *group, const char *attribute,
                             const char *const *names, size_t count, size_t width) {
    PareStatus status = PARE_OK;
    char *texts = pare_alloc(count, width); /* zeroed: the padding */
    if (texts == NULL)
        return pare_memory_error(w->err, attribute);
    for (size_t i = 0; i < count; i++)
        memcpy(texts + i * width, names[i], strlen(names[i]));
    if (!pare_hdf5_write_texts(w->h, group, attribute, texts, count, width))
        status = library_error(w, attribute);
    pare_free(texts);
    return status;
}

/* Whole, or in the numbered parts that Keras makes of it. */
static PareStatus write_list(Writer *w, const char *group, const char *attribute, const Names *n) {
    size_t width, count = fitting(n, 0, &width);
    if (count == n->count)
        return write_part(w, group, attribute, n->names, count, width);
    for (size_t first = 0, part = 0; first < n->count; part++) {
        PareBuffer name = {0};
        count = fitting(n, first, &width); /* at least one: names are short */
        pare_buffer_printf(&name, "%s%zu", attribute, part);
        PareStatus status = pare_buffer_ok(&name, attribute, w->err);
        if (status == PARE_OK)
            status = write_part(w, group, name.data, n->names + first, count, width);
        pare_buffer_free(&name);
        if (status != PARE_OK)
            return status;
        first += count;
    }
    return PARE_OK;
}

static bool is_stored(const PareSaveJob *job, size_t i) {
    return job->tensors[i].same_as == SIZE_MAX;
}

/* Whether tensor `i` is the first one of its layer that is stored. */
static bool opens_layer(const PareSaveJob *job, size_t i) {
    for (size_t k = 0; k < i; k++)
        if (is_stored(job, k) && strcmp(job->tensors[k].group, job->tensors[i].group) == 0)
            return false;
    return is_stored(job, i);
}

static PareStatus write_lists(Writer *w) {
    const PareSaveJob *job = w->job;
    Names layers = {pare_alloc(job->count, sizeof(char *)), 0};
    Names weights = {pare_alloc(job->count, sizeof(char *)), 0};
    PareStatus status = layers.names == NULL || weights.names == NULL
                            ? pare_memory_error(w->err, job->path)
                            : PARE_OK;
    for (size_t i = 0; i < job->count && status == PARE_OK; i++) {
        if (!opens_layer(job, i))
            continue;
        const char *group = job->tensors[i].group;
        layers.names[layers.count++] = group;
        weights.count = 0;
        for (size_t k = i; k < job->count; k++)
            if (is_stored(job, k) && strcmp(job->tensors[k].group, group) == 0)
                weights.names[weights.count++] = job->tensors[k].name;
        status = write_list(w, group, "weight_names", &weights);
    }
    if (status == PARE_OK)
        status = write_list(w, "", "layer_names", &layers);
    pare_free(layers.names);
    pare_free(weights.names);
    return status;
}

/* ---- All of it ---- */

static PareStatus check_tensor(const PareSaveJob *job, size_t i, PareError *err) {
    const PareSavedTensor *t = &job->tensors[i];
    if (t->type.dtype == PARE_BF16)
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "%s: tensor '%s' is BF16, which HDF5 does not have; choose F32 or "
                              "F16",
                              job->path, t->name);
    if (t->type.dtype == PARE_DTYPE_COUNT || t->group == NULL || *t->group == '\0' ||
        *t->name == '\0' || strlen(t->group) + strlen(t->name) + 2 > PATH_BYTES)
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "%s: tensor '%s' has no layer, or no name that HDF5 can have",
                              job->path, t->name);
    return PARE_OK;
}

static PareStatus write_tensor(Writer *w, size_t i, PareSaveRoom *room) {
    const PareSavedTensor *t = &w->job->tensors[i];
    PareBuffer path = {0};
    PareStatus status = pare_save_fetch(w->job, i, room, w->err);
    pare_buffer_printf(&path, "%s/%s", t->group, t->name);
    if (status == PARE_OK)
        status = pare_buffer_ok(&path, t->name, w->err);
    if (status == PARE_OK && !pare_hdf5_write_dataset(w->h, path.data, &t->type, room->data))
        status = library_error(w, t->name);
    pare_buffer_free(&path);
    return status == PARE_OK ? w->failure : status;
}

static PareStatus write_file(Writer *w) {
    PareSaveRoom room = {0};
    PareStatus status = PARE_OK;
    for (size_t i = 0; i < w->job->count && status == PARE_OK; i++)
        if (is_stored(w->job, i))
            status = write_tensor(w, i, &room);
    pare_save_room_free(&room);
    if (status == PARE_OK)
        status = write_lists(w);
    if (status == PARE_OK &&
        (!pare_hdf5_write_texts(w->h, "", "backend", BACKEND, 0, strlen(BACKEND)) ||
         !pare_hdf5_write_texts(w->h, "", "keras_version", KERAS_VERSION, 0,
                                strlen(KERAS_VERSION))))
        status = library_error(w, "the version");
    return status;
}

PareStatus pare_hdf5_save(const PareSaveJob *job, PareError *err) {
    Writer w = {.job = job, .err = err};
    PareStatus status = PARE_OK;
    for (size_t i = 0; i < job->count && status == PARE_OK; i++)
        if (is_stored(job, i))
            status = check_tensor(job, i, err);
    if (status == PARE_OK)
        status = pare_output_open(job->path, job->force, &w.out, err);
    if (status != PARE_OK)
        return status;
    const PareHdf5Io io = {.context = &w, .read = output_read, .write = output_write};
    w.h = pare_hdf5_start() ? pare_hdf5_create(&io) : NULL;
    status = w.h == NULL ? library_error(&w, "anything") : write_file(&w);
    w.failure = status; /* what the library still has is thrown away then */
    if (w.h != NULL && !pare_hdf5_finish(w.h) && status == PARE_OK)
        status = library_error(&w, "its end");
    if (status == PARE_OK)
        status = w.failure;
    if (status == PARE_OK)
        return pare_output_commit(w.out, err);
    pare_output_abort(w.out);
    return status;
}
