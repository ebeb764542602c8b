/* How the learning rate goes over a training run, as transformers' get_..._schedule_with_warmup. */
#ifndef PARE_DISTILL_SCHEDULE_H
#define PARE_DISTILL_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"

typedef enum {
    PARE_SCHEDULE_CONSTANT,
    PARE_SCHEDULE_LINEAR,
    PARE_SCHEDULE_COSINE
} PareScheduleKind;

typedef struct {
    PareScheduleKind kind;
    uint64_t total;        /* steps of the whole run */
    uint64_t warmup_steps; /* counts unless it is 0 */
    double warmup_share;   /* of `total`, rounded up; 0..1 */
    double min_ratio;      /* what LINEAR and COSINE end at, as a share of the rate; 0..1 */
} PareSchedule;

/* Refuses what is out of range; a warm-up that is longer than the run, too. */
PareStatus pare_schedule_check(const PareSchedule *s, PareError *err);
uint64_t pare_schedule_warmup(const PareSchedule *s);
/* What the rate is multiplied by in step `step`, counted from 0. With a warm-up it is 0 in the
 * first step, as it is in the reference; afterwards it is min_ratio and no less. */
double pare_schedule_factor(const PareSchedule *s, uint64_t step);

#endif
