/* The stage that makes a checkpoint's folder of a .pare file, for transformers' from_pretrained.
 *
 *     PareExport *e;
 *     pare_export_open(&options, &e, &err);     names, shapes and settings; nothing is written
 *     pare_export_summary(e) …                  what it is and what it will take
 *     pare_export_write(e, progress, &err);     writes the folder
 *     pare_export_close(e);
 *
 * The family's tables that pare-convert reads are read backwards. What config.json will say is
 * described again as converting would do, and must call for exactly the stored tensors: what the
 * framework cannot express is refused or, where that computes the same, filled up with zeros.
 * Writing needs the memory of the largest tensor. The same input and options give the same bytes.
 */
#ifndef PARE_CONVERT_EXPORT_H
#define PARE_CONVERT_EXPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/error.h"
#include "core/log.h"
#include "core/tensor.h"
#include "formats/checkpoint_writer.h"

typedef struct {
    const char *model;  /* the .pare file */
    const char *folder; /* made when it does not exist */
    PareSaveFormat format;
    PareDtype dtype;   /* F32, F16 or BF16 … */
    bool change_dtype; /* … for every tensor; otherwise each keeps its own */
    bool dequantize;   /* INT8 becomes floating point; otherwise it is refused */
    bool pad_pruned;   /* fill what the framework needs uniform with zeros that change nothing */
    bool force;        /* replace files in a folder that has some */
    bool no_tokenizer;
} PareExportOptions;

typedef struct PareExport PareExport;

typedef struct {
    const char *family, *architecture;
    const char *format;       /* "safetensors", … */
    const char *weights;      /* the file's name */
    const char *dtype;        /* what config.json says: "float32", … */
    const char *tokenizer;    /* its kind, or NULL */
    bool tokenizer_identical; /* known after writing: converting again gives the same one */
    size_t tensors, shared;   /* stored; and names that share one of them */
    size_t padded;            /* tensors that were filled up */
    uint64_t parameters;      /* values of the stored tensors */
    uint64_t bytes;           /* of them */
    uint64_t memory_bytes;    /* that writing will need, beside the program itself */
    const char *const *files; /* of the folder, known after writing */
    size_t file_count;
    const char *notices; /* lines, each with its line end; "" for none */
} PareExportSummary;

PareStatus pare_export_open(const PareExportOptions *options, PareExport **out, PareError *err);
void pare_export_close(PareExport *e); /* NULL is allowed */
const PareExportSummary *pare_export_summary(PareExport *e);
/* Refuses a folder that holds something, unless `force`. After a failure the folder is as it was.
 * `progress` (may be NULL) counts bytes up to summary.bytes. */
PareStatus pare_export_write(PareExport *e, PareProgress *progress, PareError *err);

/* The lines that --dry-run shows, or one JSON object. */
void pare_export_describe(PareExport *e, bool json, PareBuffer *out);

#endif
