/* HDF5 files, as a checkpoint: the library runs in its sandbox, so that a crash of it is no crash
 * here. What is tested is the parent: it must survive and refuse. */
#include "tests/fuzz/fuzz.h"

const char *const fuzz_corpora[] = {"tests/data/corpus/hdf5", "tests/fuzz/crashes/hdf5", NULL};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    fuzz_read_checkpoint(fuzz_file(data, size));
    return 0;
}
