/* The pickle machine with PyTorch's allow-list, and the tensors that the objects describe: their
 * storages are all there, and all hold the same few bytes. */
#include "formats/torch_tensors.h"
#include "tests/fuzz/fuzz.h"

const char *const fuzz_corpora[] = {"tests/fuzz/seeds/pickle", "tests/fuzz/crashes/pickle", NULL};

enum { STORAGE_BYTES = 512 };

static uint8_t *storage; /* of exactly that size: a byte beyond it is noticed */

static bool find(void *container, const char *key, uint32_t *record, uint64_t *bytes) {
    (void)container;
    *record = (uint8_t)key[0];
    *bytes = STORAGE_BYTES;
    return key[0] != 'x';
}

static PareStatus fetch(PareCheckpoint *c, uint32_t record, const uint8_t **bytes, PareError *err) {
    (void)c;
    (void)record;
    (void)err;
    *bytes = storage;
    return PARE_OK;
}

static PareStatus view(PareCheckpoint *c, size_t index, PareTensorView *out, PareError *err) {
    return pare_torch_tensors_view(c, c->self, index, out, err);
}

static const PareCheckpointReader reader = {"pickle", view, NULL, NULL};

static void build(PareArena *arena, const ParePickle *root) {
    PareError err = {0};
    storage = pare_realloc(NULL, STORAGE_BYTES, 1);
    for (size_t i = 0; storage && i < STORAGE_BYTES; i++)
        storage[i] = (uint8_t)(i * 7);
    PareTorchTensors tensors = {.storages = {NULL, find, fetch}};
    PareCheckpoint c = {.path = "input", .arena = arena, .reader = &reader, .self = &tensors};
    PareStatus status = pare_torch_tensors_build(&c, root, &tensors, &err);
    fuzz_check_named(status, &err, "input");
    if (status == PARE_OK && storage)
        fuzz_read_tensors(&c);
    pare_torch_tensors_free(&tensors);
    pare_free(storage);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    PareError err = {0};
    PareArena *arena = pare_arena_create(0);
    const ParePickle *root;
    size_t used;
    if (!arena)
        return 0;
    PareStatus status =
        pare_pickle_load(data, size, "input", &pare_torch_allow_list, arena, &root, &used, &err);
    fuzz_check_named(status, &err, "input");
    if (status == PARE_OK)
        build(arena, root);
    pare_arena_destroy(arena);
    return 0;
}
