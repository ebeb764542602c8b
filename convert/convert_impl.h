/* Inside of the conversion stage: what its files share. */
#ifndef PARE_CONVERT_CONVERT_IMPL_H
#define PARE_CONVERT_CONVERT_IMPL_H

#include "convert/convert.h"
#include "convert/family.h"
#include "convert/plan.h"
#include "core/hash.h"
#include "core/json.h"

/* A text file of the folder that is parsed and also kept as it is. */
typedef struct {
    char *path;
    char *text; /* NULL when the file is not there */
    size_t size;
    PareJsonDoc *doc;
} PareJsonFile;

struct PareConvert {
    PareConvertOptions options;
    PareConvertSummary summary;
    PareArena *arena;
    PareJsonFile config, generation;
    PareCheckpoint *checkpoint;
    PareTokenizer *tokenizer;
    PareBuffer tokenizer_bytes;
    PareFamilyModel model;
    ParePlan plan;
    PareBuffer warnings;
};

/* One input file by name, size and content. */
typedef struct {
    const char *name;
    uint64_t size;
    char sha256[PARE_SHA256_HEX_SIZE];
} PareInputFile;

/* The paths of all files that the conversion reads, in a fixed order, in the conversion's arena. */
PareStatus pare_convert_inputs(PareConvert *c, const char ***out, size_t *count, PareError *err);
/* Until another thread sets `stop`. */
PareStatus pare_input_file_hash(const char *path, const atomic_bool *stop, PareInputFile *out,
                                PareError *err);

/* The metadata section. */
PareStatus pare_convert_metadata(PareConvert *c, const PareInputFile *inputs, size_t count,
                                 PareBuffer *out, PareError *err);

#endif
