/* Texts that a teacher writes for the training inputs. */
#include "distill/pseudo.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/buffer.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/json.h"
#include "core/version.h"
#include "distill/ranks.h"
#include "runtime/session.h"

/* Inputs that are decoded between two writes to the file. */
enum { WINDOW = 256, BATCH = 32 };

typedef struct {
    const ParePseudoJob *job;
    PareSession *session;
    FILE *file;
    PareBuffer text;   /* the lines of one window */
    uint64_t identity; /* of the provenance: names the files of several ranks */
    PareError *err;
} Maker;

/* -- provenance -- */

static PareStatus describe(const ParePseudoJob *job, PareBuffer *out, PareError *err) {
    const char *path = pare_file_path(pare_model_file(job->teacher));
    char hash[PARE_SHA256_HEX_SIZE];
    uint64_t bytes;
    PareStatus st = pare_file_sha256(path, &bytes, hash, err);
    if (st)
        return st;
    pare_buffer_puts(out,
                     "{\"program\":\"pare-distill\",\"version\":\"" PARE_VERSION "\",\"teacher\":");
    pare_buffer_put_json_string(out, pare_file_basename(path), strlen(pare_file_basename(path)));
    pare_buffer_printf(out,
                       ",\"teacher_sha256\":\"%s\",\"examples\":%zu,\"inputs_xxh64\":\"%016llx\"",
                       hash, pare_examples_count(job->examples),
                       (unsigned long long)pare_examples_digest(job->examples));
    pare_buffer_puts(out, ",\"generation\":");
    pare_generation_write(job->generation, out);
    pare_buffer_puts(out, "}\n");
    return pare_buffer_ok(out, "the provenance", err);
}

static char *provenance_path(const ParePseudoJob *job) {
    PareBuffer b = {0};
    size_t size;
    pare_buffer_printf(&b, "%s.provenance.json", job->path);
    return pare_buffer_steal(&b, &size);
}

static PareStatus write_file(const char *path, const PareBuffer *text, PareError *err) {
    PareOutput *o;
    PareStatus st = pare_output_open(path, true, &o, err);
    if (st)
        return st;
    st = pare_output_write(o, text->data, text->size, err);
    if (st) {
        pare_output_abort(o);
        return st;
    }
    return pare_output_commit(o, err);
}

/* A file of lines is gone on with when its provenance is ours. */
static PareStatus check_provenance(const ParePseudoJob *job, PareError *err) {
    PareBuffer wanted = {0};
    char *path = provenance_path(job), *found = NULL;
    size_t size = 0;
    enum { PROVENANCE_MAX = 1 << 20 };
    PareStatus st = path ? describe(job, &wanted, err) : pare_memory_error(err, job->path);
    if (!st && !pare_file_exists(job->path)) {
        st = write_file(path, &wanted, err);
    } else if (!st && !pare_file_exists(path)) {
        st = pare_error_set(err, PARE_E_USAGE,
                            "%s: exists, but %s, which would tell how it was made, does not; name "
                            "another file, or give it as --data",
                            job->path, path);
    } else if (!st) {
        st = pare_file_read(path, PROVENANCE_MAX, &found, &size, err);
        if (!st && (size != wanted.size || memcmp(found, wanted.data, size) != 0))
            st = pare_error_set(err, PARE_E_USAGE,
                                "%s: was written by another teacher, for other inputs or with "
                                "other settings (%s tells); remove it or name another file",
                                job->path, path);
    }
    pare_buffer_free(&wanted);
    pare_free(found);
    pare_free(path);
    return st;
}

/* -- decoding -- */

static void put_ids(PareBuffer *out, const int32_t *ids, size_t count) {
    pare_buffer_puts(out, "[");
    for (size_t i = 0; i < count; i++)
        pare_buffer_printf(out, "%s%d", i ? "," : "", (int)ids[i]);
    pare_buffer_puts(out, "]");
}

