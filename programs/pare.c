/* pare STAGE …: runs pare-STAGE, found beside this program or on PATH. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/version.h"
#include "programs/cli_main.h"

static const struct {
    const char *name, *what;
} STAGES[] = {
    {"convert", "make a .pare file of a checkpoint's folder"},
    {"info", "print what a .pare file or a checkpoint holds"},
    {"prune", "cut heads, units, layers and more out of a model"},
    {"distill", "train a model, or a smaller one with a teacher's help"},
    {"quantize", "store weights as INT8, FP16 or BF16"},
    {"verify", "compare two models on data"},
    {"bench", "measure the speed of models side by side"},
    {"run", "classify, generate, score, tokenize"},
    {"export", "make a checkpoint's folder of a .pare file"},
};
enum { STAGE_COUNT = sizeof STAGES / sizeof *STAGES };

/* The path of pare-STAGE beside this program; empty when there is none. */
static void find_beside(const char *stage, char *out, size_t size) {
    char self[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
    out[0] = 0;
    if (length <= 0)
        return;
    self[length] = 0;
    char *slash = strrchr(self, '/');
    if (!slash)
        return;
    *slash = 0;
    int used = snprintf(out, size, "%s/pare-%s", self, stage);
    if (used < 0 || (size_t)used >= size || access(out, X_OK) != 0)
        out[0] = 0;
}

/* The number of edits (insert, delete, replace) between two short words (Levenshtein). */
static size_t distance(const char *a, const char *b) {
    enum { MAX = 16 };
    size_t row[MAX + 1], n = strlen(b);
    if (n > MAX)
        return MAX;
    for (size_t j = 0; j <= n; j++)
        row[j] = j;
    for (size_t i = 0; a[i]; i++) {
        size_t diagonal = row[0];
        row[0] = i + 1;
        for (size_t j = 0; j < n; j++) {
            size_t best = diagonal + (a[i] != b[j]);
            diagonal = row[j + 1];
            if (row[j + 1] + 1 < best)
                best = row[j + 1] + 1;
            if (row[j] + 1 < best)
                best = row[j] + 1;
            row[j + 1] = best;
        }
    }
    return row[n];
}

static PareStatus unknown_stage(const char *stage, PareError *err) {
    size_t best = 4, at = STAGE_COUNT;
    for (size_t i = 0; i < STAGE_COUNT; i++) {
        size_t d = distance(stage, STAGES[i].name);
        if (d < best) {
            best = d;
            at = i;
        }
    }
    if (at < STAGE_COUNT)
        return pare_error_set(err, PARE_E_USAGE,
                              "there is no stage \"%.60s\"; did you mean \"%s\"?", stage,
                              STAGES[at].name);
    return pare_error_set(err, PARE_E_USAGE, "there is no stage \"%.60s\"; pare help lists them",
                          stage);
}

/* Only returns when the program could not be started. */
static PareStatus start(const char *stage, char **argv, PareError *err) {
    char path[PATH_MAX + 64], name[80];
    snprintf(name, sizeof name, "pare-%.60s", stage);
    find_beside(stage, path, sizeof path);
    fflush(stdout);
    argv[0] = name;
    if (path[0])
        execv(path, argv);
    else
        execvp(name, argv);
    bool known = false;
    for (size_t i = 0; i < STAGE_COUNT; i++)
        known = known || strcmp(STAGES[i].name, stage) == 0;
    if (errno == ENOENT && !path[0] && !known)
        return unknown_stage(stage, err);
    return pare_error_set(err, PARE_E_IO, "cannot start %s: %s", name,
                          errno == ENOENT ? "it is not installed" : strerror(errno));
}

static void help(void) {
    printf("Usage: pare STAGE [ARGUMENT]...\n"
           "Converts, quantizes, verifies and runs Transformers offline.\n\n");
    for (size_t i = 0; i < STAGE_COUNT; i++) {
        char path[PATH_MAX + 64];
        find_beside(STAGES[i].name, path, sizeof path);
        printf("  %-10s %s%s\n", STAGES[i].name, STAGES[i].what,
               path[0] ? "" : " (not beside this program)");
    }
    printf("\npare help STAGE tells about one; pare --version prints the version.\n");
}

int main(int argc, char **argv) {
    PareError err = {0};
    PareStatus st = PARE_OK;
    char help_option[] = "--help";
    pare_cli_start("pare");
    const char *first = argc > 1 ? argv[1] : "";
    if (argc < 2) {
        st = pare_error_set(&err, PARE_E_USAGE, "no stage given; pare help lists them");
    } else if (strcmp(first, "--version") == 0) {
        printf("pare %s\n", PARE_VERSION);
    } else if (argc > 2 && strcmp(first, "help") == 0) {
        char *args[] = {argv[2], help_option, NULL};
        st = start(argv[2], args, &err);
    } else if (strcmp(first, "help") == 0 || strcmp(first, "--help") == 0 ||
               strcmp(first, "-h") == 0) {
        help();
    } else if (first[0] == '-' || strchr(first, '/') || !first[0]) {
        st = pare_error_set(&err, PARE_E_USAGE, "unknown option \"%.60s\"; pare help tells more",
                            first);
    } else {
        st = start(first, argv + 1, &err);
    }
    return pare_cli_end(st, &err);
}
