/* Beam search with the meaning of transformers 5 (its _beam_search), sentence by sentence.
 *
 * Each step keeps (1 + end tokens, at least 2) x num_beams candidates; those that end among the
 * best num_beams become finished texts with score sum / n^length_penalty; the best others run on.
 */
#include <math.h>
#include <string.h>

#include "runtime/decode_impl.h"

typedef struct {
    float score;
    uint32_t row; /* which running hypothesis it continues */
    int32_t id;
} Candidate;

typedef struct {
    int32_t *ids;
    size_t length;
    float score;
} Finished;

typedef struct {
    PareHypothesis *running, *next; /* [num_beams] each: swapped every step */
    float *scores;                  /* [num_beams] sums of log-probabilities */
    size_t rows;                    /* how many of `running` are alive: 1 after the prompt */
    Finished *finished;             /* [num_beams], best first */
    size_t finished_count;
    Candidate *candidates; /* [keep] best first */
    size_t candidate_count;
    Candidate *row_best; /* [num_beams * keep] */
    size_t sentence;
    size_t first_row; /* its logits in this step */
    bool done, broken;
} Beam;

typedef struct {
    PareDecoder *d;
    Beam *beams;
    Beam **active;
    size_t active_count, keep;
} Search;

static bool better(const Candidate *a, const Candidate *b) {
    if (a->score != b->score)
        return a->score > b->score;
    return a->row != b->row ? a->row < b->row : a->id < b->id;
}

/* Inserts into a list of at most `keep`, best first; returns the new count. */
static size_t insert(Candidate *list, size_t count, size_t keep, Candidate c) {
    if (count == keep && !better(&c, &list[count - 1]))
        return count;
    size_t at = count < keep ? count : keep - 1;
    for (; at > 0 && better(&c, &list[at - 1]); at--)
        list[at] = list[at - 1];
    list[at] = c;
    return count < keep ? count + 1 : count;
}

/* The best continuations of one running hypothesis. */
static size_t scan_row(const Search *s, Beam *b, size_t row, float *scores) {
    const PareDecoder *d = s->d;
    Candidate *list = b->row_best + row * s->keep;
    size_t count = 0;
    if (!pare_decoder_log_softmax(scores, d->vocabulary)) {
        b->broken = true;
        return 0;
    }
    const PareHypothesis *h = &b->running[row];
    pare_decoder_process(d->g, h, d->limits[h->sentence], scores, d->vocabulary);
    float floor = -INFINITY;
    for (size_t i = 0; i < d->vocabulary; i++) {
        if (!(scores[i] > floor) && count == s->keep)
            continue;
        Candidate c = {scores[i] + b->scores[row], (uint32_t)row, (int32_t)i};
        count = insert(list, count, s->keep, c);
        if (count == s->keep)
            floor = scores[list[count - 1].id]; /* of equals the earlier id wins: it is there */
    }
    return count;
}

static void collect(const Search *s, Beam *b) {
    b->candidate_count = 0;
    for (size_t row = 0; row < b->rows && !b->broken; row++) {
        float *scores = s->d->logits + (b->first_row + row) * s->d->vocabulary;
        size_t count = scan_row(s, b, row, scores);
        for (size_t i = 0; i < count; i++)
            b->candidate_count =
                insert(b->candidates, b->candidate_count, s->keep, b->row_best[row * s->keep + i]);
    }
}

static bool ends(const PareDecoder *d, const Beam *b, const Candidate *c) {
    const PareHypothesis *h = &b->running[c->row];
    return pare_decoder_is_eos(d->g, c->id) || h->length + 1 == d->limits[h->sentence];
}

static void add_finished(const Search *s, Beam *b, const Candidate *c, float score) {
    size_t capacity = s->d->g->num_beams, at = b->finished_count;
    if (at == capacity && !(score > b->finished[at - 1].score))
        return;
    at = at < capacity ? at : capacity - 1;
    Finished reuse = b->finished[at];
    for (; at > 0 && score > b->finished[at - 1].score; at--)
        b->finished[at] = b->finished[at - 1];
    const PareHypothesis *h = &b->running[c->row];
    memcpy(reuse.ids, h->ids, h->length * sizeof *reuse.ids);
    reuse.ids[h->length] = c->id;
    reuse.length = h->length + 1;
    reuse.score = score;
    b->finished[at] = reuse;
    b->finished_count += b->finished_count < capacity;
}

/* Ended candidates among the best num_beams; nothing more once early stopping has all it wants. */
static void update_finished(const Search *s, Beam *b) {
    const PareGeneration *g = s->d->g;
    const PareHypothesis *h = &b->running[0];
    bool full = b->finished_count == g->num_beams && g->early_stopping == PARE_STOP_EARLY_TRUE;
    double n = (double)(h->length + 1 - s->d->prompt[h->sentence]);
    float divisor = (float)pow(n, (double)g->length_penalty);
    for (size_t i = 0; i < b->candidate_count && i < g->num_beams && !full; i++) {
        const Candidate *c = &b->candidates[i];
        if (ends(s->d, b, c) && isfinite(c->score))
            add_finished(s, b, c, c->score / divisor);
    }
}

