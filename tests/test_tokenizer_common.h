/* What the tests of tokenizers share: the fixtures' folders, the families' usual hints, lists of
 * ids in files. The fixtures are made by tests/data/tokenizers/make.sh. */
#ifndef PARE_TESTS_TEST_TOKENIZER_COMMON_H
#define PARE_TESTS_TEST_TOKENIZER_COMMON_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/buffer.h"
#include "core/file.h"
#include "core/memory.h"
#include "text/tokenizer.h"
#include "text/tokenizer_impl.h"

#define TOKENIZERS "tests/data/tokenizers/"
#define UNUSED __attribute__((unused))

UNUSED static const PareTokenizerHints hints_wordpiece = {.single = "[CLS] $A [SEP]",
                                                          .pair = "[CLS] $A [SEP] $B [SEP]",
                                                          .unknown = "[UNK]",
                                                          .pad = "[PAD]",
                                                          .cls = "[CLS]",
                                                          .sep = "[SEP]",
                                                          .mask = "[MASK]",
                                                          .lowercase = true,
                                                          .accept_wordpiece = true};
UNUSED static const PareTokenizerHints hints_bpe = {.single = "<s> $A </s>",
                                                    .pair = "<s> $A </s> </s> $B </s>",
                                                    .unknown = "<unk>",
                                                    .pad = "<pad>",
                                                    .bos = "<s>",
                                                    .eos = "</s>",
                                                    .cls = "<s>",
                                                    .sep = "</s>",
                                                    .mask = "<mask>",
                                                    .accept_bpe = true};
UNUSED static const PareTokenizerHints hints_plain_bpe = {.single = "$A",
                                                          .pair = "$A $B",
                                                          .unknown = "<|endoftext|>",
                                                          .bos = "<|endoftext|>",
                                                          .eos = "<|endoftext|>",
                                                          .accept_bpe = true};
UNUSED static const PareTokenizerHints hints_unigram = {.single = "$A </s>",
                                                        .pair = "$A </s> $B </s>",
                                                        .unknown = "<unk>",
                                                        .pad = "<pad>",
                                                        .eos = "</s>",
                                                        .accept_unigram = true,
                                                        .extra_ids = 100};
UNUSED static const PareTokenizerHints hints_pair = {.single = "$A </s>",
                                                     .pair = "$A $B </s>",
                                                     .unknown = "<unk>",
                                                     .pad = "<pad>",
                                                     .eos = "</s>",
                                                     .accept_unigram = true,
                                                     .two_models = true,
                                                     .language_code = true};

UNUSED static PareTokenizer *load_or_fail(const char *folder, const PareTokenizerHints *hints) {
    PareTokenizer *t = NULL;
    PareError err = {0};
    if (pare_tokenizer_load(folder, hints, &t, &err) != PARE_OK)
        fail_msg("%s", err.message);
    assert_non_null(t);
    return t;
}

/* The same tokenizer after a way through its compact form, whose bytes must be stable. */
UNUSED static PareTokenizer *through_bytes(PareTokenizer *t) {
    PareBuffer first = {0}, second = {0};
    PareTokenizer *copy = NULL;
    PareError err = {0};
    assert_int_equal(pare_tokenizer_to_bytes(t, &first, &err), PARE_OK);
    if (pare_tokenizer_from_bytes(first.data, first.size, "bytes", &copy, &err) != PARE_OK)
        fail_msg("%s", err.message);
    assert_int_equal(pare_tokenizer_to_bytes(copy, &second, &err), PARE_OK);
    assert_int_equal(first.size, second.size);
    assert_memory_equal(first.data, second.data, first.size);
    pare_buffer_free(&first);
    pare_buffer_free(&second);
    pare_tokenizer_free(t);
    return copy;
}

UNUSED static char *read_all(const char *path, size_t *size) {
    char *bytes = NULL;
    PareError err = {0};
    if (pare_file_read(path, (size_t)256 << 20, &bytes, size, &err) != PARE_OK)
        fail_msg("%s", err.message);
    return bytes;
}

/* Ids as one line of text, for messages and comparison. */
UNUSED static void put_ids(PareBuffer *b, const int32_t *ids, size_t count) {
    for (size_t i = 0; i < count; i++)
        pare_buffer_printf(b, i > 0 ? " %d" : "%d", ids[i]);
}

