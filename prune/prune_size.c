/* How large the file of a plan's model is, before it is written. */
#include <string.h>

#include "formats/pare_file.h"
#include "prune/prune_impl.h"

/* docs/FORMAT.md: header, blobs and sections at multiples of 64, then the table. A stage's entry in
 * the provenance has so many bytes, a sublayer's repair so many; a quantized file
 * has a self-test. */
enum { HEADER = 128, ALIGN = 64, TENSOR_RECORD = 132, SECTION_RECORD = 32 };
enum { STAGE = 1500, REPAIR_LINE = 80, SELF_TEST = 4096 };

static uint64_t aligned(uint64_t bytes) {
    return (bytes + ALIGN - 1) / ALIGN * ALIGN;
}

static bool blob_bytes(const PareSlot *s, PareWeightFormat format, uint64_t *out) {
    bool matrix = s->role == PARE_ROLE_MATRIX || s->role == PARE_ROLE_EMBEDDING;
    PareFileTensor t = {.dtype = PARE_F32,
                        .layout = PARE_LAYOUT_ROWS,
                        .dims = s->dims,
                        .shape = {s->shape[0], s->shape[1]}};
    if (matrix && format != PARE_WEIGHTS_F32) {
        t.dtype = format == PARE_WEIGHTS_I8 ? PARE_I8 : PARE_F16;
        t.layout = format == PARE_WEIGHTS_I8 ? PARE_LAYOUT_BLOCK4 : PARE_LAYOUT_BLOCK1;
    }
    return pare_file_blob_bytes(&t, out);
}

static uint64_t metadata_before(const ParePrune *p) {
    const void *bytes;
    size_t size;
    const PareFile *f = pare_model_file(p->model);
    return pare_file_section(f, PARE_SECTION_METADATA, &bytes, &size) ? size : 0;
}

/* The metadata of the input, with another description and one more stage. */
static PareStatus metadata_bytes(const ParePrune *p, const PareSlices *s, uint64_t *out,
                                 PareError *err) {
    const PareDescription *d = pare_model_description(p->model);
    PareBuffer text = {0};
    pare_description_write(pare_slices_description(s), &text);
    PareStatus st = pare_buffer_ok(&text, "a description", err);
    uint64_t layers = 0;
    for (int k = 0; k < PARE_STACKS; k++)
        layers += d->stacks[k].present ? d->stacks[k].layer_count : 0;
    *out = metadata_before(p) + text.size + STAGE +
           (pare_prune_repairs(p) ? 3 * layers * (uint64_t)REPAIR_LINE : 0);
    pare_buffer_free(&text);
    return st;
}

PareStatus pare_prune_size(const ParePrune *p, const PareSlices *s, PareWeightFormat format,
                           uint64_t *out, PareError *err) {
    const PareSlots *slots = pare_slices_slots(s);
    uint64_t sum = HEADER, bytes, metadata = 0;
    PareStatus st = metadata_bytes(p, s, &metadata, err);
    for (size_t i = 0; i < slots->count && !st; i++) {
        sum += TENSOR_RECORD + strlen(slots->items[i].name) + 1;
        if (pare_slices_shared(s, i) != i)
            continue;
        if (!blob_bytes(&slots->items[i], format, &bytes))
            return pare_error_set(err, PARE_E_FORMAT,
                                  "tensor '%s' of the pruned model is too large",
                                  slots->items[i].name);
        sum += aligned(bytes);
    }
    sum += aligned(metadata) + aligned(p->tokenizer_bytes);
    sum += 3 * SECTION_RECORD + (format == PARE_WEIGHTS_F32 ? 0U : (uint64_t)SELF_TEST);
    *out = sum;
    return st;
}

static const char *owner_of(const PareSlices *s, size_t i) {
    const PareFileTensor *t = pare_slices_source(s, i);
    return t->alias_of ? t->alias_of : t->name;
}

uint64_t pare_prune_unshared(const PareSlices *s) {
    const PareSlots *slots = pare_slices_slots(s);
    uint64_t sum = 0, bytes;
    for (size_t i = 0; i < slots->count; i++) {
        bool again = false;
        for (size_t k = 0; k < i && !again; k++)
            again = pare_slices_shared(s, k) == k && strcmp(owner_of(s, k), owner_of(s, i)) == 0;
        if (again && pare_slices_shared(s, i) == i &&
            blob_bytes(&slots->items[i], PARE_WEIGHTS_F32, &bytes))
            sum += bytes;
    }
    return sum;
}
