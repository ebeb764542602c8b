/* Forking the sandboxed process, and talking to it. */
#include "formats/hdf5_process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/file.h"
#include "core/memory.h"
#include "formats/hdf5_sandbox.h"

enum { HEAD_BYTES = 4, SLICE_MS = 50 };

struct PareChild {
    pid_t pid; /* 0: has ended, and was waited for */
    int status, channel, memory;
    int patience_ms;
    const char *what;
    char *path;
    uint64_t address_space; /* the child's, before anything was shared */
    uint8_t *shared;
    size_t shared_size;
    uint8_t message[PARE_CHILD_MESSAGE_MAX];
};

/* ---- The child's side ---- */

static bool write_all(const uint8_t *bytes, size_t size) {
    while (size > 0) {
        ssize_t done = write(PARE_SANDBOX_CHANNEL, bytes, size);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        bytes += done;
        size -= (size_t)done;
    }
    return true;
}

static bool read_all(uint8_t *bytes, size_t size) {
    while (size > 0) {
        ssize_t done = read(PARE_SANDBOX_CHANNEL, bytes, size);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return false;
        bytes += done;
        size -= (size_t)done;
    }
    return true;
}

bool pare_child_reply(const void *bytes, size_t size) {
    uint32_t head = (uint32_t)size;
    return size <= PARE_CHILD_MESSAGE_MAX && write_all((const uint8_t *)&head, sizeof head) &&
           write_all(bytes, size);
}

long pare_child_request(void *bytes, size_t size) {
    uint32_t head;
    if (!read_all((uint8_t *)&head, sizeof head) || head > size || !read_all(bytes, head))
        return -1;
    return (long)head;
}

uint8_t *pare_child_map(size_t bytes) {
    void *p = mmap(NULL, bytes == 0 ? 1 : bytes, PROT_READ | PROT_WRITE, MAP_SHARED,
                   PARE_SANDBOX_MEMORY, 0);
    return p == MAP_FAILED ? NULL : p;
}

void pare_child_unmap(uint8_t *memory, size_t bytes) {
    munmap(memory, bytes == 0 ? 1 : bytes);
}

/* Never returns, and leaves by no exit handler: those are the parent's. */
static void run_child(const PareChildWork *work, int channel, int memory) {
    if (pare_sandbox_isolate(channel, memory) &&
        (work->prepare == NULL || work->prepare(work->context)) &&
        pare_sandbox_enter(work->cpu_seconds))
        work->serve(work->context);
    _Exit(0);
}

/* ---- Starting and stopping ---- */

static void wait_for(PareChild *c) {
    while (c->pid > 0 && waitpid(c->pid, &c->status, 0) < 0)
        if (errno != EINTR) {
            c->status = 0; /* the program has others waited for */
            break;
        }
    c->pid = 0;
}

void pare_child_stop(PareChild *c) {
    if (c == NULL)
        return;
    if (c->pid > 0) {
        kill(c->pid, SIGKILL);
        wait_for(c);
    }
    if (c->channel >= 0)
        close(c->channel);
    if (c->memory >= 0)
        close(c->memory);
    if (c->shared != NULL)
        munmap(c->shared, c->shared_size);
    pare_free(c->path);
    pare_free(c);
}

static PareStatus system_error(const PareChild *c, const char *what, PareError *err) {
    return pare_error_set(err, PARE_E_IO, "%s: cannot %s to read it safely: %s", c->path, what,
                          strerror(errno));
}

/* No signal may run a handler of the parent's in the child before that has put them aside. */
static pid_t fork_quietly(const PareChildWork *work, int channel, int memory) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t pid = fork();
    if (pid == 0)
        run_child(work, channel, memory);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return pid;
}

