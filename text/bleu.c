/* Corpus BLEU (Papineni et al. 2002) with the smoothing of mteval-v13a.pl, as sacreBLEU does it.
 *
 * n-grams are counted without a hash table: every word of a sentence pair gets a number, and a run
 * of n words the number (run of n-1 words, last word), which sorting turns into the next order's
 * numbers. Equal runs are neighbours then, and the clipped count is the smaller of the two. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/memory.h"
#include "text/bleu_tokens.h"
#include "text/metrics.h"

enum { ORDERS = 4 };

typedef struct {
    const char *text;
    size_t size, at;
} Word;

typedef struct {
    uint64_t key;
    uint32_t at;
} Run;

struct PareBleuStats {
    uint64_t matches[ORDERS], totals[ORDERS], hypothesis_length, reference_length;
    PareBuffer hypothesis, reference, scratch; /* of the current pair, kept for the next */
    size_t capacity;
    Word *words;    /* those of the hypothesis, then those of the reference */
    uint32_t *word; /* [words] the number of a word */
    uint32_t *run;  /* [words] the number of the run that begins at a word */
    Run *sorted;
};

PareBleuStats *pare_bleu_create(void) {
    return pare_alloc(1, sizeof(PareBleuStats));
}

void pare_bleu_destroy(PareBleuStats *s) {
    if (!s)
        return;
    pare_buffer_free(&s->hypothesis);
    pare_buffer_free(&s->reference);
    pare_buffer_free(&s->scratch);
    pare_free(s->words);
    pare_free(s->word);
    pare_free(s->run);
    pare_free(s->sorted);
    pare_free(s);
}

static size_t count_words(const PareBuffer *b) {
    const char *at = b->data;
    size_t size, count = 0;
    while (pare_bleu_word(&at, b->data + b->size, &size))
        count++;
    return count;
}

static void list_words(const PareBuffer *b, Word *out, size_t first) {
    const char *at = b->data, *text;
    size_t size;
    while ((text = pare_bleu_word(&at, b->data + b->size, &size))) {
        *out++ = (Word){text, size, first};
        first++;
    }
}

static bool reserve(PareBleuStats *s, size_t count) {
    if (count <= s->capacity)
        return true;
    size_t wanted = count + count / 2 + 64;
    pare_free(s->words);
    pare_free(s->word);
    pare_free(s->run);
    pare_free(s->sorted);
    s->words = pare_alloc(wanted, sizeof *s->words);
    s->word = pare_alloc(wanted, sizeof *s->word);
    s->run = pare_alloc(wanted, sizeof *s->run);
    s->sorted = pare_alloc(wanted, sizeof *s->sorted);
    s->capacity = s->words && s->word && s->run && s->sorted ? wanted : 0;
    return s->capacity != 0;
}

static int compare_words(const void *a, const void *b) {
    const Word *x = a, *y = b;
    int order = memcmp(x->text, y->text, x->size < y->size ? x->size : y->size);
    return order ? order : (x->size > y->size) - (x->size < y->size);
}

static int compare_runs(const void *a, const void *b) {
    const Run *x = a, *y = b;
    return (x->key > y->key) - (x->key < y->key);
}

static void number_words(PareBleuStats *s, size_t count) {
    uint32_t number = 0;
    qsort(s->words, count, sizeof *s->words, compare_words);
    for (size_t i = 0; i < count; i++) {
        number += i && compare_words(&s->words[i - 1], &s->words[i]) != 0;
        s->word[s->words[i].at] = number;
    }
}

/* The runs of `order` words that begin in [first, first + count). */
static size_t list_runs(PareBleuStats *s, size_t order, size_t first, size_t count, size_t listed) {
    for (size_t i = first; i + order <= first + count; i++) {
        uint64_t key = s->word[i + order - 1];
        if (order > 1)
            key |= (uint64_t)s->run[i] << 32;
        s->sorted[listed++] = (Run){key, (uint32_t)i};
    }
    return listed;
}

/* Adds the clipped matches of one order, and numbers its runs for the next. */
static void count_order(PareBleuStats *s, size_t order, size_t hypothesis, size_t reference) {
    size_t count = list_runs(s, order, 0, hypothesis, 0);
    s->totals[order - 1] += count;
    count = list_runs(s, order, hypothesis, reference, count);
    qsort(s->sorted, count, sizeof *s->sorted, compare_runs);
    uint32_t number = 0;
    for (size_t i = 0; i < count; number++) {
        size_t ours = 0, theirs = 0;
        uint64_t key = s->sorted[i].key;
        for (; i < count && s->sorted[i].key == key; i++) {
            s->run[s->sorted[i].at] = number;
            if (s->sorted[i].at < hypothesis)
                ours++;
            else
                theirs++;
        }
        s->matches[order - 1] += ours < theirs ? ours : theirs;
    }
}

PareStatus pare_bleu_add(PareBleuStats *s, const char *hypothesis, const char *reference,
                         PareError *err) {
    pare_bleu_tokenize(hypothesis, &s->hypothesis, &s->scratch);
    PareStatus status = pare_buffer_ok(&s->hypothesis, "the words of a hypothesis", err);
    if (!status)
        status = pare_buffer_ok(&s->scratch, "the words of a hypothesis", err);
    if (status)
        return status;
    pare_bleu_tokenize(reference, &s->reference, &s->scratch);
    if ((status = pare_buffer_ok(&s->reference, "the words of a reference", err)) ||
        (status = pare_buffer_ok(&s->scratch, "the words of a reference", err)))
        return status;
    size_t ours = count_words(&s->hypothesis), theirs = count_words(&s->reference);
    if (ours > UINT32_MAX / 2 || theirs > UINT32_MAX / 2)
        return pare_error_set(err, PARE_E_UNSUPPORTED, "BLEU: a text of %zu words is too long",
                              ours > theirs ? ours : theirs);
    if (!reserve(s, ours + theirs))
        return pare_memory_error(err, "BLEU's counts");
    list_words(&s->hypothesis, s->words, 0);
    list_words(&s->reference, s->words + ours, ours);
    number_words(s, ours + theirs);
    for (size_t order = 1; order <= ORDERS; order++)
        count_order(s, order, ours, theirs);
    s->hypothesis_length += ours;
    s->reference_length += theirs;
    return PARE_OK;
}

PareBleu pare_bleu_score(const PareBleuStats *s) {
    PareBleu b = {.hypothesis_length = s->hypothesis_length,
                  .reference_length = s->reference_length,
                  .brevity_penalty = 1};
    double ours = (double)s->hypothesis_length, theirs = (double)s->reference_length;
    if (ours < theirs)
        b.brevity_penalty = ours > 0 ? exp(1 - theirs / ours) : 0;
    uint64_t any = 0;
    for (size_t n = 0; n < ORDERS; n++)
        any |= s->matches[n];
    if (!any)
        return b;
    double smooth = 1, logs = 0;
    for (size_t n = 0; n < ORDERS; n++) {
        if (s->totals[n] == 0) /* no text has this many words: the score is 0, as the reference's */
            return b;
        double matches = (double)s->matches[n];
        if (s->matches[n] == 0) {
            smooth *= 2;
            matches = 1 / smooth;
        }
        b.precisions[n] = 100 * matches / (double)s->totals[n];
        logs += log(b.precisions[n]);
    }
    b.score = b.brevity_penalty * exp(logs / ORDERS);
    return b;
}
