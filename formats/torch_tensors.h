/* From pickled objects to tensors: what torch.save and torch.jit.save put into their pickles.
 *
 * Knows PyTorch's allow-list, where a checkpoint keeps its tensors, and how these are rebuilt from
 * storages; knows nothing about the container in which the storages' bytes lie. */
#ifndef PARE_FORMATS_TORCH_TENSORS_H
#define PARE_FORMATS_TORCH_TENSORS_H

#include "formats/checkpoint_reader.h"
#include "formats/pickle.h"

/* Every (module, name) that a checkpoint may mention; nothing of it is ever called. */
extern const ParePickleAllowList pare_torch_allow_list;

/* What a container provides: its storages, each with a number of its own. */
typedef struct {
    void *container;
    /* The record that holds the storage `key`, and its size; false when there is none. */
    bool (*find)(void *container, const char *key, uint32_t *record, uint64_t *bytes);
    /* Its bytes, of any alignment, until the next call. */
    PareStatus (*fetch)(PareCheckpoint *c, uint32_t record, const uint8_t **bytes, PareError *err);
} PareTorchStorages;

typedef struct PareTorchQuantizer PareTorchQuantizer;

/* Where the elements of a tensor lie inside its record. */
typedef struct {
    uint32_t record; /* the container's number; UINT32_MAX: the tensor has no elements to read */
    uint64_t offset; /* in bytes */
    uint64_t strides[PARE_MAX_DIMS];
    const PareTorchQuantizer *quantizer; /* NULL: elements are what they seem */
} PareTorchView;

typedef struct {
    PareTorchStorages storages;
    PareTorchView *views; /* one a tensor, in the checkpoint's arena */
    float *dequantized;   /* the quantized tensor that was viewed last */
} PareTorchTensors;

/* Finds the tensors in `root`: those of c->root if that is set, else those of the state dict by its
 * usual names, or of a TorchScript module. Checks every one against its storage, strips prefixes
 * that wrappers put before all names, and fills c->tensors, c->count and c->warnings.
 * `out->storages` is set. */
PareStatus pare_torch_tensors_build(PareCheckpoint *c, const ParePickle *root,
                                    PareTorchTensors *out, PareError *err);
/* A PareCheckpointReader's view. */
PareStatus pare_torch_tensors_view(PareCheckpoint *c, PareTorchTensors *t, size_t index,
                                   PareTensorView *out, PareError *err);
void pare_torch_tensors_free(PareTorchTensors *t);

#endif
