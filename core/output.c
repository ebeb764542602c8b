/* Output that appears whole or not at all, and what a signal must clean up. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"
#include "core/memory.h"

enum { BUFFER = 1 << 20, PENDING = 16, DIRECT = 1 << 18 };

struct PareOutput {
    char *path, *temporary;
    char *buffer;
    size_t used;
    uint64_t offset; /* of the end, buffered bytes included */
    int fd, pending; /* its place in the registry, or -1 */
    bool force;
};

/* Names of temporaries that a second signal removes. A handler may only read atomics. */
static _Atomic(char *) pending[PENDING];
static volatile sig_atomic_t interrupted;

static int register_temporary(char *name) {
    for (int i = 0; i < PENDING; i++) {
        char *expected = NULL;
        if (atomic_compare_exchange_strong(&pending[i], &expected, name))
            return i;
    }
    return -1; /* more files at once than anybody opens: then only an orderly end cleans up */
}

static void on_signal(int number) {
    if (!interrupted) {
        interrupted = 1;
        return;
    }
    for (int i = 0; i < PENDING; i++) {
        char *name = atomic_load(&pending[i]);
        if (name)
            unlink(name);
    }
    _exit(128 + number);
}

void pare_interrupt_install(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);
    /* A full disk limit and a closed pipe are errors of write(), not the end of the program. */
    signal(SIGXFSZ, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
}

bool pare_interrupted(void) {
    return interrupted != 0;
}

PareStatus pare_interrupt_check(PareError *err) {
    return interrupted ? pare_error_set(err, PARE_E_INTERRUPTED, "interrupted") : PARE_OK;
}

static PareStatus io_error(const PareOutput *o, const char *what, PareError *err) {
    return pare_error_set(err, PARE_E_IO, "%s: cannot %s: %s", o->path, what, strerror(errno));
}

/* "folder/.name.XXXXXX" */
static char *temporary_name(const char *path) {
    const char *name = pare_file_basename(path);
    size_t folder = (size_t)(name - path), length = strlen(name);
    char *out = pare_alloc(folder + length + 9, 1);
    if (!out)
        return NULL;
    memcpy(out, path, folder);
    out[folder] = '.';
    memcpy(out + folder + 1, name, length);
    memcpy(out + folder + 1 + length, ".XXXXXX", 8);
    return out;
}

static void destroy(PareOutput *o) {
    if (o->fd >= 0)
        close(o->fd);
    if (o->pending >= 0)
        atomic_store(&pending[o->pending], NULL);
    pare_free(o->path);
    pare_free(o->temporary);
    pare_free(o->buffer);
    pare_free(o);
}

static PareStatus check_place(const char *path, bool force, PareError *err) {
    const char *name = pare_file_basename(path);
    if (*name == '\0' || strcmp(path, "-") == 0 || pare_file_is_folder(path))
        return pare_error_set(err, PARE_E_IO, "%s: cannot write: expected the name of a file",
                              path);
    if (!force && pare_file_exists(path))
        return pare_error_set(err, PARE_E_IO, "%s: exists already; --force replaces it", path);
    return PARE_OK;
}

PareStatus pare_output_open(const char *path, bool force, PareOutput **out, PareError *err) {
    *out = NULL;
    PareStatus st = check_place(path, force, err);
    if (st)
        return st;
    PareOutput *o = pare_alloc(1, sizeof *o);
    if (!o)
        return pare_memory_error(err, path);
    o->fd = o->pending = -1;
    o->force = force;
    o->path = pare_strdup(path);
    o->temporary = temporary_name(path);
    o->buffer = pare_realloc(NULL, BUFFER, 1);
    if (!o->path || !o->temporary || !o->buffer) {
        destroy(o);
        return pare_memory_error(err, path);
    }
    o->fd = mkostemp(o->temporary, O_CLOEXEC);
    if (o->fd < 0) {
        st = io_error(o, "create", err);
        destroy(o);
        return st;
    }
    o->pending = register_temporary(o->temporary);
    mode_t mask = umask(0); /* mkostemp made it private; a finished file has the usual rights */
    umask(mask);
    fchmod(o->fd, 0666 & ~mask);
    *out = o;
    return PARE_OK;
}

