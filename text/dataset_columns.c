/* What the columns of a TSV file and the members of JSON lines mean: names and their synonyms,
 * among them those of the GLUE files. */
#include <ctype.h>
#include <string.h>

#include "core/memory.h"
#include "text/dataset_parts.h"

static const struct {
    const char *name;
    PareRole role;
} known[] = {
    {"text", PARE_ROLE_TEXT},
    {"sentence", PARE_ROLE_TEXT},
    {"sentence1", PARE_ROLE_TEXT},
    {"source", PARE_ROLE_TEXT},
    {"src", PARE_ROLE_TEXT},
    {"question", PARE_ROLE_TEXT},
    {"question1", PARE_ROLE_TEXT},
    {"premise", PARE_ROLE_TEXT},
    {"#1 String", PARE_ROLE_TEXT},
    {"text_b", PARE_ROLE_TEXT_B},
    {"sentence2", PARE_ROLE_TEXT_B},
    {"question2", PARE_ROLE_TEXT_B},
    {"hypothesis", PARE_ROLE_TEXT_B},
    {"context", PARE_ROLE_TEXT_B},
    {"#2 String", PARE_ROLE_TEXT_B},
    {"target", PARE_ROLE_TARGET},
    {"tgt", PARE_ROLE_TARGET},
    {"summary", PARE_ROLE_TARGET},
    {"translation", PARE_ROLE_TARGET},
    {"labels_text", PARE_ROLE_TARGET},
    {"label", PARE_ROLE_LABEL},
    {"gold_label", PARE_ROLE_LABEL},
    {"is_duplicate", PARE_ROLE_LABEL},
    {"score", PARE_ROLE_LABEL},
    {"Quality", PARE_ROLE_LABEL},
    {"input_ids", PARE_ROLE_INPUT_IDS},
    {"attention_mask", PARE_ROLE_MASK},
    {"token_type_ids", PARE_ROLE_TYPE_IDS},
    {"decoder_input_ids", PARE_ROLE_DECODER_IDS},
    {"decoder_attention_mask", PARE_ROLE_DECODER_MASK},
    {"labels", PARE_ROLE_LABEL_IDS},
    {"index", PARE_ROLE_SKIP},
    {"idx", PARE_ROLE_SKIP},
    {"id", PARE_ROLE_SKIP},
    {"guid", PARE_ROLE_SKIP},
    {"qid1", PARE_ROLE_SKIP},
    {"qid2", PARE_ROLE_SKIP},
    {"#1 ID", PARE_ROLE_SKIP},
    {"#2 ID", PARE_ROLE_SKIP},
    {"promptID", PARE_ROLE_SKIP},
    {"pairID", PARE_ROLE_SKIP},
    {"genre", PARE_ROLE_SKIP},
    {"filename", PARE_ROLE_SKIP},
    {"year", PARE_ROLE_SKIP},
    {"old_index", PARE_ROLE_SKIP},
    {"source1", PARE_ROLE_SKIP},
    {"source2", PARE_ROLE_SKIP},
    {"sentence1_binary_parse", PARE_ROLE_SKIP},
    {"sentence2_binary_parse", PARE_ROLE_SKIP},
    {"sentence1_parse", PARE_ROLE_SKIP},
    {"sentence2_parse", PARE_ROLE_SKIP},
    {"label1", PARE_ROLE_SKIP},
    {"label2", PARE_ROLE_SKIP},
    {"label3", PARE_ROLE_SKIP},
    {"label4", PARE_ROLE_SKIP},
    {"label5", PARE_ROLE_SKIP},
};

const char *pare_role_name(PareRole role) {
    static const char *const names[] = {"-",
                                        "text",
                                        "text_b",
                                        "target",
                                        "label",
                                        "input_ids",
                                        "attention_mask",
                                        "token_type_ids",
                                        "decoder_input_ids",
                                        "decoder_attention_mask",
                                        "labels",
                                        "?"};
    return names[role];
}

PareRole pare_role_of(const char *name, size_t size) {
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strlen(known[i].name) == size && memcmp(known[i].name, name, size) == 0)
            return known[i].role;
    return PARE_ROLE_UNKNOWN;
}

bool pare_role_add(PareRole *role, uint32_t *set) {
    if (*role == PARE_ROLE_SKIP || *role == PARE_ROLE_UNKNOWN)
        return true;
    if (*role == PARE_ROLE_TEXT && *set & 1u << PARE_ROLE_TEXT)
        *role =
            PARE_ROLE_TEXT_B; /* "question, sentence": the second one is the pair's other half */
    uint32_t bit = 1u << *role;
    if (*set & bit)
        return false;
    *set |= bit;
    return true;
}

