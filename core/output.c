/* Output files that appear whole or not at all. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "core/file.h"
#include "core/memory.h"
#include "core/pending.h"

enum {
    BUFFER_SIZE = 1 << 20,
    STRAIGHT_SIZE = 1 << 16, /* from here on, pieces go from where they lie, not by the buffer */
    WRITEBACK_SIZE = 1 << 24,
    NAME_SHOWN = 200,
    ATTEMPTS = 100
};

struct PareOutput {
    char *path, *temporary;
    unsigned char *buffer;
    size_t used;      /* bytes in the buffer */
    uint64_t written; /* bytes before them, in the file */
    uint64_t started; /* bytes that the system was told to write to the disk */
    int fd;
    bool force;
    PareError failure; /* the first one; afterwards nothing may be committed */
};

/* Reports what the system refused, and remembers it: a file with a gap is never finished. */
static PareStatus fail(PareOutput *o, const char *what, const char *why, PareError *err) {
    PareStatus status =
        pare_error_set(&o->failure, PARE_E_IO, "%s: cannot %s: %s", o->path, what, why);
    if (err)
        *err = o->failure;
    return status;
}

static PareStatus earlier_failure(const PareOutput *o, PareError *err) {
    if (o->failure.code && err)
        *err = o->failure;
    return o->failure.code;
}

/* ---- Opening ------------------------------------------------------------------------------- */

