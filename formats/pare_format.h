/* The numbers of docs/FORMAT.md, for the writer and the reader of .pare files only. */
#ifndef PARE_FORMATS_PARE_FORMAT_H
#define PARE_FORMATS_PARE_FORMAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "formats/pare_file.h"

#define PARE_FILE_MAGIC "\x89PARE\r\n\x1a"
#define PARE_FILE_NO_ALIAS 0xFFFFFFFFu
#define PARE_FILE_ELEMENTS_MAX ((uint64_t)1 << 40)
#define PARE_FILE_BLOCK4_COLUMNS_MAX ((uint64_t)1 << 24) /* 127 times it fits into an int32 */

enum {
    PARE_FILE_MAGIC_SIZE = 8,
    PARE_FILE_VERSION = 1,
    PARE_FILE_ALIGN = 64,
    PARE_FILE_SECTIONS_MAX = 64
};

enum {
    PARE_HEADER_VERSION = 8,
    PARE_HEADER_OWN_SIZE = 12,
    PARE_HEADER_REQUIRED = 16,
    PARE_HEADER_FILE_SIZE = 24,
    PARE_HEADER_TABLE_OFFSET = 32,
    PARE_HEADER_TABLE_SIZE = 40,
    PARE_HEADER_TABLE_CHECKSUM = 48,
    PARE_HEADER_TENSORS = 56,
    PARE_HEADER_SECTIONS = 60,
    PARE_HEADER_NAMES_SIZE = 64,
    PARE_HEADER_ZERO = 72,
    PARE_HEADER_CHECKSUM = 120,
    PARE_HEADER_SIZE = 128
};

enum {
    PARE_RECORD_OFFSET = 0,
    PARE_RECORD_BYTES = 8,
    PARE_RECORD_CHECKSUM = 16,
    PARE_RECORD_NAME = 24,
    PARE_RECORD_NAME_LENGTH = 28,
    PARE_RECORD_DTYPE = 30,
    PARE_RECORD_LAYOUT = 31,
    PARE_RECORD_DIMS = 32,
    PARE_RECORD_ZERO = 33,
    PARE_RECORD_ALIAS = 36,
    PARE_RECORD_SHAPE = 40,
    PARE_RECORD_AXES = 72,
    PARE_RECORD_REQUIRED = 104,
    PARE_RECORD_ZERO2 = 112,
    PARE_RECORD_SIZE = 128
};

enum {
    PARE_SECTION_AT_KIND = 0,
    PARE_SECTION_AT_FLAGS = 4,
    PARE_SECTION_AT_OFFSET = 8,
    PARE_SECTION_AT_SIZE = 16,
    PARE_SECTION_AT_CHECKSUM = 24,
    PARE_SECTION_SIZE = 32
};

#define PARE_SECTION_REQUIRED 1u /* refuse the file when the kind is unknown */
#define PARE_SECTION_FLAGS_KNOWN_OR_OPTIONAL 0xFFFF0001u

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "blobs are used where they lie");
_Static_assert(sizeof(PareAxis) == 8, "an axis tag is eight bytes");

static inline uint16_t pare_le16(const uint8_t *p) {
    uint16_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint32_t pare_le32(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint64_t pare_le64(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint64_t pare_align64(uint64_t x) {
    return (x + (PARE_FILE_ALIGN - 1)) & ~(uint64_t)(PARE_FILE_ALIGN - 1);
}

/* NULL when dtype, layout, dims, shape and axes of `t` obey the format; otherwise the fault as the
 * end of a sentence ("has dtype 7, which does not exist"), written into `out`. Fills t->bytes. */
const char *pare_file_shape_fault(PareFileTensor *t, char *out, size_t size);
/* NULL when a blob's content obeys its layout (padding, sums, range); otherwise the fault. */
const char *pare_file_content_fault(const PareFileTensor *t);

#endif
