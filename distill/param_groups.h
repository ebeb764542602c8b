/* Which tensors are trained, and how: frozen or not, decayed or not, and at which share of the
 * learning rate; chosen by name. */
#ifndef PARE_DISTILL_PARAM_GROUPS_H
#define PARE_DISTILL_PARAM_GROUPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

/* A tensor in a block of floats. */
typedef struct {
    const char *name;           /* borrowed */
    const char *const *aliases; /* other names of the same values, ended by NULL; NULL: none */
    size_t offset, rows, cols;  /* in floats; rows x cols of them, whatever `dims` is */
    uint32_t dims;
    bool frozen;
    bool decay;       /* weight decay */
    double lr_factor; /* multiplies the learning rate */
} PareParamTensor;

typedef struct {
    PareParamTensor *tensors; /* in the order of their offsets */
    size_t count;
} PareParamGroups;

/* The defaults: nothing is frozen, factors are 1, and tensors of two or more dimensions decay. */
void pare_param_groups_reset(PareParamGroups *g);
/* `--freeze GLOB`. */
PareStatus pare_param_groups_freeze(PareParamGroups *g, const char *glob, PareError *err);
/* `--lr-factor GLOB=NUMBER`; of several that name a tensor the last counts. */
PareStatus pare_param_groups_lr_factor(PareParamGroups *g, const char *rule, PareError *err);
/* `--no-decay GLOB`. */
PareStatus pare_param_groups_no_decay(PareParamGroups *g, const char *glob, PareError *err);
/* Numbers that are trained. */
size_t pare_param_groups_trained(const PareParamGroups *g);

#endif
