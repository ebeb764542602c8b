/* The index of a sharded checkpoint, beside one shard. */
#include <string.h>

#include "tests/fuzz/fuzz.h"

const char *const fuzz_corpora[] = {"tests/fuzz/seeds/index", "tests/data/corpus/sharded",
                                    "tests/fuzz/crashes/index", NULL};

/* {"a": F32 [1], "b": F32 [1]} */
static const char SHARD[] = "\x78\0\0\0\0\0\0\0"
                            "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
                            "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}"
                            "             "
                            "\0\0\0\0\0\0\0\0";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static int made;
    if (!made)
        fuzz_put("s1.safetensors", SHARD, sizeof SHARD - 1);
    made = 1;
    fuzz_put("model.safetensors.index.json", data, size);
    fuzz_read_checkpoint(fuzz_folder());
    return 0;
}
