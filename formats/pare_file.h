/* The .pare file: writer and mapped reader (docs/FORMAT.md is the specification).
 *
 * Layout: fixed header, 64-byte aligned blobs, sections, tensor table; the header is filled in
 * last and points at the table, so tensors stream. Everything is little-endian. */
#ifndef PARE_FORMATS_PARE_FILE_H
#define PARE_FORMATS_PARE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/axis.h"
#include "core/blocks.h"
#include "core/error.h"
#include "core/tensor.h"

/* How a tensor's elements lie in its blob. */
typedef enum {
    PARE_LAYOUT_ROWS,   /* row-major, contiguous; any number of dimensions, F32, F16, BF16 */
    PARE_LAYOUT_BLOCK1, /* matrix [N, K] F16/BF16 as [N/16][K][16]; rows N padded with zeros */
    PARE_LAYOUT_BLOCK4  /* matrix [N, K] I8 as [N/16][K/4][16][4]; N and K padded with zeros; in
                           front of it float32 scales[Npad] and int32 sums[Npad] (each part padded
                           to 64 bytes): value = scale[n] * q, sums[n] = sum over k of q */
} PareLayout;

enum { PARE_FILE_MAX_DIMS = 4 };

typedef struct {
    const char *name; /* UTF-8, at most 255 bytes */
    PareDtype dtype;  /* F32, F16, BF16, I8 */
    PareLayout layout;
    uint32_t dims;
    uint64_t shape[PARE_FILE_MAX_DIMS]; /* logical, without padding */
    PareAxis axes[PARE_FILE_MAX_DIMS];
    uint64_t bytes;       /* of the blob */
    uint64_t checksum;    /* XXH64 of the blob */
    const void *data;     /* the blob inside the mapping; the table entry it shares, for an alias */
    const char *alias_of; /* NULL, or the name of the tensor whose blob this one shares */
} PareFileTensor;

/* The blob's size for a dtype, layout and shape; false on overflow or a combination that does not
 * exist (see PareLayout). */
bool pare_file_blob_bytes(const PareFileTensor *t, uint64_t *out);

/* Parts of a BLOCK4 blob. */
typedef struct {
    const float *scales;  /* [Npad] */
    const int32_t *sums;  /* [Npad] */
    const int8_t *values; /* [Npad/16][Kpad/4][16][4] */
    size_t rows, cols, rows_padded, cols_padded;
} PareBlock4;
PareBlock4 pare_file_block4(const PareFileTensor *t);

/* Sections besides the tensors. Unknown kinds with the required bit are refused. */
typedef enum {
    PARE_SECTION_METADATA = 1,  /* JSON: description, generation, labels, source, provenance */
    PARE_SECTION_TOKENIZER = 2, /* docs/FORMAT.md, "Tokenizer" */
    PARE_SECTION_SELFTEST = 3,  /* token ids and the expected bits */
    PARE_SECTION_CERTIFICATE = 4
} PareSectionKind;

typedef struct PareFile PareFile;

/* Maps the file, checks header, table and section checksums, ranges, overlaps and shapes (not the
 * tensors' checksums: see verify). Messages name file and tensor or section. */
PareStatus pare_file_open(const char *path, PareFile **out, PareError *err);
void pare_file_close(PareFile *f); /* NULL is allowed */
/* Whether the content begins as a .pare file does (any version). */
bool pare_file_sniff(const char *path);
size_t pare_file_count(const PareFile *f);
const PareFileTensor *pare_file_tensor(const PareFile *f, size_t index);
const PareFileTensor *pare_file_find(const PareFile *f, const char *name); /* NULL when absent */
/* false when the file has no such section. */
bool pare_file_section(const PareFile *f, PareSectionKind kind, const void **bytes, size_t *size);
const char *pare_file_path(const PareFile *f);
uint64_t pare_file_size(const PareFile *f);
/* Reads every tensor once and compares checksums; names the first broken one. */
PareStatus pare_file_verify(const PareFile *f, PareError *err);
/* The logical values as contiguous float32, dequantized and de-blocked; `dst` has room for all. */
void pare_file_read_f32(const PareFileTensor *t, float *dst);

/* Gives the pages of a blob back that were read: for stages that stream a file larger than memory.
 */
void pare_file_release(const PareFile *f, const PareFileTensor *t);

typedef struct PareFileWriter PareFileWriter;
PareStatus pare_file_writer_open(const char *path, bool force, PareFileWriter **out,
                                 PareError *err);
/* Writes one tensor now: name, dtype, layout, dims, shape, axes of `t` count, `blob` has
 * pare_file_blob_bytes. Duplicate names are refused. Tensors appear in the table in this order. */
PareStatus pare_file_writer_tensor(PareFileWriter *w, const PareFileTensor *t, const void *blob,
                                   PareError *err);
/* The same in pieces, one after the other; no other tensor is begun until this one's end, which
 * checks that all bytes came. */
PareStatus pare_file_writer_begin(PareFileWriter *w, const PareFileTensor *t, PareError *err);
PareStatus pare_file_writer_piece(PareFileWriter *w, const void *bytes, size_t size,
                                  PareError *err);
PareStatus pare_file_writer_end(PareFileWriter *w, PareError *err);
/* `t` (name and axes) shares the blob, dtype, layout and shape of an already written tensor. */
PareStatus pare_file_writer_alias(PareFileWriter *w, const PareFileTensor *t, const char *target,
                                  PareError *err);
/* At most one of each kind; the bytes are copied. */
PareStatus pare_file_writer_section(PareFileWriter *w, PareSectionKind kind, const void *bytes,
                                    size_t size, PareError *err);
/* Writes sections, table and header, and makes the file appear; frees `w` whatever happens. */
PareStatus pare_file_writer_commit(PareFileWriter *w, PareError *err);
void pare_file_writer_abort(PareFileWriter *w); /* NULL is allowed */

#endif
