/* Opening, summarizing and writing an export. */
#include "convert/export.h"

#include <string.h>

#include "convert/export_folder.h"
#include "convert/export_impl.h"
#include "core/file.h"
#include "text/tokenizer_export.h"

static const struct {
    const char *name, *file;
} FORMATS[] = {[PARE_SAVE_SAFETENSORS] = {"safetensors", "model.safetensors"},
               [PARE_SAVE_PYTORCH] = {"PyTorch", "pytorch_model.bin"},
               [PARE_SAVE_HDF5] = {"HDF5", "tf_model.h5"}};

/* ---- Opening ---- */

static PareStatus open_tokenizer(PareExport *e, PareError *err) {
    const PareFile *f = pare_model_file(e->model);
    if (e->options.no_tokenizer)
        return PARE_OK;
    if (!pare_file_section(f, PARE_SECTION_TOKENIZER, &e->tokenizer_bytes, &e->tokenizer_size)) {
        pare_buffer_puts(&e->notices,
                         "the model has no tokenizer, and neither will the exported folder\n");
        return PARE_OK;
    }
    PareStatus st = pare_tokenizer_from_bytes(e->tokenizer_bytes, e->tokenizer_size,
                                              e->options.model, &e->tokenizer, err);
    if (!st)
        e->summary.tokenizer = pare_tokenizer_kind(e->tokenizer);
    return st;
}

/* What config.json says: the dtype that all tensors have, or the one that holds all exactly. */
static void summarize_dtype(PareExport *e) {
    PareDtype found = e->count ? e->tensors[0].type.dtype : PARE_F32;
    for (size_t i = 0; i < e->count; i++)
        if (e->tensors[i].type.dtype != found)
            found = PARE_F32;
    e->summary.dtype = found == PARE_F16 ? "float16" : found == PARE_BF16 ? "bfloat16" : "float32";
}

static bool is_padded(const PareExport *e, const PareExportItem *item) {
    for (uint32_t i = 0; i < item->part_count; i++) {
        const PareSlot *s = item->parts[i];
        const PareFileTensor *t = pare_file_find(pare_model_file(e->model), s->name);
        for (uint32_t d = 0; d < s->dims; d++)
            if (!t || t->shape[d] != s->shape[d])
                return true;
    }
    return false;
}

static void summarize(PareExport *e) {
    PareExportSummary *s = &e->summary;
    for (size_t i = 0; i < e->count; i++) {
        size_t bytes = 0, elements = 0;
        if (e->tensors[i].same_as != SIZE_MAX) {
            s->shared++;
            continue;
        }
        pare_tensor_bytes(&e->tensors[i].type, &bytes);
        pare_tensor_elements(&e->tensors[i].type, &elements);
        s->tensors++;
        s->parameters += elements;
        s->bytes += bytes;
        s->memory_bytes = bytes > s->memory_bytes ? bytes : s->memory_bytes;
        s->padded += is_padded(e, &e->items[i]);
    }
    s->family = e->theirs.family->title;
    s->architecture = e->theirs.architecture->name;
    s->format = FORMATS[e->options.format].name;
    s->weights = FORMATS[e->options.format].file;
    if (s->padded && e->options.pad_pruned)
        pare_buffer_printf(&e->notices,
                           "%zu tensors are filled up with zeros; the result is the same and as "
                           "large as before pruning\n",
                           s->padded);
}

static PareStatus open_parts(PareExport *e, PareError *err) {
    PareStatus st = pare_model_open(e->options.model, &e->model, err);
    if (st)
        return st;
    e->stored = pare_model_description(e->model);
    st = open_tokenizer(e, err);
    if (!st)
        st = pare_export_settings(e, err);
    if (!st)
        st = pare_export_compare(e, err);
    if (!st)
        st = pare_export_plan(e, err);
    if (st)
        return st;
    summarize_dtype(e);
    summarize(e);
    st = pare_export_texts(e, err);
    return st ? st : pare_buffer_ok(&e->notices, "the notices", err);
}

