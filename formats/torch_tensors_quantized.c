/* Quantized tensors: affine, with one scale and zero point or one of each for every channel. They
 * are shown as the float32 that PyTorch's dequantize() gives. That rounds the one scale of a tensor
 * to float32; with the float64 scales of channels it multiplies in double precision (builds of
 * PyTorch with FBGEMM round those too, which changes the last bit of some elements). */
#include <string.h>

#include "formats/torch_tensors_impl.h"

/* ---- Opening ---- */

static bool is_number(const ParePickle *v) {
    return v->kind == PARE_PICKLE_INT || v->kind == PARE_PICKLE_FLOAT;
}

static bool is_number_list(const ParePickle *v, uint64_t count) {
    if (v->kind != PARE_PICKLE_LIST || v->size != count)
        return false;
    for (uint32_t i = 0; i < v->size; i++)
        if (!is_number(v->items[i]))
            return false;
    return true;
}

/* A vector with a number for each channel. */
static PareStatus read_vector(const PareTorchBuilder *b, const ParePickle *v, uint64_t channels,
                              PareTensorType *type, PareTorchView *view) {
    PareCheckpointTensor t = {0};
    if (!pare_torch_is_tensor(v))
        return pare_torch_fault(b, "has scales or zero points that are neither tensors nor lists");
    PareStatus status = pare_torch_read_tensor(b, v, &t, view);
    if (status != PARE_OK)
        return status;
    if (view->quantizer != NULL || view->record == UINT32_MAX || t.type.dims != 1 ||
        t.type.shape[0] != channels)
        return pare_torch_fault(b, "does not have one scale and zero point for each channel");
    *type = t.type;
    return PARE_OK;
}

static PareStatus read_channels(const PareTorchBuilder *b, const ParePickle *v,
                                const PareTensorType *type, PareTorchQuantizer *q) {
    if (v->items[3]->kind != PARE_PICKLE_INT || v->items[3]->integer < 0 ||
        v->items[3]->integer >= type->dims)
        return pare_torch_fault(b, "is quantized along an axis that it does not have");
    q->per_channel = true;
    q->axis = (uint32_t)v->items[3]->integer;
    uint64_t channels = type->shape[q->axis];
    if (is_number_list(v->items[1], channels) && is_number_list(v->items[2], channels)) {
        q->scale_list = v->items[1];
        q->zero_list = v->items[2];
        return PARE_OK;
    }
    PareStatus status = read_vector(b, v->items[1], channels, &q->scale_type, &q->scale_view);
    if (status != PARE_OK)
        return status;
    return read_vector(b, v->items[2], channels, &q->zero_type, &q->zero_view);
}

PareStatus pare_torch_read_quantizer(const PareTorchBuilder *b, const ParePickle *v,
                                     const PareTensorType *type, PareTorchQuantizer *q) {
    if (v->kind == PARE_PICKLE_TUPLE && v->size == 4 &&
        pare_torch_is_global(v->items[0], PARE_TORCH_PER_CHANNEL))
        return read_channels(b, v, type, q);
    if (v->kind != PARE_PICKLE_TUPLE || v->size != 3 ||
        !pare_torch_is_global(v->items[0], PARE_TORCH_PER_TENSOR) || !is_number(v->items[1]) ||
        v->items[2]->kind != PARE_PICKLE_INT)
        return pare_torch_fault(b, "is quantized in a way that torch.save does not write");
    const ParePickle *scale = v->items[1];
    q->scale = scale->kind == PARE_PICKLE_FLOAT ? (float)scale->number : (float)scale->integer;
    q->zero_point = v->items[2]->integer;
    return PARE_OK;
}

/* ---- Reading ---- */

/* Of each channel; zero points that are floats belong to embeddings (float_qparams). */
typedef struct {
    double *scale;
    float *zero_point;
    size_t count;
} Channels;

static double list_item(const ParePickle *v) {
    return v->kind == PARE_PICKLE_FLOAT ? v->number : (double)v->integer;
}

