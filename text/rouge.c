/* ROUGE over pairs of texts.
 *
 * Both texts of a pair become numbers, one a word, so that equal words have equal numbers. Runs of
 * n words are counted by sorting, as for BLEU. The longest common subsequence needs no table of
 * lengths: two rows and one bit a cell ("left is longer than up") are enough to walk back along the
 * very path that the reference takes, which decides what Lsum's union holds. */
#include "text/rouge.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/buffer.h"
#include "core/memory.h"
#include "text/rouge_stem.h"

enum { MIN_STEMMED = 4, NGRAMS = 3 };
static const uint64_t max_cells = UINT64_C(1) << 33; /* of a table: 1 GiB of bits */

typedef struct {
    size_t at, size; /* in the letters of its side */
    uint32_t place;  /* of both sides' words in one row */
    const char *text;
} Word;

/* One text of a pair. */
typedef struct {
    PareBuffer letters;
    Word *words;
    size_t count, capacity;
    size_t *ends; /* of the lines, in words */
    size_t lines, line_capacity;
    const uint32_t *ids; /* [count] */
} Side;

typedef struct {
    uint64_t key;
    uint32_t at;
} Run;

struct PareRouge {
    bool stemmer;
    size_t pairs;
    PareRougeScore sums[PARE_ROUGE_KINDS];
    Side hypothesis, reference;
    /* Of the current pair, kept for the next; [capacity] for both sides together. */
    size_t capacity;
    Word *sorted;
    uint32_t *ids, *run, *left_h, *left_r, *row; /* row: two rows of a table, one place longer */
    Run *runs;
    uint8_t *hit;
    uint8_t *table;
    size_t table_size;
};

PareRouge *pare_rouge_create(bool stemmer) {
    PareRouge *r = pare_alloc(1, sizeof *r);
    if (r)
        r->stemmer = stemmer;
    return r;
}

static void free_side(Side *s) {
    pare_buffer_free(&s->letters);
    pare_free(s->words);
    pare_free(s->ends);
}

static void free_scratch(PareRouge *r) {
    void *all[] = {r->sorted, r->ids, r->run, r->left_h, r->left_r, r->row, r->runs, r->hit};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        pare_free(all[i]);
    r->capacity = 0;
}

void pare_rouge_destroy(PareRouge *r) {
    if (!r)
        return;
    free_side(&r->hypothesis);
    free_side(&r->reference);
    free_scratch(r);
    pare_free(r->table);
    pare_free(r);
}

const char *pare_rouge_name(PareRougeKind kind) {
    static const char *const names[] = {"rouge1", "rouge2", "rouge3", "rougeL", "rougeLsum"};
    return names[kind];
}

/* ---- Words ----------------------------------------------------------------------------------- */

/* Room for one more item: the data, moved or not; NULL when out of memory, the old data standing.
 */
static void *grow(void *data, size_t *capacity, size_t count, size_t size) {
    if (count < *capacity)
        return data;
    size_t wanted = *capacity ? 2 * *capacity : 64;
    void *grown = pare_realloc(data, wanted, size);
    if (grown)
        *capacity = wanted;
    return grown;
}

/* Python's lower() makes letters of a-z of just two others: the Kelvin sign, and the capital I with
 * a dot, which leaves a combining dot behind it that is no letter here. */
static char letter_at(const char *text, size_t *used) {
    const unsigned char *t = (const unsigned char *)text;
    *used = 1;
    if ((*t >= 'a' && *t <= 'z') || (*t >= '0' && *t <= '9'))
        return (char)*t;
    if (*t >= 'A' && *t <= 'Z')
        return (char)(*t - 'A' + 'a');
    if (strncmp(text, "\xE2\x84\xAA", 3) == 0) {
        *used = 3;
        return 'k';
    }
    if (strncmp(text, "\xC4\xB0", 2) == 0) {
        *used = 2;
        return 'i';
    }
    return '\0';
}

static bool end_word(const PareRouge *r, Side *s, size_t at) {
    size_t size = s->letters.size - at;
    if (size == 0 || s->letters.failed)
        return !s->letters.failed;
    if (r->stemmer && size >= MIN_STEMMED)
        size = pare_rouge_stem(s->letters.data + at, size);
    Word *words = grow(s->words, &s->capacity, s->count, sizeof *words);
    if (!words)
        return false;
    s->words = words;
    s->words[s->count++] = (Word){.at = at, .size = size};
    return true;
}

static bool end_line(Side *s) {
    size_t *ends = grow(s->ends, &s->line_capacity, s->lines, sizeof *ends);
    if (!ends)
        return false;
    s->ends = ends;
    s->ends[s->lines++] = s->count;
    return true;
}

static PareStatus read_words(const PareRouge *r, const char *text, Side *s, PareError *err) {
    size_t at = 0, used;
    bool fits = true;
    pare_buffer_clear(&s->letters);
    s->count = s->lines = 0;
    for (; *text && fits; text += used) {
        char c = letter_at(text, &used);
        if (c)
            pare_buffer_putc(&s->letters, c);
        if (c && used != 2) /* the dotted I ends its word */
            continue;
        fits = end_word(r, s, at) && (*text != '\n' || end_line(s));
        at = s->letters.size;
    }
    fits = fits && end_word(r, s, at) && end_line(s);
    return fits ? PARE_OK : pare_memory_error(err, "the words of a text");
}

