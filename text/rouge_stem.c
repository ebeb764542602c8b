/* M. F. Porter, "An algorithm for suffix stripping", Program 14.3 (1980): the steps 1a to 5b, each
 * a list of rules of which the first whose suffix fits decides, even if its condition then forbids
 * it. Where NLTK departs from the paper it says so below; without that, scores would differ. */
#include "text/rouge_stem.h"

#include <stdbool.h>
#include <string.h>

typedef struct {
    const char *suffix, *replacement; /* the replacement is never longer */
} Rule;

static const struct {
    const char *word, *stem;
} irregular[] = {
    {"sky", "sky"},        {"skies", "sky"},       {"dying", "die"},        {"lying", "lie"},
    {"tying", "tie"},      {"news", "news"},       {"innings", "inning"},   {"inning", "inning"},
    {"outings", "outing"}, {"outing", "outing"},   {"cannings", "canning"}, {"canning", "canning"},
    {"howe", "howe"},      {"proceed", "proceed"}, {"exceed", "exceed"},    {"succeed", "succeed"},
};

/* ---- What a word looks like ------------------------------------------------------------------ */

static bool is_vowel_letter(char c) {
    return c == 'a' || c == 'e' || c == 'i' || c == 'o' || c == 'u';
}

/* A y behind a consonant is a vowel; whether that is one depends on the letters before it. */
static bool is_consonant(const char *word, size_t i) {
    size_t ys = 0;
    while (i > 0 && word[i] == 'y') {
        i--;
        ys++;
    }
    bool consonant = !is_vowel_letter(word[i]);
    return ys % 2 ? !consonant : consonant;
}

/* The paper's m: how often a consonant follows a vowel. */
static size_t measure(const char *word, size_t size) {
    size_t m = 0;
    for (size_t i = 1; i < size; i++)
        m += is_consonant(word, i) && !is_consonant(word, i - 1);
    return m;
}

static bool has_vowel(const char *word, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (!is_consonant(word, i))
            return true;
    return false;
}

static bool ends_double(const char *word, size_t size) {
    return size >= 2 && word[size - 1] == word[size - 2] && is_consonant(word, size - 1);
}

/* Consonant, vowel, consonant other than w, x, y. NLTK: also a vowel and a consonant alone. */
static bool ends_cvc(const char *word, size_t size) {
    if (size == 2)
        return !is_consonant(word, 0) && is_consonant(word, 1);
    return size >= 3 && is_consonant(word, size - 3) && !is_consonant(word, size - 2) &&
           is_consonant(word, size - 1) && !strchr("wxy", word[size - 1]);
}

static bool ends(const char *word, size_t size, const char *suffix) {
    size_t n = strlen(suffix);
    return n <= size && memcmp(word + size - n, suffix, n) == 0;
}

static size_t put(char *word, size_t size, const char *text) {
    size_t n = strlen(text);
    memcpy(word + size, text, n);
    return size + n;
}

/* Applies the first rule whose suffix fits, if what is before it has a measure above `above`. */
static size_t apply(char *word, size_t size, const Rule *rules, size_t count, size_t above) {
    for (size_t i = 0; i < count; i++) {
        if (!ends(word, size, rules[i].suffix))
            continue;
        size_t stem = size - strlen(rules[i].suffix);
        return measure(word, stem) > above ? put(word, stem, rules[i].replacement) : size;
    }
    return size;
}

/* ---- The steps ------------------------------------------------------------------------------- */

/* Plurals. NLTK: "dies" becomes "die", where "flies" becomes "fli". */
static size_t step_1a(const char *word, size_t size) {
    if (ends(word, size, "ies"))
        return size == 4 ? size - 1 : size - 2;
    if (ends(word, size, "sses"))
        return size - 2;
    return ends(word, size, "s") && !ends(word, size, "ss") ? size - 1 : size;
}

/* What is left when -ed or -ing went: "hopp" to "hop", "fil" to "file". */
static size_t mend(char *word, size_t size) {
    if (ends(word, size, "at") || ends(word, size, "bl") || ends(word, size, "iz"))
        return put(word, size, "e");
    if (ends_double(word, size))
        return strchr("lsz", word[size - 1]) ? size : size - 1;
    if (measure(word, size) == 1 && ends_cvc(word, size))
        return put(word, size, "e");
    return size;
}