/* Into `wide`, or as float32 into `narrow`. */
static PareStatus fetch_vector(PareCheckpoint *c, const PareTorchTensors *t,
                               const PareTensorType *type, const PareTorchView *view, double *wide,
                               float *narrow, PareError *err) {
    const uint8_t *bytes;
    size_t size = pare_dtype_size(type->dtype);
    PareStatus status = t->storages.fetch(c, view->record, &bytes, err);
    for (uint64_t i = 0; status == PARE_OK && i < type->shape[0]; i++) {
        const uint8_t *at = bytes + view->offset + i * view->strides[0] * size;
        float value;
        pare_convert_to_f32(type->dtype, at, &value, 1);
        if (narrow != NULL)
            narrow[i] = value;
        else if (type->dtype == PARE_F64)
            memcpy(&wide[i], at, sizeof *wide);
        else
            wide[i] = value;
    }
    return status;
}

static PareStatus fetch_channels(PareCheckpoint *c, const PareTorchTensors *t,
                                 const PareTorchQuantizer *q, Channels *ch, PareError *err) {
    ch->scale = pare_alloc(ch->count, sizeof *ch->scale);
    ch->zero_point = pare_alloc(ch->count, sizeof *ch->zero_point);
    if (ch->scale == NULL || ch->zero_point == NULL)
        return pare_memory_error(err, c->path);
    if (!q->per_channel) {
        ch->scale[0] = q->scale;
        ch->zero_point[0] = (float)q->zero_point;
        return PARE_OK;
    }
    for (size_t i = 0; q->scale_list != NULL && i < ch->count; i++) {
        ch->scale[i] = list_item(q->scale_list->items[i]);
        ch->zero_point[i] = (float)list_item(q->zero_list->items[i]);
    }
    if (q->scale_list != NULL)
        return PARE_OK;
    PareStatus status = fetch_vector(c, t, &q->scale_type, &q->scale_view, ch->scale, NULL, err);
    if (status != PARE_OK)
        return status;
    return fetch_vector(c, t, &q->zero_type, &q->zero_view, NULL, ch->zero_point, err);
}

/* Elements in row-major order; there are some. Integers of 8 bits minus a zero point are exact. */
static void dequantize(const PareTensorType *type, const PareTorchView *view, const uint8_t *bytes,
                       const Channels *ch, float *out) {
    const PareTorchQuantizer *q = view->quantizer;
    uint64_t index[PARE_MAX_DIMS] = {0};
    for (;;) {
        uint64_t at = 0;
        float value;
        for (uint32_t d = 0; d < type->dims; d++)
            at += index[d] * view->strides[d];
        size_t channel = q->per_channel ? (size_t)index[q->axis] : 0;
        pare_convert_to_f32(q->stored->dtype, bytes + view->offset + at * q->stored->size, &value,
                            1);
        float difference = value - ch->zero_point[channel];
        *out++ = (float)(ch->scale[channel] * (double)difference);
        uint32_t d = type->dims;
        while (d > 0 && ++index[d - 1] == type->shape[d - 1])
            index[--d] = 0;
        if (d == 0)
            return;
    }
}

PareStatus pare_torch_dequantize(PareCheckpoint *c, PareTorchTensors *t, size_t index,
                                 PareError *err) {
    const PareTensorType *type = &c->tensors[index].type;
    const PareTorchView *view = &t->views[index];
    const PareTorchQuantizer *q = view->quantizer;
    const uint8_t *bytes;
    size_t elements = 0;
    Channels ch = {.count = q->per_channel ? (size_t)type->shape[q->axis] : 1};
    pare_free(t->dequantized);
    t->dequantized = NULL;
    if (pare_tensor_elements(type, &elements)) /* it was checked when the tensor was read */
        t->dequantized = pare_alloc(elements, sizeof *t->dequantized);
    PareStatus status = t->dequantized == NULL ? pare_memory_error(err, c->path) : PARE_OK;
    if (status == PARE_OK)
        status = fetch_channels(c, t, q, &ch, err);
    if (status == PARE_OK)
        status = t->storages.fetch(c, view->record, &bytes, err);
    if (status == PARE_OK && elements > 0)
        dequantize(type, view, bytes, &ch, t->dequantized);
    pare_free(ch.scale);
    pare_free(ch.zero_point);
    return status;
}
