/* Replaying a folder of tests/data/corpus (see tests/make_formats_corpus.py). */
#ifndef PARE_TESTS_TEST_FORMATS_CORPUS_H
#define PARE_TESTS_TEST_FORMATS_CORPUS_H

#include "tests/test_formats_common.h"

#include <time.h>

#include "core/random.h"
#include "formats/checkpoint.h"

#define CORPUS "tests/data/corpus/"

static inline double corpus_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Opens and, if that works, reads everything; nothing may crash or take a second. The number of
 * tensors, or -1 with `err` filled. */
UNUSED static long corpus_open(const char *path, PareError *err) {
    PareCheckpoint *c;
    PareError ignored;
    long count = -1;
    double begin = corpus_seconds();
    *err = (PareError){PARE_OK, ""};
    if (pare_checkpoint_open(path, NULL, &c, err) == PARE_OK) {
        count = (long)pare_checkpoint_count(c);
        for (long i = 0; i < count; i++) {
            const PareCheckpointTensor *t = pare_checkpoint_tensor(c, (size_t)i);
            size_t elements;
            if (!pare_tensor_elements(&t->type, &elements) || elements > 1 << 20)
                continue;
            float *values = pare_alloc(elements, sizeof *values);
            assert_non_null(values);
            pare_checkpoint_read_f32(c, t, values, &ignored);
            pare_free(values);
        }
        pare_checkpoint_close(c);
    } else {
        assert_null(c);
        assert_int_not_equal(err->message[0], '\0');
    }
    if (corpus_seconds() - begin > 1)
        fail_msg("%s took %g seconds", path, corpus_seconds() - begin);
    return count;
}

static inline void corpus_line(const char *folder, char *line) {
    char path[512];
    PareError err;
    char *words = strchr(line, ' ');
    assert_non_null(words);
    *words++ = '\0';
    snprintf(path, sizeof path, "%s%s", folder, line);
    long count = corpus_open(path, &err);
    if (strncmp(words, "ok ", 3) == 0) {
        if (count < 0)
            fail_msg("%s", err.message);
        assert_int_equal(count, strtol(words + 3, NULL, 10));
        return;
    }
    assert_int_equal(strncmp(words, "refused ", 8), 0);
    if (count >= 0)
        fail_msg("%s was not refused; wanted '%s'", path, words + 8);
    assert_says(&err, words + 8);
    assert_says(&err, folder);
}

/* Every line of expected.txt; returns how many. */
UNUSED static size_t corpus_replay(const char *folder) {
    char path[512];
    size_t size, count = 0;
    snprintf(path, sizeof path, "%sexpected.txt", folder);
    char *text = (char *)read_file(path, &size);
    for (char *line = text; *line != '\0'; count++) {
        char *end = strchr(line, '\n');
        assert_non_null(end);
        *end = '\0';
        corpus_line(folder, line);
        line = end + 1;
    }
    pare_free(text);
    return count;
}

/* Replaces `path` by a file of these bytes, cut or with flipped bits, and opens `opened`. */
UNUSED static void corpus_damage(const char *path, const uint8_t *bytes, size_t size,
                                 const char *opened) {
    size_t rounds = getenv("PARE_TEST_LONG") != NULL ? 5000 : 150;
    uint8_t *copy = pare_alloc(size, 1);
    PareError err;
    for (size_t i = 0; i < 40; i++) {
        write_file(path, bytes, size * i / 40);
        corpus_open(opened, &err);
    }
    for (size_t i = 0; i < rounds && size > 0; i++) {
        memcpy(copy, bytes, size);
        for (size_t flip = 0; flip <= i % 3; flip++) {
            uint64_t bit = pare_random_below(17, i, flip, size * 8);
            copy[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        write_file(path, copy, size);
        corpus_open(opened, &err);
    }
    write_file(path, bytes, size);
    pare_free(copy);
}

/* The same of files of the corpus; `folder` ends with a slash. */
UNUSED static void corpus_damage_files(const char *folder, const char *const *names, size_t count) {
    const char *path = temporary("damaged");
    for (size_t i = 0; i < count; i++) {
        char from[256];
        size_t size;
        snprintf(from, sizeof from, "%s%s", folder, names[i]);
        uint8_t *bytes = read_file(from, &size);
        corpus_damage(path, bytes, size, path);
        pare_free(bytes);
    }
    unlink(path);
}

#endif
