/* Axis tags: what a tensor's dimension counts.
 *
 * Every dimension of every tensor of a model carries one, so that pruning is one operation: slice
 * each tensor that carries an axis by a keep-list. Two dimensions belong together exactly when
 * their axes are equal (whatever their groups). Heads, key/value heads and feed-forward units are
 * axes of one layer, since pruned layers differ. */
#ifndef PARE_CORE_AXIS_H
#define PARE_CORE_AXIS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef enum {
    PARE_AXIS_NONE,       /* not prunable: a dimension of its own */
    PARE_AXIS_VOCABULARY, /* of a stack's token table; the head uses that of its stack */
    PARE_AXIS_POSITION,
    PARE_AXIS_TYPE,      /* token types (segments) */
    PARE_AXIS_WIDTH,     /* the model dimension of a stack */
    PARE_AXIS_EMBEDDING, /* the embedding's own width where it is not the stack's */
    PARE_AXIS_HEAD,      /* query heads of one attention block, `group` rows each */
    PARE_AXIS_KV,        /* key/value heads of one attention block, `group` rows each */
    PARE_AXIS_FFN,       /* feed-forward units of one layer */
    PARE_AXIS_BUCKET,    /* relative-position buckets */
    PARE_AXIS_LABEL,
    PARE_AXIS_HIDDEN, /* the inner width of a head's dense layer or the pooler */
    PARE_AXIS_COUNT
} PareAxisKind;

enum { PARE_BLOCK_SELF, PARE_BLOCK_CROSS }; /* which attention block of a layer */

typedef struct {
    uint8_t kind;   /* PareAxisKind */
    uint8_t stack;  /* 0 encoder, 1 decoder, 2 the output head */
    uint8_t block;  /* for HEAD and KV: PARE_BLOCK_SELF or PARE_BLOCK_CROSS */
    uint8_t zero;   /* always 0 */
    uint16_t layer; /* for HEAD, KV and FFN */
    uint16_t group; /* consecutive rows that make one unit: the head size; otherwise 1 */
} PareAxis;

/* Whether two dimensions count the same thing. The group is not compared: one unit may be one row
 * here (a relative bias per head) and a head size of rows there (the query matrix). */
bool pare_axis_equal(PareAxis a, PareAxis b);
/* "head(decoder.3.cross)x64", "width(encoder)", "label", … into `out`; returns `out`. */
const char *pare_axis_text(PareAxis axis, char *out, size_t size);

#endif
