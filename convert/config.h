/* Reading a config.json: every value with its default, the first error kept.
 *
 * The getters return the value or the default and remember the first thing that was wrong in
 * `status`, so that a family reads its fields one after the other and checks once. */
#ifndef PARE_CONVERT_CONFIG_H
#define PARE_CONVERT_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/error.h"
#include "core/json.h"
#include "core/memory.h"
#include "formats/checkpoint.h"
#include "runtime/description.h"
#include "runtime/kernels/kernels.h"

typedef struct {
    const PareJson *object;
    const char *where;                /* the file's path, for messages */
    const PareCheckpoint *checkpoint; /* for families that must look what is there */
    const PareDescription *stored;    /* exporting, without a checkpoint: what the model holds */
    PareArena *arena;
    PareError *err;
    PareStatus status;
} PareConfig;

/* A field that the program does not act upon: only these values (compact JSON, separated by '|')
 * leave the result as it is; absent and null do, too. */
typedef struct {
    const char *key, *values;
} PareNeutral;

/* `alias` (may be NULL) is another spelling of the key: used when the key itself is absent, refused
 * when both are there and differ. */
uint32_t pare_config_u32(PareConfig *c, const char *key, const char *alias, uint32_t fallback);
double pare_config_float(PareConfig *c, const char *key, double fallback);
bool pare_config_bool(PareConfig *c, const char *key, bool fallback);
const char *pare_config_string(PareConfig *c, const char *key, const char *fallback);
/* The name of an activation function. */
PareActivation pare_config_activation(PareConfig *c, const char *key, const char *fallback);
/* As above for a name from elsewhere. */
PareActivation pare_activation_of(PareConfig *c, const char *key, const char *name);
bool pare_config_has(const PareConfig *c, const char *key); /* there and not null */
/* Sets the status, with the message "WHERE: …", when none is set yet. */
void pare_config_fail(PareConfig *c, PareStatus code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Gives a stack of the description `layers` equal layers. */
PareStatus pare_config_set_layers(PareConfig *c, PareDescription *d, PareStackIndex stack,
                                  uint32_t layers, PareLayerShape shape);
/* Refuses fields of the table (ends with a NULL key) with another value. */
void pare_config_neutral(PareConfig *c, const PareNeutral *table);
/* heads[layer] -= the heads that "pruned_heads" lists for it. */
void pare_config_pruned_heads(PareConfig *c, uint32_t *heads, uint32_t layers);
/* The number of labels, and their names (an arena's array, NULL where unnamed). */
uint32_t pare_config_labels(PareConfig *c, const char ***names);
/* Appends one line per field that neither `known` nor `harmless` nor the common lists contain. */
void pare_config_unknown(const PareConfig *c, const char *const *known, const char *const *harmless,
                         const PareNeutral *neutral, PareBuffer *warnings);

#endif
