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
    char *path;       /* of the weights file; of a sharded checkpoint, the index */
    const char *root; /* pare_checkpoint_open's; valid while the container opens */
    bool is_shard;    /* a part of a sharded checkpoint, which cannot be sharded again */
    PareMapping map;  /* of the weights file */
    PareArena *arena;
    PareCheckpointTensor *tensors; /* in the arena, as their names */
    size_t count;
    PareNameIndex names;
    const PareCheckpointReader *reader; /* NULL until the container set it */
    void *self;                         /* the container's own */

    /* Of a sharded checkpoint; all of it in the arena. */
    const char *format;       /* what pare_checkpoint_format says; NULL: the reader's */
    const char *const *files; /* the shards, `file_count` of them */
    size_t file_count;
    const char *warnings;       /* NULL: none */
    const PareCheckpoint *part; /* the shard into which the latest view points */
};

/* Each container opens a checkpoint whose path, map and arena are set: it sets reader and self
 * first, then tensors and count. On failure the caller closes the checkpoint. */
PareStatus pare_pytorch_zip_open(PareCheckpoint *c, PareError *err);
PareStatus pare_pytorch_legacy_open(PareCheckpoint *c, PareError *err);
PareStatus pare_pytorch_tar_open(PareCheckpoint *c, PareError *err);
PareStatus pare_safetensors_open(PareCheckpoint *c, PareError *err);
PareStatus pare_hdf5_open(PareCheckpoint *c, PareError *err);
/* A .keras file: a zip archive with model.weights.h5. */
bool pare_keras_archive_is(const PareMapping *map);
PareStatus pare_keras_archive_open(PareCheckpoint *c, PareError *err);
PareStatus pare_sharded_open(PareCheckpoint *c, PareError *err);

/* A shard on behalf of pare_sharded_open: a file with tensors, no folder and no index. `root` must
 * stay valid. */
PareStatus pare_checkpoint_open_shard(const char *path, const char *root, PareCheckpoint **out,
                                      PareError *err);

/* Gives pages of the mapping back that were read; bytes that lie elsewhere are left alone. */
void pare_checkpoint_drop(const PareCheckpoint *c, const uint8_t *bytes, size_t size);

/* Turns any numbers that views of the same elements have in common into `view_id`s, among the
 * tensors from `first` on. */
PareStatus pare_checkpoint_number_views(PareCheckpoint *c, size_t first, PareError *err);

/* The strides of a row-major, contiguous tensor. */
void pare_view_set_contiguous(PareTensorView *view, const PareTensorType *type);

#endif
