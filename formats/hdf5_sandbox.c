/* Limits, Landlock and seccomp for a process that reads what may be hostile. */
#include "formats/hdf5_sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/memory_guard.h"

#ifdef __linux__
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#endif

#ifdef PARE_GUARDED
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

enum { FIRST_FREE = 3, STATM_DATA = 5 };

/* ---- Descriptors, signals and the parent ---- */

/* Everything from `first` on. */
static void close_from(int first) {
#ifdef SYS_close_range
    if (syscall(SYS_close_range, (unsigned)first, ~0U, 0U) == 0)
        return;
#endif
    long limit = sysconf(_SC_OPEN_MAX);
    for (int fd = first; fd < (limit > 0 && limit < 1 << 20 ? (int)limit : 1 << 16); fd++)
        close(fd);
}

/* Both may be 0, 1 or 2 already, hence the way over higher numbers. */
static bool keep_descriptors(int channel, int memory) {
    int c = fcntl(channel, F_DUPFD, FIRST_FREE), m = fcntl(memory, F_DUPFD, FIRST_FREE);
    if (c < 0 || m < 0 || dup2(c, PARE_SANDBOX_CHANNEL) < 0 || dup2(m, PARE_SANDBOX_MEMORY) < 0)
        return false;
    close_from(SANITIZED ? FIRST_FREE : FIRST_FREE - 1); /* 2: what sanitizers report goes there */
    return true;
}

bool pare_sandbox_isolate(int channel, int memory) {
    static const int ignored[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE};
    sigset_t none;
    /* No handler of the parent's may run here: it would do the parent's work a second time. */
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    for (size_t i = 0; i < sizeof ignored / sizeof *ignored; i++)
        signal(ignored[i], SIG_IGN); /* the terminal's are the parent's to act on */
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
#ifdef __linux__
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
#endif
    return keep_descriptors(channel, memory);
}

/* ---- Limits ---- */

