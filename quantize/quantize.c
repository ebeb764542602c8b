/* Quantizing a model file, one tensor at a time. */
#include "quantize/quantize.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "core/blocks.h"
#include "core/file.h"
#include "core/log.h"
#include "core/options.h"
#include "runtime/metadata.h"
#include "runtime/params.h"
#include "runtime/selftest.h"

bool pare_quantize_parse_type(const char *text, PareDtype *out) {
    static const struct {
        const char *word;
        PareDtype dtype;
    } WORDS[] = {{"int8", PARE_I8},   {"i8", PARE_I8},    {"fp16", PARE_F16}, {"f16", PARE_F16},
                 {"bf16", PARE_BF16}, {"fp32", PARE_F32}, {"f32", PARE_F32}};
    for (size_t i = 0; i < sizeof WORDS / sizeof *WORDS; i++)
        if (strcasecmp(text, WORDS[i].word) == 0) {
            *out = WORDS[i].dtype;
            return true;
        }
    return false;
}

PareStatus pare_keep_parse(char *storage, PareKeepRule *out, PareError *err) {
    char *equals = strrchr(storage, '=');
    if (!equals || equals == storage || !pare_quantize_parse_type(equals + 1, &out->dtype))
        return pare_error_set(err, PARE_E_USAGE,
                              "--keep '%s': expected GLOB=TYPE with the type f32, fp16, bf16 or "
                              "int8, as in 'head.*=f32'",
                              storage);
    *equals = '\0';
    out->glob = storage;
    return PARE_OK;
}

typedef struct {
    const PareQuantizeOptions *o;
    const PareModel *model;
    PareFileWriter *writer;
    void *blob; /* of the largest tensor so far */
    size_t blob_size;
    bool *used; /* which keep rules matched something */
    PareQuantizeTotals totals;
    PareError *err;
} Job;

/* Does the rule name this stored tensor, or one that shares its values? */
static bool names(const Job *j, const char *glob, const char *tensor) {
    const PareFile *f = pare_model_file(j->model);
    bool found = pare_glob_match(glob, tensor);
    for (size_t i = 0; i < pare_file_count(f) && !found; i++) {
        const PareFileTensor *t = pare_file_tensor(f, i);
        found = t->alias_of && strcmp(t->alias_of, tensor) == 0 && pare_glob_match(glob, t->name);
    }
    return found;
}

static PareDtype choose(const Job *j, const PareSlot *s) {
    if (s->role != PARE_ROLE_MATRIX && s->role != PARE_ROLE_EMBEDDING)
        return PARE_F32;
    for (size_t i = 0; i < j->o->keep_count; i++)
        if (names(j, j->o->keep[i].glob, s->name)) {
            j->used[i] = true;
            return j->o->keep[i].dtype;
        }
    return j->o->to;
}

static PareStatus check_source(const Job *j, const PareFileTensor *t, PareDtype to) {
    if (t->dtype == PARE_F32)
        return PARE_OK;
    return pare_error_set(j->err, PARE_E_UNSUPPORTED,
                          "%s: tensor '%s' is %s already; quantize to %s from the F32 file",
                          j->o->input, t->name, pare_dtype_name(t->dtype), pare_dtype_name(to));
}

/* F16 ends at 65504: what lies beyond would become infinite, so it is refused by name. */
static PareStatus check_range(const Job *j, const PareFileTensor *t, PareDtype to, size_t count) {
    const float *x = t->data;
    size_t beyond = 0;
    float largest = 0;
    for (size_t i = 0; to == PARE_F16 && i < count; i++) {
        float a = fabsf(x[i]);
        beyond += a >= 65520.0F;
        largest = a > largest ? a : largest;
    }
    if (beyond == 0)
        return PARE_OK;
    return pare_error_set(j->err, PARE_E_FORMAT,
                          "%s: tensor '%s' has %zu value%s beyond what F16 can hold (largest %g); "
                          "add --keep '%s=f32' or use bf16",
                          j->o->input, t->name, beyond, beyond == 1 ? "" : "s", (double)largest,
                          t->name);
}

