/* Writing safetensors: the length of the header, the header, the tensors without gaps.
 *
 * As the reference orders them: larger elements first, then by name, so that every tensor is
 * aligned to its elements whatever dtypes are mixed. */
#include <stdlib.h>
#include <string.h>

#include "core/buffer.h"
#include "core/file.h"
#include "core/memory.h"
#include "formats/checkpoint_writer.h"

enum { HEADER_MAX = 100000000, ALIGN = 8 }; /* what readers take */

typedef struct {
    const PareSavedTensor *tensor;
    size_t index;
} Entry;

static int compare(const void *a, const void *b) {
    const PareSavedTensor *s = ((const Entry *)a)->tensor, *t = ((const Entry *)b)->tensor;
    size_t m = pare_dtype_size(s->type.dtype), n = pare_dtype_size(t->type.dtype);
    if (m != n)
        return m > n ? -1 : 1;
    return strcmp(s->name, t->name);
}

static PareStatus put_header(const Entry *entries, size_t count, PareBuffer *out, const char *path,
                             PareError *err) {
    uint64_t at = 0;
    pare_buffer_puts(out, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (size_t i = 0; i < count; i++) {
        const PareSavedTensor *t = entries[i].tensor;
        size_t bytes = 0;
        pare_buffer_puts(out, ",");
        pare_buffer_put_json_string(out, t->name, strlen(t->name));
        pare_buffer_printf(out, ":{\"dtype\":\"%s\",\"shape\":[", pare_dtype_name(t->type.dtype));
        for (uint32_t d = 0; d < t->type.dims; d++)
            pare_buffer_printf(out, "%s%llu", d ? "," : "", (unsigned long long)t->type.shape[d]);
        pare_tensor_bytes(&t->type, &bytes);
        pare_buffer_printf(out, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)at,
                           (unsigned long long)(at + bytes));
        at += bytes;
    }
    pare_buffer_puts(out, "}");
    while (out->size % ALIGN && !out->failed)
        pare_buffer_putc(out, ' ');
    if (out->size > HEADER_MAX)
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "%s: a header of %zu bytes for %zu tensors; readers take at most %d",
                              path, out->size, count, HEADER_MAX);
    return pare_buffer_ok(out, "the header", err);
}

/* What is stored: everything that does not share another one's elements. */
static Entry *list_entries(const PareSaveJob *job, size_t *count) {
    Entry *entries = pare_alloc(job->count, sizeof *entries);
    *count = 0;
    for (size_t i = 0; entries && i < job->count; i++)
        if (job->tensors[i].same_as == SIZE_MAX)
            entries[(*count)++] = (Entry){&job->tensors[i], i};
    if (entries)
        qsort(entries, *count, sizeof *entries, compare);
    return entries;
}

PareStatus pare_safetensors_save(const PareSaveJob *job, PareError *err) {
    PareOutput *out = NULL;
    PareBuffer header = {0}, length = {0};
    PareSaveRoom room = {0};
    size_t count = 0;
    Entry *entries = list_entries(job, &count);
    PareStatus st = entries ? put_header(entries, count, &header, job->path, err)
                            : pare_memory_error(err, "the list of tensors");
    pare_buffer_put_u64(&length, header.size);
    if (!st)
        st = pare_buffer_ok(&length, "the header", err);
    if (!st)
        st = pare_output_open(job->path, job->force, &out, err);
    if (!st)
        st = pare_output_write(out, length.data, length.size, err);
    if (!st)
        st = pare_output_write(out, header.data, header.size, err);
    for (size_t i = 0; i < count && !st; i++) {
        st = pare_save_fetch(job, entries[i].index, &room, err);
        if (!st)
            st = pare_output_write(out, room.data, room.bytes, err);
    }
    pare_save_room_free(&room);
    pare_buffer_free(&header);
    pare_buffer_free(&length);
    pare_free(entries);
    if (!st)
        return pare_output_commit(out, err);
    pare_output_abort(out);
    return st;
}
