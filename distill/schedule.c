/* Constant, linear and cosine schedules. */
#include "distill/schedule.h"

#include <math.h>

uint64_t pare_schedule_warmup(const PareSchedule *s) {
    return s->warmup_steps ? s->warmup_steps : (uint64_t)ceil((double)s->total * s->warmup_share);
}

PareStatus pare_schedule_check(const PareSchedule *s, PareError *err) {
    if (!(s->warmup_share >= 0 && s->warmup_share <= 1))
        return pare_error_set(err, PARE_E_USAGE, "a warm-up of %g of the steps: expected 0 to 1",
                              s->warmup_share);
    if (!(s->min_ratio >= 0 && s->min_ratio <= 1))
        return pare_error_set(err, PARE_E_USAGE,
                              "a least learning rate of %g of the full one: expected 0 to 1",
                              s->min_ratio);
    if (pare_schedule_warmup(s) > s->total)
        return pare_error_set(
            err, PARE_E_USAGE, "the warm-up of %llu steps is longer than the run of %llu",
            (unsigned long long)pare_schedule_warmup(s), (unsigned long long)s->total);
    return PARE_OK;
}

double pare_schedule_factor(const PareSchedule *s, uint64_t step) {
    static const double pi = 3.14159265358979323846;
    uint64_t warmup = pare_schedule_warmup(s);
    if (step < warmup)
        return (double)step / (double)warmup;
    if (s->kind == PARE_SCHEDULE_CONSTANT)
        return 1;
    if (step >= s->total)
        return s->min_ratio;
    double part = (double)(step - warmup) / (double)(s->total - warmup);
    double left = s->kind == PARE_SCHEDULE_LINEAR ? 1 - part : 0.5 * (1 + cos(pi * part));
    return left * (1 - s->min_ratio) + s->min_ratio;
}
