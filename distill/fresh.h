/* Students that are not a teacher's layers: random values, and descriptions of their own.
 *
 * Random values are drawn as the frameworks draw them before training starts: matrices and tables
 * from a normal distribution with deviation 0.02, biases 0, norms 1 (BERT, GPT, BART); where norms
 * stand in front of the sublayers the matrices that write into the residual stream are smaller by
 * the root of twice the number of layers (GPT-2). Stacks with RMS norms have none of this (T5): a
 * matrix has the deviation columns^-0.5, the query's also head_size^-0.5 since the scores are not
 * scaled, tables of relative positions width^-0.5, token tables and an output layer of their own 1.
 * A value depends on the seed, the tensor's name and its place in the tensor, and on nothing
 * else. */
#ifndef PARE_DISTILL_FRESH_H
#define PARE_DISTILL_FRESH_H

#include "core/error.h"
#include "distill/student.h"
#include "learn/weights.h"

/* One value of the standard normal distribution; `index` below 2^56. */
float pare_fresh_normal(uint64_t seed, uint64_t stream, uint64_t index);

/* What initial values depend on. */
typedef struct {
    const PareDescription *d;
    PareSlots slots; /* of d */
    uint64_t seed;
    const PareWeightsFrom *extras; /* fills the tensors that are no slots; may be NULL */
} PareFreshValues;

/* For PareWeightsFrom.fill. */
void pare_fresh_fill(const PareFreshValues *v, const char *name, uint64_t rows, uint64_t cols,
                     float *values);

/* Reads a student's description from a JSON file: what `runtime/description.h` writes, bare or
 * inside of what pare-info --json prints. What is missing is as in the teacher, layer by layer;
 * "layers" may also be one object for all of them, with their "count". What follows from the width
 * or from the heads in the teacher does so in the student: embedding_width, embedding_scale, the
 * head's scale, kv_heads, the scores' scale. Refused: other stacks, vocabularies or heads than the
 * teacher's, whose tokenizer and labels the student gets. */
PareStatus pare_fresh_describe(const char *path, const PareDescription *teacher, PareArena *arena,
                               PareDescription *out, PareError *err);

typedef struct {
    const PareModel *teacher;
    const PareDescription *d;
    const char *layers; /* the --layers that made d, or NULL */
    uint64_t seed;
    bool copy_embeddings; /* embeddings and head are the teacher's, where their shapes agree */
    const PareWeightsFrom *extras; /* may be NULL */
} PareFreshStudent;

/* Parameters with random values. What shares its values in the teacher does so in the student, and
 * the teacher's constants ("fixed" in its metadata) are copied. */
PareStatus pare_fresh_create(const PareFreshStudent *s, PareWeights **out, PareError *err);

#endif
