/* Linked into every test: an empty folder for scratch files, gone at the end.
 *
 * tools/run-tests gives each program one in TMPDIR; this is for those that are run by hand. */
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char folder[512];
static pid_t owner;

static int remove_one(const char *path, const struct stat *s, int kind, struct FTW *at) {
    (void)s;
    (void)kind;
    (void)at;
    return remove(path);
}

/* A process that a test forked ends without its parent's folder. */
static void remove_folder(void) {
    if (getpid() == owner)
        nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

__attribute__((constructor)) static void make_folder(void) {
    const char *parent = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/pare-test-XXXXXX", parent ? parent : "/tmp");
    if (!mkdtemp(folder) || setenv("TMPDIR", folder, 1) != 0 || atexit(remove_folder) != 0) {
        perror(folder);
        abort();
    }
    owner = getpid();
}