/* Whether `path` may be written, before any work is done for it. */
static PareStatus check_place(const char *path, bool force, PareError *err) {
    struct stat st;
    const char *why = NULL;
    const char *name = pare_file_basename(path);
    bool exists = lstat(path, &st) == 0;
    if (strcmp(path, "-") == 0)
        why = "standard output cannot take this; give a file";
    else if (*name == '\0' || strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
        why = "expected the name of a file";
    else if (pare_file_is_folder(path))
        why = "it is a folder, expected a file";
    else if (exists && !force)
        why = "it exists already (--force replaces it)";
    else if (stat(path, &st) == 0 && !S_ISREG(st.st_mode))
        why = "it is not a regular file"; /* renaming over a device would remove the device */
    if (why)
        return pare_error_set(err, PARE_E_IO, "%s: cannot write: %s", path, why);
    return PARE_OK;
}

/* Where the file will lie: a link to a file is followed, so that the link stays a link. */
static char *final_path(const char *path) {
    char resolved[PATH_MAX];
    return pare_strdup(realpath(path, resolved) ? resolved : path);
}

/* A number that other processes and earlier calls are unlikely to choose; O_EXCL decides. */
static unsigned long long fresh_number(void) {
    static atomic_uint calls;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    uint64_t mix = (uint64_t)now.tv_nsec << 32 ^ (uint64_t)now.tv_sec << 16;
    mix ^= (uint64_t)getpid() << 8 ^ atomic_fetch_add(&calls, 1);
    return (unsigned long long)(mix * 0x9E3779B97F4A7C15U >> 24);
}

/* Creates "folder/.NAME.xxxxxxxxxx". Not by mkostemp: opened with 0666, the file gets the rights
 * that the umask (which a thread cannot read safely) and the folder's defaults mean it to have. The
 * name is registered first, so that no signal can find the file without the name. */
static PareStatus create_temporary(PareOutput *o, PareError *err) {
    const char *name = pare_file_basename(o->path);
    size_t folder = (size_t)(name - o->path), size = folder + NAME_SHOWN + 16;
    o->temporary = pare_realloc(NULL, size, 1);
    if (!o->temporary)
        return pare_memory_error(err, o->path);
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        snprintf(o->temporary, size, "%.*s.%.*s.%010llx", (int)folder, o->path, NAME_SHOWN, name,
                 fresh_number());
        if (!pare_pending_add(o->temporary))
            return fail(o, "create", "too many output files are open", err);
        o->fd = open(o->temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        if (o->fd >= 0)
            return PARE_OK;
        int error = errno;
        if (!pare_pending_remove(o->temporary))
            o->temporary = NULL; /* a handler has it; the process ends */
        if (error != EEXIST || !o->temporary)
            return fail(o, "create", strerror(error), err);
    }
    return fail(o, "create", strerror(EEXIST), err);
}

/* Closes and frees everything; a temporary that is still there is removed. */
static void destroy(PareOutput *o) {
    if (o->fd >= 0) {
        close(o->fd);
        unlink(o->temporary);
        if (!pare_pending_remove(o->temporary))
            o->temporary = NULL;
    }
    pare_free(o->path);
    pare_free(o->temporary);
    pare_free(o->buffer);
    pare_free(o);
}

PareStatus pare_output_open(const char *path, bool force, PareOutput **out, PareError *err) {
    *out = NULL;
    PareStatus status = check_place(path, force, err);
    if (status)
        return status;
    PareOutput *o = pare_alloc(1, sizeof *o);
    if (!o)
        return pare_memory_error(err, path);
    o->fd = -1;
    o->force = force;
    o->path = final_path(path);
    o->buffer = pare_realloc(NULL, BUFFER_SIZE, 1);
    status = o->path && o->buffer ? create_temporary(o, err) : pare_memory_error(err, path);
    if (status)
        destroy(o);
    else
        *out = o;
    return status;
}

/* ---- Writing ------------------------------------------------------------------------------- */

static PareStatus write_at(PareOutput *o, const unsigned char *bytes, size_t size, uint64_t offset,
                           PareError *err) {
    while (size) {
        if (offset > INT64_MAX - size)
            return fail(o, "write", strerror(EFBIG), err);
        ssize_t done = pwrite(o->fd, bytes, size, (off_t)offset);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return fail(o, "write", done < 0 ? strerror(errno) : "nothing was written", err);
        bytes += done;
        size -= (size_t)done;
        offset += (uint64_t)done;
    }
    return PARE_OK;
}

/* Has the disk work while the rest is made, rather than all at once at the end. A mere hint:
 * whether it failed is known when the file is synchronised. */
static void start_writeback(PareOutput *o) {
#ifdef SYNC_FILE_RANGE_WRITE
    if (o->written - o->started >= WRITEBACK_SIZE) {
        sync_file_range(o->fd, (off_t)o->started, (off_t)(o->written - o->started),
                        SYNC_FILE_RANGE_WRITE);
        o->started = o->written;
    }
#else
    (void)o;
#endif
}

static PareStatus append(PareOutput *o, const unsigned char *bytes, size_t size, PareError *err) {
    while (size) {
        size_t piece = size < WRITEBACK_SIZE ? size : WRITEBACK_SIZE;
        PareStatus status = write_at(o, bytes, piece, o->written, err);
        if (status)
            return status;
        o->written += piece;
        bytes += piece;
        size -= piece;
        start_writeback(o);
    }
    return PARE_OK;
}

static PareStatus flush(PareOutput *o, PareError *err) {
    PareStatus status = append(o, o->buffer, o->used, err);
    o->used = status ? o->used : 0;
    return status;
}

PareStatus pare_output_write(PareOutput *o, const void *bytes, size_t size, PareError *err) {
    const unsigned char *from = bytes;
    PareStatus status = earlier_failure(o, err);
    if (!status && size > BUFFER_SIZE - o->used)
        status = flush(o, err);
    if (status || size == 0)
        return status;
    if (size >= STRAIGHT_SIZE) {
        status = flush(o, err);
        return status ? status : append(o, from, size, err);
    }
    memcpy(o->buffer + o->used, from, size);
    o->used += size;
    return PARE_OK;
}

PareStatus pare_output_align(PareOutput *o, size_t alignment, PareError *err) {
    static const unsigned char zeros[4096];
    size_t over = alignment ? (size_t)(pare_output_offset(o) % alignment) : 0;
    size_t left = over ? alignment - over : 0;
    PareStatus status = earlier_failure(o, err);
    while (left && !status) {
        size_t piece = left < sizeof zeros ? left : sizeof zeros;
        status = pare_output_write(o, zeros, piece, err);
        left -= piece;
    }
    return status;
}

uint64_t pare_output_offset(const PareOutput *o) {
    return o->written + o->used;
}

PareStatus pare_output_patch(PareOutput *o, uint64_t offset, const void *bytes, size_t size,
                             PareError *err) {
    uint64_t end = pare_output_offset(o);
    PareStatus status = earlier_failure(o, err);
    if (status)
        return status;
    if (offset > end || size > end - offset)
        return fail(o, "patch", "the bytes were not written yet", err);
    if (offset < o->written) {
        status = flush(o, err);
        return status ? status : write_at(o, bytes, size, offset, err);
    }
    if (size)
        memcpy(o->buffer + (offset - o->written), bytes, size);
    return PARE_OK;
}

/* ---- Finishing ----------------------------------------------------------------------------- */

/* Filesystems that know no synchronising say so by these; there is nothing to lose then. */
static bool sync_is_unknown(int error) {
    return error == EINVAL || error == ENOSYS || error == ENOTSUP || error == EROFS;
}

/* Moves the file to its name if nothing has appeared there meanwhile. The kernel checks that in one
 * step; filesystems that cannot do it usually can link, which refuses an existing name too. */
static int move_to_free_name(const PareOutput *o) {
#ifdef SYS_renameat2
    const unsigned no_replace = 1;
    if (syscall(SYS_renameat2, AT_FDCWD, o->temporary, AT_FDCWD, o->path, no_replace) == 0)
        return 0;
    if (errno != EINVAL && errno != ENOSYS)
        return -1;
#endif
    if (link(o->temporary, o->path) == 0)
        return unlink(o->temporary);
    if (errno != EPERM && errno != ENOTSUP && errno != ENOSYS)
        return -1;
    if (pare_file_exists(o->path)) { /* the last resort, which leaves a gap of microseconds */
        errno = EEXIST;
        return -1;
    }
    return rename(o->temporary, o->path);
}

/* So that the name survives a crash as the content does. A folder that may be written but not read
 * cannot be synchronised; that is no reason to fail. */
static PareStatus sync_folder(PareOutput *o, PareError *err) {
    char folder[PATH_MAX];
    size_t length = (size_t)(pare_file_basename(o->path) - o->path);
    snprintf(folder, sizeof folder, "%.*s", length ? (int)length : 1, length ? o->path : ".");
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return PARE_OK;
    PareStatus status = PARE_OK;
    if (fsync(fd) != 0 && !sync_is_unknown(errno))
        status = fail(o, "be sure that its name is on the disk", strerror(errno), err);
    close(fd);
    return status;
}

static PareStatus finish(PareOutput *o, PareError *err) {
    PareStatus status = earlier_failure(o, err);
    if (!status)
        status = flush(o, err);
    if (!status && fsync(o->fd) != 0 && !sync_is_unknown(errno))
        status = fail(o, "write", strerror(errno), err);
    if (status)
        return status;
    int fd = o->fd, error = 0;
    if (close(fd) != 0)
        error = errno;
    else if ((o->force ? rename(o->temporary, o->path) : move_to_free_name(o)) != 0)
        error = errno;
    o->fd = -1;
    if (error)
        unlink(o->temporary);
    if (!pare_pending_remove(o->temporary))
        o->temporary = NULL;
    if (error == EEXIST)
        return fail(o, "finish", "a file of that name appeared meanwhile", err);
    return error ? fail(o, "finish", strerror(error), err) : sync_folder(o, err);
}

PareStatus pare_output_commit(PareOutput *o, PareError *err) {
    PareStatus status = finish(o, err);
    destroy(o);
    return status;
}

void pare_output_abort(PareOutput *o) {
    if (o)
        destroy(o);
}

PareStatus pare_output_save(const char *path, bool force, const void *bytes, size_t size,
                            PareError *err) {
    PareOutput *o = NULL;
    PareStatus st = pare_output_open(path, force, &o, err);
    if (!st)
        st = pare_output_write(o, bytes, size, err);
    if (!st)
        return pare_output_commit(o, err);
    pare_output_abort(o);
    return st;
}
