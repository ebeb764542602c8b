/* The prune stage: a plan is made of options or read, and applied to a model's file.
 *
 * The output is a really smaller model: tensors are cut, not masked. The same input and options
 * give the same bytes, at any number of threads; so does the plan of a run that is applied again.
 *
 * What is cut comes from, in this order: lists that name it; the layers that are to stay, by
 * importance; shares of heads, units and width, by importance, or the share that a target calls
 * for; merged key/value heads; positions; the vocabulary. */
#ifndef PARE_PRUNE_PRUNE_H
#define PARE_PRUNE_PRUNE_H

#include "core/log.h"
#include "core/options.h"
#include "prune/importance.h"
#include "prune/prune_data.h"
#include "prune/prune_plan.h"
#include "prune/select.h"
#include "prune/slice.h"
#include "prune/weight_format.h"

typedef enum { PARE_REPAIR_AUTO, PARE_REPAIR_YES, PARE_REPAIR_NO } PareRepairChoice;
/* CUT: where the plan cuts something. */
typedef enum { PARE_PREDICT_NO, PARE_PREDICT_CUT, PARE_PREDICT_YES } ParePredictChoice;

/* What to cut, as text. Places are [STACK.]LAYER[.self|.cross]: "3", "enc.3", "dec.0.cross"; a
 * model with one stack needs no STACK. */
typedef struct {
    const char *input, *output; /* output NULL: only plan */
    bool force;

    /* What goes, or a plan that says it all. */
    const char *plan;      /* JSON file to apply; NULL: none, and then nothing of below */
    const char *heads;     /* "0:1;1:0,3": heads to leave out at each place */
    const char *units;     /* "0:0-63,70;2:5": feed-forward units to leave out */
    const char *layers;    /* "1,3" or "dec.1,dec.2": layers to leave out */
    const char *sublayers; /* "3.self,dec.0.cross,2.ffn": sublayers to leave out */
    const char *kv_heads;  /* "1", "dec=1": key/value heads of every block become so many means */
    uint32_t positions;    /* > 0: keep so many */

    /* By importance. */
    PareSelection selection;
    const char *keep_layers;   /* pare_layer_counts_parse; NULL: all */
    uint32_t iterations;       /* 0 and 1: measured once */
    uint64_t target_bytes;     /* > 0: of the file, in `format` */
    double target_speedup;     /* > 0: predicted, with matrices in `format` */
    unsigned cut;              /* PareCutKind bits that a target's share is for */
    ParePredictChoice predict; /* the speed of what comes out */
    PareWeightFormat format;

    /* Importance. */
    PareCriterion criterion;
    bool own_outputs;
    size_t batch_size;
    uint64_t limit_batches, seed;
    const char *importance, *importance_out; /* JSON files to read and to write; NULL: none */

    /* Data: labelled for importance, any for repair, any for the vocabulary; NULL: none. */
    const char *data, *calibration, *vocabulary;
    ParePruneDataOptions reading; /* of them all: not its path, unlabelled and progress */
    uint32_t vocabulary_size;     /* > 0: the most frequent tokens of `vocabulary` */

    PareRepairChoice repair; /* AUTO: where there are data */
    double ridge;            /* 0: a default */
    uint64_t repair_rows;    /* 0: a default */

    const char *plan_out;                                        /* NULL: the plan is not written */
    size_t threads;                                              /* 0: as many as there are */
    PareProgress *(*progress)(const char *what, uint64_t total); /* NULL: none */
    void (*warn)(const char *line);                              /* NULL: nobody */
    void (*say)(const char *line); /* more than the report has; NULL: nobody listens */
} ParePruneOptions;

typedef struct ParePrune ParePrune;

/* Opens the model and makes the plan; refuses options that contradict each other or the model.
 * Writes `importance_out` once it is measured and `plan_out` once it is decided. */
PareStatus pare_prune_open(const ParePruneOptions *o, ParePrune **out, PareError *err);
void pare_prune_close(ParePrune *p); /* NULL is allowed */
/* Repairs, and writes the output. */
PareStatus pare_prune_apply(ParePrune *p, PareError *err);
/* What is kept: layer by layer, parameters, bytes, and what repair did when it was applied; for
 * people or as one JSON object. */
PareStatus pare_prune_describe(const ParePrune *p, bool json, PareBuffer *out, PareError *err);

#endif
