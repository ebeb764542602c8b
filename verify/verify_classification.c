/* Classification: one row of logits a text, and the label that is the largest. */
#include <math.h>

#include "verify/verify_parts.h"

static PareStatus count_row(void *context, PareVerifyPlace place, const PareVerifyLogits *models,
                            const PareDriftRow *drift, PareError *err) {
    PareVerify *v = context;
    PareVerifyReport *r = v->report;
    uint32_t label = v->rows[place.sequence].label;
    (void)models, (void)err;
    /* A row with NaN or infinity is no answer, whatever stands in its other places. */
    bool ours = drift->reference_best == label && isfinite(drift->reference_log_sum);
    bool theirs = drift->candidate_best == label && isfinite(drift->candidate_log_sum);
    r->reference.correct += ours;
    r->candidate.correct += theirs;
    r->only_reference += ours && !theirs;
    r->only_candidate += theirs && !ours;
    r->same_outputs += drift->agree;
    return PARE_OK;
}

static void score(PareVerifyScores *s, uint64_t rows) {
    s->value[PARE_METRIC_ACCURACY] = (double)s->correct / (double)rows;
    s->interval = pare_statistics_wilson(s->correct, rows);
}

PareStatus pare_verify_classification(PareVerify *v, PareError *err) {
    PareVerifyReport *r = v->report;
    size_t count;
    PareStatus status;
    while (!(status = pare_verify_read_batch(v, &count, err)) && count) {
        if ((status = pare_verify_compare(v, 0, count, count_row, v, err)))
            break;
        pare_progress_update(v->options->progress, r->rows, NULL);
    }
    score(&r->reference, r->rows);
    score(&r->candidate, r->rows);
    return status;
}