UNUSED static void encode_line(const PareTokenizer *t, PareSide side, const char *text, size_t size,
                               bool plain, PareBuffer *out) {
    PareIds ids = {0};
    PareError err = {0};
    PareStatus status = plain ? pare_tokenizer_encode_plain(t, side, text, size, &ids, &err)
                              : pare_tokenizer_encode(t, side, text, size, true, &ids, &err);
    if (status != PARE_OK)
        fail_msg("%s", err.message);
    put_ids(out, ids.data, ids.count);
    pare_ids_free(&ids);
}

/* The next line of a text: its end in *end, without the newline. NULL at the end of the text. */
UNUSED static const char *take_line(const char **at, const char **end) {
    const char *line = *at;
    if (*line == '\0')
        return NULL;
    *end = strchrnul(line, '\n');
    *at = **end == '\n' ? *end + 1 : *end;
    return line;
}

/* Every line of `texts` must have the ids of the same line of `expected`. */
UNUSED static void assert_lines(const PareTokenizer *t, PareSide side, bool plain,
                                const char *texts, const char *expected) {
    const char *text_end = texts, *want_end = expected, *text, *want;
    PareBuffer got = {0};
    size_t number = 0;
    while ((text = take_line(&texts, &text_end)) != NULL) {
        want = take_line(&expected, &want_end);
        assert_non_null(want);
        number++;
        pare_buffer_clear(&got);
        encode_line(t, side, text, (size_t)(text_end - text), plain, &got);
        if (got.size != (size_t)(want_end - want) ||
            (got.size > 0 && memcmp(got.data, want, got.size) != 0))
            fail_msg("line %zu: '%.*s'\n  gave %s\n  not  %.*s", number, (int)(text_end - text),
                     text, got.data != NULL ? got.data : "", (int)(want_end - want), want);
    }
    assert_int_equal(*expected, 0);
    pare_buffer_free(&got);
}

UNUSED static void assert_ids(const PareTokenizer *t, const char *text, const char *wanted) {
    PareBuffer got = {0};
    encode_line(t, PARE_SIDE_SOURCE, text, strlen(text), false, &got);
    assert_string_equal(got.data != NULL ? got.data : "", wanted);
    pare_buffer_free(&got);
}

/* The pieces of a text, with its template, blanks between. */
UNUSED static void assert_pieces(const PareTokenizer *t, PareSide side, const char *text,
                                 const char *wanted) {
    PareBuffer got = {0};
    PareIds ids = {0};
    PareError err = {0};
    assert_int_equal(pare_tokenizer_encode(t, side, text, strlen(text), true, &ids, &err), PARE_OK);
    for (size_t i = 0; i < ids.count; i++)
        pare_buffer_printf(&got, i > 0 ? " %s" : "%s", pare_tokenizer_piece(t, ids.data[i]));
    assert_string_equal(got.data != NULL ? got.data : "", wanted);
    pare_ids_free(&ids);
    pare_buffer_free(&got);
}

/* A new folder of this program under TMPDIR; files are put into it by put_file. */
UNUSED static const char *new_folder(void) {
    static char path[512];
    const char *tmp = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/pare-tokenizer-XXXXXX", tmp != NULL ? tmp : "/tmp");
    assert_non_null(mkdtemp(path));
    return path;
}

UNUSED static void put_file(const char *folder, const char *name, const char *bytes, size_t size) {
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

/* Where an exported tokenizer's files go: pare_tokenizer_export's callback. */
typedef struct {
    const char *folder;
    size_t files;
} Sink;

UNUSED static PareStatus take(void *context, const char *name, const PareBuffer *bytes,
                              PareError *err) {
    Sink *s = context;
    (void)err;
    put_file(s->folder, name, bytes->data, bytes->size);
    s->files++;
    return PARE_OK;
}

UNUSED static void copy_file(const char *from, const char *folder, const char *name) {
    size_t size;
    char *bytes = read_all(from, &size);
    put_file(folder, name, bytes, size);
    pare_free(bytes);
}

UNUSED static void remove_folder(const char *folder) {
    static const char *const names[] = {"vocab.txt",
                                        "vocab.json",
                                        "merges.txt",
                                        "source.spm",
                                        "target.spm",
                                        "spiece.model",
                                        "tokenizer.json",
                                        "tokenizer_config.json",
                                        "special_tokens_map.json",
                                        "added_tokens.json",
                                        "sentencepiece.bpe.model",
                                        "tokenizer.model"};
    char path[1024];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    rmdir(folder);
}

#endif
