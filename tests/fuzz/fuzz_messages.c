/* What the sandboxed process says of an HDF5 file. It may have been taken over by that file, so the
 * parent must survive whatever it says: here the input is the messages, each with its length (u16)
 * in front, and there is no process. The file itself is 4096 bytes. */
#include <stdlib.h>
#include <string.h>

#include "core/buffer.h"
#include "formats/hdf5_process.h"
#include "formats/hdf5_reader.h"
#include "tests/fuzz/fuzz.h"

const char *const fuzz_corpora[] = {"tests/fuzz/seeds/messages", "tests/fuzz/crashes/messages",
                                    NULL};

enum { FILE_BYTES = 4096, SHARED_MAX = 1 << 20 };

struct PareChild {
    uint8_t message[PARE_CHILD_MESSAGE_MAX];
    uint8_t *shared;
};

static PareCursor messages;

/* ---- In place of hdf5_process.c ---- */

PareStatus pare_child_start(const PareChildWork *work, PareChild **out, PareError *err) {
    *out = pare_alloc(1, sizeof **out);
    return *out ? PARE_OK : pare_memory_error(err, work->path);
}

void pare_child_stop(PareChild *c) {
    if (c)
        pare_free(c->shared);
    pare_free(c);
}

PareStatus pare_child_send(PareChild *c, const void *bytes, size_t size, PareError *err) {
    (void)c;
    (void)bytes;
    (void)size;
    (void)err;
    return PARE_OK;
}

PareStatus pare_child_receive(PareChild *c, const uint8_t **bytes, size_t *size, PareError *err) {
    size_t length = pare_cursor_u16(&messages);
    const uint8_t *at = pare_cursor_take(&messages, length);
    if (at == NULL)
        return pare_error_set(err, PARE_E_FORMAT, "input: the child has ended");
    memcpy(c->message, at, length);
    *bytes = c->message;
    *size = length;
    return PARE_OK;
}

PareStatus pare_child_memory(PareChild *c, size_t bytes, const uint8_t **out, PareError *err) {
    if (bytes > SHARED_MAX)
        return pare_memory_error(err, "input");
    pare_free(c->shared);
    *out = c->shared = pare_alloc(bytes, 1);
    return c->shared ? PARE_OK : pare_memory_error(err, "input");
}

void pare_child_forget_memory(PareChild *c) {
    (void)c;
}

bool pare_child_reply(const void *bytes, size_t size) {
    (void)bytes;
    (void)size;
    abort(); /* nobody is a child here */
}

long pare_child_request(void *bytes, size_t size) {
    (void)bytes;
    (void)size;
    abort();
}

uint8_t *pare_child_map(size_t bytes) {
    (void)bytes;
    abort();
}

void pare_child_unmap(uint8_t *memory, size_t bytes) {
    (void)memory;
    (void)bytes;
    abort();
}

/* ---- The target ---- */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    PareError err = {0};
    static const uint8_t file[FILE_BYTES];
    static PareMapping map;
    if (!map.data && pare_file_map(fuzz_file(file, sizeof file), &map, &err) != PARE_OK)
        abort();
    PareCheckpoint c = {.path = "input", .map = map, .arena = pare_arena_create(0)};
    messages = pare_cursor(data, size);
    if (c.arena) {
        PareStatus status = pare_hdf5_open(&c, &err);
        fuzz_check_named(status, &err, "input");
        if (status == PARE_OK)
            fuzz_read_tensors(&c);
    }
    if (c.reader)
        c.reader->close(&c);
    pare_arena_destroy(c.arena);
    return 0;
}
