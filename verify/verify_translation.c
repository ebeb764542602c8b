/* Translation and other text to text: BLEU of what the models write, and their logits when they are
 * made to write what is wanted (teacher forcing), where one early difference does not change all
 * that follows. */
#include <string.h>

#include "verify/verify_parts.h"

static PareStatus add_nll(void *context, size_t sequence, size_t row, const float *reference,
                          const float *candidate, const PareDriftRow *drift, PareError *err) {
    PareVerify *v = context;
    PareVerifyReport *r = v->report;
    size_t target = (size_t)v->rows[sequence].targets.data[row];
    char where[512];
    if (target >= v->columns)
        return pare_error_set(
            err, PARE_E_FORMAT, "%s: the target has token id %zu; the models' vocabulary is %zu",
            pare_verify_where(v, v->rows[sequence].line, where, sizeof where), target, v->columns);
    r->reference.nll += drift->reference_log_sum - (double)reference[target];
    r->candidate.nll += drift->candidate_log_sum - (double)candidate[target];
    r->predicted++;
    return PARE_OK;
}

static PareGeneration settings(const PareVerify *v, int model) {
    PareGeneration g = *pare_model_generation(v->models[model]);
    if (v->options->num_beams)
        g.num_beams = v->options->num_beams;
    if (v->options->max_length) {
        g.max_length = v->options->max_length;
        g.max_new_tokens = 0; /* which would win */
    }
    return g;
}

/* Writes the texts of one model to the rows, and counts their n-grams. */
static PareStatus translate(PareVerify *v, int model, size_t count, PareGenerated *generated,
                            PareBleuStats *bleu, PareError *err) {
    PareGeneration g = settings(v, model);
    PareStatus status =
        pare_session_generate(v->sessions[model], v->sequences, count, &g, generated, err);
    for (size_t i = 0; i < count && !status; i++) {
        PareBuffer *text = &v->rows[i].outputs[model];
        size_t start = generated[i].count > 0; /* the decoder's start is no text */
        pare_buffer_clear(text);
        status = pare_tokenizer_decode(v->tokenizer, PARE_SIDE_TARGET, generated[i].ids + start,
                                       generated[i].count - start, true, text, err);
        if (!status)
            status = pare_buffer_ok(text, "a translation", err);
        if (!status)
            status = pare_bleu_add(bleu, text->data ? text->data : "", v->rows[i].target.data, err);
    }
    return status;
}

static PareStatus run_batch(PareVerify *v, size_t count, PareGenerated *generated,
                            PareBleuStats *const *bleu, PareError *err) {
    PareStatus status = pare_verify_compare(v, v->sequences, count, add_nll, v, err);
    for (int m = 0; m < PARE_VERIFY_MODELS && !status; m++)
        status = translate(v, m, count, generated, bleu[m], err);
    for (size_t i = 0; i < count && !status; i++) {
        const PareBuffer *a = &v->rows[i].outputs[PARE_VERIFY_REFERENCE];
        const PareBuffer *b = &v->rows[i].outputs[PARE_VERIFY_CANDIDATE];
        v->report->same_outputs +=
            a->size == b->size && (a->size == 0 || memcmp(a->data, b->data, a->size) == 0);
    }
    return status;
}

static void score(PareVerifyScores *s, const PareBleuStats *bleu, uint64_t predicted) {
    s->bleu = pare_bleu_score(bleu);
    s->value[PARE_METRIC_BLEU] = s->bleu.score;
    s->value[PARE_METRIC_PERPLEXITY] = pare_statistics_perplexity(s->nll, predicted);
}

PareStatus pare_verify_translation(PareVerify *v, PareError *err) {
    PareVerifyReport *r = v->report;
    PareBleuStats *bleu[PARE_VERIFY_MODELS] = {pare_bleu_create(), pare_bleu_create()};
    PareGenerated *generated = pare_alloc(v->batch, sizeof *generated);
    size_t count;
    PareStatus status =
        bleu[0] && bleu[1] && generated ? PARE_OK : pare_memory_error(err, "translations");
    while (!status && !(status = pare_verify_read_batch(v, &count, err)) && count) {
        status = run_batch(v, count, generated, bleu, err);
        pare_progress_update(v->options->progress, r->rows, NULL);
    }
    if (!status) {
        score(&r->reference, bleu[PARE_VERIFY_REFERENCE], r->predicted);
        score(&r->candidate, bleu[PARE_VERIFY_CANDIDATE], r->predicted);
    }
    pare_bleu_destroy(bleu[0]);
    pare_bleu_destroy(bleu[1]);
    pare_free(generated);
    return status;
}
