/* Feeds a target the files of its corpora: what was found once stays found. Without arguments those
 * of fuzz_corpora, otherwise the files and folders that are named. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/file.h"
#include "core/memory.h"
#include "tests/fuzz/fuzz.h"

static size_t passed, failed;

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max) {
    (void)data;
    (void)max;
    return size;
}

static void replay_file(const char *path) {
    enum { INPUT_MAX = 64 << 20 };
    PareError err = {0};
    char *bytes = NULL;
    size_t size;
    if (pare_file_read(path, INPUT_MAX, &bytes, &size, &err) != PARE_OK) {
        fprintf(stderr, "%s\n", err.message);
        failed++;
        return;
    }
    LLVMFuzzerTestOneInput((const uint8_t *)bytes, size);
    pare_free(bytes);
    passed++;
}

static void replay(const char *path) {
    struct stat st;
    if (stat(path, &st) != 0)
        return; /* a target that never crashed has no folder of crashes */
    if (!S_ISDIR(st.st_mode)) {
        replay_file(path);
        return;
    }
    DIR *d = opendir(path);
    for (struct dirent *e; d && (e = readdir(d));) {
        char inner[1024];
        if (e->d_name[0] == '.')
            continue;
        snprintf(inner, sizeof inner, "%s/%s", path, e->d_name);
        replay(inner);
    }
    if (d)
        closedir(d);
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        replay(argv[i]);
    for (size_t i = 0; argc == 1 && fuzz_corpora[i]; i++)
        replay(fuzz_corpora[i]);
    if (passed == 0)
        failed++; /* corpora that were not found prove nothing */
    printf("%zu passed, %zu failed\n", passed, failed);
    return failed != 0;
}
