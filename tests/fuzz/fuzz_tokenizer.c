/* Tokenizer files: the first byte says which one the rest is. What loads is used, written in the
 * compact form, and read again. */
#include <stdlib.h>
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "text/tokenizer.h"

const char *const fuzz_corpora[] = {"tests/fuzz/seeds/tokenizer", "tests/fuzz/crashes/tokenizer",
                                    NULL};

static const char *const NAMES[] = {"vocab.txt",         "tokenizer.json",
                                    "spiece.model",      "vocab.json",
                                    "merges.txt",        "source.spm",
                                    "target.spm",        "tokenizer_config.json",
                                    "added_tokens.json", "special_tokens_map.json"};
enum { NAME_COUNT = sizeof NAMES / sizeof *NAMES, COMPACT = 255, SEPARATOR = 0x1e };

static void use(const PareTokenizer *t) {
    static const char TEXT[] = "Hello, w\xc3\xb6rld! \xe4\xbd\xa0\xe5\xa5\xbd  [SEP] <s> 42\n";
    PareError err = {0};
    PareIds ids = {0};
    PareBuffer text = {0};
    if (pare_tokenizer_encode(t, PARE_SIDE_SOURCE, TEXT, sizeof TEXT - 1, true, &ids, &err) ==
        PARE_OK)
        pare_tokenizer_decode(t, PARE_SIDE_TARGET, ids.data, ids.count, false, &text, &err);
    pare_ids_free(&ids);
    pare_buffer_free(&text);
}

static void use_and_free(PareTokenizer *t) {
    PareError err = {0};
    PareTokenizer *again = NULL;
    PareBuffer bytes = {0};
    use(t);
    if (pare_tokenizer_to_bytes(t, &bytes, &err) == PARE_OK &&
        pare_tokenizer_from_bytes(bytes.data, bytes.size, "compact", &again, &err) != PARE_OK)
        abort(); /* what is written must be read */
    pare_tokenizer_free(again);
    pare_buffer_free(&bytes);
    pare_tokenizer_free(t);
}

/* Files one behind the other: a byte for the name, the content, and a separator between them. */
static void put_files(const uint8_t *data, size_t size) {
    while (size > 0) {
        const char *name = NAMES[data[0] % NAME_COUNT];
        const uint8_t *end = memchr(data + 1, SEPARATOR, size - 1);
        size_t length = end ? (size_t)(end - data) : size;
        fuzz_put(name, data + 1, length - 1);
        data += length + (end != NULL);
        size -= length + (end != NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    PareError err = {0};
    PareTokenizer *t = NULL;
    if (size == 0)
        return 0;
    if (data[0] == COMPACT) {
        if (pare_tokenizer_from_bytes(data + 1, size - 1, "input", &t, &err) == PARE_OK)
            use_and_free(t);
        return 0;
    }
    for (size_t i = 0; i < NAME_COUNT; i++)
        fuzz_remove(NAMES[i]);
    put_files(data, size);
    PareTokenizerHints hints = {.unknown = "<unk>"};
    if (pare_tokenizer_load(fuzz_folder(), &hints, &t, &err) == PARE_OK && t)
        use_and_free(t);
    return 0;
}
