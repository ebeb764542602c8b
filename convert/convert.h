/* The stage that makes a .pare file of a checkpoint's folder.
 *
 *     PareConvert *c;
 *     pare_convert_open(&options, &c, &err);      reads settings, plans, checks every shape
 *     pare_convert_summary(c) …                   what it is and what it will take
 *     pare_convert_write(c, out, force, p, &err); streams the tensors
 *     pare_convert_close(c);
 *
 * Opening writes nothing. Writing needs the memory of the largest matrix that is stored transposed,
 * twice; other tensors pass through in pieces. The same input and options give the same bytes. */
#ifndef PARE_CONVERT_CONVERT_H
#define PARE_CONVERT_CONVERT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/error.h"
#include "core/log.h"
#include "core/options.h"

typedef struct {
    const char *folder;
    const char *root;            /* pare_checkpoint_open's; may be NULL */
    PareStringList allow_unused; /* patterns of tensors that may be left over */
    bool allow_nonfinite;        /* keep NaN and infinite weights, and count them */
    bool no_tokenizer;
    size_t threads; /* 0: as many as the process may use */
} PareConvertOptions;

typedef struct PareConvert PareConvert;

typedef struct {
    const char *family, *architecture, *head;
    const char *weights, *format; /* the weights file's name, what it is */
    const char *tokenizer;        /* its kind, or NULL */
    size_t tokenizer_size;
    size_t tensors;      /* stored in the output, without those that share another's values */
    size_t shared;       /* those */
    uint64_t parameters; /* stored values */
    uint64_t output_bytes;
    uint64_t memory_bytes; /* that writing will need, beside the program itself */
    const char *largest;   /* the name of the largest tensor */
    uint64_t nonfinite;    /* known after writing */
    const char *warnings;  /* lines, each with its line end; "" for none */
} PareConvertSummary;

PareStatus pare_convert_open(const PareConvertOptions *options, PareConvert **out, PareError *err);
void pare_convert_close(PareConvert *c); /* NULL is allowed */
const PareConvertSummary *pare_convert_summary(PareConvert *c);
/* `progress` may be NULL; it counts bytes up to summary.output_bytes. */
PareStatus pare_convert_write(PareConvert *c, const char *out, bool force, PareProgress *progress,
                              PareError *err);

/* The lines that --dry-run shows, or one JSON object. */
void pare_convert_describe(PareConvert *c, bool json, PareBuffer *out);

#endif