/* A number of pages in /proc/self/statm, in bytes; 0 when it cannot be read. */
static uint64_t statm(int field) {
    char text[256];
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    ssize_t size = read(fd, text, sizeof text - 1);
    close(fd);
    uint64_t value = 0;
    for (ssize_t i = 0; i < size && field >= 0; i++)
        if (text[i] == ' ')
            field--;
        else if (field == 0 && text[i] >= '0' && text[i] <= '9')
            value = value * 10 + (uint64_t)(text[i] - '0');
    return value * (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t pare_sandbox_address_space(void) {
    return SANITIZED ? 0 : statm(0);
}

/* Never above what holds already. */
static bool limit(int resource, uint64_t soft, bool hard) {
    struct rlimit r;
    if (getrlimit((__rlimit_resource_t)resource, &r) != 0)
        return false;
    if (r.rlim_cur == RLIM_INFINITY || r.rlim_cur > soft)
        r.rlim_cur = soft;
    if (hard)
        r.rlim_max = r.rlim_cur;
    return setrlimit((__rlimit_resource_t)resource, &r) == 0;
}

/* The memory that was inherited is counted too, and costs nothing. The soft limit of the address
 * space is raised by the parent when there is something to map; the process itself cannot. */
static bool limit_memory(void) {
    uint64_t space = pare_sandbox_address_space(), data = SANITIZED ? 0 : statm(STATM_DATA);
    return (space == 0 || limit(RLIMIT_AS, space + PARE_SANDBOX_MEMORY_BYTES, false)) &&
           (data == 0 || limit(RLIMIT_DATA, data + PARE_SANDBOX_MEMORY_BYTES, true));
}

void pare_sandbox_allow_mapping(int process, uint64_t address_space, uint64_t bytes) {
#ifdef __linux__
    struct rlimit r;
    if (address_space == 0 || prlimit(process, RLIMIT_AS, NULL, &r) != 0)
        return;
    uint64_t wanted = address_space + PARE_SANDBOX_MEMORY_BYTES + bytes;
    r.rlim_cur = r.rlim_max == RLIM_INFINITY || wanted < r.rlim_max ? wanted : r.rlim_max;
    prlimit(process, RLIMIT_AS, &r, NULL);
#else
    (void)process, (void)address_space, (void)bytes;
#endif
}

static bool limit_resources(uint64_t cpu_seconds) {
    return limit(RLIMIT_CORE, 0, true) && limit(RLIMIT_FSIZE, 0, true) &&
           limit(RLIMIT_CPU, cpu_seconds, false) && limit_memory() &&
           (SANITIZED || limit(RLIMIT_NOFILE, 0, true));
}

/* ---- Landlock ---- */

/* The rights of Landlock's first version, as the kernel numbers them: everything about files. */
static void forbid_files(void) {
#ifdef SYS_landlock_create_ruleset
    const uint64_t every_right = (1U << 13) - 1;
    int rules = (int)syscall(SYS_landlock_create_ruleset, &every_right, sizeof every_right, 0U);
    if (rules < 0)
        return;
    syscall(SYS_landlock_restrict_self, rules, 0U);
    close(rules);
#endif
}

/* ---- seccomp ---- */

#ifdef __linux__

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#endif

#ifdef ARCHITECTURE
/* Of argument `n`, the low half; both processors are little-endian. */
#define ARGUMENT(n) (offsetof(struct seccomp_data, args) + 8 * (n))
#define LOAD(offset) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (uint32_t)(offset))
#define RETURN(what) BPF_STMT(BPF_RET | BPF_K, what)
#define IF_CALL(number, what)                                                                      \
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(number), 0, 1), RETURN(what)
#define ALLOW(name) IF_CALL(SYS_##name, SECCOMP_RET_ALLOW)
#define FAIL (SECCOMP_RET_ERRNO | EPERM)
/* Without AddressSanitizer an unforeseen call is the end: nothing harmless makes one. */
#define OTHERS (SANITIZED ? FAIL : SECCOMP_RET_KILL_PROCESS)

/* Order matters where a call is looked at more closely: its block ends in a return. */
static struct sock_filter filter[] = {
    LOAD(offsetof(struct seccomp_data, arch)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 1, 0),
    RETURN(SECCOMP_RET_KILL_PROCESS),
    LOAD(offsetof(struct seccomp_data, nr)),
    /* Calls of the 32-bit ABI have this bit on x86-64; none exists elsewhere. */
    BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, 0x40000000, 0, 1),
    RETURN(SECCOMP_RET_KILL_PROCESS),

    /* read and write: the channel; and what a sanitizer reports. */
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_read, 1, 0),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_write, 0, 5),
    LOAD(ARGUMENT(0)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, PARE_SANDBOX_CHANNEL, 1, 0),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SANITIZED ? 2 : PARE_SANDBOX_CHANNEL, 0, 1),
    RETURN(SECCOMP_RET_ALLOW),
    RETURN(OTHERS),

    /* mmap and mprotect: nothing that can be executed. */
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mmap, 1, 0),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_mprotect, 0, 4),
    LOAD(ARGUMENT(2)),
    BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, PROT_EXEC, 1, 0),
    RETURN(SECCOMP_RET_ALLOW),
    RETURN(OTHERS),

    /* Memory, ending, time, and a signal to itself. */
    ALLOW(brk),
    ALLOW(munmap),
    ALLOW(mremap),
    ALLOW(madvise),
    ALLOW(futex),
    ALLOW(exit),
    ALLOW(exit_group),
    ALLOW(rt_sigreturn),
    ALLOW(rt_sigprocmask),
    ALLOW(restart_syscall),
    ALLOW(clock_gettime),
    ALLOW(gettimeofday),
    ALLOW(getrandom),
    ALLOW(getpid),
    ALLOW(gettid),
    /* Harmless to try: the C library and HDF5 do, and cope. abort() is one of them: its signal
     * fails, and it ends the process by an instruction. */
    IF_CALL(SYS_tgkill, FAIL),
    IF_CALL(SYS_openat, FAIL),
    IF_CALL(SYS_readlinkat, FAIL),
    IF_CALL(SYS_newfstatat, FAIL),
    IF_CALL(SYS_fstat, FAIL),
    IF_CALL(SYS_getcwd, FAIL),
    IF_CALL(SYS_ioctl, FAIL),
    IF_CALL(SYS_lseek, FAIL),
    IF_CALL(SYS_close, FAIL),
    IF_CALL(SYS_writev, FAIL),
    IF_CALL(SYS_sched_getaffinity, FAIL),
    IF_CALL(SYS_sysinfo, FAIL),
    IF_CALL(SYS_prlimit64, FAIL),
    IF_CALL(SYS_getuid, FAIL),
#ifdef SYS_open
    IF_CALL(SYS_open, FAIL),
    IF_CALL(SYS_stat, FAIL),
    IF_CALL(SYS_access, FAIL),
    IF_CALL(SYS_readlink, FAIL),
#endif
#ifdef SYS_time
    ALLOW(time),
#endif
    /* What AddressSanitizer needs besides. */
    IF_CALL(SYS_sigaltstack, SANITIZED ? SECCOMP_RET_ALLOW : FAIL),
    IF_CALL(SYS_rt_sigaction, SANITIZED ? SECCOMP_RET_ALLOW : FAIL),
    RETURN(OTHERS),
};

static void filter_calls(void) {
    const struct sock_fprog program = {sizeof filter / sizeof *filter, filter};
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
}
#else
static void filter_calls(void) {}
#endif
#endif

/* Valgrind runs in the process that it observes, and needs most of what is given up here. */
static bool under_valgrind(void) {
    const char *preloaded = getenv("LD_PRELOAD");
    return preloaded != NULL && strstr(preloaded, "vgpreload") != NULL;
}

bool pare_sandbox_enter(uint64_t cpu_seconds) {
    if (under_valgrind())
        return true;
    if (!limit_resources(cpu_seconds))
        return false;
#ifdef __linux__
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0)
        return false;
    forbid_files();
    filter_calls();
#endif
    return true;
}
