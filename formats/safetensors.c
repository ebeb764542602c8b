/* safetensors: eight bytes of length, a JSON header, and a buffer that the tensors tile. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/json.h"
#include "formats/checkpoint_reader.h"

enum { LENGTH_BYTES = 8, HEADER_MAX = 100000000 };

/* Every dtype of the format, with the bits of an element. Those that PareDtype lacks are listed but
 * cannot be read. */
static const struct {
    const char *name;
    unsigned bits;
} dtypes[] = {{"BOOL", 8},        {"U8", 8},         {"I8", 8},   {"F8_E5M2", 8}, {"F8_E4M3", 8},
              {"I16", 16},        {"U16", 16},       {"F16", 16}, {"BF16", 16},   {"I32", 32},
              {"U32", 32},        {"F32", 32},       {"C64", 64}, {"F64", 64},    {"I64", 64},
              {"U64", 64},        {"F8_E8M0", 8},    {"F4", 4},   {"F6_E2M3", 6}, {"F6_E3M2", 6},
              {"F8_E4M3FNUZ", 8}, {"F8_E5M2FNUZ", 8}};

typedef struct {
    uint64_t begin, end; /* within the buffer */
    const char *dtype;   /* as the file calls it */
    size_t tensor;
} Range;

typedef struct {
    const uint8_t *buffer;
    uint64_t size;
    Range *ranges; /* by number of tensor, in the arena */
} File;

static PareStatus fault(const PareCheckpoint *c, const char *name, const char *what,
                        PareError *err) {
    char shown[80];
    return pare_error_set(err, PARE_E_FORMAT, "%s: tensor '%s' %s", c->path,
                          pare_name_show(name, strlen(name), shown, sizeof shown), what);
}

/* A list of non-negative integers into `out`. */
static bool read_integers(const PareJson *list, size_t limit, uint64_t *out, size_t *count) {
    *count = 0;
    if (!pare_json_is_array(list))
        return false;
    for (const PareJson *n = pare_json_first(list); n != NULL; n = pare_json_next(n)) {
        if (*count == limit || !pare_json_is_integer(n) || pare_json_integer(n) < 0)
            return false;
        out[(*count)++] = (uint64_t)pare_json_integer(n);
    }
    return true;
}

/* The bytes that shape and dtype call for; NULL, or what is wrong with them. */
static const char *expected_bytes(const PareTensorType *type, unsigned bits, uint64_t *out) {
    size_t elements, total;
    PareTensorType bytes = *type;
    bytes.dtype = PARE_U8; /* the real one may be unknown to PareDtype */
    if (!pare_tensor_elements(&bytes, &elements) || !pare_size_mul(elements, bits, &total))
        return "is larger than memory can be";
    if (total % 8 != 0)
        return "ends inside of a byte";
    *out = total / 8;
    return NULL;
}

static PareStatus read_dtype(PareCheckpoint *c, const PareJson *entry, const char *name,
                             PareCheckpointTensor *t, Range *range, unsigned *bits,
                             PareError *err) {
    const PareJson *dtype = pare_json_get(entry, "dtype");
    if (!pare_json_is_string(dtype))
        return fault(c, name, "has no dtype", err);
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++)
        if (strcmp(dtypes[i].name, pare_json_string(dtype)) == 0) {
            range->dtype = dtypes[i].name;
            *bits = dtypes[i].bits;
            if (pare_dtype_parse(dtypes[i].name, &t->type.dtype))
                return PARE_OK;
            t->type.dtype = PARE_DTYPE_COUNT;
            t->foreign_dtype = dtypes[i].name;
            return PARE_OK;
        }
    char shown[40], what[80];
    const char *text = pare_json_string(dtype);
    snprintf(what, sizeof what, "has the unknown dtype '%s'",
             pare_name_show(text, strlen(text), shown, sizeof shown));
    return fault(c, name, what, err);
}

static PareStatus read_range(PareCheckpoint *c, const PareJson *entry, const char *name,
                             Range *range, PareError *err) {
    const File *f = c->self;
    uint64_t offsets[2];
    size_t count;
    if (!read_integers(pare_json_get(entry, "data_offsets"), 2, offsets, &count) || count != 2)
        return fault(c, name, "has data_offsets that are not two positions", err);
    if (offsets[0] > offsets[1])
        return fault(c, name, "has data_offsets that end before they begin", err);
    if (offsets[1] > f->size)
        return pare_error_set(err, PARE_E_FORMAT,
                              "%s: tensor '%s' ends at byte %llu of the tensors, of which the file "
                              "has only %llu; the download may be incomplete",
                              c->path, name, (unsigned long long)offsets[1],
                              (unsigned long long)f->size);
    range->begin = offsets[0];
    range->end = offsets[1];
    return PARE_OK;
}

