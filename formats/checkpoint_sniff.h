/* What a file is, by its content. */
#ifndef PARE_FORMATS_CHECKPOINT_SNIFF_H
#define PARE_FORMATS_CHECKPOINT_SNIFF_H

#include "core/file.h"

typedef enum {
    PARE_CONTENT_UNKNOWN,
    PARE_CONTENT_OTHER, /* known, and no checkpoint */
    PARE_CONTENT_ZIP,
    PARE_CONTENT_TORCH_LEGACY, /* torch.save before 1.6: a stream of pickles */
    PARE_CONTENT_TORCH_TAR,    /* torch.save before 0.2: a tar archive */
    PARE_CONTENT_SAFETENSORS,
    PARE_CONTENT_HDF5,
    PARE_CONTENT_INDEX /* JSON with a "weight_map": a sharded checkpoint */
} PareContent;

/* For UNKNOWN and OTHER, `*advice` is what the file is and what to do instead, as the rest of a
 * sentence that begins with the file's name. */
PareContent pare_content_sniff(const PareMapping *map, const char **advice);

#endif
