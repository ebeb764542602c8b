/* Which file of a folder holds the weights. */
#ifndef PARE_FORMATS_CHECKPOINT_FOLDER_H
#define PARE_FORMATS_CHECKPOINT_FOLDER_H

#include "core/error.h"

/* `*path` (pare_free) is the weights file, or the index of a sharded checkpoint, by the names that
 * transformers gives them. Without one the message says what the folder holds instead and what to
 * do about it. */
PareStatus pare_folder_find_weights(const char *folder, char **path, PareError *err);

#endif
