/* Packing sequences, and running the stacks over them. */
#include "runtime/forward.h"

PareStatus pare_forward_pack(PareRun *r, const PareSequence *sequences, size_t count, bool decoder,
                             PareTokens *tokens, PareRows **rows) {
    size_t total = 0, at = 0;
    bool any_types = false;
    for (size_t i = 0; i < count; i++) {
        total += decoder ? sequences[i].decoder_count : sequences[i].count;
        any_types = any_types || (!decoder && sequences[i].types);
    }
    int32_t *ids = pare_arena_alloc_raw(r->arena, total, sizeof *ids);
    int32_t *types = any_types ? pare_arena_alloc(r->arena, total, sizeof *types) : NULL;
    uint32_t *positions = pare_arena_alloc_raw(r->arena, total, sizeof *positions);
    *rows = pare_arena_alloc(r->arena, count, sizeof **rows);
    if (!ids || (any_types && !types) || !positions || !*rows || total > UINT32_MAX)
        return r->status = pare_memory_error(r->err, "packed tokens");
    for (size_t i = 0; i < count; i++) {
        const PareSequence *q = &sequences[i];
        size_t n = decoder ? q->decoder_count : q->count;
        (*rows)[i] = (PareRows){.begin = at, .count = n};
        for (size_t k = 0; k < n; k++, at++) {
            ids[at] = decoder ? q->decoder_ids[k] : q->ids[k];
            positions[at] = (uint32_t)k;
            if (types)
                types[at] = q->types ? q->types[k] : 0;
        }
    }
    *tokens = (PareTokens){ids, types, positions, total};
    return PARE_OK;
}

size_t pare_forward_longest(const PareSequence *sequences, size_t count) {
    size_t n = 1;
    for (size_t i = 0; i < count; i++) {
        n = sequences[i].count > n ? sequences[i].count : n;
        n = sequences[i].decoder_count > n ? sequences[i].decoder_count : n;
    }
    return n;
}

/* A pass lives as long as the arena: a backward pass may need it. */
static ParePass *new_pass(PareRun *r, const PareForwardInput *in, PareStackIndex s, bool decoder,
                          PareRows **rows) {
    ParePass *pass = pare_arena_alloc(r->arena, 1, sizeof *pass);
    if (!pass) {
        r->status = pare_memory_error(r->err, "a pass");
        return NULL;
    }
    pass->sequence_count = in->count;
    pass->taps = in->taps[s];
    pass->recompute = in->recompute;
    pass->probes = in->probes;
    pass->probes_context = in->probes_context;
    if (pare_forward_pack(r, in->sequences, in->count, decoder, &pass->tokens, rows))
        return NULL;
    pass->sequences = *rows;
    return pass;
}

PareValue *pare_forward_encode(PareRun *r, const PareTransformer *t, const PareForwardInput *in,
                               PareRows **rows) {
    PareTape *tape = r->tape;
    const ParePass *pass = new_pass(r, in, PARE_ENCODER, false, rows);
    if (in->frozen_encoder)
        r->tape = NULL;
    PareValue *encoded = pass ? pare_transformer_stack(r, t, PARE_ENCODER, pass) : NULL;
    r->tape = tape;
    return encoded;
}

static PareStatus run_decoder(PareRun *r, const PareTransformer *t, const PareForwardInput *in,
                              PareForward *out) {
    PareKeyValues *memory = NULL;
    ParePass *pass = new_pass(r, in, PARE_DECODER, out->encoded != NULL, &out->rows);
    if (!pass)
        return r->status;
    if (out->encoded) {
        memory = pare_arena_alloc(r->arena, 1, sizeof *memory);
        if (!memory)
            return r->status = pare_memory_error(r->err, "cross-attention");
        if (pare_transformer_memory(r, t, out->encoded, memory))
            return r->status;
    }
    for (size_t i = 0; memory && i < in->count; i++) {
        out->rows[i].memory_begin = out->encoded_rows[i].begin;
        out->rows[i].memory_count = out->encoded_rows[i].count;
    }
    pass->memory = memory;
    out->top = pare_transformer_stack(r, t, PARE_DECODER, pass);
    return r->status;
}

PareStatus pare_forward(PareRun *r, const PareTransformer *t, const PareForwardInput *in,
                        PareForward *out) {
    const PareStack *stacks = t->d->stacks;
    *out = (PareForward){0};
    if (stacks[PARE_ENCODER].present) {
        out->top = out->encoded = pare_forward_encode(r, t, in, &out->encoded_rows);
        out->rows = out->encoded_rows;
    }
    if (stacks[PARE_DECODER].present && !in->encoder_only && !r->status)
        run_decoder(r, t, in, out);
    return r->status;
}
