/* Numbers of stacks. */
#include "prune/stack_counts.h"

#include <string.h>

static const char *const SHORT[PARE_STACKS] = {"enc=", "dec="};
static const char *const NAMES[PARE_STACKS] = {"encoder", "decoder"};

/* A number that ends at ',' or the end; 0: there is none that fits. */
static uint32_t read_count(const char **at) {
    uint64_t value = 0;
    for (; **at >= '0' && **at <= '9' && value <= UINT32_MAX; ++*at)
        value = value * 10 + (uint64_t)(**at - '0');
    return value <= UINT32_MAX && (**at == 0 || **at == ',') ? (uint32_t)value : 0;
}

/* The stack that is named at `at`, which goes behind the name; PARE_STACKS: none is. */
static int read_name(const char **at) {
    for (int s = 0; s < PARE_STACKS; s++)
        if (strncmp(*at, SHORT[s], strlen(SHORT[s])) == 0) {
            *at += strlen(SHORT[s]);
            return s;
        }
    return PARE_STACKS;
}

PareStatus pare_stack_counts_parse(const char *option, const char *text, const PareDescription *d,
                                   bool both, PareStackCounts *out, PareError *err) {
    const PareStack *stacks = d->stacks;
    bool two = stacks[PARE_ENCODER].present && stacks[PARE_DECODER].present;
    *out = (PareStackCounts){{0}};
    for (const char *at = text;; at++) {
        int s = read_name(&at);
        bool alone = s == PARE_STACKS;
        if (alone && two && (!both || at != text))
            return pare_error_set(
                err, PARE_E_USAGE,
                "%s '%s': the model has two stacks: expected enc=N, dec=N or both", option, text);
        if (alone)
            s = stacks[PARE_ENCODER].present ? PARE_ENCODER : PARE_DECODER;
        if (!stacks[s].present || out->count[s])
            return pare_error_set(err, PARE_E_USAGE, "%s '%s': %s %s", option, text,
                                  out->count[s] ? "it names twice the" : "the model has no",
                                  NAMES[s]);
        out->count[s] = read_count(&at);
        if (!out->count[s])
            return pare_error_set(err, PARE_E_USAGE,
                                  "%s '%s': expected a number, 1 or more, as 4 or enc=6,dec=3",
                                  option, text);
        if (alone && two)
            out->count[PARE_DECODER] = out->count[PARE_ENCODER];
        if (*at == 0)
            return PARE_OK;
    }
}
