/* One JSON object a line: texts and labels, or token ids as tokenizers of other programs left them.
 * Masked positions are removed here, since the rest of the program knows no padding. */
#include <string.h>

#include "core/memory.h"
#include "text/dataset_parts.h"

#define WHERE "%s: line %zu: "

static bool ids_push(PareRowIds *ids, int32_t value) {
    if (ids->count == ids->capacity) {
        size_t wanted = ids->capacity ? 2 * ids->capacity : 64;
        int32_t *grown = pare_realloc(ids->data, wanted, sizeof *grown);
        if (!grown)
            return false;
        ids->data = grown;
        ids->capacity = wanted;
    }
    ids->data[ids->count++] = value;
    return true;
}

/* What a role's numbers may be. */
static bool id_allowed(PareRole role, int64_t v) {
    if (role == PARE_ROLE_MASK || role == PARE_ROLE_DECODER_MASK)
        return v == 0 || v == 1;
    if (role == PARE_ROLE_LABEL_IDS && v == -100)
        return true;
    return v >= 0 && v <= INT32_MAX;
}

static const char *id_expected(PareRole role) {
    if (role == PARE_ROLE_MASK || role == PARE_ROLE_DECODER_MASK)
        return "0 or 1";
    return role == PARE_ROLE_LABEL_IDS ? "an integer from 0 to 2147483647, or -100"
                                       : "an integer from 0 to 2147483647";
}

static PareStatus refuse(const PareDataset *d, const PareJson *member, const char *expected,
                         PareError *err) {
    char *found = pare_json_print(member);
    pare_error_set(err, PARE_E_FORMAT, WHERE "\"%s\" is %.100s; expected %s", d->lines.path,
                   d->lines.number, pare_json_key(member), found ? found : "something else",
                   expected);
    pare_free(found);
    return PARE_E_FORMAT;
}

static PareStatus read_ids(const PareDataset *d, const PareJson *member, PareRole role,
                           PareRowIds *out, PareError *err) {
    if (!pare_json_is_array(member))
        return refuse(d, member, "an array of integers", err);
    size_t index = 0;
    for (const PareJson *n = pare_json_first(member); n; n = pare_json_next(n), index++) {
        if (!pare_json_is_integer(n) || !id_allowed(role, pare_json_integer(n))) {
            char *found = pare_json_print(n);
            pare_error_set(err, PARE_E_FORMAT, WHERE "%s[%zu] is %.100s; expected %s",
                           d->lines.path, d->lines.number, pare_json_key(member), index,
                           found ? found : "something else", id_expected(role));
            pare_free(found);
            return PARE_E_FORMAT;
        }
        if (!ids_push(out, (int32_t)pare_json_integer(n)))
            return pare_memory_error(err, "token ids of a data set");
    }
    if (index == 0 && !ids_push(out, 0)) /* so that an empty array is not NULL */
        return pare_memory_error(err, "token ids of a data set");
    out->count = index;
    out->set = true;
    return PARE_OK;
}

static PareStatus read_text(PareDataset *d, const PareJson *member, PareBuffer *copy,
                            const char **out, size_t *out_size, PareError *err) {
    if (!pare_json_is_string(member))
        return refuse(d, member, "a string", err);
    const char *text = pare_json_string(member);
    size_t size = strlen(text);
    if (!d->keep_blanks)
        text = pare_dataset_strip(text, &size);
    pare_buffer_clear(copy);
    pare_buffer_append(copy, text, size);
    pare_buffer_append(copy, "", 1); /* never NULL, also for an empty text */
    *out = copy->data;
    *out_size = size;
    return pare_buffer_ok(copy, "a text of a data set", err);
}

