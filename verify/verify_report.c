/* The report, for people and as JSON. */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "core/file.h"
#include "verify/verify.h"

static const char *const task_names[] = {"auto", "classification", "translation", "lm"};

/* -- for people -- */

static void put_metric(const PareVerifyOptions *o, const PareVerifyReport *r, PareVerifyMetric m,
                       PareBuffer *out) {
    static const char *const titles[PARE_METRIC_COUNT] = {"accuracy %", "BLEU", "perplexity",
                                                          "bits per byte"};
    double scale = m == PARE_METRIC_ACCURACY ? 100 : 1, drop = pare_verify_drop(r, m);
    bool less_is_better = m == PARE_METRIC_PERPLEXITY || m == PARE_METRIC_BITS;
    const char *unit = less_is_better ? " %" : "";
    int digits = m == PARE_METRIC_BITS ? 4 : 2;
    /* A positive change is a larger figure, which is worse for perplexity and for bits. */
    pare_buffer_printf(out, "%-14s %10.*f  %10.*f  %+8.2f%-2s", titles[m], digits,
                       scale * r->reference.value[m], digits, scale * r->candidate.value[m],
                       less_is_better ? drop : 0 - drop, unit);
    if (o->limits.set[m])
        pare_buffer_printf(out, "  %8.2f%-2s  %s", o->limits.drop[m], unit,
                           drop <= o->limits.drop[m] ? "met" : "EXCEEDED");
    else
        pare_buffer_puts(out, "         -");
    pare_buffer_putc(out, '\n');
    if (m == PARE_METRIC_PERPLEXITY && r->vocabularies.differ)
        pare_buffer_printf(out, "%-14s %10.2f  %10.2f\n", "  all tokens", r->reference.perplexity,
                           r->candidate.perplexity);
}

static void put_classification(const PareVerifyReport *r, PareBuffer *out) {
    const PareInterval *a = &r->reference.interval, *b = &r->candidate.interval;
    pare_buffer_printf(out, "%-14s %4.1f..%4.1f  %4.1f..%4.1f\n", "  95 %", 100 * a->low,
                       100 * a->high, 100 * b->low, 100 * b->high);
    pare_buffer_printf(out,
                       "\nright by one alone: reference %" PRIu64 ", candidate %" PRIu64
                       " (McNemar p = %.3g)\n",
                       r->only_reference, r->only_candidate,
                       pare_statistics_mcnemar(r->only_reference, r->only_candidate));
}

static void put_vocabularies(const PareVerifyReport *r, PareBuffer *out) {
    const PareVerifyVocabularies *x = &r->vocabularies;
    pare_buffer_printf(out,
                       "vocabulary %" PRIu32 " tokens and %" PRIu32 ", %" PRIu64
                       " in both; %" PRIu64 " of %" PRIu64 " %s cut into other tokens\n",
                       x->size[0], x->size[1], x->shared, x->recut, r->rows,
                       r->task == PARE_TASK_LM ? "lines" : "rows");
}

/* What the reader would look for in vain, and why it is not there. */
static void put_left_out(const PareVerifyReport *r, PareBuffer *out) {
    const PareVerifyVocabularies *x = &r->vocabularies;
    if (x->apart == 0)
        return;
    pare_buffer_printf(out,
                       "\nleft out: perplexity%s, since %" PRIu64 " of %" PRIu64
                       " %s other tokens for the two models\n",
                       r->task == PARE_TASK_LM ? " and the drift of the logits"
                                               : ", and these rows' drift of the logits",
                       x->apart, r->rows, r->task == PARE_TASK_LM ? "lines are" : "targets are");
}

static void put_distances(const PareDriftResult *d, PareBuffer *out) {
    pare_buffer_printf(out, "  largest difference    %10.4g\n", d->max_abs);
    pare_buffer_printf(out, "  mean difference       %10.4g\n", d->mean_abs);
    pare_buffer_printf(out, "  relative L2           %10.4g\n", d->relative_l2);
    pare_buffer_printf(out, "  cosine                %10.6f\n", d->cosine);
    pare_buffer_printf(out, "  KL divergence, nats   %10.4g\n", d->kl);
    pare_buffer_printf(out, "  same best value       %10.2f %%\n", 100 * d->top1_agreement);
}