static PareStatus write_all(PareOutput *o, const char *data, size_t size, PareError *err) {
    while (size) {
        ssize_t n = write(o->fd, data, size < INT_MAX ? size : INT_MAX / 2);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return io_error(o, "write", err);
        data += n;
        size -= (size_t)n;
    }
    return PARE_OK;
}

static PareStatus flush(PareOutput *o, PareError *err) {
    PareStatus st = write_all(o, o->buffer, o->used, err);
    o->used = 0;
    return st;
}

PareStatus pare_output_write(PareOutput *o, const void *bytes, size_t size, PareError *err) {
    o->offset += size;
    if (size >= DIRECT) { /* large pieces go straight from where they are */
        PareStatus st = flush(o, err);
        return st ? st : write_all(o, bytes, size, err);
    }
    const char *from = bytes;
    while (size) {
        size_t n = size < BUFFER - o->used ? size : BUFFER - o->used;
        memcpy(o->buffer + o->used, from, n);
        o->used += n;
        from += n;
        size -= n;
        PareStatus st = o->used == BUFFER ? flush(o, err) : PARE_OK;
        if (st)
            return st;
    }
    return PARE_OK;
}

PareStatus pare_output_align(PareOutput *o, size_t alignment, PareError *err) {
    static const char ZEROS[4096];
    size_t over = (size_t)(o->offset % alignment), left = over ? alignment - over : 0;
    PareStatus st = PARE_OK;
    while (left && !st) {
        size_t n = left < sizeof ZEROS ? left : sizeof ZEROS;
        st = pare_output_write(o, ZEROS, n, err);
        left -= n;
    }
    return st;
}

uint64_t pare_output_offset(const PareOutput *o) {
    return o->offset;
}

PareStatus pare_output_patch(PareOutput *o, uint64_t offset, const void *bytes, size_t size,
                             PareError *err) {
    PareStatus st = flush(o, err);
    const char *from = bytes;
    while (size && !st) {
        ssize_t n = pwrite(o->fd, from, size, (off_t)offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return io_error(o, "write", err);
        from += n;
        offset += (uint64_t)n;
        size -= (size_t)n;
    }
    return st;
}

/* Without --force a file that appeared meanwhile is not replaced either. */
static int move_into_place(const PareOutput *o) {
    if (o->force)
        return rename(o->temporary, o->path);
    if (renameat2(AT_FDCWD, o->temporary, AT_FDCWD, o->path, RENAME_NOREPLACE) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -1;
    if (link(o->temporary, o->path) != 0) /* filesystems without RENAME_NOREPLACE */
        return -1;
    unlink(o->temporary);
    return 0;
}

/* So that the new name survives a crash too; filesystems that cannot do it are no reason to fail.
 */
static void sync_folder(const char *path) {
    size_t folder = (size_t)(pare_file_basename(path) - path);
    char *name = pare_alloc(folder + 2, 1);
    if (!name)
        return;
    memcpy(name, folder ? path : ".", folder ? folder : 1);
    int fd = open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
    pare_free(name);
}

PareStatus pare_output_commit(PareOutput *o, PareError *err) {
    PareStatus st = flush(o, err);
    if (!st && fsync(o->fd) != 0)
        st = io_error(o, "write", err);
    int fd = o->fd;
    o->fd = -1;
    if (close(fd) != 0 && !st)
        st = io_error(o, "write", err);
    if (!st && move_into_place(o) != 0)
        st = io_error(o, "put the finished file into place", err);
    if (st)
        unlink(o->temporary);
    else
        sync_folder(o->path);
    destroy(o);
    return st;
}

void pare_output_abort(PareOutput *o) {
    if (!o)
        return;
    unlink(o->temporary);
    destroy(o);
}