/* What is behind the decoder's start, up to the end token. */
static void put_line(PareBuffer *out, const PareSequence *s, const PareGenerated *g) {
    size_t start = g->count > 0;
    pare_buffer_puts(out, "{\"input_ids\":");
    put_ids(out, s->ids, s->count);
    pare_buffer_puts(out, ",\"labels\":");
    put_ids(out, g->ids + start, g->count - start);
    pare_buffer_puts(out, "}\n");
}

static PareStatus write_window(Maker *m, size_t begin, size_t end) {
    PareSequence sequences[BATCH] = {{0}};
    PareGenerated generated[BATCH];
    pare_buffer_clear(&m->text);
    for (size_t at = begin; at < end; at += BATCH) {
        size_t count = end - at < BATCH ? end - at : BATCH;
        for (size_t i = 0; i < count; i++)
            sequences[i] = pare_examples_get(m->job->examples, at + i).sequence;
        PareStatus st = pare_session_generate(m->session, sequences, count, m->job->generation,
                                              generated, m->err);
        if (st)
            return st;
        for (size_t i = 0; i < count; i++)
            put_line(&m->text, &sequences[i], &generated[i]);
    }
    PareStatus st = pare_buffer_ok(&m->text, "pseudo-labels", m->err);
    if (!st &&
        (fwrite(m->text.data, 1, m->text.size, m->file) != m->text.size || fflush(m->file) != 0))
        st = pare_error_set(m->err, PARE_E_IO, "%s: %s", m->job->path, strerror(errno));
    return st;
}

/* Whole lines that are there already; what stands behind the last line end is cut off. */
static PareStatus count_lines(const char *path, size_t *lines, PareError *err) {
    PareMapping map;
    size_t end = 0;
    *lines = 0;
    if (!pare_file_exists(path))
        return PARE_OK;
    PareStatus st = pare_file_map(path, &map, err);
    if (st)
        return st;
    for (size_t i = 0; i < map.size; i++)
        if (map.data[i] == '\n') {
            (*lines)++;
            end = i + 1;
        }
    bool cut = end < map.size;
    pare_file_unmap(&map);
    if (cut && truncate(path, (off_t)end) != 0)
        return pare_error_set(err, PARE_E_IO, "%s: %s", path, strerror(errno));
    return PARE_OK;
}

/* Writes the lines of the examples [begin, end) to a file that may have the first of them already.
 */
static PareStatus make_part(Maker *m, const char *path, size_t begin, size_t end) {
    size_t done;
    PareStatus st = count_lines(path, &done, m->err);
    if (st)
        return st;
    m->file = fopen(path, "ab");
    if (!m->file)
        return pare_error_set(m->err, PARE_E_IO, "%s: %s", path, strerror(errno));
    PareProgress *p = m->job->progress ? m->job->progress("pseudo-labels", end - begin) : NULL;
    for (size_t at = begin + done; at < end && !st; at += WINDOW) {
        pare_progress_update(p, at - begin, NULL);
        st = write_window(m, at, end - at < WINDOW ? end : at + WINDOW);
    }
    pare_progress_finish(p);
    if (fclose(m->file) != 0 && !st)
        st = pare_error_set(m->err, PARE_E_IO, "%s: %s", path, strerror(errno));
    if (st == PARE_E_INTERRUPTED)
        st = pare_error_set(m->err, st, "interrupted; what was decoded is kept in %s", path);
    return st;
}

/* -- several ranks: each has a file of its own until all are done -- */

typedef struct {
    size_t begin, end;
} Part;

/* The name tells which examples are in it and of whom, so that another part that was left behind is
 * never taken for it. */
static char *part_path(const Maker *m, Part part) {
    PareBuffer b = {0};
    size_t size;
    pare_buffer_printf(&b, "%s.%zu-%zu.%016llx", m->job->path, part.begin, part.end,
                       (unsigned long long)m->identity);
    return pare_buffer_steal(&b, &size);
}

/* Of the examples that are not in the file yet. */
static Part part_of(const ParePseudoJob *job, size_t done, size_t rank) {
    size_t ranks = pare_ranks_count(), left = pare_examples_count(job->examples) - done;
    return (Part){done + left * rank / ranks, done + left * (rank + 1) / ranks};
}

