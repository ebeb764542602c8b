/* Reading lines of token ids as other programs' tokenizers leave them. */
#include "programs/cli_ids.h"

#include "core/json.h"
#include "core/memory.h"

enum { LABEL_IGNORED = -100 }; /* what other programs write where nothing is to be predicted */

/* One line that is being read. */
typedef struct {
    const PareJson *object;
    const char *where;
    PareError *err;
} Line;

/* Integers from 0 to `max`; with `ignored` also LABEL_IGNORED. */
static PareStatus read_list(const Line *l, const PareJson *list, const char *name, int64_t max,
                            bool ignored, PareIds *out) {
    if (!pare_json_is_array(list))
        return pare_error_set(l->err, PARE_E_FORMAT, "%s: %s is not a list of integers", l->where,
                              name);
    size_t i = 0;
    for (const PareJson *n = pare_json_first(list); n; n = pare_json_next(n), i++) {
        int64_t v = pare_json_is_integer(n) ? pare_json_integer(n) : -1;
        if ((v < 0 || v > max) && !(ignored && v == LABEL_IGNORED))
            return pare_error_set(l->err, PARE_E_FORMAT,
                                  "%s: %s[%zu] is not an integer from 0 to %lld%s", l->where, name,
                                  i, (long long)max, ignored ? ", or -100" : "");
        if (!pare_ids_push(out, (int32_t)v))
            return pare_memory_error(l->err, "token ids");
    }
    return PARE_OK;
}

/* The list `name` of the object, when it is there. */
static PareStatus read_member(const Line *l, const char *name, bool ignored, PareIds *out,
                              bool *given) {
    const PareJson *list = pare_json_get_set(l->object, name);
    *given = list != NULL;
    return list ? read_list(l, list, name, INT32_MAX, ignored, out) : PARE_OK;
}

static PareStatus same_count(const Line *l, const PareIds *a, const char *name, const PareIds *ids,
                             const char *ids_name) {
    if (a->count == ids->count)
        return PARE_OK;
    return pare_error_set(l->err, PARE_E_FORMAT, "%s: %s has %zu numbers, but %s has %zu", l->where,
                          name, a->count, ids_name, ids->count);
}

static void drop_masked(const PareIds *mask, PareIds *ids) {
    size_t kept = 0;
    for (size_t i = 0; i < ids->count; i++)
        if (mask->data[i])
            ids->data[kept++] = ids->data[i];
    ids->count = kept;
}

/* Takes what the mask `name` calls padding out of `ids` and out of the lists beside them. */
static PareStatus apply_mask(const Line *l, const char *name, const char *ids_name, PareIds *ids,
                             PareIds *const *beside, size_t beside_count) {
    const PareJson *list = pare_json_get_set(l->object, name);
    if (!list)
        return PARE_OK;
    PareIds mask = {0};
    PareStatus st = read_list(l, list, name, 1, false, &mask);
    if (!st)
        st = same_count(l, &mask, name, ids, ids_name);
    for (size_t i = 0; i < beside_count && !st; i++)
        drop_masked(&mask, beside[i]);
    if (!st)
        drop_masked(&mask, ids);
    pare_ids_free(&mask);
    return st;
}

static PareStatus read_object(const Line *l, bool labels_beside_ids, PareInput *in) {
    bool there;
    PareStatus st = read_member(l, "input_ids", false, &in->ids, &there);
    if (!st && !there)
        st = pare_error_set(l->err, PARE_E_FORMAT, "%s: the object has no input_ids", l->where);
    if (!st)
        st = read_member(l, "token_type_ids", false, &in->types, &in->has_types);
    if (!st)
        st = read_member(l, "decoder_input_ids", false, &in->decoder, &in->has_decoder);
    /* A single number is the label of the whole input, which nothing here reads. */
    if (!st && !pare_json_is_number(pare_json_get_set(l->object, "labels")))
        st = read_member(l, "labels", true, &in->targets, &in->has_targets);
    if (!st && in->has_types)
        st = same_count(l, &in->types, "token_type_ids", &in->ids, "input_ids");
    if (!st && in->has_targets && labels_beside_ids)
        st = same_count(l, &in->targets, "labels", &in->ids, "input_ids");
    if (!st && in->has_targets && in->has_decoder && !labels_beside_ids)
        st = same_count(l, &in->targets, "labels", &in->decoder, "decoder_input_ids");
    PareIds *beside_ids[2], *beside_decoder[1] = {&in->targets};
    size_t count = 0;
    if (in->has_types)
        beside_ids[count++] = &in->types;
    if (in->has_targets && labels_beside_ids)
        beside_ids[count++] = &in->targets;
    if (!st)
        st = apply_mask(l, "attention_mask", "input_ids", &in->ids, beside_ids, count);
    if (!st)
        st = apply_mask(l, "decoder_attention_mask", "decoder_input_ids", &in->decoder,
                        beside_decoder, in->has_targets && !labels_beside_ids);
    return st;
}

PareStatus pare_ids_parse(const char *line, size_t size, bool labels_beside_ids, const char *where,
                          PareInput *in, PareError *err) {
    PareJsonDoc *doc = NULL;
    PareStatus st = pare_json_parse(line, size, where, &doc, err);
    if (st)
        return st;
    const PareJson *root = pare_json_root(doc);
    Line l = {.object = root, .where = where, .err = err};
    if (pare_json_is_array(root))
        st = read_list(&l, root, "ids", INT32_MAX, false, &in->ids);
    else if (pare_json_is_object(root))
        st = read_object(&l, labels_beside_ids, in);
    else
        st = pare_error_set(err, PARE_E_FORMAT,
                            "%s: expected a JSON object with input_ids, or a list of token ids",
                            where);
    pare_json_free(doc);
    return st;
}