static void put_drift(const PareVerifyReport *r, PareBuffer *out) {
    const PareDriftResult *d = &r->drift;
    bool any = r->vocabularies.apart == 0 || d->values > 0;
    bool shared = r->vocabularies.differ && r->task != PARE_TASK_CLASSIFICATION;
    if (any) {
        pare_buffer_printf(out, "\ndrift of the logits over %" PRIu64 " rows", d->rows);
        pare_buffer_puts(out, shared ? " and the tokens that both have\n" : "\n");
        put_distances(d, out);
    }
    if (d->broken)
        pare_buffer_printf(out, "  NaN or infinite in the candidate alone: %" PRIu64 " values\n",
                           d->broken);
    if (d->undefined)
        pare_buffer_printf(out, "  NaN or infinite in the reference: %" PRIu64 " values\n",
                           d->undefined);
    if (d->broken_rows)
        pare_buffer_printf(out, "  rows left out of cosine and KL: %" PRIu64 "\n", d->broken_rows);
}

static void put_rows(const PareVerifyOptions *o, const PareVerifyReport *r, PareBuffer *out) {
    bool text = r->task == PARE_TASK_LM;
    pare_buffer_printf(out, "data       %s: %" PRIu64 " %s", o->data, r->rows,
                       text ? "lines" : "rows");
    if (text)
        pare_buffer_printf(out, ", %" PRIu64 " tokens", r->reference.tokens);
    if (r->reference.predicted)
        pare_buffer_printf(out, ", %" PRIu64 " predicted", r->reference.predicted);
    if (r->cut)
        pare_buffer_printf(out, ", %" PRIu64 " cut", r->cut);
    pare_buffer_putc(out, '\n');
}

void pare_verify_write_table(const PareVerifyOptions *o, const PareVerifyReport *r,
                             PareBuffer *out) {
    pare_buffer_printf(out, "reference  %s\ncandidate  %s\n", o->reference, o->candidate);
    put_rows(o, r, out);
    if (r->vocabularies.differ)
        put_vocabularies(r, out);
    pare_buffer_printf(out, "\n%-14s %10s  %10s  %8s    %8s\n", task_names[r->task], "reference",
                       "candidate", "change", "limit");
    for (int m = 0; m < PARE_METRIC_COUNT; m++)
        if (r->has[m])
            put_metric(o, r, (PareVerifyMetric)m, out);
    if (r->task == PARE_TASK_CLASSIFICATION)
        put_classification(r, out);
    if (r->task != PARE_TASK_LM)
        pare_buffer_printf(out, "%s%s: %" PRIu64 " of %" PRIu64 "\n",
                           r->task == PARE_TASK_TRANSLATION ? "\n" : "",
                           r->task == PARE_TASK_TRANSLATION ? "same text" : "same label",
                           r->same_outputs, r->rows);
    put_left_out(r, out);
    put_drift(r, out);
}

/* -- for programs -- */

/* Ten digits: more than is measured, and few enough that another machine's log() or exp(), which
 * may differ in the last place, does not show. */
static void put_number(PareBuffer *out, const char *key, double v) {
    pare_buffer_put_json_key(out, key);
    if (isfinite(v))
        pare_buffer_printf(out, "%.10g", v);
    else
        pare_buffer_puts(out, "null");
}

static void put_count(PareBuffer *out, const char *key, uint64_t v) {
    pare_buffer_put_json_key(out, key);
    pare_buffer_printf(out, "%" PRIu64, v);
}

/* What bits per byte were computed of. */
static void put_predicted(const PareVerifyReport *r, const PareVerifyScores *s, PareBuffer *out) {
    if (r->vocabularies.differ)
        put_number(out, "perplexity_all", s->perplexity);
    put_count(out, "tokens", s->tokens);
    put_count(out, "predicted", s->predicted);
}

static void put_json_vocabularies(const PareVerifyReport *r, PareBuffer *out) {
    const PareVerifyVocabularies *x = &r->vocabularies;
    pare_buffer_put_json_key(out, "vocabularies");
    pare_buffer_putc(out, '{');
    put_count(out, "reference", x->size[0]);
    put_count(out, "candidate", x->size[1]);
    put_count(out, "shared", x->shared);
    put_count(out, "recut", x->recut);
    put_count(out, "apart", x->apart);
    pare_buffer_putc(out, '}');
}

