/* What the parts of the data set reader share. Only text/dataset*.c include this. */
#ifndef PARE_TEXT_DATASET_PARTS_H
#define PARE_TEXT_DATASET_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/error.h"
#include "core/json.h"
#include "text/dataset.h"

/* ---- Lines of a file or stream (dataset_lines.c) ----------------------------------------------
 */

enum { PARE_LINE_LIMIT = 64 << 20 }; /* bytes of one line; longer ones are refused */

typedef struct {
    char *path; /* for messages */
    int fd;
    bool at_end, again;
    char *data;
    size_t begin, end, capacity; /* data[begin, end) is read, but not yet given out */
    char *line;                  /* the line that was given out last */
    size_t size, number;         /* and its size and 1-based number */
} PareLines;

PareStatus pare_lines_open(PareLines *l, const char *path, PareError *err);
/* Sets l->line (NULL at the end), l->size and l->number. The line may be changed in place, and is
 * followed by a NUL. Without its newline and the CR before that; without a byte order mark. */
PareStatus pare_lines_next(PareLines *l, PareError *err);
/* The next call of next gives the same line once more. */
void pare_lines_again(PareLines *l);
void pare_lines_close(PareLines *l);

/* ---- What a column or member means (dataset_columns.c) ----------------------------------------
 */

typedef enum {
    PARE_ROLE_SKIP, /* a known name that carries nothing for us: "index" */
    PARE_ROLE_TEXT,
    PARE_ROLE_TEXT_B,
    PARE_ROLE_TARGET,
    PARE_ROLE_LABEL,
    PARE_ROLE_INPUT_IDS, /* from here on: members of JSON lines only */
    PARE_ROLE_MASK,
    PARE_ROLE_TYPE_IDS,
    PARE_ROLE_DECODER_IDS,
    PARE_ROLE_DECODER_MASK,
    PARE_ROLE_LABEL_IDS,
    PARE_ROLE_UNKNOWN
} PareRole;

const char *pare_role_name(PareRole role);
PareRole pare_role_of(const char *name, size_t size);
/* Adds `role` to the set of those that a row has. A second text becomes text_b. UNKNOWN and SKIP
 * always fit; false when the row has that role already. */
bool pare_role_add(PareRole *role, uint32_t *set);

typedef struct {
    PareRole *roles;
    size_t count;
} PareColumns;

/* From an option: "text,label", "-" for a column to skip. */
PareStatus pare_columns_parse(PareColumns *c, const char *names, PareError *err);
/* Whether all fields of a file's first line are known names, and not all of them skipped. */
bool pare_columns_is_header(const char *line, size_t size);
PareStatus pare_columns_from_header(PareColumns *c, const char *line, size_t size, PareError *err);
/* For a file without header and without option, by its first row. */
PareStatus pare_columns_guess(PareColumns *c, const char *line, size_t size, PareError *err);
size_t pare_columns_in(const char *line, size_t size); /* how many fields tabs make */

/* ---- The data set -----------------------------------------------------------------------------
 */

typedef struct {
    int32_t *data;
    size_t count, capacity;
    bool set;
} PareRowIds;

struct PareDataset {
    PareLines lines;
    PareDataFormat format; /* never AUTO once open */
    bool keep_blanks;
    PareColumns columns;
    size_t empty_lines, empty_given; /* TEXT: lines that were empty before the format was known */
    PareDataRow row;
    PareJsonDoc *doc; /* JSONL: the row's own tree, which its strings point into */
    PareBuffer text, text_b, target, label; /* JSONL: copies without the blanks around them */
    PareRowIds input, mask, types, decoder, decoder_mask, labels;
};

/* Cuts blanks off both ends of text[0, *size) and returns where it begins now. */
const char *pare_dataset_strip(const char *text, size_t *size);
/* Fills the label from its text. */
void pare_dataset_set_label(PareDataRow *row, const char *text);
/* Fills d->row from the current line (dataset_json.c). */
PareStatus pare_dataset_json_row(PareDataset *d, PareError *err);
void pare_dataset_json_free(PareDataset *d);

#endif