static PareStatus grow(Job *j, uint64_t bytes) {
    if (bytes <= j->blob_size)
        return PARE_OK;
    pare_free(j->blob);
    j->blob_size = 0;
    j->blob = pare_alloc((size_t)bytes, 1);
    if (!j->blob)
        return pare_memory_error(j->err, "a quantized tensor");
    j->blob_size = (size_t)bytes;
    return PARE_OK;
}

/* Whoever converted them asked for such values; they are not passed on unseen. */
static void warn_nonfinite(const Job *j, const PareFileTensor *t, size_t count) {
    size_t bad = pare_count_nonfinite(t->data, count);
    if (bad)
        pare_log_warn("%s: tensor '%s' holds %zu NaN or infinite value%s", j->o->input, t->name,
                      bad, bad == 1 ? "" : "s");
}

/* || W - W' || / || W ||, row by row in double; NaN where W holds one. */
static PareStatus relative_error(Job *j, const PareFileTensor *from, const PareFileTensor *to,
                                 double *out) {
    size_t N = (size_t)from->shape[0], K = (size_t)from->shape[1];
    PareWeight w = {.dtype = to->dtype, .layout = to->layout, .N = N, .K = K, .data = j->blob};
    if (to->layout == PARE_LAYOUT_BLOCK4) {
        PareBlock4 b = pare_file_block4(to);
        w.data = b.values;
        w.scales = b.scales;
    }
    float *row = pare_alloc(K, sizeof *row);
    if (!row)
        return pare_memory_error(j->err, "a row");
    double difference = 0, norm = 0;
    for (size_t n = 0; n < N; n++) {
        const float *x = (const float *)from->data + n * K;
        pare_weight_row(&w, n, row);
        for (size_t k = 0; k < K; k++) {
            double d = (double)x[k] - (double)row[k];
            difference += d * d;
            norm += (double)x[k] * (double)x[k];
        }
    }
    pare_free(row);
    *out = norm == 0 ? 0 : sqrt(difference / norm);
    return PARE_OK;
}

static PareStatus pack(Job *j, const PareFileTensor *from, PareFileTensor *to, double *error) {
    size_t N = (size_t)from->shape[0], K = (size_t)from->shape[1];
    to->layout = to->dtype == PARE_I8 ? PARE_LAYOUT_BLOCK4 : PARE_LAYOUT_BLOCK1;
    if (!pare_file_blob_bytes(to, &to->bytes))
        return pare_error_set(j->err, PARE_E_FORMAT, "%s: tensor '%s' is too large", j->o->input,
                              from->name);
    PareStatus st = check_range(j, from, to->dtype, N * K);
    if (!st)
        st = grow(j, to->bytes);
    if (st)
        return st;
    warn_nonfinite(j, from, N * K);
    if (to->dtype == PARE_I8)
        pare_blocks_pack_i8(from->data, N, K, j->blob);
    else
        pare_blocks_pack_half(to->dtype, from->data, N, K, j->blob);
    to->data = j->blob;
    return relative_error(j, from, to, error);
}

static PareStatus write_tensor(Job *j, const PareFileTensor *from) {
    const PareSlot *slot = pare_slots_find(pare_model_slots(j->model), from->name);
    PareFileTensor to = *from;
    PareQuantizeLine line = {.name = from->name, .alias_of = from->alias_of, .from = from->dtype};
    PareStatus st = PARE_OK;
    if (from->alias_of)
        return pare_file_writer_alias(j->writer, from, from->alias_of, j->err);
    to.dtype = choose(j, slot);
    if (to.dtype != from->dtype) {
        st = check_source(j, from, to.dtype);
        if (!st)
            st = pack(j, from, &to, &line.relative_error);
    }
    if (!st)
        st = pare_file_writer_tensor(j->writer, &to, to.data, j->err);
    line.to = to.dtype;
    line.bytes_before = from->bytes;
    line.bytes_after = to.bytes;
    j->totals.tensor_bytes_before += from->bytes;
    j->totals.tensor_bytes_after += to.bytes;
    if (!st && j->o->report)
        j->o->report(j->o->context, &line);
    return st;
}

