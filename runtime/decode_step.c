/* Stepping the decoder: caches of keys and values addressed by slots.
 *
 * Every decoded position of every hypothesis owns a slot of the cache for good; a hypothesis is a
 * list of slots. Beams that share a past share its slots, so reordering copies lists of integers.
 */
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "runtime/decode_impl.h"

static PareStatus out_of_memory(PareDecoder *d) {
    return d->run.status = pare_memory_error(d->run.err, "decoding");
}

PareStatus pare_decoder_new_hypothesis(PareDecoder *d, PareHypothesis *h) {
    h->ids = pare_arena_alloc(d->run.arena, d->limit, sizeof *h->ids);
    h->slots = pare_arena_alloc(d->run.arena, d->limit, sizeof *h->slots);
    return h->ids && h->slots ? PARE_OK : out_of_memory(d);
}

void pare_decoder_copy(PareHypothesis *to, const PareHypothesis *from) {
    memcpy(to->ids, from->ids, from->length * sizeof *to->ids);
    memcpy(to->slots, from->slots, from->length * sizeof *to->slots);
    to->length = from->length;
    to->sentence = from->sentence;
}

/* Memory for `slots` positions; pages that no position uses are never touched. */
static PareStatus allocate_cache(PareDecoder *d, size_t slots) {
    const PareStack *stack = &d->s->transformer.d->stacks[PARE_DECODER];
    d->slots_total = slots;
    d->cache.k = pare_arena_alloc(d->run.arena, stack->layer_count, sizeof *d->cache.k);
    d->cache.v = pare_arena_alloc(d->run.arena, stack->layer_count, sizeof *d->cache.v);
    if (!d->cache.k || !d->cache.v)
        return out_of_memory(d);
    for (uint32_t l = 0; l < stack->layer_count; l++) {
        const PareAttentionShape *a = &stack->layers[l].self;
        if (a->heads == 0) /* the sublayer was removed */
            continue;
        size_t row = (size_t)a->kv_heads * a->head_size * sizeof(float);
        d->cache.k[l] = pare_alloc(slots, row);
        d->cache.v[l] = pare_alloc(slots, row);
        if (!d->cache.k[l] || !d->cache.v[l])
            return out_of_memory(d);
    }
    return PARE_OK;
}

void pare_decoder_end(PareDecoder *d) {
    const PareStack *stack = &d->s->transformer.d->stacks[PARE_DECODER];
    for (uint32_t l = 0; d->cache.k && d->cache.v && l < stack->layer_count; l++) {
        pare_free(d->cache.k[l]);
        pare_free(d->cache.v[l]);
    }
}

/* Rows whose slots follow each other from slots_used on; `last` rows go to the head. */
static PareStatus decode_rows(PareDecoder *d, const PareTokens *tokens, const PareRows *rows,
                              size_t count) {
    PareRun *r = &d->run;
    ParePass pass = {.tokens = *tokens,
                     .sequences = rows,
                     .sequence_count = count,
                     .cache = &d->cache,
                     .cache_base = d->slots_used,
                     .memory = d->encoded ? &d->memory : NULL};
    PareValue *x = pare_transformer_stack(r, &d->s->transformer, PARE_DECODER, &pass);
    uint32_t *last = pare_arena_alloc_raw(r->arena, count, sizeof *last);
    if (!last)
        return out_of_memory(d);
    for (size_t i = 0; i < count; i++)
        last[i] = (uint32_t)(rows[i].begin + rows[i].count - 1);
    PareValue *logits =
        pare_transformer_head(r, &d->s->transformer, pare_op_gather(r, x, last, count));
    d->slots_used += tokens->count;
    d->logits = logits ? logits->data : NULL;
    return r->status;
}

static void attend_to(const PareDecoder *d, PareRows *row, size_t sentence) {
    if (!d->encoded)
        return;
    row->memory_begin = d->encoded[sentence].begin;
    row->memory_count = d->encoded[sentence].count;
}

/* Relative biases follow the longest text: a limit that is never reached costs nothing. */
static PareStatus reach_rows(PareDecoder *d, PareHypothesis **hypotheses, size_t count) {
    size_t longest = 0;
    for (size_t i = 0; i < count; i++)
        longest = hypotheses[i]->length > longest ? hypotheses[i]->length : longest;
    return d->run.status = pare_session_reach(d->s, longest, d->run.err);
}

PareStatus pare_decoder_step(PareDecoder *d, PareHypothesis **hypotheses, size_t count) {
    PareArena *arena = d->run.arena;
    if (reach_rows(d, hypotheses, count))
        return d->run.status;
    PareRows *rows = pare_arena_alloc(arena, count, sizeof *rows);
    int32_t *ids = pare_arena_alloc_raw(arena, count, sizeof *ids);
    uint32_t *positions = pare_arena_alloc_raw(arena, count, sizeof *positions);
    if (!rows || !ids || !positions)
        return out_of_memory(d);
    for (size_t i = 0; i < count; i++) {
        PareHypothesis *h = hypotheses[i];
        size_t last = h->length - 1;
        h->slots[last] = (int32_t)(d->slots_used + i);
        ids[i] = h->ids[last];
        positions[i] = (uint32_t)last;
        rows[i] = (PareRows){.begin = i, .count = 1, .first_position = last, .slots = h->slots};
        attend_to(d, &rows[i], h->sentence);
    }
    PareTokens tokens = {.ids = ids, .positions = positions, .count = count};
    PareStatus st = decode_rows(d, &tokens, rows, count);
    return st ? st : pare_interrupt_check(d->run.err);
}

/* -- starting -- */

