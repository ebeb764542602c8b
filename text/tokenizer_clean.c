/* The reference's clean_up_tokenization: blanks before punctuation and English endings go away. */
#include "text/tokenizer_impl.h"

#include <string.h>

/* Replaces every `from` in text[start..] by the shorter `to`, left to right. */
static void replace_all(PareBuffer *text, size_t start, const char *from, const char *to) {
    size_t from_size = strlen(from), to_size = strlen(to);
    char *read = text->data + start, *write = read, *end = text->data + text->size;
    for (;;) {
        char *found = memmem(read, (size_t)(end - read), from, from_size);
        size_t kept = (size_t)((found != NULL ? found : end) - read);
        memmove(write, read, kept);
        write += kept;
        if (found == NULL) {
            break;
        }
        memcpy(write, to, to_size);
        write += to_size;
        read = found + from_size;
    }
    text->size = (size_t)(write - text->data);
    *write = '\0';
}

void pare_clean_up(PareBuffer *text, size_t from) {
    static const char *const rules[][2] = {
        {" .", "."},     {" ?", "?"},   {" !", "!"},   {" ,", ","},     {" ' ", "'"},
        {" n't", "n't"}, {" 'm", "'m"}, {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"},
    };
    if (text->failed || text->size == from) {
        return;
    }
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        replace_all(text, from, rules[i][0], rules[i][1]);
    }
}
