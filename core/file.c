/* Reading files, mapped or whole, and paths. */
#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/memory.h"

static PareStatus cannot(const char *path, const char *what, const char *why, PareError *err) {
    return pare_error_set(err, PARE_E_IO, "%s: cannot %s: %s", path, what, why);
}

/* A mapping of no bytes points here, so that `data` is always valid. */
static const uint8_t nothing[1];

static PareStatus map_open_file(int fd, const char *path, PareMapping *out, PareError *err) {
    struct stat st;
    if (fstat(fd, &st) != 0)
        return cannot(path, "map", strerror(errno), err);
    if (S_ISDIR(st.st_mode))
        return cannot(path, "map", "it is a folder, expected a file", err);
    if (!S_ISREG(st.st_mode))
        return cannot(path, "map", "it is not a regular file", err);
    if ((uintmax_t)st.st_size > SIZE_MAX)
        return cannot(path, "map", "it is larger than the address space", err);
    *out = (PareMapping){.data = nothing, .size = 0};
    if (st.st_size == 0)
        return PARE_OK;
    void *data = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED)
        return cannot(path, "map", strerror(errno), err);
    *out = (PareMapping){.data = data, .size = (size_t)st.st_size};
    return PARE_OK;
}

PareStatus pare_file_map(const char *path, PareMapping *out, PareError *err) {
    *out = (PareMapping){0};
    /* Not blocking: a pipe without a writer is refused rather than waited for. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return cannot(path, "open", strerror(errno), err);
    PareStatus status = map_open_file(fd, path, out, err);
    if (status)
        *out = (PareMapping){0};
    close(fd);
    return status;
}

void pare_file_unmap(PareMapping *m) {
    if (m->size)
        munmap((void *)(uintptr_t)m->data, m->size);
    *m = (PareMapping){0};
}

/* The last page of the range stays unless it was used to its end: the next range begins in it. */
void pare_file_drop(const PareMapping *m, size_t offset, size_t size) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (offset > m->size || size > m->size - offset)
        return;
    size_t begin = offset & ~(page - 1), end = offset + size;
    if (end < m->size)
        end &= ~(page - 1);
    if (begin < end)
        madvise((void *)(uintptr_t)(m->data + begin), end - begin, MADV_DONTNEED);
}

/* Makes room for more than `used` bytes and a NUL: at once as much as the file should need, then
 * doubling, at most one byte beyond the limit (which shows that the file is too large). */
static bool grow(char **data, size_t used, size_t *capacity, size_t expected, size_t limit) {
    if (*data && used < *capacity)
        return true;
    size_t wanted = used < expected ? expected : used < 2048 ? 4096 : 2 * used;
    wanted = wanted > limit ? limit + 1 : wanted + 1;
    char *larger = wanted == SIZE_MAX ? NULL : pare_realloc(*data, wanted + 1, 1);
    if (!larger)
        return false;
    *data = larger;
    *capacity = wanted;
    return true;
}

/* Until the end of the file, whatever its size claims to be: files of /proc claim 0, and pipes
 * (as a shell's <(command)) have none. */
static PareStatus read_to_end(int fd, const char *path, size_t limit, size_t expected, char **out,
                              size_t *size, PareError *err) {
    size_t used = 0, capacity = 0;
    for (;;) {
        if (!grow(out, used, &capacity, expected, limit))
            return pare_memory_error(err, path);
        ssize_t got = read(fd, *out + used, capacity - used);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return cannot(path, "read", strerror(errno), err);
        if (got == 0)
            break;
        used += (size_t)got;
        if (used > limit)
            return pare_error_set(err, PARE_E_FORMAT, "%s: larger than expected: at most %zu bytes",
                                  path, limit);
    }
    (*out)[used] = '\0';
    *size = used;
    return PARE_OK;
}

PareStatus pare_file_read(const char *path, size_t limit, char **out, size_t *size,
                          PareError *err) {
    struct stat st;
    PareStatus status;
    size_t used = 0;
    *out = NULL;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return cannot(path, "open", strerror(errno), err);
    if (limit > SIZE_MAX / 4)
        limit = SIZE_MAX / 4;
    if (fstat(fd, &st) != 0)
        status = cannot(path, "read", strerror(errno), err);
    else if (S_ISDIR(st.st_mode))
        status = cannot(path, "read", "it is a folder, expected a file", err);
    else if (st.st_size > 0 && (uintmax_t)st.st_size > limit)
        status = pare_error_set(err, PARE_E_FORMAT, "%s: has %jd bytes, expected at most %zu", path,
                                (intmax_t)st.st_size, limit);
    else
        status = read_to_end(fd, path, limit, (size_t)st.st_size, out, &used, err);
    close(fd);
    if (status) {
        pare_free(*out);
        *out = NULL;
    }
    if (size)
        *size = status ? 0 : used;
    return status;
}

/* A dangling link exists, too: writing through it or replacing it must be a decision. */
bool pare_file_exists(const char *path) {
    struct stat st;
    return lstat(path, &st) == 0;
}

bool pare_file_is_folder(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bool pare_file_same(const char *a, const char *b) {
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

char *pare_file_join(const char *folder, const char *name) {
    size_t length = strlen(folder), size;
    bool slash = length > 0 && folder[length - 1] != '/';
    if (!pare_size_add(length + slash, strlen(name) + 1, &size))
        return NULL;
    char *path = pare_realloc(NULL, size, 1);
    if (path)
        snprintf(path, size, "%s%s%s", folder, slash ? "/" : "", name);
    return path;
}

const char *pare_file_basename(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}