static PareStatus copy_section(Job *j, PareSectionKind kind) {
    const void *bytes;
    size_t size;
    if (!pare_file_section(pare_model_file(j->model), kind, &bytes, &size))
        return PARE_OK;
    return pare_file_writer_section(j->writer, kind, bytes, size, j->err);
}

static void put_options(const PareQuantizeOptions *o, PareBuffer *out) {
    pare_buffer_printf(out, "{\"to\":\"%s\",\"keep\":[", pare_dtype_name(o->to));
    for (size_t i = 0; i < o->keep_count; i++) {
        pare_buffer_printf(out, "%s[", i ? "," : "");
        pare_buffer_put_json_string(out, o->keep[i].glob, strlen(o->keep[i].glob));
        pare_buffer_printf(out, ",\"%s\"]", pare_dtype_name(o->keep[i].dtype));
    }
    pare_buffer_puts(out, "]}");
}

static PareStatus write_metadata(Job *j) {
    PareBuffer options = {0}, metadata = {0};
    put_options(j->o, &options);
    PareStatus st = pare_buffer_ok(&options, "options", j->err);
    if (!st)
        st = pare_metadata_append(j->model, "quantize", options.data, NULL, &metadata, j->err);
    if (!st)
        st = pare_file_writer_section(j->writer, PARE_SECTION_METADATA, metadata.data,
                                      metadata.size, j->err);
    pare_buffer_free(&options);
    pare_buffer_free(&metadata);
    return st;
}

static PareStatus check_rules(const Job *j) {
    for (size_t i = 0; i < j->o->keep_count; i++)
        if (!j->used[i])
            return pare_error_set(j->err, PARE_E_USAGE,
                                  "--keep '%s=…': no matrix or embedding of %s has such a name",
                                  j->o->keep[i].glob, j->o->input);
    return PARE_OK;
}

static PareStatus write_tensors(Job *j) {
    const PareFile *f = pare_model_file(j->model);
    size_t count = pare_file_count(f);
    PareProgress *progress = pare_progress_start("quantizing", count);
    PareStatus st = PARE_OK;
    for (size_t i = 0; i < count && !st; i++) {
        const PareFileTensor *t = pare_file_tensor(f, i);
        pare_progress_update(progress, i, t->name);
        st = write_tensor(j, t);
        pare_file_release(f, t);
        if (!st)
            st = pare_interrupt_check(j->err);
    }
    pare_progress_finish(progress);
    return st ? st : check_rules(j);
}

/* The model with quantized tensors but without a self-test, as a whole file at `path`. */
static PareStatus write_plain(Job *j, const char *path, bool force) {
    PareStatus st = pare_file_writer_open(path, force, &j->writer, j->err);
    if (!st)
        st = write_tensors(j);
    if (!st)
        st = write_metadata(j);
    if (!st)
        st = copy_section(j, PARE_SECTION_TOKENIZER);
    if (st) {
        pare_file_writer_abort(j->writer);
        return st;
    }
    return pare_file_writer_commit(j->writer, j->err);
}

