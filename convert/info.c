/* What a .pare file or a checkpoint holds. */
#include "convert/info.h"

#include <string.h>

#include "convert/info_text.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/json.h"
#include "core/memory.h"
#include "formats/checkpoint.h"
#include "formats/pare_file.h"

struct PareInfo {
    char *path;
    PareFile *file; /* one of these two */
    PareCheckpoint *checkpoint;
    PareJsonDoc *metadata; /* of a .pare file, or the config.json of a folder; may be NULL */
    float *values;         /* room for the tensor whose checksum is wanted */
    size_t capacity;
};

static PareStatus open_file(PareInfo *info, PareError *err) {
    const void *bytes;
    size_t size;
    PareStatus st = pare_file_open(info->path, &info->file, err);
    if (!st && pare_file_section(info->file, PARE_SECTION_METADATA, &bytes, &size))
        st = pare_json_parse(bytes, size, info->path, &info->metadata, err);
    return st;
}

static PareStatus open_checkpoint(PareInfo *info, const char *root, PareError *err) {
    PareStatus st = pare_checkpoint_open(info->path, root, &info->checkpoint, err);
    if (st || !pare_file_is_folder(info->path))
        return st;
    char *config = pare_file_join(info->path, "config.json");
    if (!config)
        return pare_memory_error(err, "config.json");
    if (pare_file_exists(config))
        st = pare_json_read(config, &info->metadata, err);
    pare_free(config);
    return st;
}

PareStatus pare_info_open(const char *path, const char *root, PareInfo **out, PareError *err) {
    *out = NULL;
    if (!pare_file_exists(path))
        return pare_error_set(err, PARE_E_IO, "%s: no such file or folder", path);
    PareInfo *info = pare_alloc(1, sizeof *info);
    if (!info)
        return pare_memory_error(err, path);
    info->path = pare_strdup(path);
    PareStatus st = PARE_OK;
    if (!info->path)
        st = pare_memory_error(err, path);
    else if (!pare_file_is_folder(path) && pare_file_sniff(path))
        st = open_file(info, err);
    else
        st = open_checkpoint(info, root, err);
    if (st)
        pare_info_close(info);
    else
        *out = info;
    return st;
}

void pare_info_close(PareInfo *info) {
    if (!info)
        return;
    pare_json_free(info->metadata);
    pare_file_close(info->file);
    pare_checkpoint_close(info->checkpoint);
    pare_free(info->values);
    pare_free(info->path);
    pare_free(info);
}

size_t pare_info_count(const PareInfo *info) {
    return info->file ? pare_file_count(info->file) : pare_checkpoint_count(info->checkpoint);
}

PareStatus pare_info_verify(PareInfo *info, PareError *err) {
    if (info->file)
        return pare_file_verify(info->file, err);
    return pare_error_set(err, PARE_E_UNSUPPORTED, "%s: only a .pare file has checksums to verify",
                          info->path);
}

static PareTensorType file_type(const PareFileTensor *t) {
    PareTensorType type = {.dtype = t->dtype, .dims = t->dims};
    for (uint32_t d = 0; d < t->dims; d++)
        type.shape[d] = t->shape[d];
    return type;
}

static PareStatus hash_tensor(PareInfo *info, size_t index, const PareTensorType *type,
                              char hex[PARE_SHA256_HEX_SIZE], PareError *err) {
    size_t count = 0;
    PareStatus st = PARE_OK;
    if (!pare_tensor_elements(type, &count))
        return pare_memory_error(err, "a tensor");
    if (count > info->capacity || !info->values) {
        pare_free(info->values);
        info->values = pare_alloc(count, sizeof *info->values);
        info->capacity = info->values ? count : 0;
    }
    PareSha256 *h = pare_sha256_create();
    if (!h || !info->values)
        st = pare_memory_error(err, "the checksum of a tensor");
    else if (info->file) {
        const PareFileTensor *t = pare_file_tensor(info->file, index);
        pare_file_read_f32(t, info->values);
        pare_file_release(info->file, t);
    } else
        st = pare_checkpoint_read_f32(
            info->checkpoint, pare_checkpoint_tensor(info->checkpoint, index), info->values, err);
    if (!st) {
        pare_sha256_update(h, info->values, count * sizeof *info->values);
        pare_sha256_hex(h, hex);
    }
    pare_sha256_destroy(h);
    return st;
}

static const char *layout_name(PareLayout layout) {
    static const char *const NAMES[] = {"rows", "block1", "block4"};
    return (size_t)layout < sizeof NAMES / sizeof *NAMES ? NAMES[layout] : "unknown";
}

