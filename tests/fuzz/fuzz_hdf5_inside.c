/* HDF5 files without the sandbox: the walk and the reading that its process does, done here. Sees
 * into our own part of it, and is faster than fuzz_hdf5; but a crash of the HDF5 library, which the
 * sandbox is there for, ends it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "formats/hdf5_library.h"
#include "tests/fuzz/fuzz.h"

const char *const fuzz_corpora[] = {"tests/data/corpus/hdf5", "tests/fuzz/crashes/hdf5_inside",
                                    NULL};

enum { FOUND_MAX = 16, PATH_BYTES = 1024, READ_BYTES = 1 << 20 };

typedef struct {
    struct {
        char path[PATH_BYTES];
        PareDtype dtype;
        size_t bytes;
    } found[FOUND_MAX];
    size_t count, steps;
} Found;

static bool take_dataset(void *context, const PareHdf5Dataset *d) {
    Found *f = context;
    size_t bytes;
    if (f->count < FOUND_MAX && d->foreign == NULL && strlen(d->path) < PATH_BYTES &&
        pare_tensor_bytes(&d->type, &bytes) && bytes <= READ_BYTES) {
        snprintf(f->found[f->count].path, PATH_BYTES, "%s", d->path);
        f->found[f->count].dtype = d->dtype;
        f->found[f->count++].bytes = bytes;
    }
    return f->steps++ < 10000;
}

static bool take_list(void *context, const char *group, const char *name) {
    Found *f = context;
    return f->steps++ < 10000 && strlen(group) + strlen(name) < SIZE_MAX;
}

static bool take_text(void *context, const char *bytes, size_t size) {
    Found *f = context;
    char *copy = pare_alloc(size, 1); /* every byte of it must be there */
    if (copy)
        memcpy(copy, bytes, size);
    pare_free(copy);
    return f->steps++ < 10000;
}

static bool go_on(void *context) {
    Found *f = context;
    return f->steps++ < 10000;
}

static void refuse(void *context, const char *path, const char *why) {
    (void)context;
    if (strlen(why) + strlen(path) == 0)
        abort();
}

typedef struct {
    const uint8_t *data;
    size_t size;
} Image;

static bool read_image(void *context, uint64_t at, size_t size, void *out) {
    const Image *image = context;
    if (at > image->size || size > image->size - at)
        return false;
    memcpy(out, image->data + at, size);
    return true;
}

/* The library loses memory over damaged files; its process ends, and nobody cares. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) {
    return "leak:libhdf5\n";
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static Found f;
    Image image = {data, size};
    const PareHdf5Io io = {.context = &image, .size = size, .read = read_image};
    const PareHdf5Visitor visitor = {&f, take_dataset, take_list, take_text, go_on, refuse};
    f.count = f.steps = 0;
    if (!pare_hdf5_start())
        abort();
    PareHdf5 *h = pare_hdf5_open_image(&io);
    if (h && pare_hdf5_walk(h, &visitor))
        for (size_t i = 0; i < f.count; i++) {
            uint8_t *values = pare_realloc(NULL, f.found[i].bytes, 1); /* exactly as many */
            if (values)
                pare_hdf5_read(h, f.found[i].path, f.found[i].dtype, values, f.found[i].bytes,
                               go_on, &f);
            pare_free(values);
        }
    pare_hdf5_close(h);
    return 0;
}