static PareStatus read_label(PareDataset *d, const PareJson *member, PareError *err) {
    pare_buffer_clear(&d->label);
    bool truth = pare_json_is_bool(member), number = pare_json_is_number(member);
    if (pare_json_is_string(member)) {
        size_t size = strlen(pare_json_string(member));
        const char *text = pare_dataset_strip(pare_json_string(member), &size);
        pare_buffer_append(&d->label, text, size);
    } else if (truth || number) {
        char *text = pare_json_print(member);
        if (!text)
            return pare_memory_error(err, "a label of a data set");
        pare_buffer_puts(&d->label, text);
        pare_free(text);
    } else {
        return refuse(d, member, "a number or a string", err);
    }
    pare_buffer_append(&d->label, "", 1);
    PareStatus status = pare_buffer_ok(&d->label, "a label of a data set", err);
    if (status)
        return status;
    pare_dataset_set_label(&d->row, d->label.data);
    if (truth || number) {
        d->row.has_label = true;
        d->row.label = truth ? pare_json_true(member) : pare_json_number(member);
    }
    return PARE_OK;
}

static PareStatus read_member(PareDataset *d, const PareJson *member, PareRole role,
                              PareError *err) {
    PareDataRow *row = &d->row;
    switch (role) {
    case PARE_ROLE_TEXT:
        return read_text(d, member, &d->text, &row->text, &row->text_size, err);
    case PARE_ROLE_TEXT_B:
        return read_text(d, member, &d->text_b, &row->text_b, &row->text_b_size, err);
    case PARE_ROLE_TARGET:
        return read_text(d, member, &d->target, &row->target, &row->target_size, err);
    case PARE_ROLE_LABEL:
        return read_label(d, member, err);
    case PARE_ROLE_INPUT_IDS:
        return read_ids(d, member, role, &d->input, err);
    case PARE_ROLE_MASK:
        return read_ids(d, member, role, &d->mask, err);
    case PARE_ROLE_TYPE_IDS:
        return read_ids(d, member, role, &d->types, err);
    case PARE_ROLE_DECODER_IDS:
        return read_ids(d, member, role, &d->decoder, err);
    case PARE_ROLE_DECODER_MASK:
        return read_ids(d, member, role, &d->decoder_mask, err);
    case PARE_ROLE_LABEL_IDS:
        return read_ids(d, member, role, &d->labels, err);
    case PARE_ROLE_SKIP:
    case PARE_ROLE_UNKNOWN:
        break;
    }
    return PARE_OK;
}

static PareStatus check_same_count(const PareDataset *d, const PareRowIds *a, PareRole a_role,
                                   const PareRowIds *b, PareRole b_role, PareError *err) {
    if (!a->set || (b->set && a->count == b->count))
        return PARE_OK;
    if (!b->set)
        return pare_error_set(err, PARE_E_FORMAT, WHERE "there is %s, but no %s", d->lines.path,
                              d->lines.number, pare_role_name(a_role), pare_role_name(b_role));
    return pare_error_set(
        err, PARE_E_FORMAT, WHERE "%s has %zu numbers; expected %zu, as many as %s", d->lines.path,
        d->lines.number, pare_role_name(a_role), a->count, b->count, pare_role_name(b_role));
}

static void drop_masked(PareRowIds *ids, const PareRowIds *mask) {
    size_t kept = 0;
    if (!ids->set || !mask->set)
        return;
    for (size_t i = 0; i < ids->count; i++)
        if (mask->data[i])
            ids->data[kept++] = ids->data[i];
    ids->count = kept;
}