static int compare_words(const void *a, const void *b) {
    const Word *x = a, *y = b;
    int order = memcmp(x->text, y->text, x->size < y->size ? x->size : y->size);
    return order ? order : (x->size > y->size) - (x->size < y->size);
}

static void list_words(Word *out, const Side *s, size_t first) {
    for (size_t i = 0; i < s->count; i++) {
        out[first + i] = s->words[i];
        out[first + i].text = s->letters.data + s->words[i].at;
        out[first + i].place = (uint32_t)(first + i);
    }
}

/* Gives every word its number; the hypothesis' come first. */
static void number_words(PareRouge *r) {
    Side *h = &r->hypothesis, *f = &r->reference;
    size_t count = h->count + f->count;
    uint32_t number = 0;
    list_words(r->sorted, h, 0);
    list_words(r->sorted, f, h->count);
    qsort(r->sorted, count, sizeof *r->sorted, compare_words);
    for (size_t i = 0; i < count; i++) {
        number += i && compare_words(&r->sorted[i - 1], &r->sorted[i]) != 0;
        r->ids[r->sorted[i].place] = number;
    }
    h->ids = r->ids;
    f->ids = r->ids + h->count;
}

static PareStatus reserve(PareRouge *r, size_t count, PareError *err) {
    if (count > UINT32_MAX / 2)
        return pare_error_set(err, PARE_E_UNSUPPORTED, "ROUGE: a pair of %zu words is too long",
                              count);
    if (count < r->capacity)
        return PARE_OK;
    size_t wanted = count + count / 2 + 64;
    free_scratch(r);
    r->sorted = pare_alloc(wanted, sizeof *r->sorted);
    r->ids = pare_alloc(wanted, sizeof *r->ids);
    r->run = pare_alloc(wanted, sizeof *r->run);
    r->left_h = pare_alloc(wanted, sizeof *r->left_h);
    r->left_r = pare_alloc(wanted, sizeof *r->left_r);
    r->row = pare_alloc(wanted, 2 * sizeof *r->row);
    r->runs = pare_alloc(wanted, sizeof *r->runs);
    r->hit = pare_alloc(wanted, 1);
    bool there = r->sorted && r->ids && r->run && r->left_h && r->left_r && r->row && r->runs;
    r->capacity = there && r->hit ? wanted : 0;
    return r->capacity ? PARE_OK : pare_memory_error(err, "ROUGE's counts");
}

/* ---- Runs of n words ------------------------------------------------------------------------- */

static PareRougeScore score(size_t matches, size_t hypothesis, size_t reference) {
    PareRougeScore s = {(double)matches / (double)(hypothesis ? hypothesis : 1),
                        (double)matches / (double)(reference ? reference : 1), 0};
    if (s.precision + s.recall > 0)
        s.f1 = 2 * s.precision * s.recall / (s.precision + s.recall);
    return s;
}

static int compare_runs(const void *a, const void *b) {
    const Run *x = a, *y = b;
    return (x->key > y->key) - (x->key < y->key);
}

static size_t list_runs(PareRouge *r, size_t order, size_t first, size_t count, size_t listed) {
    for (size_t i = first; i + order <= first + count; i++) {
        uint64_t key = r->ids[i + order - 1];
        if (order > 1)
            key |= (uint64_t)r->run[i] << 32;
        r->runs[listed++] = (Run){key, (uint32_t)i};
    }
    return listed;
}

/* The score of one order; numbers its runs for the next. */
static PareRougeScore score_order(PareRouge *r, size_t order) {
    size_t ours = r->hypothesis.count, theirs = r->reference.count;
    size_t hypothesis = list_runs(r, order, 0, ours, 0);
    size_t count = list_runs(r, order, ours, theirs, hypothesis), matches = 0;
    uint32_t number = 0;
    qsort(r->runs, count, sizeof *r->runs, compare_runs);
    for (size_t i = 0; i < count; number++) {
        size_t a = 0, b = 0;
        uint64_t key = r->runs[i].key;
        for (; i < count && r->runs[i].key == key; i++) {
            r->run[r->runs[i].at] = number;
            *(r->runs[i].at < ours ? &a : &b) += 1;
        }
        matches += a < b ? a : b;
    }
    return score(matches, hypothesis, count - hypothesis);
}

/* ---- Longest common subsequences ------------------------------------------------------------- */

static bool left_is_longer(const PareRouge *r, size_t cell) {
    return r->table[cell / 8] >> cell % 8 & 1;
}

