/* Intervals and tests for scores; formulas in docs/verify.md. */
#include "verify/statistics.h"

#include <math.h>

PareInterval pare_statistics_wilson(uint64_t hits, uint64_t total) {
    static const double z = 1.959963984540054; /* the 97.5 % quantile of the normal distribution */
    if (total == 0)
        return (PareInterval){0, 1};
    double n = (double)total, p = (double)hits / n, z2 = z * z;
    double center = p + z2 / (2 * n);
    double half = z * sqrt(p * (1 - p) / n + z2 / (4 * n * n));
    double scale = 1 + z2 / n;
    /* The ends are exact where rounding would miss them. */
    return (PareInterval){hits == 0 ? 0 : (center - half) / scale,
                          hits == total ? 1 : (center + half) / scale};
}

static double log_factorial(double n) {
    int sign;
    return lgamma_r(n + 1, &sign);
}

double pare_statistics_mcnemar(uint64_t only_a, uint64_t only_b) {
    double n = (double)only_a + (double)only_b;
    double k = (double)(only_a < only_b ? only_a : only_b);
    if (n - 2 * k <= 1)
        return 1; /* as even as can be: both tails together are everything */
    double log_term = log_factorial(n) - log_factorial(k) - log_factorial(n - k) - n * log(2);
    /* P(X <= k): from the largest term downwards, each from the one before, until nothing changes.
     */
    double term = 1, sum = 0;
    for (; k >= 0 && sum + term > sum; k--) {
        sum += term;
        term *= k / (n - k + 1);
    }
    double p = 2 * exp(log_term) * sum;
    return p < 1 ? p : 1;
}

double pare_statistics_perplexity(double nll, uint64_t count) {
    return count ? exp(nll / (double)count) : NAN;
}