static PareStatus finish_ids(PareDataset *d, PareError *err) {
    PareDataRow *row = &d->row;
    PareStatus status;
    if ((status =
             check_same_count(d, &d->mask, PARE_ROLE_MASK, &d->input, PARE_ROLE_INPUT_IDS, err)) ||
        (status = check_same_count(d, &d->types, PARE_ROLE_TYPE_IDS, &d->input, PARE_ROLE_INPUT_IDS,
                                   err)) ||
        (status = check_same_count(d, &d->decoder_mask, PARE_ROLE_DECODER_MASK, &d->decoder,
                                   PARE_ROLE_DECODER_IDS, err)))
        return status;
    drop_masked(&d->types, &d->mask);
    drop_masked(&d->input, &d->mask);
    drop_masked(&d->decoder, &d->decoder_mask);
    row->input_ids = d->input.set ? d->input.data : NULL;
    row->input_count = d->input.count;
    row->type_ids = d->types.set ? d->types.data : NULL;
    row->type_count = d->types.count;
    row->decoder_ids = d->decoder.set ? d->decoder.data : NULL;
    row->decoder_count = d->decoder.count;
    row->label_ids = d->labels.set ? d->labels.data : NULL;
    row->label_count = d->labels.count;
    row->mask = d->mask.set ? d->mask.data : NULL;
    row->mask_count = d->mask.count;
    row->decoder_mask = d->decoder_mask.set ? d->decoder_mask.data : NULL;
    row->decoder_mask_count = d->decoder_mask.count;
    return PARE_OK;
}

static void forget_row(PareDataset *d) {
    PareRowIds *all[] = {&d->input, &d->mask, &d->types, &d->decoder, &d->decoder_mask, &d->labels};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        all[i]->count = 0;
        all[i]->set = false;
    }
}

static PareStatus read_object(PareDataset *d, const PareJson *object, PareError *err) {
    uint32_t set = 0;
    PareStatus status;
    for (const PareJson *n = pare_json_first(object); n; n = pare_json_next(n)) {
        const char *key = pare_json_key(n);
        PareRole role = pare_role_of(key, strlen(key));
        if (pare_json_is_null(n))
            continue;
        if (role == PARE_ROLE_LABEL_IDS && pare_json_is_number(n))
            role = PARE_ROLE_LABEL; /* other programs rename "label" to "labels" */
        if (!pare_role_add(&role, &set))
            return pare_error_set(err, PARE_E_FORMAT, WHERE "two members mean %s", d->lines.path,
                                  d->lines.number, pare_role_name(role));
        if ((status = read_member(d, n, role, err)))
            return status;
    }
    uint32_t content = 1u << PARE_ROLE_TEXT | 1u << PARE_ROLE_TEXT_B | 1u << PARE_ROLE_TARGET |
                       1u << PARE_ROLE_INPUT_IDS | 1u << PARE_ROLE_DECODER_IDS;
    if (!(set & content))
        return pare_error_set(err, PARE_E_FORMAT,
                              WHERE
                              "the object has no member that is known to carry content (text, "
                              "sentence, source, target, input_ids, …)",
                              d->lines.path, d->lines.number);
    return finish_ids(d, err);
}

PareStatus pare_dataset_json_row(PareDataset *d, PareError *err) {
    PareBuffer name = {0};
    PareStatus status;
    pare_json_free(d->doc);
    d->doc = NULL;
    forget_row(d);
    pare_buffer_printf(&name, "%s: line %zu", d->lines.path, d->lines.number);
    if ((status = pare_buffer_ok(&name, "a message", err)) ||
        (status = pare_json_parse(d->lines.line, d->lines.size, name.data, &d->doc, err)))
        goto done;
    const PareJson *root = pare_json_root(d->doc);
    if (!pare_json_is_object(root))
        status = pare_error_set(err, PARE_E_FORMAT, WHERE "expected a JSON object, one a line",
                                d->lines.path, d->lines.number);
    else
        status = read_object(d, root, err);
done:
    pare_buffer_free(&name);
    return status;
}

void pare_dataset_json_free(PareDataset *d) {
    PareRowIds *all[] = {&d->input, &d->mask, &d->types, &d->decoder, &d->decoder_mask, &d->labels};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        pare_free(all[i]->data);
    pare_buffer_free(&d->text);
    pare_buffer_free(&d->text_b);
    pare_buffer_free(&d->target);
    pare_buffer_free(&d->label);
    pare_json_free(d->doc);
}