/* Fills the table's bits for reference words `f` [m] down and hypothesis words `h` [n] across. */
static void fill_table(PareRouge *r, const uint32_t *f, size_t m, const uint32_t *h, size_t n) {
    uint32_t *up = r->row, *now = r->row + n + 1;
    memset(r->table, 0, m * n / 8 + 1);
    memset(up, 0, (n + 1) * sizeof *up);
    for (size_t i = 0; i < m; i++) {
        now[0] = 0;
        for (size_t j = 0; j < n; j++) {
            bool left = now[j] > up[j + 1];
            size_t cell = i * n + j;
            now[j + 1] = f[i] == h[j] ? up[j] + 1 : left ? now[j] : up[j + 1];
            r->table[cell / 8] |= (uint8_t)(left << cell % 8);
        }
        uint32_t *swap = up;
        up = now;
        now = swap;
    }
}

/* Marks in `hit` [m] the reference's words on the path of one longest common subsequence. */
static PareStatus mark_common(PareRouge *r, const uint32_t *f, size_t m, const uint32_t *h,
                              size_t n, uint8_t *hit, PareError *err) {
    if (m && n > max_cells / m)
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "ROUGE-L: texts of %zu and %zu words are too long to compare", n, m);
    if (m * n / 8 + 1 > r->table_size) {
        pare_free(r->table);
        r->table_size = m * n / 4 + 64;
        r->table = pare_alloc(r->table_size, 1);
        if (!r->table) {
            r->table_size = 0;
            return pare_memory_error(err, "ROUGE-L's table");
        }
    }
    fill_table(r, f, m, h, n);
    for (size_t i = m, j = n; i > 0 && j > 0;) {
        if (f[i - 1] == h[j - 1]) {
            hit[--i] = 1;
            j--;
        } else if (left_is_longer(r, (i - 1) * n + j - 1)) {
            j--;
        } else {
            i--;
        }
    }
    return PARE_OK;
}

static PareStatus score_longest(PareRouge *r, PareRougeScore *out, PareError *err) {
    const Side *h = &r->hypothesis, *f = &r->reference;
    size_t common = 0;
    memset(r->hit, 0, f->count);
    PareStatus status = mark_common(r, f->ids, f->count, h->ids, h->count, r->hit, err);
    for (size_t i = 0; i < f->count; i++)
        common += r->hit[i];
    *out = score(common, h->count, f->count);
    return status;
}

/* How often each word is there, by its number. */
static void count_words(const Side *s, uint32_t *counts, size_t numbers) {
    memset(counts, 0, numbers * sizeof *counts);
    for (size_t i = 0; i < s->count; i++)
        counts[s->ids[i]]++;
}

/* The union, for each line of the reference, of what it has in common with the hypothesis' lines;
 * a word counts as often as it is there in both texts. */
static PareStatus score_lines(PareRouge *r, PareRougeScore *out, PareError *err) {
    const Side *h = &r->hypothesis, *f = &r->reference;
    size_t hits = 0, begin = 0;
    PareStatus status = PARE_OK;
    memset(r->hit, 0, f->count);
    count_words(h, r->left_h, h->count + f->count);
    count_words(f, r->left_r, h->count + f->count);
    for (size_t i = 0; i < f->lines; begin = f->ends[i++]) {
        size_t other = 0;
        for (size_t j = 0; j < h->lines && !status; other = h->ends[j++])
            status = mark_common(r, f->ids + begin, f->ends[i] - begin, h->ids + other,
                                 h->ends[j] - other, r->hit + begin, err);
    }
    for (size_t i = 0; i < f->count; i++) {
        uint32_t *ours = &r->left_h[f->ids[i]], *theirs = &r->left_r[f->ids[i]];
        if (r->hit[i] && *ours && *theirs) {
            hits++;
            --*ours;
            --*theirs;
        }
    }
    *out = score(hits, h->count, f->count);
    return status;
}

PareStatus pare_rouge_add(PareRouge *r, const char *hypothesis, const char *reference,
                          PareRougeScore scores[PARE_ROUGE_KINDS], PareError *err) {
    PareRougeScore s[PARE_ROUGE_KINDS];
    PareStatus status = read_words(r, hypothesis, &r->hypothesis, err);
    if (!status)
        status = read_words(r, reference, &r->reference, err);
    if (!status)
        status = reserve(r, r->hypothesis.count + r->reference.count, err);
    if (status)
        return status;
    number_words(r);
    for (size_t order = 1; order <= NGRAMS; order++)
        s[PARE_ROUGE_1 + order - 1] = score_order(r, order);
    if ((status = score_longest(r, &s[PARE_ROUGE_L], err)) ||
        (status = score_lines(r, &s[PARE_ROUGE_LSUM], err)))
        return status;
    for (size_t k = 0; k < PARE_ROUGE_KINDS; k++) {
        r->sums[k].precision += s[k].precision;
        r->sums[k].recall += s[k].recall;
        r->sums[k].f1 += s[k].f1;
        if (scores)
            scores[k] = s[k];
    }
    r->pairs++;
    return PARE_OK;
}

PareRougeScore pare_rouge_mean(const PareRouge *r, PareRougeKind kind) {
    double n = r->pairs ? (double)r->pairs : 1;
    const PareRougeScore *s = &r->sums[kind];
    return (PareRougeScore){s->precision / n, s->recall / n, s->f1 / n};
}
