/* What Keras made of a model in an HDF5 file: which data set is which tensor.
 *
 * Keras 2 (and transformers' tf_model.h5): the root, or model_weights in a whole saved model, has
 * layer_names; the group of each layer has weight_names, which are paths of data sets below it. A
 * shard of transformers names data sets in layer_names itself. Keras 3, and Keras 2 with the ending
 * .weights.h5: groups mirror the objects, and their variables are vars/0, vars/1, … without names.
 *
 * Private to formats/. */
#ifndef PARE_FORMATS_KERAS_LAYOUT_H
#define PARE_FORMATS_KERAS_LAYOUT_H

#include "formats/checkpoint_reader.h"
#include "formats/tf_names.h"

/* A data set; its texts, as all others here, are checked and in the checkpoint's arena. */
typedef struct {
    const char *path, *foreign;
    PareTensorType type; /* as stored */
    bool direct;         /* the elements lie at `offset` of the image, and inside of it */
    uint64_t offset, stored, address;
} PareKerasSet;

typedef struct {
    const char *path; /* of the group, a slash (unless it is the root), and the list's name */
    size_t first, count;
} PareKerasList;

typedef struct {
    const uint8_t *image;
    PareKerasSet *sets;
    size_t set_count;
    PareKerasList *lists;
    size_t list_count;
    const char **texts; /* of all lists, one behind the other */
} PareKerasFile;

/* Where a tensor of the checkpoint is. */
typedef struct {
    uint32_t set;
    PareTfLayout layout;
} PareKerasPlace;

/* Fills the checkpoint's tensors, format and warnings, and `*places` (in its arena) beside them. */
PareStatus pare_keras_layout(PareCheckpoint *c, const PareKerasFile *f, PareKerasPlace **places,
                             PareError *err);

/* The logical shape of a stored one, and the strides of its elements. */
void pare_keras_arrange(const PareTensorType *stored, PareTfLayout layout, PareTensorType *type,
                        uint64_t strides[PARE_MAX_DIMS]);

#endif