PareStatus pare_export_open(const PareExportOptions *options, PareExport **out, PareError *err) {
    PareExport *e = pare_alloc(1, sizeof *e);
    *out = NULL;
    if (!e)
        return pare_memory_error(err, "the export");
    e->options = *options;
    e->arena = pare_arena_create(0);
    PareStatus st = e->arena ? open_parts(e, err) : pare_memory_error(err, "the export");
    if (st)
        pare_export_close(e);
    else
        *out = e;
    return st;
}

void pare_export_close(PareExport *e) {
    if (!e)
        return;
    for (size_t i = 0; i < e->doc_count; i++)
        pare_json_free(e->docs[i]);
    pare_tokenizer_free(e->tokenizer);
    pare_model_close(e->model);
    pare_buffer_free(&e->config_text);
    pare_buffer_free(&e->generation_text);
    pare_buffer_free(&e->notices);
    pare_arena_destroy(e->arena);
    pare_free(e);
}

const PareExportSummary *pare_export_summary(PareExport *e) {
    e->summary.notices = e->notices.data ? e->notices.data : "";
    return &e->summary;
}

/* ---- Writing ---- */

static PareStatus put_file(PareExportFolder *folder, const char *name, const PareBuffer *bytes,
                           PareError *err) {
    char *path = NULL;
    PareStatus st = pare_export_folder_file(folder, name, &path, err);
    if (!st)
        st = pare_output_save(path, false, bytes->data, bytes->size, err);
    pare_free(path);
    return st;
}

static PareStatus put_tokenizer_file(void *context, const char *name, const PareBuffer *bytes,
                                     PareError *err) {
    return put_file(context, name, bytes, err);
}

/* Says what became different in a tokenizer that was read back. */
static PareStatus compare_tokenizers(PareExport *e, const PareTokenizer *again,
                                     const PareBuffer *bytes, PareError *err) {
    e->summary.tokenizer_identical = bytes->size == e->tokenizer_size &&
                                     memcmp(bytes->data, e->tokenizer_bytes, bytes->size) == 0;
    if (!again || e->summary.tokenizer_identical)
        return PARE_OK;
    pare_buffer_puts(&e->notices, "the tokenizer's files cannot say all of it; different are: ");
    pare_tokenizer_differences(e->tokenizer, again, &e->notices);
    pare_buffer_putc(&e->notices, '\n');
    return pare_buffer_ok(&e->notices, "the notices", err);
}

/* Reads the tokenizer as converting would. */
static PareStatus check_tokenizer(PareExport *e, const PareExportFolder *folder, PareError *err) {
    PareTokenizer *again = NULL;
    PareBuffer bytes = {0};
    PareStatus st = pare_tokenizer_load(folder->temporary, &e->theirs.hints, &again, err);
    if (!st && again)
        st = pare_tokenizer_to_bytes(again, &bytes, err);
    if (st)
        (void)pare_error_prefix(err, "the exported tokenizer (--no-tokenizer leaves it out)");
    else
        st = compare_tokenizers(e, again, &bytes, err);
    pare_tokenizer_free(again);
    pare_buffer_free(&bytes);
    return st;
}

static PareStatus put_tokenizer(PareExport *e, PareExportFolder *folder, PareError *err) {
    if (!e->tokenizer)
        return PARE_OK;
    const PareDescription *d = e->stored;
    const PareStack *k = &d->stacks[d->stacks[PARE_ENCODER].present ? PARE_ENCODER : PARE_DECODER];
    PareStatus st = pare_tokenizer_export(e->tokenizer, &e->theirs.hints, k->positions,
                                          put_tokenizer_file, folder, err);
    return st ? st : check_tokenizer(e, folder, err);
}

static PareStatus put_weights(PareExport *e, PareExportFolder *folder, PareProgress *progress,
                              PareError *err) {
    char *path = NULL;
    PareStatus st = pare_export_folder_file(folder, e->summary.weights, &path, err);
    if (!st)
        st = pare_checkpoint_save(e->options.format, path, false, e->tensors, e->count,
                                  pare_export_fill, e, progress, err);
    pare_free(path);
    return st;
}