size_t pare_columns_in(const char *line, size_t size) {
    size_t count = 1;
    for (size_t i = 0; i < size; i++)
        count += line[i] == '\t';
    return count;
}

static PareStatus allocate(PareColumns *c, size_t count, PareError *err) {
    c->count = count;
    c->roles = pare_alloc(count, sizeof *c->roles);
    return c->roles ? PARE_OK : pare_memory_error(err, "the columns of a data set");
}

/* "labels" are token ids in JSON lines, but in a column they can only be the label. */
static PareRole column_role(const char *name, size_t size) {
    PareRole role = pare_role_of(name, size);
    if (role == PARE_ROLE_LABEL_IDS)
        return PARE_ROLE_LABEL;
    return role > PARE_ROLE_LABEL ? PARE_ROLE_UNKNOWN : role;
}

PareStatus pare_columns_parse(PareColumns *c, const char *names, PareError *err) {
    size_t count = 1;
    for (const char *p = names; *p; p++)
        count += *p == ',';
    PareStatus status = allocate(c, count, err);
    if (status)
        return status;
    uint32_t set = 0;
    const char *at = names;
    for (size_t i = 0; i < count; i++) {
        size_t size = strcspn(at, ",");
        PareRole role = size == 1 && *at == '-' ? PARE_ROLE_SKIP : column_role(at, size);
        if (role == PARE_ROLE_UNKNOWN)
            return pare_error_set(err, PARE_E_USAGE,
                                  "columns \"%s\": \"%.*s\" is not a column's name; expected text, "
                                  "text_b, target, label or - for a column to skip",
                                  names, (int)(size < 80 ? size : 80), at);
        if (!pare_role_add(&role, &set))
            return pare_error_set(err, PARE_E_USAGE, "columns \"%s\": two columns mean %s", names,
                                  pare_role_name(role));
        c->roles[i] = role;
        at += size + 1;
    }
    if (!set)
        return pare_error_set(err, PARE_E_USAGE, "columns \"%s\": every column is skipped", names);
    return PARE_OK;
}

/* The next tab-separated field of line[*at, size); moves behind its tab. */
static const char *next_field(const char *line, size_t size, size_t *at, size_t *field_size) {
    const char *field = line + *at;
    const char *tab = memchr(field, '\t', size - *at);
    *field_size = tab ? (size_t)(tab - field) : size - *at;
    *at += *field_size + (tab != NULL);
    return pare_dataset_strip(field, field_size);
}

bool pare_columns_is_header(const char *line, size_t size) {
    size_t count = pare_columns_in(line, size), at = 0, field_size;
    bool content = false;
    for (size_t i = 0; i < count; i++) {
        const char *field = next_field(line, size, &at, &field_size);
        PareRole role = column_role(field, field_size);
        if (role == PARE_ROLE_UNKNOWN)
            return false;
        content = content || role != PARE_ROLE_SKIP;
    }
    return content;
}

PareStatus pare_columns_from_header(PareColumns *c, const char *line, size_t size, PareError *err) {
    size_t count = pare_columns_in(line, size), at = 0, field_size;
    uint32_t set = 0;
    PareStatus status = allocate(c, count, err);
    if (status)
        return status;
    for (size_t i = 0; i < count; i++) {
        const char *field = next_field(line, size, &at, &field_size);
        c->roles[i] = column_role(field, field_size);
        if (!pare_role_add(&c->roles[i], &set))
            return pare_error_set(err, PARE_E_FORMAT, "the header has two columns that mean %s",
                                  pare_role_name(c->roles[i]));
    }
    return PARE_OK;
}

/* "0", "1", "-1", "27": what a class looks like. */
static bool is_small_integer(const char *text, size_t size) {
    if (size && *text == '-') {
        text++;
        size--;
    }
    if (size == 0 || size > 4)
        return false;
    for (size_t i = 0; i < size; i++)
        if (!isdigit((unsigned char)text[i]))
            return false;
    return true;
}

PareStatus pare_columns_guess(PareColumns *c, const char *line, size_t size, PareError *err) {
    size_t count = pare_columns_in(line, size), at = 0, field_size;
    if (count > 2)
        return pare_error_set(
            err, PARE_E_FORMAT,
            "the first line has %zu columns and is no header of known names; name "
            "the columns, as in \"text,text_b,-,label\"",
            count);
    PareStatus status = allocate(c, count, err);
    if (status)
        return status;
    c->roles[0] = PARE_ROLE_TEXT;
    if (count == 2) {
        next_field(line, size, &at, &field_size);
        const char *second = next_field(line, size, &at, &field_size);
        c->roles[1] = is_small_integer(second, field_size) ? PARE_ROLE_LABEL : PARE_ROLE_TARGET;
    }
    return PARE_OK;
}