/* Everything of `draft` and the self-test that it gives, at the output's place. */
static PareStatus write_final(Job *j, const PareModel *draft) {
    const PareFile *f = pare_model_file(draft);
    PareBuffer self_test = {0};
    PareStatus st = pare_selftest_create(draft, j->o->threads, &self_test, j->err);
    if (!st)
        st = pare_file_writer_open(j->o->output, j->o->force, &j->writer, j->err);
    if (st) {
        pare_buffer_free(&self_test);
        return st;
    }
    for (size_t i = 0; i < pare_file_count(f) && !st; i++) {
        const PareFileTensor *t = pare_file_tensor(f, i);
        st = t->alias_of ? pare_file_writer_alias(j->writer, t, t->alias_of, j->err)
                         : pare_file_writer_tensor(j->writer, t, t->data, j->err);
        pare_file_release(f, t);
    }
    j->model = draft;
    if (!st)
        st = copy_section(j, PARE_SECTION_METADATA);
    if (!st)
        st = copy_section(j, PARE_SECTION_TOKENIZER);
    if (!st)
        st = pare_file_writer_section(j->writer, PARE_SECTION_SELFTEST, self_test.data,
                                      self_test.size, j->err);
    pare_buffer_free(&self_test);
    if (!st)
        return pare_file_writer_commit(j->writer, j->err);
    pare_file_writer_abort(j->writer);
    return st;
}

/* The self-test is what the finished model computes: a draft is written beside the output, mapped,
 * and its name removed at once, so that nothing is left behind whatever happens. The name is this
 * process's own: a draft that a killed run left, or another run makes, is not in the way. */
static PareStatus write_with_self_test(Job *j) {
    PareBuffer path = {0};
    PareModel *draft = NULL;
    const char *name = pare_file_basename(j->o->output);
    pare_buffer_printf(&path, "%.*s.%.200s.draft.%ld", (int)(name - j->o->output), j->o->output,
                       name, (long)getpid());
    PareStatus st = pare_buffer_ok(&path, "a file name", j->err);
    if (!st)
        st = write_plain(j, path.data, false);
    if (!st) {
        st = pare_model_open(path.data, &draft, j->err);
        remove(path.data);
    }
    if (!st)
        st = write_final(j, draft);
    pare_model_close(draft);
    pare_buffer_free(&path);
    return st;
}

static bool result_is_bit_exact(const Job *j) {
    const PareSlots *slots = pare_model_slots(j->model);
    for (size_t i = 0; i < slots->count; i++) {
        const PareSlot *s = &slots->items[i];
        bool matrix = s->role == PARE_ROLE_MATRIX || s->role == PARE_ROLE_EMBEDDING;
        if (pare_file_find(pare_model_file(j->model), s->name)->alias_of)
            continue; /* what it shares is asked for */
        if (matrix && choose(j, s) == PARE_F32)
            return false;
    }
    return pare_model_description(j->model)->head.kind != PARE_HEAD_NONE;
}

/* Refused before any work: an output that is the input, that stands in the way, or that cannot be
 * created where it is to be. */
static PareStatus check_paths(const PareQuantizeOptions *o, PareError *err) {
    if (pare_file_same(o->input, o->output))
        return pare_error_set(err, PARE_E_IO, "%s: the output is the input; nothing was written",
                              o->output);
    PareOutput *probe = NULL;
    PareStatus st = pare_output_open(o->output, o->force, &probe, err);
    pare_output_abort(probe);
    return st;
}

static uint64_t file_size(const char *path) {
    PareMapping m;
    uint64_t size = 0;
    if (!pare_file_map(path, &m, NULL)) {
        size = m.size;
        pare_file_unmap(&m);
    }
    return size;
}

PareStatus pare_quantize(const PareQuantizeOptions *o, PareQuantizeTotals *totals, PareError *err) {
    PareModel *model = NULL;
    Job j = {.o = o, .err = err};
    PareStatus st = check_paths(o, err);
    if (!st)
        st = pare_model_open(o->input, &model, err);
    if (st)
        return st;
    j.model = model;
    j.used = pare_alloc(o->keep_count, sizeof *j.used);
    if (!j.used)
        st = pare_memory_error(err, "rules");
    else
        st = o->self_test && result_is_bit_exact(&j) ? write_with_self_test(&j)
                                                     : write_plain(&j, o->output, o->force);
    *totals = j.totals;
    if (!st) {
        totals->file_bytes_before = pare_file_size(pare_model_file(model));
        totals->file_bytes_after = file_size(o->output);
    }
    pare_free(j.used);
    pare_free(j.blob);
    pare_model_close(model);
    return st;
}
