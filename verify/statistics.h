/* What a score on a finite data set can and cannot tell. Pure functions. */
#ifndef PARE_VERIFY_STATISTICS_H
#define PARE_VERIFY_STATISTICS_H

#include <stdint.h>

typedef struct {
    double low, high;
} PareInterval;

/* Wilson's score interval (1927) with 95 % confidence for a share of `hits` in `total`; the whole
 * range 0..1 when there is nothing to go by. */
PareInterval pare_statistics_wilson(uint64_t hits, uint64_t total);

/* McNemar's exact test (two-sided binomial with one half): how probable it is that two equally good
 * classifiers disagree this unevenly. `only_a` rows are right by a alone, `only_b` by b alone. */
double pare_statistics_mcnemar(uint64_t only_a, uint64_t only_b);

/* exp(nll / count); `nll` in nats. NaN without anything predicted. */
double pare_statistics_perplexity(double nll, uint64_t count);

#endif
