/* Data sets: which format a file has, and its rows one by one. The lines come from
 * dataset_lines.c, the meaning of columns from dataset_columns.c, JSON from dataset_json.c. */
#include <string.h>

#include "core/memory.h"
#include "core/options.h"
#include "text/dataset_parts.h"

static bool is_blank(char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

const char *pare_dataset_strip(const char *text, size_t *size) {
    while (*size && is_blank(*text)) {
        text++;
        (*size)--;
    }
    while (*size && is_blank(text[*size - 1]))
        (*size)--;
    return text;
}

void pare_dataset_set_label(PareDataRow *row, const char *text) {
    row->label_text = text;
    row->has_label = pare_parse_float(text, &row->label);
    if (!row->has_label)
        row->label = 0;
}

/* ---- Opening ----------------------------------------------------------------------------------
 */

/* Reads on to the first line that is not empty; the current line is NULL when there is none. */
static PareStatus skip_empty_lines(PareDataset *d, PareError *err) {
    PareStatus status;
    while (!(status = pare_lines_next(&d->lines, err)) && d->lines.line && d->lines.size == 0)
        d->empty_lines++;
    return status;
}

static PareDataFormat detect(const PareLines *l, const char *columns) {
    if (!l->line)
        return columns ? PARE_DATA_TSV : PARE_DATA_TEXT;
    size_t size = l->size;
    const char *text = pare_dataset_strip(l->line, &size);
    if (size && *text == '{')
        return PARE_DATA_JSONL;
    return columns || memchr(l->line, '\t', l->size) ? PARE_DATA_TSV : PARE_DATA_TEXT;
}

/* The first line is current: a header, which is used up, or a row. */
static PareStatus setup_columns(PareDataset *d, const char *columns, PareError *err) {
    PareLines *l = &d->lines;
    PareStatus status = PARE_OK;
    if (columns && (status = pare_columns_parse(&d->columns, columns, err)))
        return status;
    if (!l->line)
        return PARE_OK;
    bool header = pare_columns_is_header(l->line, l->size);
    if (!header)
        pare_lines_again(l);
    if (columns)
        return PARE_OK; /* names that the user gave count; a header is only skipped */
    status = header ? pare_columns_from_header(&d->columns, l->line, l->size, err)
                    : pare_columns_guess(&d->columns, l->line, l->size, err);
    return status ? pare_error_prefix(err, "%s: line %zu", l->path, l->number) : PARE_OK;
}

static PareStatus setup(PareDataset *d, const PareDataOptions *options, PareError *err) {
    const char *columns = options ? options->columns : NULL;
    PareStatus status;
    d->format = options ? options->format : PARE_DATA_AUTO;
    d->keep_blanks = options && options->keep_blanks;
    if (d->format == PARE_DATA_TEXT && !columns)
        return PARE_OK;
    if ((status = skip_empty_lines(d, err)))
        return status;
    if (d->format == PARE_DATA_AUTO)
        d->format = detect(&d->lines, columns);
    if (d->format == PARE_DATA_TSV)
        return setup_columns(d, columns, err);
    if (columns)
        return pare_error_set(
            err, PARE_E_USAGE, "%s: columns \"%s\" are for tab-separated files; these are %s",
            d->lines.path, columns, d->format == PARE_DATA_JSONL ? "JSON lines" : "plain text");
    pare_lines_again(&d->lines);
    return PARE_OK;
}

PareStatus pare_dataset_open(const char *path, const PareDataOptions *options, PareDataset **out,
                             PareError *err) {
    *out = NULL;
    PareDataset *d = pare_alloc(1, sizeof *d);
    if (!d)
        return pare_memory_error(err, "a data set");
    d->lines.fd = -1;
    PareStatus status = pare_lines_open(&d->lines, path, err);
    if (!status)
        status = setup(d, options, err);
    if (status) {
        pare_dataset_close(d);
        return status;
    }
    *out = d;
    return PARE_OK;
}

void pare_dataset_close(PareDataset *d) {
    if (!d)
        return;
    pare_dataset_json_free(d);
    pare_lines_close(&d->lines);
    pare_free(d->columns.roles);
    pare_free(d);
}

/* ---- Rows -------------------------------------------------------------------------------------
 */

/* A field inside the line's buffer: stripped in place, and ended by a NUL. */
static const char *take_text(const PareDataset *d, char *field, size_t *size) {
    if (d->keep_blanks)
        return field;
    const char *text = pare_dataset_strip(field, size);
    field[(size_t)(text - field) + *size] = '\0';
    return text;
}

static void take_field(PareDataset *d, PareRole role, char *field, size_t size) {
    PareDataRow *row = &d->row;
    if (role == PARE_ROLE_TEXT) {
        row->text = take_text(d, field, &size);
        row->text_size = size;
    } else if (role == PARE_ROLE_TEXT_B) {
        row->text_b = take_text(d, field, &size);
        row->text_b_size = size;
    } else if (role == PARE_ROLE_TARGET) {
        row->target = take_text(d, field, &size);
        row->target_size = size;
    } else if (role == PARE_ROLE_LABEL) {
        const char *text = pare_dataset_strip(field, &size);
        field[(size_t)(text - field) + size] = '\0';
        pare_dataset_set_label(row, text);
    }
}

static PareStatus tsv_row(PareDataset *d, PareError *err) {
    char *field = d->lines.line;
    size_t left = d->lines.size, found = pare_columns_in(field, left);
    if (found != d->columns.count)
        return pare_error_set(err, PARE_E_FORMAT, "%s: line %zu has %zu columns; expected %zu",
                              d->lines.path, d->lines.number, found, d->columns.count);
    for (size_t i = 0; i < found; i++) {
        char *tab = memchr(field, '\t', left);
        size_t size = tab ? (size_t)(tab - field) : left;
        field[size] = '\0'; /* the last field has a NUL behind it already */
        take_field(d, d->columns.roles[i], field, size);
        if (tab) {
            field += size + 1;
            left -= size + 1;
        }
    }
    return PARE_OK;
}

PareStatus pare_dataset_next(PareDataset *d, const PareDataRow **row, PareError *err) {
    PareLines *l = &d->lines;
    PareStatus status = PARE_OK;
    *row = NULL;
    d->row = (PareDataRow){0};
    if (d->format == PARE_DATA_TEXT && d->empty_given < d->empty_lines) {
        d->row.line = ++d->empty_given;
        d->row.text = "";
        *row = &d->row;
        return PARE_OK;
    }
    do
        status = pare_lines_next(l, err);
    while (!status && l->line && l->size == 0 && d->format != PARE_DATA_TEXT);
    if (status || !l->line)
        return status;
    d->row.line = l->number;
    if (d->format == PARE_DATA_TSV)
        status = tsv_row(d, err);
    else if (d->format == PARE_DATA_JSONL)
        status = pare_dataset_json_row(d, err);
    else
        take_field(d, PARE_ROLE_TEXT, l->line, l->size);
    if (!status)
        *row = &d->row;
    return status;
}
