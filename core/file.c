/* Reading files: mapped or whole. */
#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/memory.h"

static const uint8_t NOTHING[1];

/* An open regular file and its size. */
static PareStatus open_regular(const char *path, int *fd, size_t *size, PareError *err) {
    struct stat st;
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0)
        return pare_error_set(err, PARE_E_IO, "%s: cannot open: %s", path, strerror(errno));
    const char *why = NULL;
    if (fstat(*fd, &st) != 0)
        why = strerror(errno);
    else if (S_ISDIR(st.st_mode))
        why = "it is a folder; expected a file";
    else if (!S_ISREG(st.st_mode))
        why = "it is not a regular file";
    if (!why) {
        *size = (size_t)st.st_size;
        return PARE_OK;
    }
    close(*fd);
    return pare_error_set(err, PARE_E_IO, "%s: cannot read: %s", path, why);
}

PareStatus pare_file_map(const char *path, PareMapping *out, PareError *err) {
    int fd;
    size_t size;
    *out = (PareMapping){0};
    PareStatus st = open_regular(path, &fd, &size, err);
    if (st)
        return st;
    if (size == 0) {
        *out = (PareMapping){NOTHING, 0};
    } else {
        void *p = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED)
            st = pare_error_set(err, PARE_E_IO, "%s: cannot map: %s", path, strerror(errno));
        else
            *out = (PareMapping){p, size};
    }
    close(fd);
    return st;
}

void pare_file_unmap(PareMapping *m) {
    if (m->size)
        munmap((void *)(uintptr_t)m->data, m->size);
    *m = (PareMapping){0};
}

void pare_file_drop(const PareMapping *m, size_t offset, size_t size) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t begin = (offset + page - 1) / page * page, end = (offset + size) / page * page;
    if (m->size && end > begin && end <= m->size)
        madvise((void *)(uintptr_t)(m->data + begin), end - begin, MADV_DONTNEED);
}

static PareStatus read_all(int fd, const char *path, char *data, size_t size, PareError *err) {
    for (size_t at = 0; at < size;) {
        ssize_t n = read(fd, data + at, size - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return pare_error_set(err, PARE_E_IO, "%s: cannot read: %s", path, strerror(errno));
        if (n == 0)
            return pare_error_set(err, PARE_E_IO, "%s: became shorter while it was read", path);
        at += (size_t)n;
    }
    return PARE_OK;
}

PareStatus pare_file_read(const char *path, size_t limit, char **out, size_t *size,
                          PareError *err) {
    int fd;
    size_t bytes;
    *out = NULL;
    PareStatus st = open_regular(path, &fd, &bytes, err);
    if (st)
        return st;
    if (bytes > limit)
        st = pare_error_set(err, PARE_E_FORMAT, "%s: has %zu bytes; at most %zu are accepted", path,
                            bytes, limit);
    char *data = st ? NULL : pare_alloc(bytes + 1, 1);
    if (!st && !data)
        st = pare_memory_error(err, path);
    if (!st)
        st = read_all(fd, path, data, bytes, err);
    close(fd);
    if (st) {
        pare_free(data);
        return st;
    }
    *out = data;
    if (size)
        *size = bytes;
    return PARE_OK;
}

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
    size_t a = strlen(folder), b = strlen(name);
    bool slash = a > 0 && folder[a - 1] != '/';
    char *path = pare_alloc(a + b + 2, 1);
    if (!path)
        return NULL;
    memcpy(path, folder, a);
    if (slash)
        path[a++] = '/';
    memcpy(path + a, name, b + 1);
    return path;
}

const char *pare_file_basename(const char *path) {
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}
