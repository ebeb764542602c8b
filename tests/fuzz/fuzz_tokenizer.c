/* Tokenizer files: the first byte says which one the rest is. What loads is used, written in the
 * compact form, and read again. */
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "text/tokenizer.h"
#include "text/tokenizer_impl.h"
#include "text/tokenizer_subset.h"

const char *const fuzz_corpora[] = {"tests/fuzz/seeds/tokenizer", "tests/fuzz/crashes/tokenizer",
                                    NULL};

static const char *const NAMES[] = {"vocab.txt",         "tokenizer.json",
                                    "spiece.model",      "vocab.json",
                                    "merges.txt",        "source.spm",
                                    "target.spm",        "tokenizer_config.json",
                                    "added_tokens.json", "special_tokens_map.json"};
enum {
    NAME_COUNT = sizeof NAMES / sizeof *NAMES,
    TEXT = NAME_COUNT,
    MODEL = 2,
    SOURCE = 5,
    TARGET = 6,
    COMPACT = 255,
    SEPARATOR = 0x1e
};

/* What is tokenized; a part of the input where it has one. */
static const char *text;
static size_t text_size;

static void use(const PareTokenizer *t) {
    PareError err = {0};
    PareIds ids = {0};
    PareBuffer decoded = {0};
    bool cut;
    PareStatus status =
        pare_tokenizer_encode(t, PARE_SIDE_SOURCE, text, text_size, true, &ids, &err);
    fuzz_check_error(status, &err);
    for (size_t i = 0; i < ids.count; i++)
        if (ids.data[i] < 0 || (size_t)ids.data[i] >= pare_tokenizer_size(t))
            abort(); /* a model would read beyond its table */
    if (status == PARE_OK) {
        status =
            pare_tokenizer_decode(t, PARE_SIDE_TARGET, ids.data, ids.count, false, &decoded, &err);
        fuzz_check_error(status, &err);
    }
    pare_tokenizer_encode_limit(t, PARE_SIDE_SOURCE, text, text_size, 5, &cut, &ids, &err);
    pare_ids_free(&ids);
    pare_buffer_free(&decoded);
}

/* Sums of such scores overflow, and then nothing is the best path. */
static bool is_huge(const PareTokenizer *t) {
    for (int k = 0; k < 2; k++)
        for (uint32_t i = 0; i < t->unigram.models[k].pieces.count; i++)
            if (t->unigram.models[k].scores[i] > 1e30f || t->unigram.models[k].scores[i] < -1e30f)
                return true;
    return false;
}

/* The tokens that the text takes alone make a tokenizer that cuts it in the same way. */
static void compare_subset(const PareTokenizer *t, const PareTokenizer *part, const bool *keep) {
    PareIds old = {0}, new = {0};
    PareError err = {0};
    if (pare_tokenizer_encode(t, PARE_SIDE_TARGET, text, text_size, true, &old, &err) ||
        pare_tokenizer_encode(part, PARE_SIDE_TARGET, text, text_size, true, &new, &err) ||
        old.count != new.count)
        abort();
    for (size_t i = 0; i < old.count; i++) {
        int32_t rank = 0;
        for (int32_t id = 0; id < old.data[i]; id++)
            rank += keep[id];
        if (rank != new.data[i])
            abort();
    }
    pare_ids_free(&old);
    pare_ids_free(&new);
}

static void use_subset(const PareTokenizer *t) {
    PareError err = {0};
    PareIds ids = {0};
    PareTokenizer *part = NULL;
    size_t size = pare_tokenizer_size(t);
    bool *keep = calloc(size + 1, sizeof *keep);
    if (keep == NULL || is_huge(t) ||
        pare_tokenizer_trace(t, PARE_SIDE_TARGET, text, text_size, &ids, &err))
        goto done;
    for (size_t i = 0; i < ids.count; i++)
        keep[ids.data[i]] = true;
    if (pare_tokenizer_close_subset(t, keep, size, &err) ||
        pare_tokenizer_subset(t, keep, size, &part, &err))
        abort(); /* what is closed must make a tokenizer */
    compare_subset(t, part, keep);
done:
    pare_tokenizer_free(part);
    pare_ids_free(&ids);
    free(keep);
}

static void use_and_free(PareTokenizer *t) {
    PareError err = {0};
    PareTokenizer *again = NULL;
    PareBuffer bytes = {0};
    use(t);
    use_subset(t);
    if (pare_tokenizer_to_bytes(t, &bytes, &err) == PARE_OK &&
        pare_tokenizer_from_bytes(bytes.data, bytes.size, "compact", &again, &err) != PARE_OK)
        abort(); /* what is written must be read */
    pare_tokenizer_free(again);
    pare_buffer_free(&bytes);
    pare_tokenizer_free(t);
}

/* Files one behind the other: a byte for the name, the content, and a separator between them.
 * Binary ones go to the end, and a model of the source is one of the target, too. */
static void put_files(const uint8_t *data, size_t size) {
    while (size > 0) {
        size_t name = data[0] % (NAME_COUNT + 1);
        bool binary = name == MODEL || name == SOURCE || name == TARGET;
        const uint8_t *end = binary ? NULL : memchr(data + 1, SEPARATOR, size - 1);
        size_t length = end ? (size_t)(end - data) : size;
        if (name == TEXT) {
            text = (const char *)data + 1;
            text_size = length - 1;
        } else {
            fuzz_put(NAMES[name], data + 1, length - 1);
        }
        if (name == SOURCE)
            fuzz_put(NAMES[TARGET], data + 1, length - 1);
        data += length + (end != NULL);
        size -= length + (end != NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    PareError err = {0};
    PareTokenizer *t = NULL;
    static const char usual[] = "Hello, w\xc3\xb6rld! \xe4\xbd\xa0\xe5\xa5\xbd  [SEP] <s> 42\n";
    if (size == 0)
        return 0;
    text = usual;
    text_size = sizeof usual - 1;
    if (data[0] == COMPACT) {
        PareStatus status = pare_tokenizer_from_bytes(data + 1, size - 1, "input", &t, &err);
        fuzz_check_named(status, &err, "input");
        if (status == PARE_OK)
            use_and_free(t);
        return 0;
    }
    for (size_t i = 0; i < NAME_COUNT; i++)
        fuzz_remove(NAMES[i]);
    put_files(data, size);
    PareTokenizerHints hints = {.unknown = "<unk>"};
    PareStatus status = pare_tokenizer_load(fuzz_folder(), &hints, &t, &err);
    fuzz_check_named(status, &err, fuzz_folder());
    if (status == PARE_OK && t)
        use_and_free(t);
    return 0;
}
