/* What the files torch_tensors*.c share. */
#ifndef PARE_FORMATS_TORCH_TENSORS_IMPL_H
#define PARE_FORMATS_TORCH_TENSORS_IMPL_H

#include "formats/torch_tensors.h"

/* ---- The allow-list: torch_tensors_globals.c ---- */

/* Codes of globals. Storages and dtypes carry the number of their dtype on top. */
enum {
    PARE_TORCH_INERT, /* mentioned, called, given a state: of no interest */
    PARE_TORCH_REBUILD,
    PARE_TORCH_REBUILD_V2,
    PARE_TORCH_REBUILD_V3,
    PARE_TORCH_REBUILD_QUANTIZED,
    PARE_TORCH_REBUILD_SPARSE,
    PARE_TORCH_REBUILD_META,
    PARE_TORCH_REBUILD_NUMPY,
    PARE_TORCH_PARAMETER, /* around a tensor, which is the first argument */
    PARE_TORCH_FROM_TYPE, /* (function, class, its arguments, state) */
    PARE_TORCH_UNTYPED,
    PARE_TORCH_SIZE,
    PARE_TORCH_PER_TENSOR,
    PARE_TORCH_PER_CHANNEL,
    PARE_TORCH_SCRIPT, /* a class of TorchScript */
    PARE_TORCH_STORAGE = 100,
    PARE_TORCH_DTYPE = 200
};

typedef struct {
    const char *name;
    PareDtype dtype; /* PARE_DTYPE_COUNT: none of ours; listed, not read */
    uint8_t size;    /* of an element in a storage */
    bool quantized;
} PareTorchDtype;

/* The dtype that a storage's class (block PARE_TORCH_STORAGE) or a dtype stands for; NULL: none. */
const PareTorchDtype *pare_torch_dtype(const ParePickle *v, int block);
/* Whether `v` is the global with this code / a call of it. */
bool pare_torch_is_global(const ParePickle *v, int code);
bool pare_torch_is_call(const ParePickle *v, int code);

/* ---- One tensor: torch_tensors_read.c, torch_tensors_quantized.c ---- */

/* What is needed while one tensor is read. */
typedef struct {
    PareCheckpoint *c;
    const PareTorchStorages *storages;
    const char *name; /* of the tensor */
    PareError *err;
} PareTorchBuilder;

struct PareTorchQuantizer {
    const PareTorchDtype *stored;
    float scale; /* of all elements */
    int64_t zero_point;
    /* Per channel: of each index of `axis`; either two tensors or two lists of numbers. */
    bool per_channel;
    uint32_t axis;
    const ParePickle *scale_list, *zero_list;
    PareTensorType scale_type, zero_type;
    PareTorchView scale_view, zero_view;
};

/* "tensor 'NAME' WHAT". */
PareStatus pare_torch_fault(const PareTorchBuilder *b, const char *what);
/* Whether a value claims to be a tensor, well-formed or not. */
bool pare_torch_is_tensor(const ParePickle *v);
PareStatus pare_torch_read_tensor(const PareTorchBuilder *b, const ParePickle *v,
                                  PareCheckpointTensor *t, PareTorchView *view);
/* (scheme, scale, zero point), or (scheme, scales, zero points, axis). */
PareStatus pare_torch_read_quantizer(const PareTorchBuilder *b, const ParePickle *v,
                                     const PareTensorType *type, PareTorchQuantizer *q);
/* All elements as float32, in t->dequantized. */
PareStatus pare_torch_dequantize(PareCheckpoint *c, PareTorchTensors *t, size_t index,
                                 PareError *err);

/* ---- Where the tensors are: torch_tensors_find.c ---- */

/* A step in a graph that may contain itself costs one of these; at zero the search gives up. */
enum { PARE_TORCH_STEPS = 4 << 20 };

/* The attributes of a TorchScript module, or NULL. */
const ParePickle *pare_torch_script_attributes(const ParePickle *v);
/* Whether there is a tensor somewhere inside. */
bool pare_torch_holds_tensor(const ParePickle *v, size_t *steps);
/* The dict or TorchScript module that holds the tensors, by c->root or the usual names.
 * `*is_lightning`: it is PyTorch Lightning's, which puts "model." before all names. */
PareStatus pare_torch_find_root(const PareCheckpoint *c, const ParePickle *root,
                                const ParePickle **out, bool *is_lightning, PareError *err);

#endif
