/* The prune stage: a plan is made of options or read, and applied to a model's file.
 *
 * The output is a really smaller model: tensors are cut, not masked. The same input and options
 * give the same bytes. */
#ifndef PARE_PRUNE_PRUNE_H
#define PARE_PRUNE_PRUNE_H

#include "core/log.h"
#include "core/options.h"
#include "prune/prune_plan.h"
#include "prune/slice.h"

/* What to cut, as text. Places are [STACK.]LAYER[.self|.cross]: "3", "enc.3", "dec.0.cross"; a
 * model with one stack needs no STACK. */
typedef struct {
    const char *input, *output; /* output NULL: only plan */
    bool force;
    const char *plan;      /* JSON file to apply; NULL: none, and then nothing of below */
    const char *heads;     /* "0:1;1:0,3": heads to leave out at each place */
    const char *units;     /* "0:0-63,70;2:5": feed-forward units to leave out */
    const char *layers;    /* "1,3" or "dec.1,dec.2": layers to leave out */
    const char *sublayers; /* "3.self,dec.0.cross,2.ffn": sublayers to leave out */
    uint32_t kv_heads;     /* > 0: key/value heads of every block become so many means */
    uint32_t positions;    /* > 0: keep so many */
} ParePruneOptions;

typedef struct ParePrune ParePrune;

/* Opens the model and makes the plan; refuses options that contradict each other or the model. */
PareStatus pare_prune_open(const ParePruneOptions *o, ParePrune **out, PareError *err);
void pare_prune_close(ParePrune *p); /* NULL is allowed */
/* The plan as JSON, which --plan reads. */
void pare_prune_write_plan(const ParePrune *p, PareBuffer *out);
/* What is kept: layer by layer, parameters, bytes; for people or as one JSON object. */
PareStatus pare_prune_describe(const ParePrune *p, bool json, PareBuffer *out, PareError *err);
/* Writes the output. `progress` (may be NULL) counts tensors. */
PareStatus pare_prune_apply(ParePrune *p, PareProgress *progress, PareError *err);
size_t pare_prune_tensors(const ParePrune *p);

#endif
