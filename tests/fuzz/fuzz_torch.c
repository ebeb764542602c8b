/* PyTorch checkpoints: zip archives and the older streams. Records of an archive are mutated in
 * place and their checksums made right again, since a wrong one ends the reading. */
#include <string.h>

#include "formats/crc32.h"
#include "formats/zip_directory.h"
#include "tests/fuzz/fuzz.h"

const char *const fuzz_corpora[] = {"tests/data/corpus/torch", "tests/fuzz/seeds/torch",
                                    "tests/fuzz/crashes/torch", NULL};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_read_checkpoint(fuzz_file(data, size));
    return 0;
}

static void put_u32(uint8_t *at, uint32_t v) {
    for (int i = 0; i < 4; i++)
        at[i] = (uint8_t)(v >> 8 * i);
}

/* The n-th entry of the archive, if there is one and its bytes are stored as they are. */
static const uint8_t *find_entry(const PareMapping *map, unsigned n, PareZipEntry *e,
                                 const uint8_t **central) {
    PareCursor directory;
    uint64_t count;
    if (!pare_zip_directory(map, &directory, &count) || count == 0)
        return NULL;
    for (uint64_t i = 0; i <= n % count; i++) {
        *central = directory.at;
        if (!pare_zip_next(&directory, e))
            return NULL;
    }
    return pare_zip_stored(map, e);
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed) {
    enum { CENTRAL_CRC = 16, LOCAL_CRC = 14 };
    const PareMapping map = {data, size};
    PareZipEntry e;
    const uint8_t *central = NULL;
    const uint8_t *stored = seed % 3 ? find_entry(&map, seed / 3, &e, &central) : NULL;
    if (!stored || e.size == 0)
        return LLVMFuzzerMutate(data, size, max);
    PareCrc32 crc;
    LLVMFuzzerMutate(data + (stored - data), (size_t)e.size, (size_t)e.size);
    pare_crc32_init(&crc);
    uint32_t value = pare_crc32(&crc, 0, stored, (size_t)e.size);
    put_u32(data + (central - data) + CENTRAL_CRC, value);
    put_u32(data + e.local + LOCAL_CRC, value);
    return size;
}
