/* Encoding one text or two, and cutting what is too long. */
#include "text/encode_input.h"

#include <stdint.h>
#include <string.h>

PareStatus pare_encode_text(const PareTokenizer *t, PareSide side, PareText text, size_t limit,
                            bool *cut, PareIds *out, PareError *err) {
    return pare_tokenizer_encode_limit(t, side, text.data, text.size, limit ? limit : SIZE_MAX, cut,
                                       out, err);
}

/* Where `part` first occurs in ids[from, count); SIZE_MAX when it does not. */
static size_t find(const PareIds *ids, size_t from, const PareIds *part) {
    for (size_t at = from; part->count <= ids->count && at <= ids->count - part->count; at++)
        if (part->count == 0 ||
            memcmp(ids->data + at, part->data, part->count * sizeof *part->data) == 0)
            return at;
    return SIZE_MAX;
}

static void drop(PareIds *ids, size_t at, size_t count) {
    if (count == 0)
        return;
    memmove(ids->data + at, ids->data + at + count, (ids->count - at - count) * sizeof *ids->data);
    ids->count -= count;
}

/* Takes `excess` ids off the ends of the two texts, whose own ids are `a` and `b`. */
static PareStatus shorten(PareIds *ids, PareIds *types, const PareIds *a, const PareIds *b,
                          size_t excess, PareError *err) {
    size_t keep_a = a->count, keep_b = b->count;
    size_t at_a = find(ids, 0, a);
    size_t at_b = at_a == SIZE_MAX ? SIZE_MAX : find(ids, at_a + a->count, b);
    if (at_b == SIZE_MAX || excess > keep_a + keep_b)
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "the pair cannot be cut: its special tokens alone are too many");
    for (; excess; excess--)
        *(keep_a > keep_b ? &keep_a : &keep_b) -= 1;
    drop(ids, at_b + keep_b, b->count - keep_b);
    drop(types, at_b + keep_b, b->count - keep_b);
    drop(ids, at_a + keep_a, a->count - keep_a);
    drop(types, at_a + keep_a, a->count - keep_a);
    return PARE_OK;
}

PareStatus pare_encode_pair(const PareTokenizer *t, PareText a, PareText b, size_t limit, bool *cut,
                            PareIds *out, PareIds *types, PareError *err) {
    PareIds only_a = {0}, only_b = {0};
    PareStatus st = pare_tokenizer_encode_pair(t, a.data, a.size, b.data, b.size, out, types, err);
    *cut = !st && limit && out->count > limit;
    if (*cut)
        st = pare_tokenizer_encode(t, PARE_SIDE_SOURCE, a.data, a.size, false, &only_a, err);
    if (*cut && !st)
        st = pare_tokenizer_encode(t, PARE_SIDE_SOURCE, b.data, b.size, false, &only_b, err);
    if (*cut && !st)
        st = shorten(out, types, &only_a, &only_b, out->count - limit, err);
    pare_ids_free(&only_a);
    pare_ids_free(&only_b);
    return st;
}
