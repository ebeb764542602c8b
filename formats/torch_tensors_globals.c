/* The allow-list: every (module, name) that a pickle of PyTorch may mention. Nothing is ever
 * called: what is here was found to say something about tensors, or to stand beside them in the
 * checkpoints of common training programs. Whatever else a file mentions, it is refused by its
 * name. */
#include "formats/torch_tensors_impl.h"

/* ---- Number formats ---- */

enum {
    FLOAT32,
    FLOAT64,
    FLOAT16,
    BFLOAT16,
    INT64,
    INT32,
    INT16,
    INT8,
    UINT8,
    BOOL,
    UINT16,
    UINT32,
    UINT64,
    COMPLEX32,
    COMPLEX64,
    COMPLEX128,
    FLOAT8_E4M3FN,
    FLOAT8_E4M3FNUZ,
    FLOAT8_E5M2,
    FLOAT8_E5M2FNUZ,
    FLOAT8_E8M0FNU,
    QUINT8,
    QINT8,
    QINT32,
    QUINT4X2,
    QUINT2X4,
    DTYPES
};

static const PareTorchDtype dtypes[DTYPES] = {
    [FLOAT32] = {"float32", PARE_F32, 4, false},
    [FLOAT64] = {"float64", PARE_F64, 8, false},
    [FLOAT16] = {"float16", PARE_F16, 2, false},
    [BFLOAT16] = {"bfloat16", PARE_BF16, 2, false},
    [INT64] = {"int64", PARE_I64, 8, false},
    [INT32] = {"int32", PARE_I32, 4, false},
    [INT16] = {"int16", PARE_I16, 2, false},
    [INT8] = {"int8", PARE_I8, 1, false},
    [UINT8] = {"uint8", PARE_U8, 1, false},
    [BOOL] = {"bool", PARE_BOOL, 1, false},
    [UINT16] = {"uint16", PARE_DTYPE_COUNT, 2, false},
    [UINT32] = {"uint32", PARE_DTYPE_COUNT, 4, false},
    [UINT64] = {"uint64", PARE_DTYPE_COUNT, 8, false},
    [COMPLEX32] = {"complex32", PARE_DTYPE_COUNT, 4, false},
    [COMPLEX64] = {"complex64", PARE_DTYPE_COUNT, 8, false},
    [COMPLEX128] = {"complex128", PARE_DTYPE_COUNT, 16, false},
    [FLOAT8_E4M3FN] = {"float8_e4m3fn", PARE_DTYPE_COUNT, 1, false},
    [FLOAT8_E4M3FNUZ] = {"float8_e4m3fnuz", PARE_DTYPE_COUNT, 1, false},
    [FLOAT8_E5M2] = {"float8_e5m2", PARE_DTYPE_COUNT, 1, false},
    [FLOAT8_E5M2FNUZ] = {"float8_e5m2fnuz", PARE_DTYPE_COUNT, 1, false},
    [FLOAT8_E8M0FNU] = {"float8_e8m0fnu", PARE_DTYPE_COUNT, 1, false},
    [QUINT8] = {"quint8", PARE_U8, 1, true},
    [QINT8] = {"qint8", PARE_I8, 1, true},
    [QINT32] = {"qint32", PARE_I32, 4, true},
    [QUINT4X2] = {"quint4x2", PARE_DTYPE_COUNT, 1, true},
    [QUINT2X4] = {"quint2x4", PARE_DTYPE_COUNT, 1, true},
};

/* ---- Globals ---- */

#define STORAGE(module, name, dtype)                                                               \
    { module, name "Storage", PARE_TORCH_STORAGE + dtype, false }
#define DTYPE(name, dtype)                                                                         \
    { "torch", name, PARE_TORCH_DTYPE + dtype, false }
#define INERT(module, name)                                                                        \
    { module, name, PARE_TORCH_INERT, false }