/* The memory may grow but not shrink, or the child could make the parent's reads fail. */
static PareStatus start(PareChild *c, const PareChildWork *work, PareError *err) {
    int ends[2];
    c->memory = memfd_create("pare", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (c->memory < 0 || fcntl(c->memory, F_ADD_SEALS, F_SEAL_SHRINK) < 0)
        return system_error(c, "share memory", err);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
        return system_error(c, "open a channel", err);
    c->channel = ends[0];
    c->address_space = pare_sandbox_address_space();
    c->pid = fork_quietly(work, ends[1], c->memory);
    close(ends[1]);
    if (c->pid >= 0)
        return PARE_OK;
    c->pid = 0;
    return system_error(c, "start a process", err);
}

PareStatus pare_child_start(const PareChildWork *work, PareChild **out, PareError *err) {
    PareChild *c = pare_alloc(1, sizeof *c);
    *out = NULL;
    if (c == NULL)
        return pare_memory_error(err, work->path);
    c->channel = c->memory = -1;
    c->what = work->what;
    c->patience_ms = work->patience_ms > 0 ? work->patience_ms : PARE_CHILD_PATIENCE_MS;
    c->path = pare_strdup(work->path);
    PareStatus status = c->path == NULL ? pare_memory_error(err, work->path) : start(c, work, err);
    if (status == PARE_OK)
        *out = c;
    else
        pare_child_stop(c);
    return status;
}

/* ---- Talking ---- */

/* The child is gone, or has gone astray: which, and what that says of the file. */
static PareStatus report_end(PareChild *c, PareError *err) {
    if (c->pid > 0) {
        kill(c->pid, SIGKILL); /* its end of the channel is closed: it ends, or has ended */
        wait_for(c);
    }
    int signal_number = WIFSIGNALED(c->status) ? WTERMSIG(c->status) : 0;
    if (signal_number == SIGXCPU)
        return pare_error_set(err, PARE_E_FORMAT,
                              "%s: %s needed more time than a file of this size can ask for: it is "
                              "damaged or hostile",
                              c->path, c->what);
    if (signal_number == SIGSYS)
        return pare_error_set(err, PARE_E_FORMAT,
                              "%s: %s tried what reading a file does not need, and was stopped: "
                              "the file is damaged or hostile",
                              c->path, c->what);
    return pare_error_set(
        err, PARE_E_FORMAT, "%s: %s crashed on it%s%s: the file is damaged or hostile", c->path,
        c->what, signal_number > 0 && signal_number != SIGKILL ? ", " : "",
        signal_number > 0 && signal_number != SIGKILL ? strsignal(signal_number) : "");
}

static PareStatus report_hang(PareChild *c, PareError *err) {
    kill(c->pid, SIGKILL);
    wait_for(c);
    return pare_error_set(err, PARE_E_FORMAT,
                          "%s: %s made no progress for %g seconds: the file is damaged or hostile",
                          c->path, c->what, c->patience_ms / 1000.0);
}

/* Until there is something to read. Counted in slices, so that a pause of the whole program (which
 * pauses the child too) costs one of them. */
static PareStatus wait_readable(PareChild *c, PareError *err) {
    struct pollfd p = {.fd = c->channel, .events = POLLIN};
    for (int waited = 0; waited < c->patience_ms; waited += SLICE_MS) {
        int ready = poll(&p, 1, SLICE_MS);
        if (ready > 0)
            return PARE_OK;
        if (ready < 0 && errno != EINTR)
            return system_error(c, "wait", err);
        PareStatus status = pare_interrupt_check(err);
        if (status != PARE_OK)
            return status;
    }
    return report_hang(c, err);
}

static PareStatus receive(PareChild *c, uint8_t *bytes, size_t size, PareError *err) {
    while (size > 0) {
        PareStatus status = wait_readable(c, err);
        if (status != PARE_OK)
            return status;
        ssize_t done = recv(c->channel, bytes, size, 0);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return report_end(c, err);
        bytes += done;
        size -= (size_t)done;
    }
    return PARE_OK;
}

PareStatus pare_child_receive(PareChild *c, const uint8_t **bytes, size_t *size, PareError *err) {
    uint32_t head;
    if (c->pid == 0)
        return report_end(c, err);
    PareStatus status = receive(c, (uint8_t *)&head, sizeof head, err);
    if (status != PARE_OK)
        return status;
    if (head > PARE_CHILD_MESSAGE_MAX)
        return report_end(c, err);
    *bytes = c->message;
    *size = head;
    return receive(c, c->message, head, err);
}

PareStatus pare_child_send(PareChild *c, const void *bytes, size_t size, PareError *err) {
    uint8_t message[HEAD_BYTES + 2048];
    uint32_t head = (uint32_t)size;
    if (c->pid == 0 || size > sizeof message - HEAD_BYTES)
        return report_end(c, err);
    memcpy(message, &head, HEAD_BYTES);
    memcpy(message + HEAD_BYTES, bytes, size);
    size += HEAD_BYTES;
    for (size_t sent = 0; sent < size;) {
        ssize_t done = send(c->channel, message + sent, size - sent, MSG_NOSIGNAL);
        if (done < 0 && errno == EINTR)
            continue;
        if (done <= 0)
            return report_end(c, err);
        sent += (size_t)done;
    }
    return PARE_OK;
}

/* ---- Shared memory ---- */

PareStatus pare_child_memory(PareChild *c, size_t bytes, const uint8_t **out, PareError *err) {
    if (c->shared == NULL || bytes > c->shared_size) {
        if (c->shared != NULL)
            munmap(c->shared, c->shared_size);
        c->shared = NULL;
        size_t size = bytes == 0 ? 1 : bytes;
        if (size > INT64_MAX || ftruncate(c->memory, (off_t)size) != 0)
            return pare_memory_error(err, c->path);
        void *p = mmap(NULL, size, PROT_READ, MAP_SHARED, c->memory, 0);
        if (p == MAP_FAILED)
            return pare_memory_error(err, c->path);
        c->shared = p;
        c->shared_size = size;
        pare_sandbox_allow_mapping((int)c->pid, c->address_space, size);
    }
    *out = c->shared;
    return PARE_OK;
}

void pare_child_forget_memory(PareChild *c) {
    if (c->shared_size > 0)
        fallocate(c->memory, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)c->shared_size);
}