static void put_scores(const PareVerifyReport *r, const PareVerifyScores *s, const char *name,
                       const char *file, PareBuffer *out) {
    pare_buffer_put_json_key(out, name);
    pare_buffer_putc(out, '{');
    pare_buffer_put_json_member(out, "file", pare_file_basename(file));
    for (int m = 0; m < PARE_METRIC_COUNT; m++)
        if (r->has[m])
            put_number(out, pare_verify_metric_name((PareVerifyMetric)m), s->value[m]);
    if (r->task == PARE_TASK_CLASSIFICATION) {
        put_count(out, "correct", s->correct);
        put_number(out, "accuracy_low", s->interval.low);
        put_number(out, "accuracy_high", s->interval.high);
    }
    if (r->task == PARE_TASK_TRANSLATION) {
        put_number(out, "brevity_penalty", s->bleu.brevity_penalty);
        put_count(out, "hypothesis_length", s->bleu.hypothesis_length);
        put_count(out, "reference_length", s->bleu.reference_length);
    }
    if (r->task != PARE_TASK_CLASSIFICATION)
        put_number(out, "nll", s->nll);
    if (r->has[PARE_METRIC_BITS])
        put_predicted(r, s, out);
    pare_buffer_putc(out, '}');
}

static void put_json_drift(const PareDriftResult *d, PareBuffer *out) {
    pare_buffer_put_json_key(out, "drift");
    pare_buffer_putc(out, '{');
    put_number(out, "max_abs", d->max_abs);
    put_number(out, "mean_abs", d->mean_abs);
    put_number(out, "relative_l2", d->relative_l2);
    put_number(out, "cosine", d->cosine);
    put_number(out, "kl", d->kl);
    put_number(out, "top1_agreement", d->top1_agreement);
    put_count(out, "rows", d->rows);
    put_count(out, "values", d->values);
    put_count(out, "broken", d->broken);
    put_count(out, "undefined", d->undefined);
    put_count(out, "broken_rows", d->broken_rows);
    pare_buffer_putc(out, '}');
}

static void put_limits(const PareVerifyOptions *o, const PareVerifyReport *r, PareBuffer *out) {
    pare_buffer_put_json_key(out, "limits");
    pare_buffer_putc(out, '{');
    for (int m = 0; m < PARE_METRIC_COUNT; m++) {
        if (!o->limits.set[m])
            continue;
        double drop = pare_verify_drop(r, (PareVerifyMetric)m);
        pare_buffer_put_json_key(out, pare_verify_metric_name((PareVerifyMetric)m));
        pare_buffer_putc(out, '{');
        put_number(out, "limit", o->limits.drop[m]);
        put_number(out, "drop", drop);
        pare_buffer_put_json_key(out, "met");
        pare_buffer_puts(out, drop <= o->limits.drop[m] ? "true" : "false");
        pare_buffer_putc(out, '}');
    }
    pare_buffer_putc(out, '}');
}

void pare_verify_write_json(const PareVerifyOptions *o, const PareVerifyReport *r,
                            PareBuffer *out) {
    pare_buffer_putc(out, '{');
    pare_buffer_put_json_member(out, "task", task_names[r->task]);
    put_count(out, "rows", r->rows);
    put_count(out, "cut", r->cut);
    if (r->task == PARE_TASK_LM)
        put_count(out, "tokens", r->reference.tokens);
    if (r->task != PARE_TASK_CLASSIFICATION)
        put_count(out, "predicted", r->reference.predicted);
    if (r->has[PARE_METRIC_BITS])
        put_count(out, "bytes", r->bytes);
    if (r->vocabularies.differ)
        put_json_vocabularies(r, out);
    if (r->task != PARE_TASK_LM)
        put_count(out, "same_outputs", r->same_outputs);
    if (r->task == PARE_TASK_CLASSIFICATION) {
        put_count(out, "only_reference", r->only_reference);
        put_count(out, "only_candidate", r->only_candidate);
        put_number(out, "mcnemar_p", pare_statistics_mcnemar(r->only_reference, r->only_candidate));
    }
    put_scores(r, &r->reference, "reference", o->reference, out);
    put_scores(r, &r->candidate, "candidate", o->candidate, out);
    put_json_drift(&r->drift, out);
    put_limits(o, r, out);
    pare_buffer_puts(out, "}\n");
}
