/* Files and folders for fuzzing targets, and what they do with a checkpoint. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/memory.h"
#include "formats/checkpoint.h"
#include "tests/fuzz/fuzz.h"
#include "text/unicode.h"

/* Elements that are read of one input: reading is linear, and the fuzzer wants speed. */
enum { READ_ELEMENTS = 1 << 20 };

static void must(int ok, const char *what) {
    if (!ok) {
        perror(what);
        abort();
    }
}

static void write_all(int fd, const void *bytes, size_t size) {
    must(ftruncate(fd, 0) == 0, "ftruncate");
    must(pwrite(fd, bytes, size, 0) == (ssize_t)size, "pwrite");
}

const char *fuzz_file(const void *bytes, size_t size) {
    static int fd = -1;
    static char path[64];
    if (fd >= 0)
        close(fd);
    must((fd = memfd_create("input", MFD_CLOEXEC)) >= 0, "memfd_create");
    write_all(fd, bytes, size);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    return path;
}

static char folder[] = "/dev/shm/pare-fuzz-XXXXXX";

static void remove_folder(void) {
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", folder);
    must(system(command) == 0, command);
}

const char *fuzz_folder(void) {
    static int made;
    if (!made) {
        must(mkdtemp(folder) != NULL, folder);
        atexit(remove_folder);
        made = 1;
    }
    return folder;
}

static const char *path_of(const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", fuzz_folder(), name);
    return path;
}

void fuzz_put(const char *name, const void *bytes, size_t size) {
    int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    must(fd >= 0, name);
    write_all(fd, bytes, size);
    close(fd);
}

void fuzz_remove(const char *name) {
    unlink(path_of(name));
}

static PareStatus ignore(void *context, const float *values, size_t count, PareError *err) {
    float *sum = context;
    (void)err;
    *sum += values[0] + values[count - 1];
    return PARE_OK;
}

/* In the three ways that there are, into memory of exactly the size that is needed. */
static bool read_tensor(PareCheckpoint *c, const PareCheckpointTensor *t, size_t elements) {
    PareError err = {0};
    float sum = 0;
    size_t bytes;
    float *values = pare_realloc(NULL, elements, sizeof *values);
    PareStatus status =
        values ? pare_checkpoint_read_f32(c, t, values, &err) : pare_memory_error(&err, "input");
    fuzz_check_error(status, &err);
    pare_free(values);
    if (status != PARE_OK)
        return false;
    if (elements > 2)
        pare_checkpoint_stream_f32(c, t, 1, elements - 2, ignore, &sum, &err);
    void *raw = pare_tensor_bytes(&t->type, &bytes) ? pare_realloc(NULL, bytes, 1) : NULL;
    if (raw)
        pare_checkpoint_read_raw(c, t, raw, &err);
    pare_free(raw);
    return true;
}

void fuzz_read_tensors(PareCheckpoint *c) {
    size_t read = 0, elements;
    for (size_t i = 0; i < pare_checkpoint_count(c); i++) {
        const PareCheckpointTensor *t = pare_checkpoint_tensor(c, i);
        if (pare_tensor_elements(&t->type, &elements) && elements <= READ_ELEMENTS - read &&
            read_tensor(c, t, elements))
            read += elements;
    }
}

static void check_names(const PareCheckpoint *c) {
    for (size_t i = 0; i < pare_checkpoint_count(c); i++) {
        const PareCheckpointTensor *t = pare_checkpoint_tensor(c, i);
        if (pare_checkpoint_find(c, t->name) != t || !pare_utf8_valid(t->name, strlen(t->name)))
            abort(); /* not found by its own name, or not a name */
    }
}

void fuzz_read_checkpoint(const char *path) {
    PareError err = {0};
    PareCheckpoint *c = NULL;
    PareStatus status = pare_checkpoint_open(path, NULL, &c, &err);
    fuzz_check_named(status, &err, path);
    if (status == PARE_OK) {
        check_names(c);
        fuzz_read_tensors(c);
    }
    pare_checkpoint_close(c);
}

void fuzz_check_named(PareStatus status, const PareError *err, const char *name) {
    fuzz_check_error(status, err);
    if (status == PARE_OK || status == PARE_E_MEMORY ||
        strncmp(err->message, name, strlen(name)) == 0)
        return;
    fprintf(stderr, "the message does not begin with the file: %s\n", err->message);
    abort();
}

void fuzz_check_error(PareStatus status, const PareError *err) {
    static int shown = -1;
    if (shown < 0)
        shown = getenv("FUZZ_SHOW") != NULL;
    if (shown)
        fprintf(stderr, "%s\n", status == PARE_OK ? "accepted" : err->message);
    if (status == PARE_OK)
        return;
    size_t size = strlen(err->message);
    bool one_line = size > 0 && strchr(err->message, '\n') == NULL;
    if (!one_line || err->code != status || !pare_utf8_valid(err->message, size)) {
        fprintf(stderr, "status %d, but the message is: %s\n", (int)status, err->message);
        abort();
    }
}
