/* The cache of examples: a temporary file of records, and an index of where they are.
 *
 * A record is a row of 32-bit words: the head below, then the lists one behind the other. The file
 * is this process's own: nobody else can have written it, so that its content is trusted. */
#include "learn/examples.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/buffer.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/memory.h"
#include "learn/examples_impl.h"

enum { BUFFER_SIZE = 1 << 20, MAX_COUNT = 1 << 30 };

typedef struct {
    uint64_t line;
    uint32_t source, target, targets; /* counts of ids, decoder ids and targets */
    int32_t label;
    float value;
    uint32_t types; /* 1: there are token types, as many as ids */
} Head;

typedef struct {
    uint64_t offset; /* in bytes */
    uint32_t source, target;
} Entry;

struct PareExamples {
    int fd;
    char *folder; /* for messages */
    uint8_t *buffer;
    size_t used;
    uint64_t written;
    PareXxh64 *hash;
    Entry *index;
    size_t count, capacity, cut;
    void *map;
    size_t map_size;
};

/* ---- Writing --------------------------------------------------------------------------------- */

static PareStatus cannot(const PareExamples *x, const char *what, PareError *err) {
    return pare_error_set(err, PARE_E_IO, "%s: cannot %s the cache of training data: %s", x->folder,
                          what, strerror(errno));
}

/* The name is gone at once; the file goes with its last descriptor and mapping. */
static PareStatus create_file(PareExamples *x, PareError *err) {
    char *path = pare_file_join(x->folder, ".pare-examples-XXXXXX");
    if (!path)
        return pare_memory_error(err, "a path");
    x->fd = mkostemp(path, O_CLOEXEC);
    PareStatus status = x->fd < 0 || unlink(path) != 0 ? cannot(x, "create", err) : PARE_OK;
    pare_free(path);
    return status;
}

PareStatus pare_examples_create(const char *folder, PareExamples **out, PareError *err) {
    const char *temporary = getenv("TMPDIR");
    *out = NULL;
    PareExamples *x = pare_alloc(1, sizeof *x);
    if (!x)
        return pare_memory_error(err, "training data");
    if (temporary && *temporary)
        folder = temporary;
    x->fd = -1;
    x->folder = pare_strdup(folder && *folder ? folder : "/tmp");
    x->buffer = pare_alloc(BUFFER_SIZE, 1);
    x->hash = pare_xxh64_create();
    PareStatus status = x->folder && x->buffer && x->hash ? create_file(x, err)
                                                          : pare_memory_error(err, "training data");
    if (status)
        pare_examples_close(x);
    else
        *out = x;
    return status;
}