static PareStatus read_tensor(PareCheckpoint *c, const PareJson *entry, PareCheckpointTensor *t,
                              Range *range, PareError *err) {
    const char *name = pare_json_key(entry), *bad = pare_name_fault(name, strlen(name));
    char shape[128];
    uint64_t expected;
    size_t dims;
    unsigned bits = 0;
    if (bad != NULL)
        return fault(c, name, bad, err);
    if (!pare_json_is_object(entry) || pare_json_size(entry) != 3)
        return fault(c, name, "is not described by dtype, shape and data_offsets", err);
    PareStatus status = read_dtype(c, entry, name, t, range, &bits, err);
    if (status != PARE_OK)
        return status;
    if (!read_integers(pare_json_get(entry, "shape"), PARE_MAX_DIMS, t->type.shape, &dims))
        return fault(c, name, "has a shape that is not a list of up to eight sizes", err);
    t->type.dims = (uint32_t)dims;
    status = read_range(c, entry, name, range, err);
    if (status != PARE_OK)
        return status;
    bad = expected_bytes(&t->type, bits, &expected);
    if (bad != NULL)
        return fault(c, name, bad, err);
    if (expected != range->end - range->begin)
        return pare_error_set(
            err, PARE_E_FORMAT, "%s: tensor '%s' of %s %s has %llu bytes; %llu were expected",
            c->path, name, range->dtype, pare_tensor_shape_text(&t->type, shape, sizeof shape),
            (unsigned long long)(range->end - range->begin), (unsigned long long)expected);
    range->tensor = (size_t)(t - c->tensors);
    t->name = pare_arena_strdup(c->arena, name);
    return t->name == NULL ? pare_memory_error(err, c->path) : PARE_OK;
}

/* Text to text; what it says is not our business. The format's own reader takes null for none. */
static PareStatus check_metadata(const PareCheckpoint *c, const PareJson *metadata,
                                 PareError *err) {
    if (pare_json_is_null(metadata))
        return PARE_OK;
    bool good = pare_json_is_object(metadata);
    const PareJson *n = good ? pare_json_first(metadata) : NULL;
    for (; n != NULL && good; n = pare_json_next(n))
        good = pare_json_is_string(n);
    if (good)
        return PARE_OK;
    return pare_error_set(err, PARE_E_FORMAT, "%s: __metadata__ is not a map from text to text",
                          c->path);
}

static int compare_ranges(const void *a, const void *b) {
    const Range *x = a, *y = b;
    if (x->begin != y->begin)
        return x->begin < y->begin ? -1 : 1;
    return x->end < y->end ? -1 : x->end > y->end;
}

/* What the sorted ranges are when they do not cover the buffer exactly once; `at` is the end of
 * those before sorted[i]. */
static PareStatus refuse_tiling(const PareCheckpoint *c, const Range *sorted, size_t i, uint64_t at,
                                PareError *err) {
    const File *f = c->self;
    if (i == c->count)
        return pare_error_set(
            err, PARE_E_FORMAT,
            "%s: the tensors end at byte %llu, but %llu bytes are there; the file "
            "is damaged",
            c->path, (unsigned long long)at, (unsigned long long)f->size);
    const char *name = c->tensors[sorted[i].tensor].name;
    return pare_error_set(
        err, PARE_E_FORMAT,
        sorted[i].begin < at ? "%s: tensor '%s' begins at byte %llu, inside of another, which ends "
                               "at %llu; the file is damaged"
                             : "%s: tensor '%s' begins at byte %llu, but the tensors before it end "
                               "at %llu; the file is damaged",
        c->path, name, (unsigned long long)sorted[i].begin, (unsigned long long)at);
}

/* The tensors must cover the buffer exactly once. */
static PareStatus check_tiling(const PareCheckpoint *c, PareError *err) {
    const File *f = c->self;
    uint64_t at = 0;
    PareStatus status = PARE_OK;
    Range *sorted = pare_alloc(c->count, sizeof *sorted);
    if (sorted == NULL)
        return pare_memory_error(err, c->path);
    if (c->count > 0) {
        memcpy(sorted, f->ranges, c->count * sizeof *sorted);
        qsort(sorted, c->count, sizeof *sorted, compare_ranges);
    }
    size_t i = 0;
    for (; i < c->count && sorted[i].begin == at; i++)
        at = sorted[i].end;
    if (i < c->count || at != f->size)
        status = refuse_tiling(c, sorted, i, at, err);
    pare_free(sorted);
    return status;
}