/* A message about a temporary file is about the one that it would have become. */
static void name_final(const PareExportFolder *f, PareError *err) {
    const char *at = err && f->temporary ? strstr(err->message, f->temporary) : NULL;
    PareError old;
    if (!at)
        return;
    old = *err;
    (void)pare_error_set(err, old.code, "%.*s%s%s", (int)(at - err->message), old.message, f->path,
                         old.message + (at - err->message) + strlen(f->temporary));
}

PareStatus pare_export_write(PareExport *e, PareProgress *progress, PareError *err) {
    PareExportFolder folder = {0};
    PareStatus st = pare_export_folder_begin(&folder, e->options.folder, e->options.force, err);
    if (!st)
        st = put_file(&folder, "config.json", &e->config_text, err);
    if (!st && e->generation_text.size)
        st = put_file(&folder, "generation_config.json", &e->generation_text, err);
    if (!st)
        st = put_tokenizer(e, &folder, err);
    if (!st)
        st = put_weights(e, &folder, progress, err);
    if (!st)
        st = pare_interrupt_check(err);
    if (!st)
        st = pare_export_folder_commit(&folder, e->options.model, err);
    if (!st) {
        memcpy(e->files, folder.files, folder.count * sizeof *folder.files);
        e->summary.files = e->files;
        e->summary.file_count = folder.count;
    } else {
        name_final(&folder, err);
    }
    pare_export_folder_end(&folder);
    return st;
}

/* ---- Telling ---- */

static void describe_json(const PareExportSummary *s, PareBuffer *out) {
    pare_buffer_puts(out, "{");
    pare_buffer_put_json_member(out, "family", s->family);
    pare_buffer_put_json_member(out, "architecture", s->architecture);
    pare_buffer_put_json_member(out, "format", s->format);
    pare_buffer_put_json_member(out, "weights", s->weights);
    pare_buffer_put_json_member(out, "dtype", s->dtype);
    pare_buffer_put_json_member(out, "tokenizer", s->tokenizer);
    if (s->file_count && s->tokenizer)
        pare_buffer_printf(out, ",\"tokenizer_identical\":%s",
                           s->tokenizer_identical ? "true" : "false");
    pare_buffer_printf(out,
                       ",\"tensors\":%zu,\"shared\":%zu,\"padded\":%zu,\"parameters\":%llu,"
                       "\"bytes\":%llu,\"memory_bytes\":%llu,\"files\":[",
                       s->tensors, s->shared, s->padded, (unsigned long long)s->parameters,
                       (unsigned long long)s->bytes, (unsigned long long)s->memory_bytes);
    for (size_t i = 0; i < s->file_count; i++) {
        pare_buffer_puts(out, i ? "," : "");
        pare_buffer_put_json_string(out, s->files[i], strlen(s->files[i]));
    }
    pare_buffer_puts(out, "]}\n");
}

void pare_export_describe(PareExport *e, bool json, PareBuffer *out) {
    const PareExportSummary *s = &e->summary;
    if (json) {
        describe_json(s, out);
        return;
    }
    pare_buffer_printf(out, "family        %s\n", s->family);
    pare_buffer_printf(out, "architecture  %s\n", s->architecture);
    pare_buffer_printf(out, "weights       %s (%s, config.json says %s), ", s->weights, s->format,
                       s->dtype);
    pare_buffer_put_size(out, s->bytes);
    pare_buffer_printf(out, "\ntensors       %zu, and %zu names that share one of them\n",
                       s->tensors, s->shared);
    if (s->padded)
        pare_buffer_printf(out, "padded        %zu of them\n", s->padded);
    pare_buffer_printf(out, "parameters    %llu\n", (unsigned long long)s->parameters);
    pare_buffer_printf(out, "tokenizer     %s\n", s->tokenizer ? s->tokenizer : "none");
    pare_buffer_puts(out, "memory        ");
    pare_buffer_put_size(out, s->memory_bytes);
    pare_buffer_puts(out, " to export\n");
}
