/* Data sets: the first byte chooses the format. */
#include "tests/fuzz/fuzz.h"
#include "text/dataset.h"

const char *const fuzz_corpora[] = {"tests/fuzz/seeds/dataset", "tests/fuzz/crashes/dataset", NULL};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    PareError err = {0};
    PareDataset *d = NULL;
    const PareDataRow *row;
    if (size == 0)
        return 0;
    PareDataOptions options = {.format = (PareDataFormat)(data[0] % 4),
                               .columns = data[0] & 4 ? "source,target" : NULL,
                               .keep_blanks = data[0] & 8};
    const char *path = fuzz_file(data + 1, size - 1);
    PareStatus status = pare_dataset_open(path, &options, &d, &err);
    while (status == PARE_OK && (status = pare_dataset_next(d, &row, &err)) == PARE_OK && row)
        continue;
    fuzz_check_named(status, &err, path);
    pare_dataset_close(d);
    return 0;
}