static PareStatus flush(PareExamples *x, PareError *err) {
    for (size_t done = 0; done < x->used;) {
        ssize_t n = write(x->fd, x->buffer + done, x->used - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return cannot(x, "write", err);
        done += (size_t)n;
    }
    x->used = 0;
    return PARE_OK;
}

static PareStatus put(PareExamples *x, const void *bytes, size_t size, PareError *err) {
    const uint8_t *from = bytes;
    for (size_t n; size; from += n, size -= n) {
        n = BUFFER_SIZE - x->used < size ? BUFFER_SIZE - x->used : size;
        memcpy(x->buffer + x->used, from, n);
        x->used += n;
        x->written += n;
        PareStatus status = x->used == BUFFER_SIZE ? flush(x, err) : PARE_OK;
        if (status)
            return status;
    }
    return PARE_OK;
}

/* A list, counted in the digest. */
static PareStatus put_list(PareExamples *x, const int32_t *list, size_t count, PareError *err) {
    if (count)
        pare_xxh64_update(x->hash, list, count * sizeof *list);
    return put(x, list, count * sizeof *list, err);
}

static PareStatus add_entry(PareExamples *x, const Head *h, PareError *err) {
    if (x->count == x->capacity) {
        size_t wanted = x->capacity ? 2 * x->capacity : 1024;
        Entry *grown = pare_realloc(x->index, wanted, sizeof *grown);
        if (!grown)
            return pare_memory_error(err, "the index of training data");
        x->index = grown;
        x->capacity = wanted;
    }
    x->index[x->count++] = (Entry){x->written, h->source, h->target};
    return PARE_OK;
}

PareStatus pare_examples_append(PareExamples *x, const PareExample *e, PareError *err) {
    const PareSequence *q = &e->sequence;
    if (q->count > MAX_COUNT || q->decoder_count > MAX_COUNT || e->target_count > MAX_COUNT)
        return pare_error_set(err, PARE_E_UNSUPPORTED, "an example of more than %d ids", MAX_COUNT);
    if (x->count == UINT32_MAX)
        return pare_error_set(err, PARE_E_UNSUPPORTED, "more than %zu examples", x->count);
    Head h = {.line = e->line,
              .source = (uint32_t)q->count,
              .target = (uint32_t)q->decoder_count,
              .targets = (uint32_t)e->target_count,
              .label = e->label,
              .value = e->value,
              .types = q->types != NULL};
    PareStatus status = add_entry(x, &h, err);
    if (status)
        return status;
    /* Where an example stands in the file is no part of what it says. */
    pare_xxh64_update(x->hash, (uint8_t *)&h + sizeof h.line, sizeof h - sizeof h.line);
    if ((status = put(x, &h, sizeof h, err)) || (status = put_list(x, q->ids, q->count, err)) ||
        (status = put_list(x, q->types, q->types ? q->count : 0, err)) ||
        (status = put_list(x, q->decoder_ids, q->decoder_count, err)) ||
        (status = put_list(x, e->targets, e->target_count, err)))
        return status;
    /* Heads begin at multiples of 8. */
    static const uint8_t zeros[8];
    return put(x, zeros, (size_t)(-x->written % 8), err);
}

PareStatus pare_examples_finish(PareExamples *x, PareError *err) {
    PareStatus status = flush(x, err);
    if (status)
        return status;
    if (x->written > SIZE_MAX)
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "the training data is larger than the address space");
    if (x->written) {
        void *map = mmap(NULL, (size_t)x->written, PROT_READ, MAP_SHARED, x->fd, 0);
        if (map == MAP_FAILED)
            return cannot(x, "map", err);
        x->map = map;
        x->map_size = (size_t)x->written;
    }
    pare_free(x->buffer);
    x->buffer = NULL;
    close(x->fd);
    x->fd = -1;
    return PARE_OK;
}

void pare_examples_close(PareExamples *x) {
    if (!x)
        return;
    if (x->map)
        munmap(x->map, x->map_size);
    if (x->fd >= 0)
        close(x->fd);
    pare_xxh64_destroy(x->hash);
    pare_free(x->folder);
    pare_free(x->buffer);
    pare_free(x->index);
    pare_free(x);
}

/* ---- Reading --------------------------------------------------------------------------------- */

PareStatus pare_examples_open(const PareExamplesOptions *options, PareExamples **out,
                              PareError *err) {
    *out = NULL;
    if (strcmp(options->path, "-") == 0)
        return pare_error_set(err, PARE_E_USAGE,
                              "training data cannot come from standard input; give a file");
    PareExamples *x;
    PareStatus status = pare_examples_create(options->folder, &x, err);
    if (status)
        return status;
    if (!(status = pare_examples_read(options, x, &x->cut, err)) && x->count == 0)
        status = pare_error_set(err, PARE_E_FORMAT, "%s: there are no examples", options->path);
    if (!status)
        status = pare_examples_finish(x, err);
    if (status)
        pare_examples_close(x);
    else
        *out = x;
    return status;
}

size_t pare_examples_count(const PareExamples *x) {
    return x->count;
}

PareExample pare_examples_get(const PareExamples *x, size_t index) {
    const uint8_t *at = (const uint8_t *)x->map + x->index[index].offset;
    const Head *h = (const Head *)(const void *)at;
    const int32_t *lists = (const int32_t *)(const void *)(at + sizeof *h);
    PareExample e = {.line = (size_t)h->line,
                     .sequence = {.ids = lists, .count = h->source, .decoder_count = h->target},
                     .target_count = h->targets,
                     .label = h->label,
                     .value = h->value};
    lists += h->source;
    if (h->types) {
        e.sequence.types = lists;
        lists += h->source;
    }
    if (h->target)
        e.sequence.decoder_ids = lists;
    if (h->targets)
        e.targets = lists + h->target;
    return e;
}

void pare_examples_lengths(const PareExamples *x, size_t index, size_t *source, size_t *target) {
    *source = x->index[index].source;
    *target = x->index[index].target;
}

size_t pare_examples_cut(const PareExamples *x) {
    return x->cut;
}

uint64_t pare_examples_digest(const PareExamples *x) {
    return pare_xxh64_digest(x->hash);
}