/* What Python 2 and 3 call by different names. */
#define BUILTIN(name) INERT("builtins", name), INERT("__builtin__", name)
#define NUMPY_CORE(module, name)                                                                   \
    INERT("numpy.core." module, name), INERT("numpy._core." module, name)

static const ParePickleGlobal globals[] = {
    /* State dicts and what is used as one. */
    {"collections", "OrderedDict", PARE_TORCH_INERT, true},
    {"collections", "defaultdict", PARE_TORCH_INERT, true},
    {"collections", "Counter", PARE_TORCH_INERT, true},
    {"builtins", "dict", PARE_TORCH_INERT, true},
    {"__builtin__", "dict", PARE_TORCH_INERT, true},
    {"pytorch_lightning.utilities.parsing", "AttributeDict", PARE_TORCH_INERT, true},
    {"lightning.pytorch.utilities.parsing", "AttributeDict", PARE_TORCH_INERT, true},
    {"lightning_fabric.utilities.data", "AttributeDict", PARE_TORCH_INERT, true},
    {"lightning.fabric.utilities.data", "AttributeDict", PARE_TORCH_INERT, true},

    /* Tensors. */
    {"torch._utils", "_rebuild_tensor", PARE_TORCH_REBUILD, false},
    {"torch._utils", "_rebuild_tensor_v2", PARE_TORCH_REBUILD_V2, false},
    {"torch._utils", "_rebuild_tensor_v3", PARE_TORCH_REBUILD_V3, false},
    {"torch._utils", "_rebuild_qtensor", PARE_TORCH_REBUILD_QUANTIZED, false},
    {"torch._utils", "_rebuild_sparse_tensor", PARE_TORCH_REBUILD_SPARSE, false},
    {"torch._utils", "_rebuild_sparse_csr_tensor", PARE_TORCH_REBUILD_SPARSE, false},
    {"torch._utils", "_rebuild_meta_tensor_no_storage", PARE_TORCH_REBUILD_META, false},
    {"torch._utils", "_rebuild_device_tensor_from_numpy", PARE_TORCH_REBUILD_NUMPY, false},
    {"torch._utils", "_rebuild_xla_tensor", PARE_TORCH_REBUILD_NUMPY, false},
    {"torch._utils", "_rebuild_parameter", PARE_TORCH_PARAMETER, false},
    {"torch._utils", "_rebuild_parameter_with_state", PARE_TORCH_PARAMETER, false},
    {"torch.nn.parameter", "Parameter", PARE_TORCH_PARAMETER, false},
    {"torch.nn.parameter", "Buffer", PARE_TORCH_PARAMETER, false},
    {"torch._tensor", "_rebuild_from_type_v2", PARE_TORCH_FROM_TYPE, false},
    {"torch._tensor", "_rebuild_from_type", PARE_TORCH_FROM_TYPE, false},
    {"torch.tensor", "_rebuild_from_type", PARE_TORCH_FROM_TYPE, false},
    INERT("torch", "Tensor"),
    {"torch", "Size", PARE_TORCH_SIZE, false},
    {"torch", "per_tensor_affine", PARE_TORCH_PER_TENSOR, false},
    {"torch", "per_channel_affine", PARE_TORCH_PER_CHANNEL, false},
    {"torch", "per_channel_affine_float_qparams", PARE_TORCH_PER_CHANNEL, false},
    INERT("torch.serialization", "_get_layout"),
    INERT("torch", "device"),
    INERT("torch.torch_version", "TorchVersion"),

    /* Storages. */
    STORAGE("torch", "Float", FLOAT32),
    STORAGE("torch", "Double", FLOAT64),
    STORAGE("torch", "Half", FLOAT16),
    STORAGE("torch", "BFloat16", BFLOAT16),
    STORAGE("torch", "Long", INT64),
    STORAGE("torch", "Int", INT32),
    STORAGE("torch", "Short", INT16),
    STORAGE("torch", "Char", INT8),
    STORAGE("torch", "Byte", UINT8),
    STORAGE("torch", "Bool", BOOL),
    STORAGE("torch", "ComplexFloat", COMPLEX64),
    STORAGE("torch", "ComplexDouble", COMPLEX128),
    STORAGE("torch", "QUInt8", QUINT8),
    STORAGE("torch", "QInt8", QINT8),
    STORAGE("torch", "QInt32", QINT32),
    STORAGE("torch", "QUInt4x2", QUINT4X2),
    STORAGE("torch", "QUInt2x4", QUINT2X4),
    STORAGE("torch.cuda", "Float", FLOAT32),
    STORAGE("torch.cuda", "Double", FLOAT64),
    STORAGE("torch.cuda", "Half", FLOAT16),
    STORAGE("torch.cuda", "BFloat16", BFLOAT16),
    STORAGE("torch.cuda", "Long", INT64),
    STORAGE("torch.cuda", "Int", INT32),
    STORAGE("torch.cuda", "Short", INT16),
    STORAGE("torch.cuda", "Char", INT8),
    STORAGE("torch.cuda", "Byte", UINT8),
    STORAGE("torch.cuda", "Bool", BOOL),
    {"torch.storage", "UntypedStorage", PARE_TORCH_UNTYPED, false},
    {"torch.storage", "_UntypedStorage", PARE_TORCH_UNTYPED, false},
    {"torch.storage", "TypedStorage", PARE_TORCH_UNTYPED, false},
    {"torch.storage", "_TypedStorage", PARE_TORCH_UNTYPED, false},
    {"torch", "UntypedStorage", PARE_TORCH_UNTYPED, false},

    /* Dtypes. */
    DTYPE("float32", FLOAT32),
    DTYPE("float64", FLOAT64),
    DTYPE("float16", FLOAT16),
    DTYPE("bfloat16", BFLOAT16),
    DTYPE("int64", INT64),
    DTYPE("int32", INT32),
    DTYPE("int16", INT16),
    DTYPE("int8", INT8),
    DTYPE("uint8", UINT8),
    DTYPE("bool", BOOL),
    DTYPE("uint16", UINT16),
    DTYPE("uint32", UINT32),
    DTYPE("uint64", UINT64),
    DTYPE("complex32", COMPLEX32),
    DTYPE("complex64", COMPLEX64),
    DTYPE("complex128", COMPLEX128),
    DTYPE("float8_e4m3fn", FLOAT8_E4M3FN),
    DTYPE("float8_e4m3fnuz", FLOAT8_E4M3FNUZ),
    DTYPE("float8_e5m2", FLOAT8_E5M2),
    DTYPE("float8_e5m2fnuz", FLOAT8_E5M2FNUZ),
    DTYPE("float8_e8m0fnu", FLOAT8_E8M0FNU),
    DTYPE("quint8", QUINT8),
    DTYPE("qint8", QINT8),
    DTYPE("qint32", QINT32),
    DTYPE("quint4x2", QUINT4X2),
    DTYPE("quint2x4", QUINT2X4),

    /* TorchScript's containers. */
    INERT("torch.jit._pickle", "build_intlist"),
    INERT("torch.jit._pickle", "build_doublelist"),
    INERT("torch.jit._pickle", "build_boollist"),
    INERT("torch.jit._pickle", "build_tensorlist"),
    INERT("torch.jit._pickle", "build_tensor_from_id"),
    INERT("torch.jit._pickle", "restore_type_tag"),

    /* Python's own values. */
    BUILTIN("set"),
    BUILTIN("frozenset"),
    BUILTIN("complex"),
    BUILTIN("slice"),
    BUILTIN("range"),
    INERT("__builtin__", "xrange"),
    BUILTIN("bytearray"),
    BUILTIN("bytes"),
    BUILTIN("object"),
    BUILTIN("int"),
    INERT("__builtin__", "long"),
    BUILTIN("float"),
    BUILTIN("bool"),
    BUILTIN("str"),
    INERT("__builtin__", "unicode"),
    BUILTIN("list"),
    BUILTIN("tuple"),
    BUILTIN("Ellipsis"),
    INERT("_codecs", "encode"),
    INERT("copyreg", "_reconstructor"),
    INERT("copy_reg", "_reconstructor"),
    INERT("collections", "deque"),
    INERT("argparse", "Namespace"),
    INERT("types", "SimpleNamespace"),
    INERT("decimal", "Decimal"),
    INERT("fractions", "Fraction"),
    INERT("uuid", "UUID"),
    INERT("datetime", "datetime"),
    INERT("datetime", "date"),
    INERT("datetime", "time"),
    INERT("datetime", "timedelta"),
    INERT("datetime", "timezone"),
    INERT("pathlib", "Path"),
    INERT("pathlib", "PurePath"),
    INERT("pathlib", "PosixPath"),
    INERT("pathlib", "PurePosixPath"),
    INERT("pathlib", "WindowsPath"),
    INERT("pathlib", "PureWindowsPath"),
    INERT("pathlib._local", "Path"),
    INERT("pathlib._local", "PosixPath"),
    INERT("pathlib._local", "PurePosixPath"),
    INERT("pathlib._local", "WindowsPath"),
    INERT("pathlib._local", "PureWindowsPath"),

    /* NumPy's scalars and arrays. */
    NUMPY_CORE("multiarray", "scalar"),
    NUMPY_CORE("multiarray", "_reconstruct"),
    NUMPY_CORE("numeric", "_frombuffer"),
    INERT("numpy", "dtype"),
    INERT("numpy", "ndarray"),
    INERT("numpy", "float64"),
    INERT("numpy", "float32"),
    INERT("numpy", "int64"),
    INERT("numpy", "int32"),
    INERT("numpy", "bool_"),

    /* Settings that training programs store beside the state dict. */
    INERT("transformers.training_args", "TrainingArguments"),
    INERT("transformers.training_args", "OptimizerNames"),
    INERT("transformers.training_args_seq2seq", "Seq2SeqTrainingArguments"),
    INERT("transformers.trainer_utils", "IntervalStrategy"),
    INERT("transformers.trainer_utils", "EvaluationStrategy"),
    INERT("transformers.trainer_utils", "SchedulerType"),
    INERT("transformers.trainer_utils", "HubStrategy"),
    INERT("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint"),
    INERT("pytorch_lightning.callbacks.early_stopping", "EarlyStopping"),
    INERT("omegaconf.dictconfig", "DictConfig"),
    INERT("omegaconf.listconfig", "ListConfig"),
    INERT("omegaconf.base", "ContainerMetadata"),
    INERT("omegaconf.base", "Metadata"),
    INERT("omegaconf.nodes", "AnyNode"),
    INERT("omegaconf.nodes", "StringNode"),
    INERT("omegaconf.nodes", "IntegerNode"),
    INERT("omegaconf.nodes", "FloatNode"),
    INERT("omegaconf.nodes", "BooleanNode"),
    INERT("typing", "Any"),
};

/* Every class of a TorchScript archive is below this module. */
static const ParePickleGlobal script = {"__torch__", "", PARE_TORCH_SCRIPT, false};

const ParePickleAllowList pare_torch_allow_list = {globals, sizeof globals / sizeof *globals,
                                                   &script};

bool pare_torch_is_global(const ParePickle *v, int code) {
    return v->kind == PARE_PICKLE_GLOBAL && v->global->code == code;
}

bool pare_torch_is_call(const ParePickle *v, int code) {
    return v->kind == PARE_PICKLE_CALL && pare_torch_is_global(v->items[0], code);
}

const PareTorchDtype *pare_torch_dtype(const ParePickle *v, int block) {
    if (v->kind != PARE_PICKLE_GLOBAL || v->global->code < block ||
        v->global->code >= block + DTYPES)
        return NULL;
    return &dtypes[v->global->code - block];
}