PareStatus pare_info_tensor(PareInfo *info, size_t index, bool json, bool sha256, PareBuffer *out,
                            PareError *err) {
    const PareFileTensor *t = info->file ? pare_file_tensor(info->file, index) : NULL;
    const PareCheckpointTensor *k = t ? NULL : pare_checkpoint_tensor(info->checkpoint, index);
    const char *name = t ? t->name : k->name;
    PareTensorType type = t ? file_type(t) : k->type;
    char shape[256], hex[PARE_SHA256_HEX_SIZE] = "";
    const char *dtype = t ? pare_dtype_name(t->dtype) : pare_checkpoint_dtype_name(k);
    bool readable = type.dtype != PARE_DTYPE_COUNT;
    PareStatus st = sha256 && readable ? hash_tensor(info, index, &type, hex, err) : PARE_OK;
    if (st)
        return pare_error_prefix(err, "%s", name);
    pare_tensor_shape_text(&type, shape, sizeof shape);
    if (!json) {
        pare_buffer_printf(out, "%s\t%s\t%s%s%s\n", name, shape, dtype, sha256 ? "\t" : "",
                           sha256 && !readable ? "-" : hex);
        return pare_buffer_ok(out, "the list of tensors", err);
    }
    pare_buffer_puts(out, "{\"name\":");
    pare_buffer_put_json_string(out, name, strlen(name));
    pare_buffer_printf(out, ",\"shape\":%s,\"dtype\":", shape);
    pare_buffer_put_json_string(out, dtype, strlen(dtype));
    if (t)
        pare_buffer_printf(out, ",\"layout\":\"%s\",\"bytes\":%llu", layout_name(t->layout),
                           (unsigned long long)t->bytes);
    if (t && t->alias_of) {
        pare_buffer_puts(out, ",\"alias_of\":");
        pare_buffer_put_json_string(out, t->alias_of, strlen(t->alias_of));
    }
    if (sha256 && readable)
        pare_buffer_printf(out, ",\"sha256\":\"%s\"", hex);
    else if (sha256)
        pare_buffer_puts(out, ",\"sha256\":null");
    pare_buffer_puts(out, "}\n");
    return pare_buffer_ok(out, "the list of tensors", err);
}

/* Whether a tensor shows the values of one before it. */
static bool is_shared(const PareInfo *info, size_t index) {
    if (info->file)
        return pare_file_tensor(info->file, index)->alias_of != NULL;
    uint64_t id = pare_checkpoint_tensor(info->checkpoint, index)->view_id;
    return id != 0 && id != index + 1;
}

/* Stored values and bytes by number format. */
static PareInfoTally tally(const PareInfo *info) {
    PareInfoTally t = {.tensors = pare_info_count(info)};
    for (size_t i = 0; i < t.tensors; i++) {
        const PareFileTensor *f = info->file ? pare_file_tensor(info->file, i) : NULL;
        const PareCheckpointTensor *k = f ? NULL : pare_checkpoint_tensor(info->checkpoint, i);
        PareTensorType type = f ? file_type(f) : k->type;
        size_t count = 0, bytes = 0;
        if (is_shared(info, i)) {
            t.shared++;
            continue;
        }
        if (pare_tensor_elements(&type, &count))
            t.values += count;
        if (f)
            bytes = (size_t)f->bytes;
        else if (!pare_tensor_bytes(&type, &bytes))
            bytes = 0;
        t.of[type.dtype].tensors++;
        t.of[type.dtype].values += count;
        t.of[type.dtype].bytes += bytes;
        t.bytes += bytes;
    }
    return t;
}

PareStatus pare_info_summary(const PareInfo *info, bool json, PareBuffer *out, PareError *err) {
    PareInfoTally t = tally(info);
    PareInfoSubject s = {.path = info->path,
                         .is_model = info->file != NULL,
                         .format = info->file ? ".pare" : pare_checkpoint_format(info->checkpoint),
                         .weights =
                             info->file ? info->path : pare_checkpoint_path(info->checkpoint),
                         .file_bytes = info->file ? pare_file_size(info->file) : 0,
                         .files = info->file ? 1 : pare_checkpoint_files(info->checkpoint),
                         .warnings = info->file ? "" : pare_checkpoint_warnings(info->checkpoint),
                         .metadata = info->metadata ? pare_json_root(info->metadata) : NULL};
    const void *bytes;
    if (info->file)
        for (int kind = PARE_SECTION_METADATA; kind <= PARE_SECTION_CERTIFICATE; kind++)
            s.has_section[kind] = pare_file_section(info->file, (PareSectionKind)kind, &bytes,
                                                    &s.section_bytes[kind]);
    if (json)
        return pare_info_json(&s, &t, out, err);
    return pare_info_text(&s, &t, out, err);
}
