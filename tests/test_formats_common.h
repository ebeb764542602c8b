/* What the tests of formats/ share: temporary files, zip archives made by hand, lists of tensors.
 */
#ifndef PARE_TESTS_TEST_FORMATS_COMMON_H
#define PARE_TESTS_TEST_FORMATS_COMMON_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/buffer.h"
#include "core/file.h"
#include "core/hash.h"
#include "core/memory.h"
#include "core/tensor.h"
#include "formats/crc32.h"

#define DATA "tests/data/formats/"
#define UNUSED __attribute__((unused))

/* A path in this program's own temporary folder; overwritten by the next call. */
UNUSED static const char *temporary(const char *name) {
    static char path[512];
    snprintf(path, sizeof path, "%s/%ld-%s", getenv("TMPDIR"), (long)getpid(), name);
    return path;
}

UNUSED static void write_file(const char *path, const void *bytes, size_t size) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

UNUSED static uint8_t *read_file(const char *path, size_t *size) {
    char *bytes;
    PareError err;
    if (pare_file_read(path, 64 << 20, &bytes, size, &err) != PARE_OK)
        fail_msg("%s", err.message);
    return (uint8_t *)bytes;
}

UNUSED static void assert_says(const PareError *err, const char *wanted) {
    if (strstr(err->message, wanted) == NULL)
        fail_msg("'%s' does not say '%s'", err->message, wanted);
}

/* One line as pare-info --tensors --sha256 prints it. */
UNUSED static void put_line(PareBuffer *b, const char *name, const PareTensorType *type,
                            const float *values, size_t count) {
    char hex[PARE_SHA256_HEX_SIZE], shape[256];
    PareSha256 *h = pare_sha256_create();
    assert_non_null(h);
    pare_sha256_update(h, values, count * sizeof *values);
    pare_sha256_hex(h, hex);
    pare_sha256_destroy(h);
    pare_buffer_printf(b, "%s\t%s\t%s\t%s\n", name,
                       pare_tensor_shape_text(type, shape, sizeof shape),
                       pare_dtype_name(type->dtype), hex);
}

/* Points at the first difference of two texts of lines. */
UNUSED static void assert_same_text(const char *got, const char *wanted) {
    size_t i = 0, begin = 0;
    for (; got[i] == wanted[i]; i++) {
        if (got[i] == '\0')
            return;
        if (got[i] == '\n')
            begin = i + 1;
    }
    fail_msg("got\n  %.*s\ninstead of\n  %.*s", (int)strcspn(got + begin, "\n"), got + begin,
             (int)strcspn(wanted + begin, "\n"), wanted + begin);
}

/* Memory of this process in KiB: a line of /proc/self/status. */
UNUSED static long status_field(const char *name) {
    char line[256];
    long value = -1;
    FILE *f = fopen("/proc/self/status", "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f) != NULL)
        if (strncmp(line, name, strlen(name)) == 0)
            value = strtol(line + strlen(name) + 1, NULL, 10);
    fclose(f);
    return value;
}

/* ---- Stored zip archives ---- */

typedef struct {
    PareBuffer body, directory;
    uint16_t count;
} Zip;

static inline void put_zip_fields(PareBuffer *b, uint32_t crc, size_t size, size_t name_size) {
    pare_buffer_put_u16(b, 0); /* flags */
    pare_buffer_put_u16(b, 0); /* stored */
    pare_buffer_put_u32(b, 0x00210000);
    pare_buffer_put_u32(b, crc);
    pare_buffer_put_u32(b, (uint32_t)size);
    pare_buffer_put_u32(b, (uint32_t)size);
    pare_buffer_put_u16(b, (uint16_t)name_size);
    pare_buffer_put_u16(b, 0); /* extra */
}

UNUSED static void zip_add(Zip *z, const char *name, const void *bytes, size_t size) {
    PareCrc32 *table = pare_alloc(1, sizeof *table);
    pare_crc32_init(table);
    uint32_t crc = pare_crc32(table, 0, bytes, size), local = (uint32_t)z->body.size;
    pare_free(table);
    pare_buffer_append(&z->body, "PK\3\4\24\0", 6);
    put_zip_fields(&z->body, crc, size, strlen(name));
    pare_buffer_puts(&z->body, name);
    pare_buffer_append(&z->body, bytes, size);
    pare_buffer_append(&z->directory, "PK\1\2\24\0\24\0", 8);
    put_zip_fields(&z->directory, crc, size, strlen(name));
    pare_buffer_append(&z->directory, "\0\0\0\0\0\0\0\0\0\0", 10);
    pare_buffer_put_u32(&z->directory, local);
    pare_buffer_puts(&z->directory, name);
    z->count++;
}

/* Writes the archive and frees it. */
UNUSED static void zip_write(Zip *z, const char *path) {
    uint32_t at = (uint32_t)z->body.size;
    pare_buffer_append(&z->body, z->directory.data, z->directory.size);
    pare_buffer_append(&z->body, "PK\5\6\0\0\0\0", 8);
    pare_buffer_put_u16(&z->body, z->count);
    pare_buffer_put_u16(&z->body, z->count);
    pare_buffer_put_u32(&z->body, (uint32_t)z->directory.size);
    pare_buffer_put_u32(&z->body, at);
    pare_buffer_put_u16(&z->body, 0);
    write_file(path, z->body.data, z->body.size);
    pare_buffer_free(&z->body);
    pare_buffer_free(&z->directory);
    *z = (Zip){0};
}

/* A torch checkpoint with this data.pkl and one record data/0 of 24 bytes. */
UNUSED static const char *write_torch(const void *pickle, size_t size) {
    static const float record[6] = {0, 1, 2, 3, 4, 5};
    const char *path = temporary("torch.bin");
    Zip z = {0};
    zip_add(&z, "x/data.pkl", pickle, size);
    zip_add(&z, "x/data/0", record, sizeof record);
    zip_write(&z, path);
    return path;
}

#endif
