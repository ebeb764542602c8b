/* TensorFlow's names and layouts of the tensors of a transformers model, and PyTorch's.
 *
 * The rules are transformers' own and know no family: scopes are separated by '/', numbered layers
 * are "name_._3" (or "name.3"), ":0" ends a variable; `kernel` is a weight stored [in, out],
 * `gamma`/`beta` a norm's weight and bias, `embeddings` a table; the first scope is the model. */
#ifndef PARE_FORMATS_TF_NAMES_H
#define PARE_FORMATS_TF_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How the elements of the one lie in the other. */
typedef enum {
    PARE_TF_AS_IS,
    PARE_TF_TRANSPOSED, /* two dimensions, swapped */
    PARE_TF_FLAT,       /* [1, n] there, [n] here (biases of transposed projections) */
    PARE_TF_CONV1D,     /* [width, in, out] there, [out, in, width] here */
    PARE_TF_CONV2D      /* [height, width, in, out] there, [out, in, height, width] here */
} PareTfLayout;

/* PyTorch's name of a TensorFlow variable with `dims` dimensions; the name does not depend on them.
 * The first scope is dropped where there are several levels. false when it does not fit. */
bool pare_tf_name_to_torch(const char *variable, uint32_t dims, char *out, size_t size,
                           PareTfLayout *layout);

/* What export knows of a tensor, since PyTorch's name alone does not tell a table from a matrix. */
typedef enum {
    PARE_TF_MATRIX,     /* y = x W^T: becomes a transposed kernel */
    PARE_TF_PROJECTION, /* stored [in, out] by PyTorch as well: stays "weight" */
    PARE_TF_TOKENS,     /* the token table: "weight" */
    PARE_TF_TABLE,      /* other tables: "embeddings" */
    PARE_TF_NORM,       /* gamma, beta */
    PARE_TF_RMS_NORM,   /* "weight" */
    PARE_TF_BIAS
} PareTfRole;

/* The reverse: `group` gets the top-level layer, `out` the variable's name ("…/kernel:0") as Keras
 * stores it under that group. `name` is that of a model whose base has its prefix
 * ("transformer.h.0…"): TensorFlow's base models are layers too. The first scope is our own, since
 * readers drop it. The layout is never PARE_TF_FLAT: readers of [1, n] take [n] as well. false when
 * one does not fit. */
bool pare_tf_name_from_torch(const char *name, PareTfRole role, char *group, size_t group_size,
                             char *out, size_t size, PareTfLayout *layout);

#endif
