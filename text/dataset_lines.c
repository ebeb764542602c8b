/* Lines of a file, a pipe or standard input, of any length up to a limit, in constant memory: the
 * buffer grows to the longest line and no further. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/memory.h"
#include "text/dataset_parts.h"

enum { CHUNK = 1 << 16 };

PareStatus pare_lines_open(PareLines *l, const char *path, PareError *err) {
    bool is_input = strcmp(path, "-") == 0;
    *l = (PareLines){.fd = -1};
    l->path = pare_strdup(is_input ? "standard input" : path);
    if (!l->path)
        return pare_memory_error(err, "a path");
    l->fd = is_input ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    if (l->fd < 0)
        return pare_error_set(err, PARE_E_IO, "%s: cannot open: %s", path, strerror(errno));
    return PARE_OK;
}

void pare_lines_close(PareLines *l) {
    if (l->fd > STDIN_FILENO)
        close(l->fd);
    pare_free(l->path);
    pare_free(l->data);
    *l = (PareLines){.fd = -1};
}

/* Makes room behind `end` for a chunk and for the NUL behind the last line. */
static PareStatus make_room(PareLines *l, PareError *err) {
    if (l->begin) {
        memmove(l->data, l->data + l->begin, l->end - l->begin);
        l->end -= l->begin;
        l->begin = 0;
    }
    if (l->capacity - l->end > CHUNK)
        return PARE_OK;
    size_t wanted = l->capacity ? 2 * l->capacity : 2 * CHUNK;
    char *grown = pare_realloc(l->data, wanted, 1);
    if (!grown)
        return pare_memory_error(err, "a line of a data set");
    l->data = grown;
    l->capacity = wanted;
    return PARE_OK;
}

/* A read() that waits for a terminal or a pipe goes on after Ctrl-C (SA_RESTART); poll() does not.
 * Whatever else poll() has to say, read() says it better. */
static PareStatus wait_for_input(const PareLines *l, PareError *err) {
    struct pollfd waiting = {.fd = l->fd, .events = POLLIN};
    PareStatus status = pare_interrupt_check(err);
    while (!status && poll(&waiting, 1, -1) < 0 && errno == EINTR)
        status = pare_interrupt_check(err);
    return status;
}

static PareStatus fill(PareLines *l, PareError *err) {
    PareStatus status = make_room(l, err);
    if (!status)
        status = wait_for_input(l, err);
    if (status)
        return status;
    ssize_t n;
    do
        n = read(l->fd, l->data + l->end, CHUNK);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return pare_error_set(err, PARE_E_IO, "%s: cannot read: %s", l->path, strerror(errno));
    l->at_end = n == 0;
    l->end += (size_t)n;
    return PARE_OK;
}

/* data[begin, begin + size) is a whole line; `used` bytes of the buffer belong to it. */
static PareStatus give(PareLines *l, size_t size, size_t used, PareError *err) {
    l->line = l->data + l->begin;
    l->begin += used;
    l->number++;
    if (memchr(l->line, '\0', size))
        return pare_error_set(err, PARE_E_FORMAT, "%s: line %zu contains a NUL byte; expected text",
                              l->path, l->number);
    if (size && l->line[size - 1] == '\r')
        size--;
    l->line[size] = '\0';
    if (l->number == 1 && size >= 3 && memcmp(l->line, "\xEF\xBB\xBF", 3) == 0) {
        l->line += 3;
        size -= 3;
    }
    l->size = size;
    return PARE_OK;
}

PareStatus pare_lines_next(PareLines *l, PareError *err) {
    if (l->again) {
        l->again = false;
        return PARE_OK;
    }
    size_t seen = 0; /* bytes of the line that hold no newline */
    for (;;) {
        size_t there = l->end - l->begin;
        char *start = there ? l->data + l->begin : NULL;
        char *newline = there > seen ? memchr(start + seen, '\n', there - seen) : NULL;
        size_t size = newline ? (size_t)(newline - start) : there;
        if (size > PARE_LINE_LIMIT)
            return pare_error_set(err, PARE_E_FORMAT,
                                  "%s: line %zu is longer than %d bytes, which is the limit",
                                  l->path, l->number + 1, PARE_LINE_LIMIT);
        if (newline)
            return give(l, size, size + 1, err);
        if (l->at_end && there)
            return give(l, there, there, err);
        if (l->at_end) {
            l->line = NULL;
            return PARE_OK;
        }
        seen = there;
        PareStatus status = fill(l, err);
        if (status)
            return status;
    }
}

void pare_lines_again(PareLines *l) {
    l->again = true;
}
