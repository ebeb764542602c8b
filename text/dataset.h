/* Data sets as people keep them: TSV, JSON lines, plain text, token ids; streamed row by row. */
#ifndef PARE_TEXT_DATASET_H
#define PARE_TEXT_DATASET_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "text/tokenizer.h"

typedef enum {
    PARE_DATA_AUTO,  /* by content: a line that begins with '{' is JSON; a tab makes it TSV */
    PARE_DATA_TSV,   /* columns by header line or by `columns`; no quoting, as GLUE */
    PARE_DATA_JSONL, /* one object a line */
    PARE_DATA_TEXT   /* one text a line */
} PareDataFormat;

/* The columns a row may have. In TSV and JSONL by name, with the usual synonyms:
 * text: text sentence sentence1 source src question premise; text_b: text_b sentence2 hypothesis
 * context; target: target tgt summary translation labels_text; label: label gold_label. */
typedef struct {
    size_t line;                        /* 1-based line in the file, for messages */
    const char *text, *text_b, *target; /* NULL when absent; NUL-terminated; borrowed until next */
    size_t text_size, text_b_size, target_size;
    const char *label_text; /* NULL when absent; as written */
    bool has_label;
    double label; /* when label_text is a number or JSON gives one */
    /* Token ids (JSONL with input_ids); NULL and 0 when absent. Masks remove positions here:
     * attention_mask 0 drops the id and its type. */
    const int32_t *input_ids, *type_ids, *decoder_ids, *label_ids; /* label_ids: "labels" */
    size_t input_count, type_count, decoder_count, label_count;
    /* The masks as they were, of as many positions as the ids had: for labels beside those. */
    const int32_t *mask, *decoder_mask;
    size_t mask_count, decoder_mask_count;
} PareDataRow;

typedef struct {
    PareDataFormat format;
    /* TSV without header: comma-separated names ("source,target", "text,label"; "-" skips one). A
     * header is recognised when every field of the first line is a known name. NULL: header, or for
     * headerless files the defaults: 1 column text; 2 columns text + label when the second is a
     * small integer in the first row, otherwise text + target. */
    const char *columns;
    bool keep_blanks; /* default: surrounding blanks of texts are stripped */
} PareDataOptions;

typedef struct PareDataset PareDataset;
/* `path` "-" reads standard input. */
PareStatus pare_dataset_open(const char *path, const PareDataOptions *options, PareDataset **out,
                             PareError *err);
/* The next row, or *row = NULL at the end. Messages name file and line. Empty lines: a row with an
 * empty text in TEXT, skipped in TSV and JSONL. */
PareStatus pare_dataset_next(PareDataset *d, const PareDataRow **row, PareError *err);
void pare_dataset_close(PareDataset *d); /* NULL is allowed */

#endif
