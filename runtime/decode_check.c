/* What the settings of generation ask of a model: decoding refuses them, and so can those who would
 * rather know before hours of other work. */
#include "core/file.h"
#include "runtime/decode_impl.h"

/* Ids that a setting would write or forbid must exist. End tokens that do not exist never come,
 * which is what they mean. */
static PareStatus check_vocabulary(const PareGeneration *g, size_t vocabulary, PareError *err) {
    const struct {
        const char *name;
        int32_t id;
    } forced[] = {{"forced_bos_token_id", g->forced_bos}, {"forced_eos_token_id", g->forced_eos}};
    const char *name = NULL;
    int32_t id = -1;
    for (size_t i = 0; i < 2; i++)
        if (forced[i].id >= 0 && (size_t)forced[i].id >= vocabulary) {
            name = forced[i].name;
            id = forced[i].id;
        }
    for (uint32_t w = 0; w < g->bad_word_count; w++)
        for (uint32_t i = 0; i < g->bad_words[w].count; i++)
            if (g->bad_words[w].ids[i] < 0 || (size_t)g->bad_words[w].ids[i] >= vocabulary) {
                name = "bad_words_ids";
                id = g->bad_words[w].ids[i];
            }
    if (!name)
        return PARE_OK;
    return pare_error_set(err, PARE_E_FORMAT,
                          "generation settings: %s holds the id %d; the decoder's vocabulary has "
                          "%zu",
                          name, id, vocabulary);
}

PareStatus pare_decoder_check_settings(const PareDescription *d, const PareGeneration *g,
                                       PareError *err) {
    PareStatus st = pare_generation_check(g, "generation settings", err);
    if (!st && d->head.kind != PARE_HEAD_LM)
        st = pare_error_set(err, PARE_E_UNSUPPORTED,
                            "the model has no language-model head, so it cannot generate");
    if (!st && !d->stacks[PARE_DECODER].present)
        st = pare_error_set(err, PARE_E_UNSUPPORTED, "the model has no decoder to generate with");
    return st ? st : check_vocabulary(g, d->stacks[PARE_DECODER].vocabulary, err);
}

PareStatus pare_decoder_start_token(const PareDescription *d, const PareGeneration *g, int32_t *out,
                                    PareError *err) {
    *out = g->decoder_start >= 0 ? g->decoder_start : g->bos;
    if (*out >= 0 && (uint32_t)*out < d->stacks[PARE_DECODER].vocabulary)
        return PARE_OK;
    return pare_error_set(
        err, PARE_E_FORMAT,
        "decoder_start_token_id is %s; an encoder-decoder needs one within its vocabulary",
        *out < 0 ? "not set" : "too large");
}

PareStatus pare_decoder_limit(const PareDescription *d, const PareGeneration *g, size_t prompt,
                              size_t *out, PareError *err) {
    const PareStack *stack = &d->stacks[PARE_DECODER];
    size_t positions = stack->position == PARE_POSITION_TABLE ? stack->positions : 0;
    *out = pare_generation_limit(g, prompt, positions);
    if (*out <= prompt)
        return pare_error_set(
            err, PARE_E_FORMAT,
            "the prompt has %zu tokens, so max_length %zu leaves none to generate", prompt, *out);
    if (positions && *out > positions + 1)
        return pare_error_set(err, PARE_E_FORMAT,
                              "max_length %zu is more than the decoder's %zu positions", *out,
                              positions);
    return PARE_OK;
}

PareStatus pare_decoder_check_slots(size_t slots, PareError *err) {
    if (slots <= INT32_MAX)
        return PARE_OK;
    return pare_error_set(err, PARE_E_UNSUPPORTED,
                          "%zu positions to decode at once; expected at most %d: a smaller batch, "
                          "a shorter max_length or fewer beams",
                          slots, INT32_MAX);
}

PareStatus pare_session_check_generation(const PareDescription *d, const PareGeneration *g,
                                         size_t count, PareError *err) {
    size_t limit = 0;
    int32_t start;
    PareStatus st = pare_decoder_check_settings(d, g, err);
    if (st || !d->stacks[PARE_ENCODER].present)
        return st;
    st = pare_decoder_start_token(d, g, &start, err);
    if (!st)
        st = pare_decoder_limit(d, g, 1, &limit, err);
    return st ? st : pare_decoder_check_slots(count * (1 + (limit - 1) * g->num_beams), err);
}
