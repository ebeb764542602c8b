/* HDF5 checkpoints: the corpus of tests/make_hdf5_corpus.py, the same files damaged, the sandboxed
 * process by itself, and writing. */
#include "tests/test_formats_common.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "core/memory_guard.h"
#include "core/random.h"
#include "formats/checkpoint.h"
#include "formats/checkpoint_writer.h"
#include "formats/hdf5_process.h"

#define CORPUS "tests/data/corpus/hdf5/"

#ifdef PARE_GUARDED
enum { SANITIZED = 1 };
#else
enum { SANITIZED = 0 };
#endif

static bool under_valgrind(void) {
    const char *preloaded = getenv("LD_PRELOAD");
    return preloaded != NULL && strstr(preloaded, "vgpreload") != NULL;
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static size_t open_descriptors(void) {
    size_t count = 0;
    DIR *d = opendir("/proc/self/fd");
    assert_non_null(d);
    while (readdir(d) != NULL)
        count++;
    closedir(d);
    return count;
}

/* Neither descriptors nor processes may be left behind. */
static size_t descriptors_before;
static int setup(void **state) {
    (void)state;
    descriptors_before = open_descriptors();
    return 0;
}

static int teardown(void **state) {
    (void)state;
    assert_int_equal(open_descriptors(), descriptors_before);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
    return 0;
}

/* ---- The corpus ---- */

static PareStatus list_tensors(PareCheckpoint *c, PareBuffer *out, PareError *err) {
    for (size_t i = 0; i < pare_checkpoint_count(c); i++) {
        const PareCheckpointTensor *t = pare_checkpoint_tensor(c, i);
        char shape[256];
        size_t count;
        if (t->type.dtype == PARE_DTYPE_COUNT) {
            pare_buffer_printf(out, "%s\t%s\t%s\t-\n", t->name,
                               pare_tensor_shape_text(&t->type, shape, sizeof shape),
                               t->foreign_dtype);
            continue;
        }
        assert_true(pare_tensor_elements(&t->type, &count));
        float *values = pare_alloc(count, sizeof *values);
        assert_non_null(values);
        PareStatus status = pare_checkpoint_read_f32(c, t, values, err);
        if (status == PARE_OK)
            put_line(out, t->name, &t->type, values, count);
        pare_free(values);
        if (status != PARE_OK)
            return status;
    }
    return PARE_OK;
}

static PareStatus read_all(const char *path, PareBuffer *out, size_t *count, PareError *err) {
    PareCheckpoint *c;
    PareStatus status = pare_checkpoint_open(path, NULL, &c, err);
    if (status != PARE_OK)
        return status;
    *count = pare_checkpoint_count(c);
    status = list_tensors(c, out, err);
    pare_checkpoint_close(c);
    return status;
}

/* `wanted`: "ok COUNT SHA256" or "refused TEXT". */
static void check_file(const char *path, const char *wanted) {
    PareBuffer lines = {0};
    PareError err = {PARE_OK, ""};
    size_t count = 0;
    char got[128] = "refused", hex[PARE_SHA256_HEX_SIZE];
    PareStatus status = read_all(path, &lines, &count, &err);
    if (status == PARE_OK) {
        PareSha256 *h = pare_sha256_create();
        pare_sha256_update(h, lines.data, lines.size);
        pare_sha256_hex(h, hex);
        pare_sha256_destroy(h);
        snprintf(got, sizeof got, "ok %zu %s", count, hex);
    }
    bool good = status == PARE_OK ? strcmp(got, wanted) == 0
                                  : strncmp(wanted, "refused ", 8) == 0 &&
                                        strstr(err.message, wanted + 8) != NULL;
    if (!good)
        fail_msg("%s: wanted '%s', got '%s' (%s)\n%s", path, wanted, got, err.message,
                 lines.data != NULL ? lines.data : "");
    pare_buffer_free(&lines);
}

/* Calls `visit` with each file of the corpus and what is expected of it. */
static void each_file(void (*visit)(const char *path, const char *wanted)) {
    size_t size, files = 0;
    char *text = (char *)read_file(CORPUS "expected.txt", &size);
    for (char *line = text, *end; (end = strchr(line, '\n')) != NULL; line = end + 1) {
        char path[256];
        *end = '\0';
        char *space = strchr(line, ' ');
        assert_non_null(space);
        snprintf(path, sizeof path, CORPUS "%.*s", (int)(space - line), line);
        visit(path, space + 1);
        files++;
    }
    pare_free(text);
    assert_true(files > 50);
}

static void test_corpus(void **state) {
    (void)state;
    each_file(check_file);
}

static void test_formats(void **state) {
    static const char *const wanted[][2] = {
        {"bert.h5", "TensorFlow HDF5 (Keras 2)"},
        {"objects.weights.h5", "Keras 3 weights"},
        {"model.keras", "Keras archive"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        char path[128];
        PareCheckpoint *c;
        PareError err;
        snprintf(path, sizeof path, CORPUS "%s", wanted[i][0]);
        assert_int_equal(pare_checkpoint_open(path, NULL, &c, &err), PARE_OK);
        assert_string_equal(pare_checkpoint_format(c), wanted[i][1]);
        const char *warnings = pare_checkpoint_warnings(c);
        assert_int_equal(strstr(warnings, "does not name them") != NULL, i > 0);
        pare_checkpoint_close(c);
    }
}

static void test_left_out(void **state) {
    PareCheckpoint *c;
    PareError err;
    (void)state;
    assert_int_equal(pare_checkpoint_open(CORPUS "whole_model.h5", NULL, &c, &err), PARE_OK);
    assert_non_null(strstr(pare_checkpoint_warnings(c), "'optimizer_weights/Adam/m:0'"));
    pare_checkpoint_close(c);
}

/* Two links to one data set are tied weights; nothing else is. */
static void test_tied(void **state) {
    PareCheckpoint *c;
    PareError err;
    (void)state;
    assert_int_equal(pare_checkpoint_open(CORPUS "tied.h5", NULL, &c, &err), PARE_OK);
    const PareCheckpointTensor *a = pare_checkpoint_find(c, "a.x");
    const PareCheckpointTensor *b = pare_checkpoint_find(c, "b.x");
    assert_non_null(a);
    assert_non_null(b);
    const PareCheckpointTensor *first = a < b ? a : b;
    assert_true(a->view_id == b->view_id && pare_checkpoint_tensor(c, a->view_id - 1) == first);
    pare_checkpoint_close(c);
    assert_int_equal(pare_checkpoint_open(CORPUS "bert.h5", NULL, &c, &err), PARE_OK);
    for (size_t i = 1; i < pare_checkpoint_count(c); i++)
        assert_true(pare_checkpoint_tensor(c, i)->view_id !=
                    pare_checkpoint_tensor(c, i - 1)->view_id);
    pare_checkpoint_close(c);
}

/* External storage beside the file, which the library would read: its bytes must not appear. */
static void test_external(void **state) {
    size_t size;
    char path[512], target[512];
    PareError err;
    PareBuffer lines = {0};
    const float secret[2] = {1234.5f, 5432.25f};
    (void)state;
    snprintf(path, sizeof path, "%s", temporary("external.h5"));
    snprintf(target, sizeof target, "%.*s/external_target.bin", (int)(strrchr(path, '/') - path),
             path);
    write_file(target, secret, sizeof secret);
    uint8_t *bytes = read_file(CORPUS "external_relative.h5", &size);
    write_file(path, bytes, size);
    assert_int_equal(read_all(path, &lines, &size, &err), PARE_E_FORMAT);
    assert_says(&err, "keeps its elements in another file");
    pare_buffer_free(&lines);
    pare_free(bytes);
    unlink(path);
    unlink(target);
}

/* ---- Damage ---- */

static size_t tries, accepted;

/* Whatever comes of it, it comes soon. */
static void try_bytes(const uint8_t *bytes, size_t size) {
    const char *path = temporary("damaged.h5");
    PareBuffer lines = {0};
    PareError err = {PARE_OK, ""};
    size_t count;
    double start = now();
    write_file(path, bytes, size);
    if (read_all(path, &lines, &count, &err) == PARE_OK)
        accepted++;
    else
        assert_true(strncmp(err.message, path, strlen(path)) == 0);
    pare_buffer_free(&lines);
    tries++;
    assert_true(now() - start < 7.0);
}

static size_t below(size_t limit) {
    static uint64_t calls;
    return (size_t)pare_random_below(7, 0, calls++, limit);
}

/* A good file is cut at 40 places; bad ones at fewer. */
static void damage(const char *path, const char *wanted) {
    bool good = strncmp(wanted, "ok", 2) == 0, longer = getenv("PARE_TEST_LONG") != NULL;
    size_t size, cuts = longer ? 400 : SANITIZED ? 4 : good ? 40 : 8, flips = longer ? 400 : 8;
    uint8_t *bytes = read_file(path, &size);
    for (size_t i = 0; i < cuts; i++)
        try_bytes(bytes, size * i / cuts);
    for (size_t i = 0; i < flips; i++) {
        size_t at = below(size), run = 1 + below(4);
        uint8_t old[4];
        for (size_t k = 0; k < run; k++) { /* near each other: a field rather than a bit */
            size_t p = at + k < size ? at + k : at;
            old[k] = bytes[p];
            bytes[p] = (uint8_t)(below(3) == 0 ? below(256) : bytes[p] ^ 1U << below(8));
        }
        try_bytes(bytes, size);
        for (size_t k = run; k-- > 0;)
            bytes[at + k < size ? at + k : at] = old[k];
    }
    pare_free(bytes);
}

static void test_damage(void **state) {
    struct rusage mine, children;
    (void)state;
    if (under_valgrind())
        return; /* which is slow to fork */
    each_file(damage);
    assert_true(tries > 400);
    assert_true(accepted > 0 && accepted < tries);
    getrusage(RUSAGE_SELF, &mine);
    getrusage(RUSAGE_CHILDREN, &children);
    if (!SANITIZED)
        assert_true(mine.ru_maxrss < 256 << 10 && children.ru_maxrss < 256 << 10);
}

/* ---- The process ---- */

typedef struct {
    PareChildWork work;
    PareChild *child;
    PareError err;
} Process;

static bool any_descriptor;

/* Before the sandbox, which hides what there is. */
static bool look_for_descriptors(void *context) {
    (void)context;
    for (int fd = SANITIZED ? 3 : 2; fd < 256; fd++)
        any_descriptor = any_descriptor || fcntl(fd, F_GETFD) >= 0;
    return true;
}

static void serve_chatter(void *context) {
    (void)context;
    for (;;)
        if (!pare_child_reply("x", 1))
            return;
}

static void start(Process *p, void (*serve)(void *), int patience_ms) {
    *p = (Process){.work = {.prepare = look_for_descriptors,
                            .serve = serve,
                            .context = p,
                            .cpu_seconds = serve == serve_chatter ? 1 : 60,
                            .what = "the worker",
                            .path = "some.file",
                            .patience_ms = patience_ms}};
    assert_int_equal(pare_child_start(&p->work, &p->child, &p->err), PARE_OK);
}

/* The error of the next message, which must not come. */
static void expect_end(void (*serve)(void *), int patience_ms, const char *wanted) {
    Process p;
    const uint8_t *bytes;
    size_t size;
    start(&p, serve, patience_ms);
    PareStatus status = PARE_OK;
    while (status == PARE_OK)
        status = pare_child_receive(p.child, &bytes, &size, &p.err);
    assert_says(&p.err, wanted);
    assert_says(&p.err, "some.file: the worker");
    assert_true(pare_child_receive(p.child, &bytes, &size, &p.err) != PARE_OK);
    assert_true(pare_child_send(p.child, "x", 1, &p.err) != PARE_OK);
    pare_child_stop(p.child);
}

/* The one byte that the child answers. */
static uint8_t answer_of(void (*serve)(void *)) {
    Process p;
    const uint8_t *bytes;
    size_t size;
    start(&p, serve, 0);
    if (pare_child_receive(p.child, &bytes, &size, &p.err) != PARE_OK)
        fail_msg("%s", p.err.message);
    assert_int_equal(size, 1);
    uint8_t answer = *bytes;
    pare_child_stop(p.child);
    return answer;
}

static void answer(bool yes) {
    pare_child_reply(yes ? "y" : "n", 1);
}

static void serve_trap(void *context) {
    (void)context;
    __builtin_trap();
}

static void serve_nothing(void *context) {
    (void)context;
}

static void serve_spin(void *context) {
    (void)context;
    for (volatile unsigned i = 0;; i++)
        continue;
}

static void serve_overlong(void *context) {
    static const uint8_t head[8] = {255, 255, 255, 255};
    (void)context;
    assert_int_equal(write(0, head, sizeof head), sizeof head);
    serve_spin(NULL);
}

static void test_ends(void **state) {
    (void)state;
    expect_end(serve_trap, 0, "crashed on it, Illegal instruction");
    expect_end(serve_nothing, 0, "crashed on it");
    expect_end(serve_spin, 300, "made no progress for 0.3 seconds");
    if (!under_valgrind()) /* no limits there */
        expect_end(serve_chatter, 0, "needed more time");
    expect_end(serve_overlong, 0, "crashed on it");
}

static void serve_open(void *context) {
    (void)context;
    answer(open("/etc/passwd", O_RDONLY) >= 0 || open("/proc/self/mem", O_RDWR) >= 0 ||
           open(".", O_RDONLY) >= 0);
}

static void serve_descriptors(void *context) {
    (void)context;
    answer(any_descriptor);
}

static void serve_greed(void *context) {
    void *p = NULL;
    (void)context;
    for (int i = 0; i < 16 && p != MAP_FAILED; i++)
        p = mmap(NULL, 64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    answer(p != MAP_FAILED);
}

static void serve_executable(void *context) {
    (void)context;
    answer(mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) !=
           MAP_FAILED);
}

static void serve_socket(void *context) {
    (void)context;
    answer(syscall(SYS_socket, 1, 1, 0) >= 0);
}

static void serve_fork(void *context) {
    (void)context;
    answer(syscall(SYS_clone, 17, 0, 0, 0, 0) >= 0);
}

static void serve_program(void *context) {
    char *const arguments[] = {NULL};
    (void)context;
    answer(execve("/bin/true", arguments, arguments) == 0);
}

static void serve_kill(void *context) {
    (void)context;
    answer(kill(getppid(), 0) == 0);
}

static void serve_shrink(void *context) {
    (void)context;
    answer(ftruncate(1, 0) == 0);
}

/* What is forbidden ends the process; with AddressSanitizer it fails. */
static void forbidden(void (*serve)(void *)) {
    if (SANITIZED)
        assert_int_equal(answer_of(serve), 'n');
    else
        expect_end(serve, 0, "tried what reading a file does not need");
}

static void test_sandbox(void **state) {
    (void)state;
    if (under_valgrind())
        return; /* which could not run in it */
    assert_int_equal(answer_of(serve_open), 'n');
    assert_int_equal(answer_of(serve_descriptors), 'n');
    if (!SANITIZED)
        assert_int_equal(answer_of(serve_greed), 'n');
    forbidden(serve_executable);
    forbidden(serve_socket);
    forbidden(serve_fork);
    forbidden(serve_program);
    forbidden(serve_kill);
    forbidden(serve_shrink);
}

/* Answers each number with that many bytes of it in the shared memory. */
static void serve_memory(void *context) {
    uint32_t size;
    (void)context;
    while (pare_child_request(&size, sizeof size) == sizeof size) {
        uint8_t *memory = pare_child_map(size);
        if (memory != NULL)
            memset(memory, (uint8_t)size, size);
        pare_child_unmap(memory, size);
        answer(memory != NULL);
    }
}

static void test_memory(void **state) {
    static const uint32_t sizes[] = {1, 5000, 200, 600u << 20, 0};
    Process p;
    (void)state;
    start(&p, serve_memory, 0);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const uint8_t *memory, *bytes;
        size_t size;
        uint32_t wanted = SANITIZED && sizes[i] > 1 << 20 ? 1 << 20 : sizes[i];
        assert_int_equal(pare_child_memory(p.child, wanted, &memory, &p.err), PARE_OK);
        assert_int_equal(pare_child_send(p.child, &wanted, sizeof wanted, &p.err), PARE_OK);
        if (pare_child_receive(p.child, &bytes, &size, &p.err) != PARE_OK)
            fail_msg("%s", p.err.message);
        assert_int_equal(*bytes, 'y');
        for (uint32_t k = 0; k < wanted; k += 1 + wanted / 7)
            assert_int_equal(memory[k], (uint8_t)wanted);
        pare_child_forget_memory(p.child);
        assert_true(wanted == 0 || memory[wanted - 1] == 0);
    }
    pare_child_stop(p.child);
}

/* ---- Writing ---- */

static size_t failing = SIZE_MAX; /* the tensor that cannot be had */

static PareStatus source(void *context, size_t index, void *dst, PareError *err) {
    const PareSavedTensor *t = (const PareSavedTensor *)context + index;
    size_t bytes;
    assert_true(pare_tensor_bytes(&t->type, &bytes));
    for (size_t i = 0; i < bytes; i++)
        ((uint8_t *)dst)[i] = (uint8_t)(t->type.dtype == PARE_BOOL ? i & 1
                                        : i % 4 == 3               ? 0x3F
                                                                   : i * 7 + index);
    if (index == failing)
        return pare_error_set(err, PARE_E_IO, "the source fails");
    return PARE_OK;
}

static PareStatus save(const char *path, bool force, PareSavedTensor *tensors, size_t count,
                       PareError *err) {
    return pare_checkpoint_save(PARE_SAVE_HDF5, path, force, tensors, count, source, tensors, NULL,
                                err);
}

#define TENSOR(layer, weight, ...)                                                                 \
    { .group = layer, .name = weight, .same_as = SIZE_MAX, .type = __VA_ARGS__ }

static PareSavedTensor written[] = {
    TENSOR("a", "s/a/w/kernel:0", {PARE_F32, 2, {30, 20}}),
    TENSOR("a", "s/a/w/bias:0", {PARE_F16, 1, {7}}),
    TENSOR("b", "s/b/emb/embeddings:0", {PARE_F64, 2, {5, 3}}),
    TENSOR("b", "s/b/long", {PARE_I64, 3, {2, 3, 4}}),
    TENSOR("b", "s/b/flags", {PARE_BOOL, 1, {9}}),
    TENSOR("b", "s/b/scalar", {PARE_F32, 0, {0}}),
    TENSOR("b", "s/b/none", {PARE_F32, 2, {0, 4}}),
    TENSOR("a", "s/a/late", {PARE_U8, 1, {3000}}),
    {.group = "b", .name = "s/b/same", .same_as = 0, .type = {PARE_F32, 2, {30, 20}}},
    TENSOR("final", "final:0", {PARE_F32, 2, {1, 6}}),
};
enum { WRITTEN = sizeof written / sizeof *written };

static void test_write(void **state) {
    static const char *const names[] = {"a.w.weight",   "a.w.bias", "a.late",
                                        "b.emb.weight", "b.long",   "b.flags",
                                        "b.scalar",     "b.none",   "final"};
    static const size_t numbers[] = {0, 1, 7, 2, 3, 4, 5, 6, 9};
    char path[512];
    PareCheckpoint *c;
    PareError err;
    (void)state;
    snprintf(path, sizeof path, "%s", temporary("written.h5"));
    if (save(path, false, written, WRITTEN, &err) != PARE_OK ||
        pare_checkpoint_open(path, NULL, &c, &err) != PARE_OK)
        fail_msg("%s", err.message);
    assert_int_equal(pare_checkpoint_count(c), 9);
    assert_string_equal(pare_checkpoint_warnings(c), "");
    for (size_t i = 0; i < 9; i++) {
        const PareCheckpointTensor *t = pare_checkpoint_tensor(c, i);
        const PareTensorType *type = &written[numbers[i]].type;
        size_t bytes = 0, stored = 0;
        assert_string_equal(t->name, names[i]);
        assert_int_equal(t->type.dtype, type->dtype);
        assert_true(pare_tensor_bytes(&t->type, &bytes) && pare_tensor_bytes(type, &stored));
        assert_int_equal(bytes, stored);
        uint8_t *got = pare_alloc(bytes, 1), *wanted = pare_alloc(bytes, 1);
        assert_int_equal(pare_checkpoint_read_raw(c, t, got, &err), PARE_OK);
        assert_int_equal(source(written, numbers[i], wanted, &err), PARE_OK);
        for (size_t k = 0; i == 0 && k < 600; k++) /* the kernel is turned */
            assert_memory_equal(got + (k % 20 * 30 + k / 20) * 4, wanted + k * 4, 4);
        if (i > 0)
            assert_memory_equal(got, wanted, bytes);
        pare_free(got);
        pare_free(wanted);
    }
    pare_checkpoint_close(c);
    assert_int_equal(save(path, false, written, WRITTEN, &err), PARE_E_IO);
    assert_says(&err, "exists already");
    unlink(path);
}

enum { MANY = 1400 };
static PareSavedTensor many[MANY];

/* So many and so long names that the lists do not fit into one attribute. */
static void make_many(void) {
    static char names[MANY][180], groups[MANY][120];
    for (size_t i = 0; i < MANY; i++) {
        snprintf(groups[i], sizeof groups[i], "layer_%0100zu", i < 650 ? 0 : i);
        snprintf(names[i], sizeof names[i], "model/%s/a%0100zu/kernel:0", i < 650 ? "a" : "b", i);
        many[i] = (PareSavedTensor){.group = groups[i],
                                    .name = names[i],
                                    .same_as = SIZE_MAX,
                                    .type = {PARE_F32, 2, {3, 2}}};
    }
}

static void test_write_many(void **state) {
    size_t size, other;
    char path[512];
    PareCheckpoint *c;
    PareError err;
    (void)state;
    make_many();
    snprintf(path, sizeof path, "%s", temporary("many.h5"));
    if (save(path, false, many, MANY, &err) != PARE_OK ||
        pare_checkpoint_open(path, NULL, &c, &err) != PARE_OK)
        fail_msg("%s", err.message);
    assert_int_equal(pare_checkpoint_count(c), MANY);
    for (size_t i = 0; i < MANY; i++) {
        char wanted[160];
        snprintf(wanted, sizeof wanted, "%s.a%0100zu.weight", i < 650 ? "a" : "b", i);
        assert_string_equal(pare_checkpoint_tensor(c, i)->name, wanted);
    }
    pare_checkpoint_close(c);
    uint8_t *first = read_file(path, &size);
    assert_int_equal(save(path, true, many, MANY, &err), PARE_OK);
    uint8_t *second = read_file(path, &other);
    assert_int_equal(size, other);
    assert_memory_equal(first, second, size);
    assert_non_null(memmem(first, size, "layer_names1", 12));
    assert_non_null(memmem(first, size, "weight_names1", 13));
    pare_free(first);
    pare_free(second);
    unlink(path);
}

/* Nothing is left of a file that was not finished. */
static void test_write_fails(void **state) {
    PareError err;
    char path[512];
    (void)state;
    make_many();
    snprintf(path, sizeof path, "%s", temporary("fails.h5"));
    failing = 77;
    assert_int_equal(save(path, false, many, MANY, &err), PARE_E_IO);
    failing = SIZE_MAX;
    assert_says(&err, "the source fails");
    assert_false(pare_file_exists(path));
    struct rlimit before, small = {1 << 16, 0};
    getrlimit(RLIMIT_FSIZE, &before);
    small.rlim_max = before.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    PareStatus status = save(path, false, many, MANY, &err);
    setrlimit(RLIMIT_FSIZE, &before);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(status, PARE_E_IO);
    assert_says(&err, "cannot write: File too large");
    assert_false(pare_file_exists(path));
}

static void test_write_refuses(void **state) {
    PareError err;
    PareSavedTensor t = TENSOR("a", "s/a/w", {PARE_BF16, 1, {3}});
    const char *path = temporary("refused.h5");
    (void)state;
    assert_int_equal(save(path, false, &t, 1, &err), PARE_E_UNSUPPORTED);
    assert_says(&err, "BF16, which HDF5 does not have");
    t.type.dtype = PARE_F32;
    t.group = "";
    assert_int_equal(save(path, false, &t, 1, &err), PARE_E_UNSUPPORTED);
    assert_says(&err, "has no layer");
    assert_false(pare_file_exists(path));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_corpus, setup, teardown),
        cmocka_unit_test_setup_teardown(test_formats, setup, teardown),
        cmocka_unit_test_setup_teardown(test_left_out, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tied, setup, teardown),
        cmocka_unit_test_setup_teardown(test_external, setup, teardown),
        cmocka_unit_test_setup_teardown(test_damage, setup, teardown),
        cmocka_unit_test_setup_teardown(test_ends, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sandbox, setup, teardown),
        cmocka_unit_test_setup_teardown(test_memory, setup, teardown),
        cmocka_unit_test_setup_teardown(test_write, setup, teardown),
        cmocka_unit_test_setup_teardown(test_write_many, setup, teardown),
        cmocka_unit_test_setup_teardown(test_write_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(test_write_refuses, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
