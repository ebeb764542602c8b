/* Translation and other text to text: BLEU of what the models write, and their logits when they are
 * made to write what is wanted (teacher forcing), where one early difference does not change all
 * that follows. */
#include <string.h>

#include "verify/verify_parts.h"

static PareStatus add_lone(void *context, int model, PareVerifyPlace place,
                           const PareVerifyLogits *logits, PareError *err) {
    PareVerify *v = context;
    const PareVerifyRow *row = &v->rows[place.sequence];
    char where[512];
    return pare_verify_add_target(v, model, logits,
                                  row->inputs[pare_verify_reader(v, model)].targets.data[place.row],
                                  pare_verify_where(v, row->line, where, sizeof where), err);
}

static PareStatus add_pair(void *context, PareVerifyPlace place, const PareVerifyLogits *models,
                           const PareDriftRow *drift, PareError *err) {
    PareVerify *v = context;
    const PareVerifyRow *row = &v->rows[place.sequence];
    PareStatus status = PARE_OK;
    for (int m = 0; m < PARE_VERIFY_MODELS && !status; m++) {
        int32_t target = row->inputs[pare_verify_reader(v, m)].targets.data[place.row];
        status = add_lone(v, m, place, &models[m], err);
        if (!status)
            pare_verify_scores(v, m)->shared_nll +=
                (m ? drift->candidate_log_sum : drift->reference_log_sum) -
                (double)models[m].logits[target];
    }
    return status;
}

/* Rows whose target both models cut alike are compared place by place; of the others each model is
 * asked for its own tokens. */
static PareStatus force_targets(PareVerify *v, size_t count, PareError *err) {
    PareStatus status = PARE_OK;
    for (size_t first = 0, end; first < count && !status; first = end) {
        bool apart = v->rows[first].apart;
        for (end = first + 1; end < count && v->rows[end].apart == apart;)
            end++;
        if (!apart)
            status = pare_verify_compare(v, first, end - first, add_pair, v, err);
        for (int m = 0; m < PARE_VERIFY_MODELS && apart && !status; m++)
            status = pare_verify_run_alone(v, m, first, end - first, add_lone, v, err);
    }
    return status;
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
    int reader = pare_verify_reader(v, model);
    PareStatus status =
        pare_session_generate(v->sessions[model], v->sequences[reader], count, &g, generated, err);
    for (size_t i = 0; i < count && !status; i++) {
        PareBuffer *text = &v->rows[i].outputs[model];
        size_t start = generated[i].count > 0; /* the decoder's start is no text */
        pare_buffer_clear(text);
        status =
            pare_tokenizer_decode(v->tokenizers[reader], PARE_SIDE_TARGET, generated[i].ids + start,
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
    PareStatus status = force_targets(v, count, err);
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

static void score(PareVerify *v, PareBleuStats *const *bleu) {
    for (int m = 0; m < PARE_VERIFY_MODELS; m++) {
        PareVerifyScores *s = pare_verify_scores(v, m);
        s->bleu = pare_bleu_score(bleu[m]);
        s->value[PARE_METRIC_BLEU] = s->bleu.score;
        s->tokens = s->predicted; /* all of a target is predicted */
    }
    pare_verify_score_targets(v);
}

PareStatus pare_verify_translation(PareVerify *v, PareError *err) {
    PareBleuStats *bleu[PARE_VERIFY_MODELS] = {pare_bleu_create(), pare_bleu_create()};
    PareGenerated *generated = pare_alloc(v->batch, sizeof *generated);
    size_t count;
    PareStatus status =
        bleu[0] && bleu[1] && generated ? PARE_OK : pare_memory_error(err, "translations");
    while (!status && !(status = pare_verify_read_batch(v, &count, err)) && count) {
        status = run_batch(v, count, generated, bleu, err);
        pare_progress_update(v->options->progress, v->report->rows, NULL);
    }
    if (!status)
        score(v, bleu);
    pare_bleu_destroy(bleu[0]);
    pare_bleu_destroy(bleu[1]);
    pare_free(generated);
    return status;
}