static PareStatus read_header(PareCheckpoint *c, const PareJson *root, PareError *err) {
    File *f = c->self;
    PareStatus status = PARE_OK;
    if (!pare_json_is_object(root))
        return pare_error_set(err, PARE_E_FORMAT, "%s: the header is not a JSON object", c->path);
    size_t count = pare_json_size(root);
    if (count > PARE_TENSORS_MAX)
        return pare_error_set(err, PARE_E_FORMAT, "%s: more than %zu tensors", c->path,
                              PARE_TENSORS_MAX);
    c->tensors = pare_arena_alloc(c->arena, count, sizeof *c->tensors);
    f->ranges = pare_arena_alloc(c->arena, count, sizeof *f->ranges);
    if (c->tensors == NULL || f->ranges == NULL)
        return pare_memory_error(err, c->path);
    const PareJson *n = pare_json_first(root);
    for (; n != NULL && status == PARE_OK; n = pare_json_next(n)) {
        if (strcmp(pare_json_key(n), "__metadata__") == 0) {
            status = check_metadata(c, n, err);
            continue;
        }
        status = read_tensor(c, n, &c->tensors[c->count], &f->ranges[c->count], err);
        c->count++;
    }
    return status == PARE_OK ? check_tiling(c, err) : status;
}

static PareStatus safetensors_view(PareCheckpoint *c, size_t index, PareTensorView *out,
                                   PareError *err) {
    const File *f = c->self;
    const PareCheckpointTensor *t = &c->tensors[index];
    if (t->type.dtype == PARE_DTYPE_COUNT)
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "%s: tensor '%s' has dtype %s, which this version does not read",
                              c->path, t->name, f->ranges[index].dtype);
    out->data = f->buffer + f->ranges[index].begin;
    pare_view_set_contiguous(out, &t->type);
    return PARE_OK;
}

static void safetensors_release(PareCheckpoint *c, size_t index) {
    const File *f = c->self;
    const Range *r = &f->ranges[index];
    pare_checkpoint_drop(c, f->buffer + r->begin, (size_t)(r->end - r->begin));
}

static const PareCheckpointReader safetensors = {"safetensors", safetensors_view,
                                                 safetensors_release, NULL};

/* The text is valid JSON, and what matters of it has been found right; but the parser takes 1.0 and
 * -0 for integers. In a header digits are all that may stand outside of texts. */
static PareStatus check_numbers(const PareCheckpoint *c, const char *text, size_t size,
                                PareError *err) {
    for (size_t i = 0; i < size; i++) {
        if (text[i] == '"') {
            for (i++; text[i] != '"'; i++)
                i += text[i] == '\\';
        } else if (strchr("+-.eE", text[i]) != NULL) {
            return pare_error_set(
                err, PARE_E_FORMAT,
                "%s: the header has a number at byte %zu that is not written as a "
                "whole number",
                c->path, i + LENGTH_BYTES);
        }
    }
    return PARE_OK;
}

/* The header's text, behind its length. */
static PareStatus find_header(PareCheckpoint *c, const char **text, size_t *size, PareError *err) {
    File *f = c->self;
    uint64_t length = 0;
    if (c->map.size >= LENGTH_BYTES)
        memcpy(&length, c->map.data, LENGTH_BYTES);
    if (length > HEADER_MAX)
        return pare_error_set(err, PARE_E_FORMAT,
                              "%s: the header's length is %llu bytes; at most %d are allowed",
                              c->path, (unsigned long long)length, HEADER_MAX);
    if (c->map.size < LENGTH_BYTES || length > c->map.size - LENGTH_BYTES)
        return pare_error_set(err, PARE_E_FORMAT,
                              "%s: the header's length of %llu bytes is impossible in a file of "
                              "%zu; the download may be incomplete",
                              c->path, (unsigned long long)length, c->map.size);
    *text = (const char *)c->map.data + LENGTH_BYTES;
    *size = (size_t)length;
    if (length == 0 || (*text)[0] != '{')
        return pare_error_set(err, PARE_E_FORMAT, "%s: the header does not begin with '{'",
                              c->path);
    f->buffer = c->map.data + LENGTH_BYTES + length;
    f->size = c->map.size - LENGTH_BYTES - length;
    return PARE_OK;
}

PareStatus pare_safetensors_open(PareCheckpoint *c, PareError *err) {
    const char *text = NULL;
    size_t size = 0;
    PareJsonDoc *doc = NULL;
    File *f = pare_arena_alloc(c->arena, 1, sizeof *f);
    if (f == NULL)
        return pare_memory_error(err, c->path);
    c->self = f;
    c->reader = &safetensors;
    if (c->root != NULL)
        return pare_error_set(
            err, PARE_E_UNSUPPORTED,
            "%s: is safetensors, which has no dictionaries: --root does not apply", c->path);
    PareStatus status = find_header(c, &text, &size, err);
    if (status == PARE_OK)
        status = pare_json_parse(text, size, c->path, &doc, err);
    if (status == PARE_OK)
        status = read_header(c, pare_json_root(doc), err);
    if (status == PARE_OK)
        status = check_numbers(c, text, size, err);
    pare_json_free(doc);
    return status;
}
