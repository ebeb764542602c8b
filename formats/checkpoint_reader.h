/* What a container of tensors (PyTorch zip, safetensors, …) provides to checkpoint.c.
 *
 * A container finds tensors and shows where their elements lie; checkpoint.c looks them up, gathers
 * strided ones and converts. Private to formats/. */
#ifndef PARE_FORMATS_CHECKPOINT_READER_H
#define PARE_FORMATS_CHECKPOINT_READER_H

#include "core/file.h"
#include "core/memory.h"
#include "formats/checkpoint.h"
#include "formats/tensor_names.h"

/* Element (i0, i1, …) is at data + size of the dtype * sum of i_d * strides[d]; any alignment. The
 * container has checked that all elements lie inside its bytes. */
typedef struct {
    const uint8_t *data;
    uint64_t strides[PARE_MAX_DIMS];
} PareTensorView;

typedef struct {
    const char *format; /* pare_checkpoint_format */
    /* The bytes stay valid until the next view or release. */
    PareStatus (*view)(PareCheckpoint *c, size_t index, PareTensorView *out, PareError *err);
    void (*release)(PareCheckpoint *c, size_t index); /* may be NULL: they are not needed now */
    void (*close)(PareCheckpoint *c);                 /* may be NULL: frees `self` */
} PareCheckpointReader;

struct PareCheckpoint {
    char *path;       /* of the weights file */
    const char *root; /* pare_checkpoint_open's; valid while the container opens */
    PareMapping map;  /* of the weights file */
    PareArena *arena;
    PareCheckpointTensor *tensors; /* in the arena, as their names */
    size_t count;
    PareNameIndex names;
    const PareCheckpointReader *reader; /* NULL until the container set it */
    void *self;                         /* the container's own */
};

/* Each container opens a checkpoint whose path, map and arena are set: it sets reader and self
 * first, then tensors and count. On failure the caller closes the checkpoint. */
PareStatus pare_pytorch_zip_open(PareCheckpoint *c, PareError *err);
PareStatus pare_safetensors_open(PareCheckpoint *c, PareError *err);

/* Gives pages of the mapping back that were read; bytes that lie elsewhere are left alone. */
void pare_checkpoint_drop(const PareCheckpoint *c, const uint8_t *bytes, size_t size);

/* The strides of a row-major, contiguous tensor. */
void pare_view_set_contiguous(PareTensorView *view, const PareTensorType *type);

#endif
