/* A folder that is filled as a whole: files are written beside it, and appear together at the end.
 */
#ifndef PARE_CONVERT_EXPORT_FOLDER_H
#define PARE_CONVERT_EXPORT_FOLDER_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"

enum { PARE_FOLDER_FILES = 16 };

typedef struct {
    char *path;      /* where the files will be */
    char *temporary; /* where they are written; NULL before begin */
    bool made;       /* there was no such folder */
    const char *files[PARE_FOLDER_FILES];
    size_t count;
} PareExportFolder;

/* Refuses what is no folder, and one that holds something unless `force`; makes the temporary one.
 * Zero-initialise. */
PareStatus pare_export_folder_begin(PareExportFolder *f, const char *path, bool force,
                                    PareError *err);
/* The path of a file to write now (pare_free); `name` is kept. */
PareStatus pare_export_folder_file(PareExportFolder *f, const char *name, char **path,
                                   PareError *err);
/* Refuses, before anything is replaced, a file that would be read with the new ones and is not one
 * of them, and one that is `input`. Then all files move to their places. */
PareStatus pare_export_folder_commit(PareExportFolder *f, const char *input, PareError *err);
/* Removes what is temporary still, and frees; after commit as well. */
void pare_export_folder_end(PareExportFolder *f);

#endif
