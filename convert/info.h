/* What a .pare file or a checkpoint holds, as text or JSON. */
#ifndef PARE_CONVERT_INFO_H
#define PARE_CONVERT_INFO_H

#include <stdbool.h>

#include "core/buffer.h"
#include "core/error.h"

typedef struct PareInfo PareInfo;

/* `path` is a .pare file, a weights file, or a checkpoint's folder; the content decides.
 * `root`: as for pare_checkpoint_open. */
PareStatus pare_info_open(const char *path, const char *root, PareInfo **out, PareError *err);
void pare_info_close(PareInfo *info); /* NULL is allowed */
/* Lines for people, or one JSON object. */
PareStatus pare_info_summary(const PareInfo *info, bool json, PareBuffer *out, PareError *err);
size_t pare_info_count(const PareInfo *info);
/* One tensor: "name TAB shape TAB dtype [TAB sha256]" or a JSON object, with its line end. The
 * checksum is of the values as contiguous little-endian float32. */
PareStatus pare_info_tensor(PareInfo *info, size_t index, bool json, bool sha256, PareBuffer *out,
                            PareError *err);
/* Compares every checksum of a .pare file; an error for a checkpoint, which has none. */
PareStatus pare_info_verify(PareInfo *info, PareError *err);

#endif
