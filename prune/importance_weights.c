/* Importance without data: the size of the weights, and random numbers. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/random.h"
#include "prune/importance_impl.h"

/* -- magnitude -- */

/* Whether an earlier slot that `axis` touches in dimension `dim` has the same values. */
static bool is_repeated(const PareWeights *w, size_t slot, uint32_t dim, PareAxis axis) {
    for (size_t i = 0; i < slot; i++)
        if (w->tensor_of[i] == w->tensor_of[slot] && dim < w->slots.items[i].dims &&
            pare_axis_equal(w->slots.items[i].axes[dim], axis))
            return true;
    return false;
}

/* Adds the squares of all values of a slot to those of their units along one dimension. */
static void add_slot(const PareWeights *w, size_t slot, uint32_t dim, double *squares) {
    const PareSlot *s = &w->slots.items[slot];
    size_t rows = (size_t)s->shape[0], cols = s->dims == 2 ? (size_t)s->shape[1] : 1;
    size_t group = s->axes[dim].group;
    const float *x = w->data[slot];
    for (size_t r = 0; r < rows; r++)
        for (size_t c = 0; c < cols; c++) {
            double value = (double)x[r * cols + c];
            squares[(dim == 0 ? r : c) / group] += value * value;
        }
}

static void add_axis(const PareWeights *w, PareAxis axis, double *squares) {
    for (size_t i = 0; i < w->slots.count; i++)
        for (uint32_t dim = 0; dim < w->slots.items[i].dims; dim++)
            if (pare_axis_equal(w->slots.items[i].axes[dim], axis) && !is_repeated(w, i, dim, axis))
                add_slot(w, i, dim, squares);
}

static void take_roots(double *squares, size_t count) {
    for (size_t i = 0; i < count; i++)
        squares[i] = sqrt(squares[i]);
}

/* Where every query head has key and value of its own, they are the head's, too. */
static void measure_list(const PareWeights *w, PareImportance *out, int s, uint32_t l, int list) {
    const PareLayerShape *shape = &w->description.stacks[s].layers[l];
    const PareAttentionShape *a = list == PARE_BLOCK_CROSS ? &shape->cross : &shape->self;
    PareScoreList scores = pare_importance_list(out, &w->description, s, l, list);
    PareAxis axis = {.kind = list == PARE_LIST_FFN ? PARE_AXIS_FFN : PARE_AXIS_HEAD,
                     .stack = (uint8_t)s,
                     .block = list == PARE_LIST_FFN ? 0 : (uint8_t)list,
                     .layer = (uint16_t)l};
    if (!scores.scores)
        return;
    add_axis(w, axis, scores.scores);
    axis.kind = PARE_AXIS_KV;
    if (list != PARE_LIST_FFN && a->kv_heads == a->heads)
        add_axis(w, axis, scores.scores);
    take_roots(scores.scores, scores.units);
}

/* Of all tensors of a layer, which its name tells. */
static double layer_magnitude(const PareWeights *w, int s, uint32_t l) {
    char prefix[64];
    double sum = 0;
    int length = snprintf(prefix, sizeof prefix, "%s.layers.%u.",
                          s == PARE_ENCODER ? "encoder" : "decoder", l);
    for (size_t i = 0; i < w->slots.count; i++) {
        const PareSlot *slot = &w->slots.items[i];
        size_t count = (size_t)(slot->shape[0] * (slot->dims == 2 ? slot->shape[1] : 1));
        if (strncmp(slot->name, prefix, (size_t)length) != 0)
            continue;
        for (size_t k = 0; k < count; k++)
            sum += (double)w->data[i][k] * w->data[i][k];
    }
    return sqrt(sum);
}

void pare_importance_from_weights(const PareWeights *w, PareImportance *out) {
    for (int s = 0; s < PARE_STACKS; s++) {
        const PareStack *k = &w->description.stacks[s];
        PareAxis width = {.kind = PARE_AXIS_WIDTH, .stack = (uint8_t)s};
        if (!k->present)
            continue;
        for (uint32_t l = 0; l < k->layer_count; l++) {
            for (int list = 0; list < PARE_LISTS; list++)
                measure_list(w, out, s, l, list);
            out->stacks[s].layer[l] = layer_magnitude(w, s, l);
        }
        add_axis(w, width, out->stacks[s].width);
        take_roots(out->stacks[s].width, k->width);
    }
}

/* -- random numbers -- */

/* Streams that nothing else draws from, one for each list. */
static void draw(uint64_t seed, int s, uint32_t layer, unsigned list, double *out, size_t count) {
    const uint64_t streams = UINT64_C(0x73636F7265) << 24; /* "score" */
    uint64_t stream = streams + ((uint64_t)layer << 8 | (uint64_t)s << 4 | list);
    for (size_t i = 0; i < count; i++)
        out[i] = ((double)pare_random_u32(seed, stream, i) + 0.5) / 4294967296.0;
}

void pare_importance_at_random(const PareDescription *d, uint64_t seed, PareImportance *out) {
    enum { LAYERS = PARE_LISTS, WIDTH };
    for (int s = 0; s < PARE_STACKS; s++) {
        const PareStack *k = &d->stacks[s];
        if (!k->present)
            continue;
        for (uint32_t l = 0; l < k->layer_count; l++)
            for (int list = 0; list < PARE_LISTS; list++) {
                PareScoreList scores = pare_importance_list(out, d, s, l, list);
                if (scores.scores)
                    draw(seed, s, l, (unsigned)list, scores.scores, scores.units);
            }
        draw(seed, s, 0, LAYERS, out->stacks[s].layer, k->layer_count);
        draw(seed, s, 0, WIDTH, out->stacks[s].width, k->width);
    }
}
