/* Files: reading, and output that appears whole or not at all. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/file.h"
#include "core/memory.h"

/* Each test runs in an empty folder of its own, which must be empty again at its end. */
static char folder[64];

static int enter_folder(void **state) {
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/test_core_file.XXXXXX");
    return mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

static size_t files_here(void) {
    DIR *dir = opendir(".");
    size_t count = 0;
    while (readdir(dir))
        count++;
    closedir(dir);
    return count - 2;
}

static int leave_folder(void **state) {
    (void)state;
    size_t left = files_here();
    if (left)
        print_error("%zu files were left in %s\n", left, folder);
    return chdir("/") == 0 && rmdir(folder) == 0 ? 0 : -1;
}

static void put(const char *path, const char *text) {
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void expect_content(const char *path, const char *text) {
    char *found;
    size_t size;
    PareError err = {0};
    if (pare_file_read(path, 1000, &found, &size, &err) != PARE_OK)
        fail_msg("%s", err.message);
    assert_string_equal(found, text);
    assert_int_equal(size, strlen(text));
    pare_free(found);
}

/* ---- Reading ------------------------------------------------------------------------------- */

static void files_are_mapped(void **state) {
    (void)state;
    PareMapping m;
    PareError err = {0};
    put("a", "text");
    put("empty", "");
    assert_int_equal(pare_file_map("a", &m, &err), PARE_OK);
    assert_int_equal(m.size, 4);
    assert_memory_equal(m.data, "text", 4);
    pare_file_drop(&m, 0, 4);
    assert_memory_equal(m.data, "text", 4);
    pare_file_drop(&m, 3, SIZE_MAX); /* nonsense does nothing */
    pare_file_drop(&m, SIZE_MAX, 1);
    pare_file_unmap(&m);
    assert_null(m.data);
    pare_file_unmap(&m);
    assert_int_equal(pare_file_map("empty", &m, &err), PARE_OK);
    assert_int_equal(m.size, 0);
    assert_non_null(m.data);
    pare_file_unmap(&m);
    unlink("a");
    unlink("empty");
}

static void only_regular_files_are_mapped(void **state) {
    (void)state;
    PareMapping m;
    PareError err = {0};
    assert_int_equal(pare_file_map("absent", &m, &err), PARE_E_IO);
    assert_string_equal(err.message, "absent: cannot open: No such file or directory");
    assert_null(m.data);
    mkdir("d", 0777);
    assert_int_equal(pare_file_map("d", &m, &err), PARE_E_IO);
    assert_string_equal(err.message, "d: cannot map: it is a folder, expected a file");
    rmdir("d");
    assert_int_equal(mkfifo("pipe", 0666), 0);
    assert_int_equal(pare_file_map("pipe", &m, &err), PARE_E_IO); /* and does not wait */
    assert_string_equal(err.message, "pipe: cannot map: it is not a regular file");
    unlink("pipe");
    assert_int_equal(pare_file_map("/dev/null", &m, &err), PARE_E_IO);
}

static void files_are_read(void **state) {
    (void)state;
    char *text;
    size_t size;
    PareError err = {0};
    put("a", "0123456789");
    expect_content("a", "0123456789");
    assert_int_equal(pare_file_read("a", 10, &text, NULL, &err), PARE_OK);
    pare_free(text);
    assert_int_equal(pare_file_read("a", 9, &text, &size, &err), PARE_E_FORMAT);
    assert_string_equal(err.message, "a: has 10 bytes, expected at most 9");
    assert_null(text);
    assert_int_equal(pare_file_read("a", SIZE_MAX, &text, &size, &err), PARE_OK);
    pare_free(text);
    put("a", "");
    expect_content("a", "");
    assert_int_equal(pare_file_read("a", 0, &text, &size, &err), PARE_OK);
    pare_free(text);
    unlink("a");
    assert_int_equal(pare_file_read(".", 9, &text, &size, &err), PARE_E_IO);
    assert_int_equal(pare_file_read("absent", 9, &text, &size, &err), PARE_E_IO);
    /* Files that do not tell their size, and one that has no end. */
    assert_int_equal(pare_file_read("/proc/self/status", 100000, &text, &size, &err), PARE_OK);
    assert_true(size > 100 && strlen(text) == size);
    pare_free(text);
    assert_int_equal(pare_file_read("/dev/zero", 100000, &text, &size, &err), PARE_E_FORMAT);
    assert_string_equal(err.message, "/dev/zero: larger than expected: at most 100000 bytes");
    pare_memory_fail_after(1);
    assert_int_equal(pare_file_read("/proc/self/status", 9, &text, &size, &err), PARE_E_MEMORY);
    pare_memory_fail_after(0);
}

static void pipes_are_read_whole(void **state) {
    (void)state;
    enum { SIZE = 300000 };
    assert_int_equal(mkfifo("pipe", 0666), 0);
    pid_t child = fork();
    if (child == 0) {
        static char bytes[SIZE];
        memset(bytes, 'p', sizeof bytes);
        int fd = open("pipe", O_WRONLY);
        for (size_t at = 0; at < SIZE;) {
            ssize_t done = write(fd, bytes + at, SIZE - at);
            if (done <= 0)
                _exit(1);
            at += (size_t)done;
        }
        _exit(0);
    }
    char *text;
    size_t size;
    PareError err = {0};
    assert_int_equal(pare_file_read("pipe", SIZE, &text, &size, &err), PARE_OK);
    assert_int_equal(size, SIZE);
    assert_int_equal(strspn(text, "p"), SIZE);
    pare_free(text);
    waitpid(child, NULL, 0);
    unlink("pipe");
}

static void expect_join(const char *a, const char *b, const char *expected) {
    char *path = pare_file_join(a, b);
    assert_string_equal(path, expected);
    pare_free(path);
}

static void paths(void **state) {
    (void)state;
    expect_join("a", "b", "a/b");
    expect_join("a/", "b", "a/b");
    expect_join("", "b", "b");
    expect_join("/", "b", "/b");
    pare_memory_fail_after(1);
    assert_null(pare_file_join("a", "b"));
    pare_memory_fail_after(0);
    assert_string_equal(pare_file_basename("a/b/c"), "c");
    assert_string_equal(pare_file_basename("c"), "c");
    put("a", "");
    assert_int_equal(symlink("a", "link"), 0);
    assert_int_equal(symlink("nowhere", "dangling"), 0);
    assert_true(pare_file_exists("a") && pare_file_exists("dangling"));
    assert_false(pare_file_exists("absent"));
    assert_true(pare_file_is_folder(".") && !pare_file_is_folder("a"));
    assert_true(pare_file_same("a", "link") && pare_file_same(".", folder));
    assert_false(pare_file_same("a", "absent") || pare_file_same("absent", "absent"));
    unlink("a");
    unlink("link");
    unlink("dangling");
}

/* ---- Output -------------------------------------------------------------------------------- */

static PareOutput *open_output(const char *path, bool force) {
    PareOutput *o;
    PareError err = {0};
    if (pare_output_open(path, force, &o, &err) != PARE_OK)
        fail_msg("%s", err.message);
    return o;
}

static void output_appears_at_the_end(void **state) {
    (void)state;
    PareError err = {0};
    struct stat st;
    mode_t mask = umask(027);
    PareOutput *o = open_output("out", false);
    assert_int_equal(pare_output_write(o, "head", 4, &err), PARE_OK);
    assert_int_equal(pare_output_align(o, 8, &err), PARE_OK);
    assert_int_equal(pare_output_align(o, 8, &err), PARE_OK);
    assert_int_equal(pare_output_offset(o), 8);
    assert_int_equal(pare_output_patch(o, 1, "EA", 2, &err), PARE_OK);
    assert_false(pare_file_exists("out"));
    assert_int_equal(files_here(), 1);
    assert_int_equal(pare_output_commit(o, &err), PARE_OK);
    umask(mask);
    assert_int_equal(files_here(), 1);
    assert_int_equal(stat("out", &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640);
    PareMapping m;
    assert_int_equal(pare_file_map("out", &m, &err), PARE_OK);
    assert_int_equal(m.size, 8);
    assert_memory_equal(m.data, "hEAd\0\0\0\0", 8);
    pare_file_unmap(&m);
    unlink("out");
}

static void output_aborted_leaves_nothing(void **state) {
    (void)state;
    PareError err = {0};
    put("out", "old");
    PareOutput *o = open_output("out", true);
    assert_int_equal(pare_output_write(o, "new", 3, &err), PARE_OK);
    pare_output_abort(o);
    pare_output_abort(NULL);
    expect_content("out", "old");
    assert_int_equal(files_here(), 1);
    unlink("out");
}

/* Pieces of all sizes around the buffer's, one larger than is written at once, and patches before,
 * across and inside of it. */
static void large_output_is_exact(void **state) {
    (void)state;
    enum { MIB = 1 << 20, TOTAL = 36 * MIB + 777 };
    static const size_t pieces[] = {1, 4095,   MIB - 1, MIB,   MIB + 1,     17,
                                    0, 100000, 65535,   65536, 17 * MIB + 5};
    PareError err = {0};
    unsigned char *expected = pare_alloc(TOTAL, 1);
    for (size_t i = 0; i < TOTAL; i++)
        expected[i] = (unsigned char)(i * 7 + (i >> 11));
    PareOutput *o = open_output("out", false);
    size_t at = 0;
    for (size_t i = 0; at < TOTAL; i++) {
        size_t piece = pieces[i % (sizeof pieces / sizeof *pieces)];
        piece = piece < TOTAL - at ? piece : TOTAL - at;
        assert_int_equal(pare_output_write(o, expected + at, piece, &err), PARE_OK);
        at += piece;
        assert_int_equal(pare_output_offset(o), at);
    }
    static const size_t patched[] = {0, MIB - 3, 3 * MIB, TOTAL - 10, TOTAL - 200000};
    for (size_t i = 0; i < sizeof patched / sizeof *patched; i++) {
        memset(expected + patched[i], (int)i, 10);
        assert_int_equal(pare_output_patch(o, patched[i], expected + patched[i], 10, &err),
                         PARE_OK);
    }
    assert_int_equal(pare_output_commit(o, &err), PARE_OK);
    PareMapping m;
    assert_int_equal(pare_file_map("out", &m, &err), PARE_OK);
    assert_int_equal(m.size, TOTAL);
    assert_memory_equal(m.data, expected, TOTAL);
    pare_file_unmap(&m);
    pare_free(expected);
    unlink("out");
}

static void expect_refusal(const char *path, bool force, const char *message) {
    PareOutput *o;
    PareError err = {0};
    assert_int_equal(pare_output_open(path, force, &o, &err), PARE_E_IO);
    assert_null(o);
    assert_string_equal(err.message, message);
}

static void bad_places_are_refused(void **state) {
    (void)state;
    put("old", "old");
    mkdir("d", 0777);
    assert_int_equal(symlink("nowhere", "dangling"), 0);
    expect_refusal("old", false, "old: cannot write: it exists already (--force replaces it)");
    expect_refusal("dangling", false,
                   "dangling: cannot write: it exists already (--force replaces it)");
    expect_refusal("d", true, "d: cannot write: it is a folder, expected a file");
    expect_refusal("d/", true, "d/: cannot write: expected the name of a file");
    expect_refusal("", true, ": cannot write: expected the name of a file");
    expect_refusal(".", true, ".: cannot write: expected the name of a file");
    expect_refusal("d/..", true, "d/..: cannot write: expected the name of a file");
    expect_refusal("-", true, "-: cannot write: standard output cannot take this; give a file");
    expect_refusal("/dev/null", true, "/dev/null: cannot write: it is not a regular file");
    expect_refusal("absent/out", false, "absent/out: cannot create: No such file or directory");
    expect_refusal("old/out", false, "old/out: cannot create: Not a directory");
    assert_int_equal(files_here(), 3);
    unlink("old");
    unlink("dangling");
    rmdir("d");
}

static void a_file_that_appears_is_kept(void **state) {
    (void)state;
    PareError err = {0};
    PareOutput *o = open_output("out", false);
    put("out", "somebody else's");
    assert_int_equal(pare_output_commit(o, &err), PARE_E_IO);
    assert_string_equal(err.message, "out: cannot finish: a file of that name appeared meanwhile");
    expect_content("out", "somebody else's");
    o = open_output("out", true);
    assert_int_equal(pare_output_write(o, "ours", 4, &err), PARE_OK);
    assert_int_equal(pare_output_commit(o, &err), PARE_OK);
    expect_content("out", "ours");
    assert_int_equal(files_here(), 1);
    unlink("out");
}

static void a_link_stays_a_link(void **state) {
    (void)state;
    PareError err = {0};
    struct stat st;
    mkdir("d", 0777);
    put("d/target", "old");
    assert_int_equal(symlink("d/target", "link"), 0);
    PareOutput *o = open_output("link", true);
    assert_int_equal(pare_output_write(o, "new", 3, &err), PARE_OK);
    assert_int_equal(pare_output_commit(o, &err), PARE_OK);
    assert_true(lstat("link", &st) == 0 && S_ISLNK(st.st_mode));
    expect_content("d/target", "new");
    unlink("link");
    unlink("d/target");
    rmdir("d");
}

static void long_names_work(void **state) {
    (void)state;
    PareError err = {0};
    char name[256];
    memset(name, 'n', 255);
    name[255] = '\0';
    PareOutput *o = open_output(name, false);
    assert_int_equal(pare_output_commit(o, &err), PARE_OK);
    assert_int_equal(unlink(name), 0);
}

/* With a limit of 32 KiB, sizes that fail while writing, and sizes that fail at the very end. */
static void a_full_disk_is_an_error(void **state) {
    (void)state;
    static const size_t sizes[] = {50000, 3 << 20}; /* one that is kept, one that is written */
    struct rlimit old, limit;
    getrlimit(RLIMIT_FSIZE, &old);
    limit = (struct rlimit){.rlim_cur = 32768, .rlim_max = old.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    char *bytes = pare_alloc(3 << 20, 1);
    for (size_t i = 0; i < 2; i++) {
        PareError err = {0}, again = {0};
        PareOutput *o = open_output("out", false);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
        PareStatus st = pare_output_write(o, bytes, sizes[i], &err);
        assert_int_equal(st, sizes[i] > 1 << 20 ? PARE_E_IO : PARE_OK);
        if (st) { /* the first failure stays, though there is room again */
            setrlimit(RLIMIT_FSIZE, &old);
            assert_int_equal(pare_output_write(o, "x", 1, &again), PARE_E_IO);
            assert_string_equal(again.message, err.message);
            assert_int_equal(pare_output_patch(o, 0, "x", 1, &again), PARE_E_IO);
            assert_int_equal(pare_output_align(o, 64, &again), PARE_E_IO);
        }
        assert_int_equal(pare_output_commit(o, &err), PARE_E_IO);
        setrlimit(RLIMIT_FSIZE, &old);
        assert_string_equal(err.message, "out: cannot write: File too large");
        assert_int_equal(files_here(), 0);
    }
    signal(SIGXFSZ, SIG_DFL);
    pare_free(bytes);
}

static void patches_stay_inside(void **state) {
    (void)state;
    PareError err = {0};
    PareOutput *o = open_output("out", false);
    pare_output_write(o, "1234", 4, &err);
    assert_int_equal(pare_output_patch(o, 4, "", 0, &err), PARE_OK);
    assert_int_equal(pare_output_patch(o, 3, "xx", 2, &err), PARE_E_IO);
    assert_int_equal(pare_output_commit(o, &err), PARE_E_IO); /* its header would be wrong */
    o = open_output("out", false);
    assert_int_equal(pare_output_patch(o, UINT64_MAX, "xx", 2, &err), PARE_E_IO);
    pare_output_abort(o);
}

static void memory_may_run_out(void **state) {
    (void)state;
    PareStatus st = PARE_E_MEMORY;
    for (uint64_t n = 1; st; n++) {
        PareOutput *o = NULL;
        PareError err = {0};
        pare_memory_fail_after(n);
        st = pare_output_open("out", false, &o, &err);
        pare_memory_fail_after(0);
        assert_true(st == PARE_OK || st == PARE_E_MEMORY);
        assert_int_equal(files_here(), st ? 0 : 1);
        pare_output_abort(o);
    }
}

/* ---- Signals ------------------------------------------------------------------------------- */

/* A child that has two outputs open is sent signals; tells how it ended. */
static int interrupted_child(int signals, bool ignored) {
    int ready[2];
    char byte;
    assert_int_equal(pipe(ready), 0);
    pid_t child = fork();
    if (child == 0) {
        PareError err = {0};
        signal(SIGTERM, ignored ? SIG_IGN : SIG_DFL);
        pare_interrupt_install();
        PareOutput *a = open_output("a", false), *b = open_output("b", false);
        if (write(ready[1], "r", 1) != 1)
            _exit(9);
        for (int i = 0; i < 3000 && !pare_interrupted() && !ignored; i++)
            usleep(1000);
        if (ignored || signals > 1)
            usleep(ignored ? 50000 : 5000000);
        bool noticed = pare_interrupt_check(&err) == PARE_E_INTERRUPTED;
        pare_output_abort(a);
        pare_output_abort(b);
        _exit(noticed ? 7 : 8);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(ready[1]);
    for (int i = 0; i < signals; i++) {
        kill(child, SIGTERM);
        usleep(100000);
    }
    int status;
    waitpid(child, &status, 0);
    assert_int_equal(files_here(), 0);
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void signals_stop_cleanly(void **state) {
    (void)state;
    assert_false(pare_interrupted());
    assert_int_equal(pare_interrupt_check(NULL), PARE_OK);
    assert_int_equal(interrupted_child(1, false), 7);        /* the flag is seen */
    assert_int_equal(interrupted_child(2, false), -SIGTERM); /* the handler cleans up */
    assert_int_equal(interrupted_child(1, true), 8);         /* what nohup wants */
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, enter_folder, leave_folder)

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_FOLDER(files_are_mapped),
        IN_FOLDER(only_regular_files_are_mapped),
        IN_FOLDER(files_are_read),
        IN_FOLDER(pipes_are_read_whole),
        IN_FOLDER(paths),
        IN_FOLDER(output_appears_at_the_end),
        IN_FOLDER(output_aborted_leaves_nothing),
        IN_FOLDER(large_output_is_exact),
        IN_FOLDER(bad_places_are_refused),
        IN_FOLDER(a_file_that_appears_is_kept),
        IN_FOLDER(a_link_stays_a_link),
        IN_FOLDER(long_names_work),
        IN_FOLDER(a_full_disk_is_an_error),
        IN_FOLDER(patches_stay_inside),
        IN_FOLDER(memory_may_run_out),
        IN_FOLDER(signals_stop_cleanly),
    };
    return cmocka_run_group_tests_name("core: files", tests, NULL, NULL);
}
