/* The tensors that a description calls for: one list that everything else is driven by.
 *
 * Names, roles, shapes and axis tags are all here and nowhere else. The converter fills exactly
 * these, the reader demands exactly these, quantization selects by role, pruning slices by axis.
 *
 * Names (S is "encoder" or "decoder", L a layer, B "self" or "cross"):
 *   S.embed.tokens [vocabulary, embedding]   S.embed.positions [positions + offset, embedding]
 *   S.embed.types [types, embedding]          S.embed.norm.{weight,bias} [embedding]
 *   S.embed.projection.weight [width, embedding]
 *   S.layers.L.B.{query,key,value}.{weight,bias} [heads or kv, width]   (cross: key and value read
 *   S.layers.L.B.output.{weight,bias} [width, heads]                     the encoder's width)
 *   S.layers.L.self.relative [buckets, heads]
 *   S.layers.L.{self,cross,ffn}.norm.{weight,bias} [width]
 *   S.layers.L.ffn.{in,gate}.{weight,bias} [ffn, width]   S.layers.L.ffn.out.{weight,bias}
 *   S.norm.{weight,bias} [width]              (the final norm)
 *   head.pool.{weight,bias} [hidden, width]   head.transform.{weight,bias} [hidden, width]
 *   head.transform.norm.{weight,bias}         head.output.{weight,bias} [vocabulary or label, …]
 * A tensor that another one shares (tied embeddings, the decoder's table) is a slot all the same;
 * the file stores it as an alias. */
#ifndef PARE_RUNTIME_SLOTS_H
#define PARE_RUNTIME_SLOTS_H

#include <stddef.h>

#include "core/axis.h"
#include "core/memory.h"
#include "runtime/description.h"

typedef enum {
    PARE_ROLE_EMBEDDING, /* a table looked up by token id; may also be the output matrix */
    PARE_ROLE_TABLE,     /* small tables that stay F32: positions, types, relative biases */
    PARE_ROLE_MATRIX,    /* y = x W^T */
    PARE_ROLE_BIAS,
    PARE_ROLE_NORM
} PareRole;

typedef struct {
    const char *name;
    PareRole role;
    uint32_t dims;
    uint64_t shape[2];
    PareAxis axes[2];
} PareSlot;

typedef struct {
    PareSlot *items;
    size_t count;
} PareSlots;

/* All slots in a fixed order, allocated in `arena`. */
PareStatus pare_slots_list(const PareDescription *d, PareArena *arena, PareSlots *out,
                           PareError *err);
/* NULL when the description has no such tensor. */
const PareSlot *pare_slots_find(const PareSlots *slots, const char *name);

#endif