/* -eed, -ed, -ing. NLTK: "died" becomes "die", where "spied" becomes "spi". */
static size_t step_1b(char *word, size_t size) {
    if (ends(word, size, "ied"))
        return size == 4 ? size - 1 : size - 2;
    if (ends(word, size, "eed"))
        return measure(word, size - 3) > 0 ? size - 1 : size;
    if (ends(word, size, "ed") && has_vowel(word, size - 2))
        return mend(word, size - 2);
    if (ends(word, size, "ing") && has_vowel(word, size - 3))
        return mend(word, size - 3);
    return size;
}

/* NLTK: y to i behind a consonant that is not the word's first letter, vowels or not. */
static void step_1c(char *word, size_t size) {
    if (size > 2 && word[size - 1] == 'y' && is_consonant(word, size - 2))
        word[size - 1] = 'i';
}

static size_t step_2(char *word, size_t size) {
    static const Rule rules[] = {
        {"ational", "ate"}, {"tional", "tion"}, {"enci", "ence"},   {"anci", "ance"},
        {"izer", "ize"},    {"bli", "ble"},     {"alli", "al"},     {"entli", "ent"},
        {"eli", "e"},       {"ousli", "ous"},   {"ization", "ize"}, {"ation", "ate"},
        {"ator", "ate"},    {"alism", "al"},    {"iveness", "ive"}, {"fulness", "ful"},
        {"ousness", "ous"}, {"aliti", "al"},    {"iviti", "ive"},   {"biliti", "ble"},
        {"fulli", "ful"}, /* NLTK's own, as is the treatment of -alli and -logi */
    };
    while (ends(word, size, "alli") && measure(word, size - 4) > 0)
        size -= 2; /* the whole step once more: "-ationalli" loses -ational, too */
    if (ends(word, size, "logi"))
        return measure(word, size - 3) > 0 ? size - 1 : size; /* the l counts: "geologi" */
    return apply(word, size, rules, sizeof rules / sizeof *rules, 0);
}

static size_t step_3(char *word, size_t size) {
    static const Rule rules[] = {{"icate", "ic"}, {"ative", ""}, {"alize", "al"}, {"iciti", "ic"},
                                 {"ical", "ic"},  {"ful", ""},   {"ness", ""}};
    return apply(word, size, rules, sizeof rules / sizeof *rules, 0);
}

static size_t step_4(char *word, size_t size) {
    static const Rule rules[] = {
        {"al", ""},   {"ance", ""}, {"ence", ""},  {"er", ""},   {"ic", ""},  {"able", ""},
        {"ible", ""}, {"ant", ""},  {"ement", ""}, {"ment", ""}, {"ent", ""}, {"ou", ""},
        {"ism", ""},  {"ate", ""},  {"iti", ""},   {"ous", ""},  {"ive", ""}, {"ize", ""}};
    if (ends(word, size, "sion") || ends(word, size, "tion")) /* the s or t counts */
        return measure(word, size - 3) > 1 ? size - 3 : size;
    return apply(word, size, rules, sizeof rules / sizeof *rules, 1);
}

static size_t step_5(const char *word, size_t size) {
    if (ends(word, size, "e")) {
        size_t m = measure(word, size - 1);
        if (m > 1 || (m == 1 && !ends_cvc(word, size - 1)))
            size--;
    }
    return ends(word, size, "ll") && measure(word, size - 1) > 1 ? size - 1 : size;
}

size_t pare_rouge_stem(char *word, size_t size) {
    for (size_t i = 0; i < sizeof irregular / sizeof *irregular; i++)
        if (strlen(irregular[i].word) == size && memcmp(irregular[i].word, word, size) == 0)
            return put(word, 0, irregular[i].stem);
    if (size <= 2)
        return size;
    size = step_1a(word, size);
    size = step_1b(word, size);
    step_1c(word, size);
    size = step_2(word, size);
    size = step_3(word, size);
    size = step_4(word, size);
    return step_5(word, size);
}