static void update_running(const Search *s, Beam *b) {
    size_t count = 0;
    float scores[1024];
    for (size_t i = 0; i < b->candidate_count && count < s->d->g->num_beams; i++) {
        const Candidate *c = &b->candidates[i];
        if (ends(s->d, b, c))
            continue;
        PareHypothesis *h = &b->next[count];
        pare_decoder_copy(h, &b->running[c->row]);
        h->ids[h->length++] = c->id;
        scores[count++] = c->score;
    }
    memcpy(b->scores, scores, count * sizeof *scores);
    PareHypothesis *old = b->running;
    b->running = b->next;
    b->next = old;
    b->rows = count;
}

/* Can the best running text still beat the worst finished one? */
static bool can_improve(const Search *s, const Beam *b) {
    const PareGeneration *g = s->d->g;
    if (b->finished_count < g->num_beams)
        return true;
    const PareHypothesis *h = &b->running[0];
    size_t length = h->length;
    if (g->early_stopping == PARE_STOP_EARLY_NEVER && g->length_penalty > 0)
        length = s->d->limits[h->sentence];
    double n = (double)(length - s->d->prompt[h->sentence]);
    float best = b->scores[0] / (float)pow(n, (double)g->length_penalty);
    return best > b->finished[b->finished_count - 1].score;
}

/* One sentence's step: sentences do not see each other, so they run in parallel. */
static void advance(void *context, size_t begin, size_t end, size_t thread) {
    const Search *s = context;
    const PareGeneration *g = s->d->g;
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        Beam *b = s->active[i];
        collect(s, b);
        if (b->broken || b->candidate_count == 0) {
            b->broken = b->done = true;
            continue;
        }
        update_finished(s, b);
        update_running(s, b);
        bool full = b->finished_count == g->num_beams && g->early_stopping == PARE_STOP_EARLY_TRUE;
        b->done = b->rows == 0 || full || !can_improve(s, b);
    }
}

static PareStatus new_beam(Search *s, Beam *b, const PareHypothesis *prompt) {
    PareArena *arena = s->d->run.arena;
    size_t beams = s->d->g->num_beams;
    b->running = pare_arena_alloc(arena, beams, sizeof *b->running);
    b->next = pare_arena_alloc(arena, beams, sizeof *b->next);
    b->scores = pare_arena_alloc(arena, beams, sizeof *b->scores);
    b->finished = pare_arena_alloc(arena, beams, sizeof *b->finished);
    b->candidates = pare_arena_alloc(arena, s->keep, sizeof *b->candidates);
    b->row_best = pare_arena_alloc(arena, beams * s->keep, sizeof *b->row_best);
    if (!b->running || !b->next || !b->scores || !b->finished || !b->candidates || !b->row_best)
        return pare_memory_error(s->d->run.err, "beam search");
    for (size_t i = 0; i < beams; i++) {
        b->finished[i].ids = pare_arena_alloc(arena, s->d->limit, sizeof(int32_t));
        if (!b->finished[i].ids || pare_decoder_new_hypothesis(s->d, &b->running[i]) ||
            pare_decoder_new_hypothesis(s->d, &b->next[i]))
            return pare_memory_error(s->d->run.err, "beam search");
    }
    pare_decoder_copy(&b->running[0], prompt);
    b->sentence = prompt->sentence;
    b->rows = 1;
    return PARE_OK;
}

static PareStatus finish(Search *s, Beam *b, PareGenerated *out) {
    if (b->broken || b->finished_count == 0)
        return pare_error_set(s->d->run.err, PARE_E_FORMAT,
                              "input %zu: the model's scores are not finite", b->sentence + 1);
    const Finished *best = &b->finished[0];
    return pare_decoder_store(s->d, best->ids, best->length, best->score, &out[b->sentence]);
}

/* Drops finished sentences, lays the rows of the others side by side and feeds them. */
static PareStatus next_step(Search *s, PareGenerated *out, PareHypothesis **rows) {
    size_t left = 0, count = 0;
    for (size_t i = 0; i < s->active_count; i++) {
        Beam *b = s->active[i];
        if (b->done) {
            PareStatus st = finish(s, b, out);
            if (st)
                return st;
            continue;
        }
        b->first_row = count;
        for (size_t k = 0; k < b->rows; k++)
            rows[count++] = &b->running[k];
        s->active[left++] = b;
    }
    s->active_count = left;
    return count ? pare_decoder_step(s->d, rows, count) : PARE_OK;
}

PareStatus pare_decoder_beam(PareDecoder *d, PareHypothesis *prompts, PareGenerated *out) {
    PareArena *arena = d->run.arena;
    size_t beams = d->g->num_beams, per_beam = d->g->eos.count < 1 ? 2 : 1 + d->g->eos.count;
    Search s = {.d = d, .keep = per_beam * beams, .active_count = d->sentences};
    s.beams = pare_arena_alloc(arena, d->sentences, sizeof *s.beams);
    s.active = pare_arena_alloc(arena, d->sentences, sizeof(Beam *));
    PareHypothesis **rows = pare_arena_alloc(arena, d->sentences * beams, sizeof(PareHypothesis *));
    if (!s.beams || !s.active || !rows)
        return pare_memory_error(d->run.err, "beam search");
    PareStatus st = PARE_OK;
    for (size_t i = 0; i < d->sentences && !st; i++) {
        st = new_beam(&s, &s.beams[i], &prompts[i]);
        s.beams[i].first_row = i;
        s.active[i] = &s.beams[i];
    }
    PareArenaMark mark = pare_arena_mark(arena);
    while (!st && s.active_count) {
        pare_pool_for(d->run.pool, s.active_count, 1, advance, &s);
        pare_arena_release(arena, mark);
        st = next_step(&s, out, rows);
    }
    return st;
}
