/* Scores of predictions. */
#ifndef PARE_TEXT_METRICS_H
#define PARE_TEXT_METRICS_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

/* Corpus BLEU as sacreBLEU computes it (Post 2018): signature
 * nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp. Texts are UTF-8, one reference each. */
typedef struct {
    double score; /* 0..100 */
    double precisions[4], brevity_penalty;
    uint64_t hypothesis_length, reference_length;
} PareBleu;

typedef struct PareBleuStats PareBleuStats; /* accumulates sentence pairs, in any order */
PareBleuStats *pare_bleu_create(void);      /* NULL when out of memory */
void pare_bleu_destroy(PareBleuStats *s);
PareStatus pare_bleu_add(PareBleuStats *s, const char *hypothesis, const char *reference,
                         PareError *err);
PareBleu pare_bleu_score(const PareBleuStats *s);

#endif
