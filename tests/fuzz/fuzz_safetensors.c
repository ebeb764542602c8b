/* safetensors. The length in front of the header follows the header's mutations. */
#include <string.h>

#include "tests/fuzz/fuzz.h"

const char *const fuzz_corpora[] = {"tests/data/corpus/safetensors",
                                    "tests/fuzz/crashes/safetensors", NULL};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_read_checkpoint(fuzz_file(data, size));
    return 0;
}

/* Mutates the header, and puts the data behind it where it now ends. */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed) {
    enum { LENGTH = 8, HEADER_MAX = 1 << 16 };
    static uint8_t header[HEADER_MAX];
    uint64_t length = 0;
    for (size_t i = 0; size >= LENGTH && i < LENGTH; i++)
        length |= (uint64_t)data[i] << 8 * i;
    if (seed % 4 == 0 || size < LENGTH || length > size - LENGTH || length > HEADER_MAX / 2)
        return LLVMFuzzerMutate(data, size, max);
    size_t rest = size - LENGTH - (size_t)length;
    memcpy(header, data + LENGTH, (size_t)length);
    size_t changed = LLVMFuzzerMutate(header, (size_t)length, HEADER_MAX);
    if (LENGTH + changed + rest > max)
        return LLVMFuzzerMutate(data, size, max);
    memmove(data + LENGTH + changed, data + LENGTH + length, rest);
    memcpy(data + LENGTH, header, changed);
    for (size_t i = 0; i < LENGTH; i++)
        data[i] = (uint8_t)((uint64_t)changed >> 8 * i);
    return LENGTH + changed + rest;
}
