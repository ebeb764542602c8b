/* Inside of the export stage: what its files share.
 *
 * Two descriptions meet here. `held` is what the .pare file holds, with key/value heads repeated
 * where the framework has no fewer of them than heads; `theirs.description` is what the framework
 * makes of the config.json that will be written. They differ only in numbers of heads and
 * feed-forward units, and then the framework's are larger: the difference is filled with zeros. */
#ifndef PARE_CONVERT_EXPORT_IMPL_H
#define PARE_CONVERT_EXPORT_IMPL_H

#include "convert/export.h"
#include "convert/family.h"
#include "core/json.h"
#include "core/json_text.h"
#include "runtime/model.h"
#include "text/tokenizer.h"

enum { PARE_EXPORT_EDITS = 32, PARE_EXPORT_FILES = 16, PARE_EXPORT_PARTS = 4 };

/* A member of config.json that is set. */
typedef struct {
    const char *key, *value; /* the value as JSON text */
} PareExportEdit;

/* A tensor of the checkpoint: the slots that it is made of, one behind the other. */
typedef struct {
    const PareRule *rule;
    const PareSlot *parts[PARE_EXPORT_PARTS]; /* the framework's shapes */
    uint32_t part_count;
    bool turned; /* the file has the matrix as [in, out] */
    char *name, *group;
} PareExportItem;

/* Where the heads of a block went: from[u] is the stored head of the framework's head u, or -1.
 * NULL: the first ones stay where they are. */
typedef struct {
    int32_t *from;
    uint32_t count;
} PareHeadPlaces;

/* A column of the framework's only table of relative biases: a head of a layer. */
typedef struct {
    uint32_t layer, head;
} PareBiasColumn;

struct PareExport {
    PareExportOptions options;
    PareExportSummary summary;
    PareArena *arena;
    PareModel *model;
    const PareDescription *stored; /* as in the file */
    PareDescription held;
    PareFamilyModel theirs;
    PareSlots slots; /* theirs */
    /* Tables of relative biases that differ by layer are merged into one (export_places.c). */
    PareHeadPlaces
        *places[PARE_STACKS]; /* of self-attention, by layer; NULL without such a table */
    PareBiasColumn *columns[PARE_STACKS];
    uint32_t column_count[PARE_STACKS];
    /* config.json */
    PareJsonText config, generation; /* the source's, inside the file's metadata */
    PareExportEdit edits[PARE_EXPORT_EDITS];
    size_t edit_count;
    PareBuffer config_text, generation_text; /* what is written */
    PareJsonDoc *docs[4];
    size_t doc_count;
    /* tensors: one item each, behind them those that share another's elements by name only */
    PareExportItem *items;
    PareSavedTensor *tensors;
    size_t count, capacity;
    PareTokenizer *tokenizer;
    const void *tokenizer_bytes;
    size_t tokenizer_size;
    const char *files[PARE_EXPORT_FILES];
    PareBuffer notices;
};

/* export_config.c: finds the family, decides what config.json says, describes it (`theirs`). */
PareStatus pare_export_settings(PareExport *e, PareError *err);
/* The texts of config.json and generation_config.json, once the dtype is known. */
PareStatus pare_export_texts(PareExport *e, PareError *err);

/* export_places.c: columns and places of stacks with relative biases. */
PareStatus pare_export_places(PareExport *e, PareError *err);
/* The slot of a layer's table. */
void pare_export_bias_name(unsigned stack, uint32_t layer, char *out, size_t size);

/* export_compare.c: whether `theirs` can hold `held`, and what must be filled up. */
PareStatus pare_export_compare(PareExport *e, PareError *err);

/* export_plan.c: names, shapes, types and ties of the tensors. */
PareStatus pare_export_plan(PareExport *e, PareError *err);

/* export_fill.c: the elements of an item; a PareTensorSource whose context is the export. */
PareStatus pare_export_fill(void *context, size_t index, void *dst, PareError *err);
/* Whether the family computes a slot's values itself just as they are stored. */
PareStatus pare_export_is_computed(PareExport *e, const PareSlot *slot, bool *same, PareError *err);

#endif
