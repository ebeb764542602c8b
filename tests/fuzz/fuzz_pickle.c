/* The pickle machine, with PyTorch's allow-list. */
#include "core/memory.h"
#include "formats/torch_tensors.h"
#include "tests/fuzz/fuzz.h"

const char *const fuzz_corpora[] = {"tests/fuzz/seeds/pickle", "tests/fuzz/crashes/pickle", NULL};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    PareError err = {0};
    PareArena *arena = pare_arena_create(0);
    const ParePickle *root;
    size_t used;
    if (arena)
        pare_pickle_load(data, size, "input", &pare_torch_allow_list, arena, &root, &used, &err);
    pare_arena_destroy(arena);
    return 0;
}
