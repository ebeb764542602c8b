/* The summary of pare-info, as text and as JSON. */
#ifndef PARE_CONVERT_INFO_TEXT_H
#define PARE_CONVERT_INFO_TEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/error.h"
#include "core/json.h"
#include "core/tensor.h"
#include "formats/pare_file.h"

typedef struct {
    size_t tensors, shared; /* all, and those that share another's values */
    uint64_t values, bytes; /* stored */
    struct {
        size_t tensors;
        uint64_t values, bytes;
    } of[PARE_DTYPE_COUNT +
         1]; /* the last: number formats that cannot be read; their bytes are 0 */
} PareInfoTally;

typedef struct {
    const char *path, *format, *weights;
    bool is_model; /* a .pare file; otherwise a checkpoint */
    uint64_t file_bytes;
    size_t files;             /* of which a checkpoint consists */
    const char *warnings;     /* lines, each with its line end */
    const PareJson *metadata; /* the .pare file's, or config.json; may be NULL */
    bool has_section[PARE_SECTION_CERTIFICATE + 1];
    size_t section_bytes[PARE_SECTION_CERTIFICATE + 1];
} PareInfoSubject;

PareStatus pare_info_text(const PareInfoSubject *s, const PareInfoTally *t, PareBuffer *out,
                          PareError *err);
PareStatus pare_info_json(const PareInfoSubject *s, const PareInfoTally *t, PareBuffer *out,
                          PareError *err);

#endif
