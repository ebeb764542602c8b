/* A sandboxed process that works for this one: it answers requests with messages, and puts tensors
 * into memory that both see.
 *
 * The child is forked, so it sees the file's mapping without opening anything, and then gives up
 * all rights (hdf5_sandbox.h). Other threads of the program may exist: in the child only this one
 * goes on, the C library's memory is usable there (glibc takes care of its locks around a fork),
 * and the HDF5 library must not be in use by another thread at that moment. The child ends with the
 * thread that started it; it does not end itself when it is no longer needed, so that a program
 * which forgets to stop it leaks it until then.
 *
 * Nothing that the child says is believed: it may have been taken over by what it reads. Private to
 * formats/. */
#ifndef PARE_FORMATS_HDF5_PROCESS_H
#define PARE_FORMATS_HDF5_PROCESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

enum {
    PARE_CHILD_MESSAGE_MAX = 1 << 17,
    PARE_CHILD_PATIENCE_MS = 5000 /* without a message */
};

/* What runs in the child; the process ends when `serve` returns. */
typedef struct {
    bool (*prepare)(void *context); /* before the sandbox: nothing foreign is read; may be NULL */
    void (*serve)(void *context);
    void *context;
    uint64_t cpu_seconds;
    const char *what; /* "the HDF5 library", for messages */
    const char *path; /* of the file, for messages */
    int patience_ms;  /* 0: PARE_CHILD_PATIENCE_MS */
} PareChildWork;

typedef struct PareChild PareChild;

PareStatus pare_child_start(const PareChildWork *work, PareChild **out, PareError *err);
void pare_child_stop(PareChild *c); /* at once; NULL is allowed */

PareStatus pare_child_send(PareChild *c, const void *bytes, size_t size, PareError *err);
/* The next message, of at most PARE_CHILD_MESSAGE_MAX bytes, valid until the next call. An error
 * when there is none in time, and when the child has ended. */
PareStatus pare_child_receive(PareChild *c, const uint8_t **bytes, size_t *size, PareError *err);
/* Shared memory of at least `bytes`, all zeros the first time; an earlier address is void. */
PareStatus pare_child_memory(PareChild *c, size_t bytes, const uint8_t **out, PareError *err);
/* Its content is no longer needed. */
void pare_child_forget_memory(PareChild *c);

/* ---- In the child ---- */

/* One message. false when the parent is gone. */
bool pare_child_reply(const void *bytes, size_t size);
/* The next request: its size, or -1 when there is none or it does not fit. */
long pare_child_request(void *bytes, size_t size);
/* The shared memory, writable; NULL on failure. */
uint8_t *pare_child_map(size_t bytes);
void pare_child_unmap(uint8_t *memory, size_t bytes);

#endif
