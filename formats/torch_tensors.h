/* From a pickled state dict to tensors: what torch.save put into data.pkl.
 *
 * Knows PyTorch's allow-list and how its tensors are rebuilt from storages; knows nothing about the
 * container in which the storages' bytes lie. */
#ifndef PARE_FORMATS_TORCH_TENSORS_H
#define PARE_FORMATS_TORCH_TENSORS_H

#include "formats/checkpoint_reader.h"
#include "formats/pickle.h"

/* Everything that a state dict may call. */
extern const ParePickleAllowList pare_torch_allow_list;

/* Where the elements of a tensor lie inside its record. */
typedef struct {
    uint32_t record; /* the container's number */
    uint64_t offset; /* in bytes */
    uint64_t strides[PARE_MAX_DIMS];
} PareTorchView;

typedef struct {
    void *container;
    /* The record that holds the storage `key` and its size; false when there is none. */
    bool (*find)(void *container, const char *key, uint32_t *record, uint64_t *bytes);
} PareTorchStorages;

/* Finds the state dict in `root` (itself, or under state_dict, model_state_dict or model), checks
 * every tensor against its record, strips a common "module." prefix, and fills c->tensors and
 * c->count. `*views` (one a tensor) lives in c->arena. */
PareStatus pare_torch_tensors_build(PareCheckpoint *c, const ParePickle *root,
                                    const PareTorchStorages *storages, PareTorchView **views,
                                    PareError *err);

#endif
