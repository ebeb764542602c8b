/* A checkpoint as a framework left it: named tensors, read one at a time.
 *
 * Whatever the container (PyTorch zip, safetensors, …), opening reads only the directory; a
 * tensor's bytes are read when asked for, so that a stage needs the memory of its largest tensor.
 * The input is hostile: every length is checked before use, nothing is ever executed. */
#ifndef PARE_FORMATS_CHECKPOINT_H
#define PARE_FORMATS_CHECKPOINT_H

#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/tensor.h"

typedef struct PareCheckpoint PareCheckpoint;

typedef struct {
    const char *name; /* UTF-8, unique; owned by the checkpoint */
    /* The logical shape and stored number format. A dtype that this program has no name for
     * (safetensors' 8-bit floats, unsigned integers) is PARE_DTYPE_COUNT: such a tensor is listed
     * and may be ignored; reading it is an error that names its dtype. */
    PareTensorType type;
    /* Tensors that view the very same elements (tied weights) have one number: one more than the
     * index of the first of them. 0: such tensors are not looked for in this format. */
    uint64_t view_id;
    /* The file's own name of a dtype that is PARE_DTYPE_COUNT; NULL otherwise. */
    const char *foreign_dtype;
} PareCheckpointTensor;

/* `path` is a file, or a folder in which the weights file is looked for (checkpoint_folder.c). The
 * content decides the format, never the name. A git-LFS pointer, an HTML page, an empty file, a zip
 * that is no checkpoint, … are told apart in the message.
 *
 * A sharded checkpoint is opened through its index (model.safetensors.index.json, …), which says
 * in which file of the same folder each tensor lies. Index and shards must agree exactly.
 *
 * `root` (NULL: found by the usual names) says where inside a training checkpoint the tensors are:
 * keys from the outermost dictionary inwards, joined by '/' ("ema/state_dict"). */
PareStatus pare_checkpoint_open(const char *path, const char *root, PareCheckpoint **out,
                                PareError *err);
void pare_checkpoint_close(PareCheckpoint *c); /* NULL is allowed */

/* Of the weights file; of a sharded checkpoint, the index. */
const char *pare_checkpoint_path(const PareCheckpoint *c);
/* "PyTorch zip", "safetensors", "sharded safetensors", … */
const char *pare_checkpoint_format(const PareCheckpoint *c);
/* Every file that is read: pare_checkpoint_path first, then the shards by name. */
size_t pare_checkpoint_files(const PareCheckpoint *c);
const char *pare_checkpoint_file(const PareCheckpoint *c, size_t index); /* NULL beyond the end */
/* What is odd but no reason to refuse: lines, each with its line end; "" for none. */
const char *pare_checkpoint_warnings(const PareCheckpoint *c);
/* "F32", …; the file's own name for a dtype that PareDtype lacks. */
const char *pare_checkpoint_dtype_name(const PareCheckpointTensor *t);
size_t pare_checkpoint_count(const PareCheckpoint *c);
/* In the file's own order. */
const PareCheckpointTensor *pare_checkpoint_tensor(const PareCheckpoint *c, size_t index);
/* NULL when absent; hashed. */
const PareCheckpointTensor *pare_checkpoint_find(const PareCheckpoint *c, const char *name);

/* All elements, row-major and contiguous, converted to float32 / in the stored number format.
 * `dst` has room for them (pare_tensor_elements / pare_tensor_bytes). CRCs are checked where the
 * container has them and the whole record is read. */
PareStatus pare_checkpoint_read_f32(PareCheckpoint *c, const PareCheckpointTensor *t, float *dst,
                                    PareError *err);
PareStatus pare_checkpoint_read_raw(PareCheckpoint *c, const PareCheckpointTensor *t, void *dst,
                                    PareError *err);

/* Elements first to first + count - 1 as pare_checkpoint_read_f32 has them, but without memory for
 * them all: `take` gets them in order, in pieces of at most PARE_STREAM_ELEMENTS, which fit into a
 * processor's cache. They are valid during that call. The first failure of `take` is returned. */
enum { PARE_STREAM_ELEMENTS = 1 << 16 };
typedef PareStatus (*PareTakeFloats)(void *context, const float *values, size_t count,
                                     PareError *err);
PareStatus pare_checkpoint_stream_f32(PareCheckpoint *c, const PareCheckpointTensor *t,
                                      size_t first, size_t count, PareTakeFloats take,
                                      void *context, PareError *err);

#endif
