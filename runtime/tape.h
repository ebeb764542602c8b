/* The tape: what a forward pass did, so that it can be gone over backwards.
 *
 * Reverse-mode differentiation (Linnainmaa 1970). An operator that runs with a tape records a node:
 * what its backward pass needs, and where gradients come from and go to. Going backwards visits the
 * nodes newest first. Activations live in the run's arena until the step is over; memory for
 * gradients exists only from the first contribution to the operator that made the value.
 *
 * Parameters lie in one block of floats, and their gradients in another one of the same shape, so
 * that the gradient of any parameter is found by its address; tensors that share elements share
 * their gradient too. Gradients of parameters are added to what stands there (accumulation). */
#ifndef PARE_RUNTIME_TAPE_H
#define PARE_RUNTIME_TAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

struct PareRun;

/* Where the gradient of one value gathers. */
typedef struct PareGrad {
    float *data; /* NULL: nothing has come yet */
    size_t count;
} PareGrad;

/* The head of every node. */
typedef struct PareNode {
    struct PareNode *before;
    void (*backward)(struct PareRun *r, struct PareNode *node);
} PareNode;

/* One tensor of the block of parameters; ranges are given in ascending order of `offset`. */
typedef struct {
    size_t offset, count;
    bool trained; /* false: frozen, no gradient is computed */
} PareTapeRange;

typedef struct PareTape PareTape;

/* `params`, `grads` [floats] and `ranges` are borrowed. */
PareStatus pare_tape_create(const float *params, float *grads, const PareTapeRange *ranges,
                            size_t count, PareTape **out, PareError *err);
void pare_tape_destroy(PareTape *t); /* NULL is allowed */
/* Rows that embeddings take of this token get no gradient from there, as frameworks treat padding;
 * -1, as at first: there is no such token. */
void pare_tape_set_padding(PareTape *t, int32_t id);

/* A new newest node of `size` bytes (PareNode first), zeroed, in the run's arena; NULL without a
 * tape and after an error. */
void *pare_tape_record(struct PareRun *r, size_t size,
                       void (*backward)(struct PareRun *r, PareNode *node));
/* A place for `count` gradients; NULL as above. */
PareGrad *pare_tape_grad(struct PareRun *r, size_t count);
/* The gradient of the parameters at `p`; NULL without a tape, when they are frozen, or when `p`
 * (which may be NULL) is no parameter. */
float *pare_tape_param(const struct PareRun *r, const float *p);

/* What pare_tape_set_padding said. */
int32_t pare_tape_padding(const struct PareRun *r);

/* Memory of a gradient for adding to; NULL when g is NULL or memory is out. `fresh` (may be NULL:
 * then fresh memory is zeroed) tells that the content is undefined and must be written. */
float *pare_grad_open(struct PareRun *r, PareGrad *g, bool *fresh);
/* Gives the memory of a gradient that was used up to later ones. */
void pare_grad_close(struct PareRun *r, PareGrad *g);
/* Moves what `from` holds into `to`: for gradients that pass unchanged. `from` is empty then. */
void pare_grad_move(struct PareRun *r, PareGrad *from, PareGrad *to);

/* Runs and forgets all nodes. */
PareStatus pare_tape_backward(struct PareRun *r);
/* Starts a tape within the tape (for recomputed layers): returns the nodes so far, to be given to
 * pare_tape_resume after the inner nodes have run. */
PareNode *pare_tape_suspend(struct PareRun *r);
void pare_tape_resume(struct PareRun *r, PareNode *nodes);

/* The largest number of bytes that gradients of values had at one time. */
size_t pare_tape_peak(const PareTape *t);

#endif