static PareStatus find_limits(PareDecoder *d, const PareSequence *sequences) {
    for (size_t i = 0; i < d->sentences; i++) {
        d->prompt[i] = d->encoded ? 1 : sequences[i].count;
        if (pare_decoder_limit(d->s->transformer.d, d->g, d->prompt[i], &d->limits[i], d->run.err))
            return d->run.status = pare_error_prefix(d->run.err, "input %zu", i + 1);
        d->limit = d->limits[i] > d->limit ? d->limits[i] : d->limit;
    }
    return PARE_OK;
}

static PareStatus encode(PareDecoder *d, const PareSequence *sequences) {
    if (!d->s->transformer.d->stacks[PARE_ENCODER].present)
        return PARE_OK;
    PareForwardInput in = {.sequences = sequences, .count = d->sentences};
    PareValue *x = pare_forward_encode(&d->run, &d->s->transformer, &in, &d->encoded);
    return x ? pare_transformer_memory(&d->run, &d->s->transformer, x, &d->memory) : d->run.status;
}

/* The prompts as hypotheses with their slots, and the packed pass over them. */
static PareStatus prefill(PareDecoder *d, const PareSequence *sequences, PareHypothesis *h) {
    size_t total = 0, at = 0;
    int32_t start = 0;
    if (d->encoded)
        d->run.status = pare_decoder_start_token(d->s->transformer.d, d->g, &start, d->run.err);
    if (d->run.status)
        return d->run.status;
    for (size_t i = 0; i < d->sentences; i++)
        total += d->prompt[i];
    PareRows *rows = pare_arena_alloc(d->run.arena, d->sentences, sizeof *rows);
    int32_t *ids = pare_arena_alloc_raw(d->run.arena, total, sizeof *ids);
    uint32_t *positions = pare_arena_alloc_raw(d->run.arena, total, sizeof *positions);
    if (!rows || !ids || !positions)
        return out_of_memory(d);
    for (size_t i = 0; i < d->sentences; i++) {
        if (pare_decoder_new_hypothesis(d, &h[i]))
            return d->run.status;
        h[i].sentence = i;
        h[i].length = d->prompt[i];
        rows[i] = (PareRows){.begin = at, .count = d->prompt[i], .slots = h[i].slots};
        attend_to(d, &rows[i], i);
        for (size_t k = 0; k < d->prompt[i]; k++, at++) {
            ids[at] = h[i].ids[k] = d->encoded ? start : sequences[i].ids[k];
            h[i].slots[k] = (int32_t)at;
            positions[at] = (uint32_t)k;
        }
    }
    PareTokens tokens = {.ids = ids, .positions = positions, .count = total};
    return decode_rows(d, &tokens, rows, d->sentences);
}

PareStatus pare_decoder_start(PareDecoder *d, PareSession *s, const PareSequence *sequences,
                              size_t count, const PareGeneration *g, size_t beams,
                              PareHypothesis *hypotheses, PareError *err) {
    PareArena *arena = s->arena;
    *d = (PareDecoder){
        .s = s,
        .run = {.kernels = pare_kernels(), .pool = s->pool, .arena = arena, .err = err},
        .g = g,
        .sentences = count,
        .vocabulary = s->transformer.d->stacks[PARE_DECODER].vocabulary};
    d->prompt = pare_arena_alloc(arena, count, sizeof *d->prompt);
    d->limits = pare_arena_alloc(arena, count, sizeof *d->limits);
    if (!d->prompt || !d->limits)
        return out_of_memory(d);
    size_t longest = 0, slots = 0;
    for (size_t i = 0; i < count; i++)
        longest = sequences[i].count > longest ? sequences[i].count : longest;
    PareStatus st = pare_session_reach(s, longest, err);
    if (!st)
        st = encode(d, sequences);
    if (!st)
        st = find_limits(d, sequences);
    for (size_t i = 0; i < count; i++)
        slots += d->prompt[i] + (d->limits[i] - d->prompt[i]) * beams;
    if (!st)
        st = pare_decoder_check_slots(slots, err);
    if (!st)
        st = allocate_cache(d, slots);
    return st ? st : prefill(d, sequences, hypotheses);
}

PareStatus pare_decoder_store(PareDecoder *d, const int32_t *ids, size_t count, float score,
                              PareGenerated *out) {
    int32_t *copy = pare_arena_alloc_raw(d->s->result_arena, count, sizeof *copy);
    if (!copy)
        return out_of_memory(d);
    memcpy(copy, ids, count * sizeof *copy);
    *out = (PareGenerated){copy, count, (double)score};
    return PARE_OK;
}

PareStatus pare_session_generate(PareSession *s, const PareSequence *sequences, size_t count,
                                 const PareGeneration *g, PareGenerated *out, PareError *err) {
    PareStatus st = pare_decoder_check_settings(s->transformer.d, g, err);
    for (size_t i = 0; i < count && !st; i++) {
        char what[64];
        snprintf(what, sizeof what, "input %zu", i + 1);
        st = pare_session_check(s, &sequences[i], what, err);
    }
    if (st || count == 0)
        return st;
    PareDecoder d;
    pare_session_begin(s, err);
    pare_arena_release(s->result_arena, (PareArenaMark){0});
    PareHypothesis *prompts = pare_arena_alloc(s->arena, count, sizeof *prompts);
    if (!prompts)
        return pare_memory_error(err, "decoding");
    st = pare_decoder_start(&d, s, sequences, count, g, g->num_beams, prompts, err);
    if (!st)
        st = g->num_beams == 1 ? pare_decoder_greedy(&d, prompts, out)
                               : pare_decoder_beam(&d, prompts, out);
    pare_decoder_end(&d);
    return st;
}