static PareStatus append_file(const char *path, PareOutput *out, PareError *err) {
    PareMapping map;
    PareStatus st = pare_file_map(path, &map, err);
    if (st)
        return st;
    st = pare_output_write(out, map.data, map.size, err);
    pare_file_unmap(&map);
    return st;
}

/* What was there, and all parts, in order; a new file takes the place of the old one at once. */
static PareStatus write_joined(const Maker *m, size_t done, PareOutput *out) {
    const char *before = m->job->path;
    PareStatus st = pare_file_exists(before) ? append_file(before, out, m->err) : PARE_OK;
    for (size_t r = 0; r < pare_ranks_count() && !st; r++) {
        char *path = part_path(m, part_of(m->job, done, r));
        st = path ? append_file(path, out, m->err) : pare_memory_error(m->err, before);
        pare_free(path);
    }
    return st;
}

static PareStatus join(const Maker *m, size_t done) {
    PareOutput *out = NULL;
    PareStatus st = pare_output_open(m->job->path, true, &out, m->err);
    if (st)
        return st;
    st = write_joined(m, done, out);
    if (st) {
        pare_output_abort(out);
        return st;
    }
    st = pare_output_commit(out, m->err);
    for (size_t r = 0; r < pare_ranks_count() && !st; r++) {
        char *path = part_path(m, part_of(m->job, done, r));
        if (path)
            unlink(path);
        pare_free(path);
    }
    return st;
}

static PareStatus identify(Maker *m) {
    PareBuffer text = {0};
    PareStatus st = describe(m->job, &text, m->err);
    if (!st)
        m->identity = pare_hash_xxh64(text.data, text.size);
    pare_buffer_free(&text);
    return st;
}

static PareStatus make_shared(Maker *m, size_t done) {
    Part part = part_of(m->job, done, pare_ranks_rank());
    PareStatus st = identify(m);
    char *path = st ? NULL : part_path(m, part);
    if (!st)
        st = path ? make_part(m, path, part.begin, part.end)
                  : pare_memory_error(m->err, m->job->path);
    pare_free(path);
    bool failed = st != PARE_OK;
    PareStatus all = pare_ranks_any(&failed, m->err);
    if (st || all)
        return st ? st : all;
    if (failed)
        return pare_error_set(m->err, PARE_E_IO, "another rank failed to write pseudo-labels");
    return pare_ranks_rank() == 0 ? join(m, done) : PARE_OK;
}

/* -- all of it -- */

PareStatus pare_pseudo_check(const ParePseudoJob *job, PareError *err) {
    return pare_session_check_generation(pare_model_description(job->teacher), job->generation,
                                         BATCH, err);
}

static PareStatus make_all(Maker *m, size_t done) {
    const ParePseudoJob *job = m->job;
    PareStatus st = pare_session_create(job->teacher, job->threads, &m->session, m->err);
    if (st)
        return st;
    if (pare_ranks_count() > 1)
        return make_shared(m, done);
    return make_part(m, job->path, 0, pare_examples_count(job->examples));
}

PareStatus pare_pseudo_make(const ParePseudoJob *job, PareError *err) {
    Maker m = {.job = job, .err = err};
    size_t lines = 0, count = pare_examples_count(job->examples);
    PareStatus st = pare_ranks_rank() == 0 ? check_provenance(job, err) : PARE_OK;
    if (!st && pare_ranks_rank() == 0)
        st = count_lines(job->path, &lines, err);
    if (!st && lines > count)
        st = pare_error_set(err, PARE_E_FORMAT, "%s: has %zu lines; expected at most %zu",
                            job->path, lines, count);
    if (!st)
        st = pare_ranks_share(&lines, sizeof lines, err);
    if (st || lines == count)
        return st;
    st = make_all(&m, lines);
    bool done = false;
    if (!st)
        st = pare_ranks_any(&done, err); /* nobody reads before the file is whole */
    pare_session_destroy(m.session);
    pare_buffer_free(&m.text);
    return st;
}
