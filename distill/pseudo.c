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
    PareBuffer text; /* the lines of one window */
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

/* The examples [begin, end) of one rank, appended to its own file. */
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
        st = write_window(m, at, end - at < WINDOW ? end : at + WINDOW);
        pare_progress_update(p, at - begin, NULL);
    }
    pare_progress_finish(p);
    if (fclose(m->file) != 0 && !st)
        st = pare_error_set(m->err, PARE_E_IO, "%s: %s", path, strerror(errno));
    return st;
}

/* Rank 0 puts the parts of the others behind its own. */
static PareStatus join(const ParePseudoJob *job, PareError *err) {
    PareStatus st = PARE_OK;
    FILE *out = fopen(job->path, "ab");
    if (!out)
        return pare_error_set(err, PARE_E_IO, "%s: %s", job->path, strerror(errno));
    for (size_t r = 1; r < pare_ranks_count() && !st; r++) {
        char path[4096];
        PareMapping map;
        snprintf(path, sizeof path, "%s.rank%zu", job->path, r);
        st = pare_file_map(path, &map, err);
        if (st)
            break;
        if (fwrite(map.data, 1, map.size, out) != map.size)
            st = pare_error_set(err, PARE_E_IO, "%s: %s", job->path, strerror(errno));
        pare_file_unmap(&map);
        if (!st)
            unlink(path);
    }
    if (fclose(out) != 0 && !st)
        st = pare_error_set(err, PARE_E_IO, "%s: %s", job->path, strerror(errno));
    return st;
}

/* Each rank decodes one stretch; with one rank that is all. */
static PareStatus make_all(Maker *m) {
    const ParePseudoJob *job = m->job;
    size_t ranks = pare_ranks_count(), rank = pare_ranks_rank(),
           count = pare_examples_count(job->examples);
    char path[4096];
    snprintf(path, sizeof path, rank ? "%s.rank%zu" : "%s", job->path, rank);
    PareStatus st = make_part(m, path, count * rank / ranks, count * (rank + 1) / ranks);
    bool failed = st != PARE_OK;
    PareStatus all = pare_ranks_any(&failed, m->err);
    if (st || all)
        return st ? st : all;
    if (failed)
        return pare_error_set(m->err, PARE_E_IO, "another rank failed to write pseudo-labels");
    return ranks > 1 && rank == 0 ? join(job, m->err) : PARE_OK;
}

PareStatus pare_pseudo_make(const ParePseudoJob *job, PareError *err) {
    Maker m = {.job = job, .err = err};
    size_t lines = 0;
    PareStatus st = pare_ranks_rank() == 0 ? check_provenance(job, err) : PARE_OK;
    if (!st)
        st = count_lines(job->path, &lines, err);
    if (!st)
        st = pare_ranks_share(&lines, sizeof lines, err);
    if (st || lines == pare_examples_count(job->examples))
        return st;
    st = pare_session_create(job->teacher, job->threads, &m.session, err);
    if (!st)
        st = make_all(&m);
    bool done = false;
    if (!st)
        st = pare_ranks_any(&done, err); /* nobody reads before the file is whole */
    pare_session_destroy(m.session);
    pare_buffer_free(&m.text);
    return st;
}
