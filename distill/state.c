/* Training checkpoints in .pare containers. */
#include "distill/state.h"

#include <string.h>

#include "core/buffer.h"
#include "core/memory.h"
#include "formats/pare_file.h"

struct PareState {
    char *path;
    PareFile *file;
    PareJsonDoc *doc;
    const PareJson *training;
};

static PareStatus write_all(PareFileWriter *w, const char *settings, const char *progress,
                            const PareStateArray *arrays, size_t count, PareError *err) {
    PareBuffer text = {0};
    PareStatus st = PARE_OK;
    for (size_t i = 0; i < count && !st; i++) {
        const PareFileTensor t = {.name = arrays[i].name,
                                  .dtype = PARE_F32,
                                  .layout = PARE_LAYOUT_ROWS,
                                  .dims = 1,
                                  .shape = {arrays[i].count}};
        st = pare_file_writer_tensor(w, &t, arrays[i].values, err);
    }
    pare_buffer_printf(&text, "{\"training\":{\"settings\":%s,\"progress\":%s}}", settings,
                       progress);
    if (!st)
        st = pare_buffer_ok(&text, "a checkpoint", err);
    if (!st)
        st = pare_file_writer_section(w, PARE_SECTION_METADATA, text.data, text.size, err);
    pare_buffer_free(&text);
    return st;
}

PareStatus pare_state_save(const char *path, const char *settings, const char *progress,
                           const PareStateArray *arrays, size_t count, PareError *err) {
    PareFileWriter *w = NULL;
    PareStatus st = pare_file_writer_open(path, true, &w, err);
    if (st)
        return st;
    st = write_all(w, settings, progress, arrays, count, err);
    if (st) {
        pare_file_writer_abort(w);
        return st;
    }
    return pare_file_writer_commit(w, err);
}

static PareStatus read_metadata(PareState *s, PareError *err) {
    const void *bytes;
    size_t size;
    if (pare_file_section(s->file, PARE_SECTION_METADATA, &bytes, &size)) {
        PareStatus st = pare_json_parse(bytes, size, s->path, &s->doc, err);
        if (st)
            return st;
        s->training = pare_json_get(pare_json_root(s->doc), "training");
    }
    if (!pare_json_is_object(pare_json_get(s->training, "settings")) ||
        !pare_json_is_object(pare_json_get(s->training, "progress")))
        return pare_error_set(err, PARE_E_FORMAT, "%s: this is no checkpoint of a training run",
                              s->path);
    return PARE_OK;
}

PareStatus pare_state_open(const char *path, PareState **out, PareError *err) {
    *out = NULL;
    PareState *s = pare_alloc(1, sizeof *s);
    if (!s || !(s->path = pare_strdup(path))) {
        pare_state_close(s);
        return pare_memory_error(err, path);
    }
    PareStatus st = pare_file_open(path, &s->file, err);
    if (!st)
        st = pare_file_verify(s->file, err);
    if (!st)
        st = read_metadata(s, err);
    if (st)
        pare_state_close(s);
    else
        *out = s;
    return st;
}

void pare_state_close(PareState *s) {
    if (!s)
        return;
    pare_json_free(s->doc);
    pare_file_close(s->file);
    pare_free(s->path);
    pare_free(s);
}

const PareJson *pare_state_progress(const PareState *s) {
    return pare_json_get(s->training, "progress");
}

/* One member: the same text in both, or an error that shows the two. */
static PareStatus compare_member(const PareState *s, const char *key, const PareJson *then,
                                 const PareJson *now, PareError *err) {
    char *a = then ? pare_json_print(then) : pare_strdup("not set");
    char *b = now ? pare_json_print(now) : pare_strdup("not set");
    PareStatus st = PARE_OK;
    if (!a || !b)
        st = pare_memory_error(err, "settings");
    else if (strcmp(a, b) != 0)
        st = pare_error_set(err, PARE_E_USAGE,
                            "%s: the run was begun with another %s (%.200s then, %.200s now); a "
                            "resumed run needs the same",
                            s->path, key, a, b);
    pare_free(a);
    pare_free(b);
    return st;
}

PareStatus pare_state_compare(const PareState *s, const char *settings, PareError *err) {
    PareJsonDoc *doc = NULL;
    PareStatus st = pare_json_parse(settings, strlen(settings), "settings", &doc, err);
    if (st)
        return st;
    const PareJson *then = pare_json_get(s->training, "settings"), *now = pare_json_root(doc);
    for (const PareJson *n = pare_json_first(now); n && !st; n = pare_json_next(n))
        st = compare_member(s, pare_json_key(n), pare_json_get(then, pare_json_key(n)), n, err);
    for (const PareJson *n = pare_json_first(then); n && !st; n = pare_json_next(n))
        st = compare_member(s, pare_json_key(n), n, pare_json_get(now, pare_json_key(n)), err);
    pare_json_free(doc);
    return st;
}

PareStatus pare_state_read(const PareState *s, const PareStateArray *arrays, size_t count,
                           PareError *err) {
    if (pare_file_count(s->file) != count)
        return pare_error_set(err, PARE_E_FORMAT, "%s: holds %zu arrays; this run has %zu", s->path,
                              pare_file_count(s->file), count);
    for (size_t i = 0; i < count; i++) {
        const PareFileTensor *t = pare_file_find(s->file, arrays[i].name);
        if (!t || t->dtype != PARE_F32 || t->dims != 1 || t->shape[0] != arrays[i].count)
            return pare_error_set(err, PARE_E_FORMAT,
                                  "%s: has no array '%s' of %zu values, which this run needs",
                                  s->path, arrays[i].name, arrays[i].count);
        memcpy(arrays[i].values, t->data, arrays[i].count * sizeof(float));
    }
    return PARE_OK;
}
