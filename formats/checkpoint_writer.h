/* Writing checkpoints for other frameworks: the way back.
 *
 * One interface, three containers. Tensors are asked for one at a time, so that writing needs the
 * memory of the largest one. The same tensors give the same bytes: no time, no machine, no
 * process enters. */
#ifndef PARE_FORMATS_CHECKPOINT_WRITER_H
#define PARE_FORMATS_CHECKPOINT_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/log.h"
#include "core/tensor.h"

typedef enum {
    PARE_SAVE_SAFETENSORS, /* model.safetensors, metadata {"format": "pt"} */
    PARE_SAVE_PYTORCH,     /* pytorch_model.bin: the zip container, an OrderedDict of tensors */
    PARE_SAVE_HDF5         /* tf_model.h5: Keras 2 weights as transformers' TensorFlow side reads */
} PareSaveFormat;

typedef struct {
    const char *name;    /* the framework's, unique; for HDF5 the weight's name below its group,
                            "scope/layer/kernel:0" */
    const char *group;   /* HDF5 only: the top-level Keras layer that the weight belongs to */
    PareTensorType type; /* F32, F16 or BF16 (HDF5 has no BF16: refused); any integer type */
    size_t same_as;      /* SIZE_MAX, or the number of an earlier tensor with the same elements and
                            type: stored once where the container can (PyTorch), left out of
                            safetensors and HDF5 as save_pretrained does */
} PareSavedTensor;

/* Fills `dst` (pare_tensor_bytes of the type) with row-major, contiguous, little-endian elements.
 */
typedef PareStatus (*PareTensorSource)(void *context, size_t index, void *dst, PareError *err);

/* Writes `path`, which appears whole or not at all (core/file.h's PareOutput); an existing file is
 * refused unless `force`. `progress` (may be NULL) counts bytes of tensors. Polls for interruption.
 */
PareStatus pare_checkpoint_save(PareSaveFormat format, const char *path, bool force,
                                const PareSavedTensor *tensors, size_t count,
                                PareTensorSource source, void *context, PareProgress *progress,
                                PareError *err);

/* What pare_checkpoint_save calls for each container; private to formats/. */
typedef struct {
    const char *path;
    bool force;
    const PareSavedTensor *tensors;
    size_t count;
    PareTensorSource source;
    void *context;
    PareProgress *progress;
} PareSaveJob;

/* One tensor's bytes at a time, in memory that grows to the largest and is used again. Zero-
 * initialise; `data` is valid until the next call. Counts progress, polls for interruption. */
typedef struct {
    uint8_t *data;
    size_t bytes; /* of the tensor that it holds */
    size_t capacity;
    uint64_t done;
} PareSaveRoom;
PareStatus pare_save_fetch(const PareSaveJob *job, size_t index, PareSaveRoom *room,
                           PareError *err);
void pare_save_room_free(PareSaveRoom *room);

PareStatus pare_safetensors_save(const PareSaveJob *job, PareError *err);
PareStatus pare_pytorch_save(const PareSaveJob *job, PareError *err);
PareStatus pare_hdf5_save(const PareSaveJob *job, PareError *err);

#endif
