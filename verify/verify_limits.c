/* Limits: how much worse the candidate may be, and whether it is. */
#include <math.h>
#include <string.h>

#include "core/options.h"
#include "verify/verify.h"

static const char *const names[PARE_METRIC_COUNT] = {"accuracy", "bleu", "perplexity",
                                                     "bits_per_byte"};

const char *pare_verify_metric_name(PareVerifyMetric m) {
    return names[m];
}

PareStatus pare_verify_limit_parse(const char *text, PareVerifyLimits *limits, PareError *err) {
    size_t size = strcspn(text, "=");
    double drop;
    for (int m = 0; m < PARE_METRIC_COUNT; m++) {
        if (strlen(names[m]) != size || memcmp(names[m], text, size) != 0)
            continue;
        if (!text[size] || !pare_parse_float(text + size + 1, &drop) || drop < 0)
            return pare_error_set(err, PARE_E_USAGE,
                                  "--max-drop \"%s\": expected %s=NUMBER, a number of at least 0",
                                  text, names[m]);
        if (limits->set[m])
            return pare_error_set(err, PARE_E_USAGE, "--max-drop: %s is given twice", names[m]);
        limits->set[m] = true;
        limits->drop[m] = drop;
        return PARE_OK;
    }
    return pare_error_set(
        err, PARE_E_USAGE,
        "--max-drop \"%s\": expected accuracy=POINTS, bleu=POINTS, perplexity=PERCENT or "
        "bits_per_byte=PERCENT",
        text);
}

static bool is_relative(PareVerifyMetric m) {
    return m == PARE_METRIC_PERPLEXITY || m == PARE_METRIC_BITS;
}

double pare_verify_drop(const PareVerifyReport *r, PareVerifyMetric m) {
    double reference = r->reference.value[m], candidate = r->candidate.value[m];
    if (m == PARE_METRIC_ACCURACY)
        return 100 * (reference - candidate);
    if (is_relative(m))
        return 100 * (candidate / reference - 1);
    return reference - candidate;
}

static void describe(const PareVerifyReport *r, PareVerifyMetric m, double limit, PareBuffer *out) {
    double scale = m == PARE_METRIC_ACCURACY ? 100 : 1;
    const char *unit = is_relative(m) ? " %" : " points";
    if (m == PARE_METRIC_PERPLEXITY && r->vocabularies.apart > 0) {
        pare_buffer_printf(out,
                           "%sthe models have no perplexity of the same tokens: they cut %llu of "
                           "%llu rows into other ones; bits_per_byte can be compared",
                           out->size ? "; " : "", (unsigned long long)r->vocabularies.apart,
                           (unsigned long long)r->rows);
        return;
    }
    pare_buffer_printf(out,
                       "%s%s went from %.4g to %.4g, %.4g%s worse than the reference; at most "
                       "%.4g%s allowed",
                       out->size ? "; " : "", names[m], scale * r->reference.value[m],
                       scale * r->candidate.value[m], pare_verify_drop(r, m), unit, limit, unit);
}

PareStatus pare_verify_check(const PareVerifyOptions *o, const PareVerifyReport *r,
                             PareError *err) {
    PareBuffer text = {0};
    if (r->drift.broken)
        pare_buffer_printf(
            &text, "%llu logits in %llu rows are NaN or infinite in the candidate alone",
            (unsigned long long)r->drift.broken, (unsigned long long)r->drift.broken_rows);
    if (r->drift.undefined)
        pare_buffer_printf(&text, "%s%llu logits are NaN or infinite in the reference already",
                           text.size ? "; " : "", (unsigned long long)r->drift.undefined);
    for (int m = 0; m < PARE_METRIC_COUNT; m++)
        /* Written so that a figure that is NaN does not pass. */
        if (o->limits.set[m] && !(pare_verify_drop(r, (PareVerifyMetric)m) <= o->limits.drop[m]))
            describe(r, (PareVerifyMetric)m, o->limits.drop[m], &text);
    PareStatus status = pare_buffer_ok(&text, "a message", err);
    if (!status && text.size)
        status = pare_error_set(err, PARE_E_LIMIT, "%s: %s", o->candidate, text.data);
    pare_buffer_free(&text);
    return status;
}
