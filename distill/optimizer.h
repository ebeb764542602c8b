/* Optimizers over one block of parameters: AdamW, Adafactor and SGD, with the arithmetic of the
 * reference implementations (torch.optim.AdamW and SGD, transformers' Adafactor), clipping by the
 * global norm, and an exponential moving average of the weights.
 *
 * No result depends on the number of threads: sums are taken over fixed blocks in a fixed order.
 * State is a handful of float arrays, which a checkpoint writes and reads as they are. */
#ifndef PARE_DISTILL_OPTIMIZER_H
#define PARE_DISTILL_OPTIMIZER_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/threads.h"
#include "distill/param_groups.h"

typedef enum {
    PARE_OPTIMIZER_ADAMW,
    PARE_OPTIMIZER_ADAFACTOR,
    PARE_OPTIMIZER_SGD
} PareOptimizerKind;

typedef struct {
    PareOptimizerKind kind;
    double weight_decay; /* AdamW, Adafactor: decoupled; SGD: added to the gradient */
    double beta1, beta2; /* AdamW; Adafactor keeps a first moment where beta1 is not 0 */
    double eps;          /* AdamW */
    double momentum;     /* SGD */
    bool nesterov;
    double average; /* decay of the moving average of the weights, as 0.999; 0: none is kept */
    /* Adafactor (Shazeer and Stern 2018) */
    double eps_square, eps_scale; /* added to squared gradients; the least scale of a tensor */
    double clip_threshold, decay_rate;
    bool scale_parameter; /* the rate is multiplied by the root mean square of the tensor */
    bool relative_step;   /* the rate is min(1e-2, 1/sqrt(step)), whatever `rate` is */
    bool warmup_init;     /* with relative_step: min(1e-6 step, 1/sqrt(step)) */
} PareOptimizerOptions;

/* The defaults of the references: AdamW betas 0.9 and 0.999, eps 1e-8; SGD without momentum;
 * Adafactor eps 1e-30 and 1e-3, clip_threshold 1, decay_rate -0.8, scale_parameter and
 * relative_step. No weight decay, no average. */
PareOptimizerOptions pare_optimizer_defaults(PareOptimizerKind kind);

typedef struct PareOptimizer PareOptimizer;

/* `groups` is borrowed. `weights` (a block of `size` floats) is what the average begins with; it is
 * not kept. Tensors that are frozen have no state, and their gradients do not count anywhere.
 * Refuses options out of range, tensors outside of the block, and groups that train nothing. */
PareStatus pare_optimizer_create(const PareOptimizerOptions *options, const PareParamGroups *groups,
                                 const float *weights, size_t size, PareOptimizer **out,
                                 PareError *err);
void pare_optimizer_destroy(PareOptimizer *o); /* NULL is allowed */

/* The 2-norm of all gradients, in double; not finite exactly if a gradient is not. */
double pare_optimizer_norm(PareOptimizer *o, const float *gradients, ParePool *pool);
/* What the gradients must be multiplied by so that their norm is at most `max_norm` (0: no limit),
 * as torch.nn.utils.clip_grad_norm_: min(1, max_norm / (norm + 1e-6)). */
double pare_optimizer_clip(double norm, double max_norm);
/* The name of the first tensor that has a gradient which is NaN or infinite; NULL: none. */
const char *pare_optimizer_nonfinite(const PareOptimizer *o, const float *gradients);

/* One step with gradients * `scale` (clipping, accumulation). Each tensor's rate is `rate` times
 * its group's factor. Then the average follows. */
void pare_optimizer_step(PareOptimizer *o, float *weights, const float *gradients, double scale,
                         double rate, ParePool *pool);

/* The averaged weights into `out` [size]: those of frozen tensors come from `weights`. Only with
 * options.average. */
void pare_optimizer_average(const PareOptimizer *o, const float *weights, float *out);

/* -- for checkpoints -- */

enum { PARE_OPTIMIZER_STATES = 6 };
typedef struct {
    const char *name; /* "first", "second", "momentum", "rows", "columns", "squares", "average" */
    float *values;    /* of the optimizer; may be overwritten by what a checkpoint holds */
    size_t count;     /* depends on the options and on what is frozen */
} PareOptimizerState;

/* Fills `out` and returns how many there are. */
size_t pare_optimizer_states(PareOptimizer *o, PareOptimizerState out[PARE_OPTIMIZER_STATES]);
uint64_t pare_optimizer_steps(const PareOptimizer *o); /* done so far */
void pare_optimizer_set_steps(PareOptimizer *o, uint64_t steps);

#endif
