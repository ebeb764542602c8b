/* Files: mapped reading, whole reading, and output that appears whole or not at all. */
#ifndef PARE_CORE_FILE_H
#define PARE_CORE_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

/* A read-only mapping of a whole regular file; `data` is valid (not NULL) even when size is 0. */
typedef struct {
    const uint8_t *data;
    size_t size;
} PareMapping;

PareStatus pare_file_map(const char *path, PareMapping *out, PareError *err);
void pare_file_unmap(PareMapping *m); /* zeroes it; safe on a zeroed one */
/* Tells the kernel that a range was used and may be dropped (streaming reads of huge files). */
void pare_file_drop(const PareMapping *m, size_t offset, size_t size);

/* Reads at most `limit` bytes (larger files are refused); NUL-terminated; caller pare_free()s. */
PareStatus pare_file_read(const char *path, size_t limit, char **out, size_t *size, PareError *err);
bool pare_file_exists(const char *path);
bool pare_file_is_folder(const char *path);
/* The same existing file or folder, whatever the paths look like. */
bool pare_file_same(const char *a, const char *b);
/* "folder/name" into memory of the caller (pare_free); NULL when out of memory. */
char *pare_file_join(const char *folder, const char *name);
const char *pare_file_basename(const char *path);

/* An output file: written to a temporary name in the same folder, then fsync and rename.
 * Until commit nothing appears under `path`; abort (or a signal handler's cleanup) removes the
 * temporary. `path` "-" is refused here: streams are the programs' business. */
typedef struct PareOutput PareOutput;

/* Refuses an existing path unless `force`; refuses folders, devices and pipes always. An existing
 * link is followed: the file that it names is replaced. */
PareStatus pare_output_open(const char *path, bool force, PareOutput **out, PareError *err);
PareStatus pare_output_write(PareOutput *o, const void *bytes, size_t size, PareError *err);
/* Writes zero bytes up to the next multiple of `alignment` of the offset. */
PareStatus pare_output_align(PareOutput *o, size_t alignment, PareError *err);
uint64_t pare_output_offset(const PareOutput *o);
/* Overwrites bytes that were written before (a header filled in last). */
PareStatus pare_output_patch(PareOutput *o, uint64_t offset, const void *bytes, size_t size,
                             PareError *err);
/* Flush, fsync, rename; frees `o` whatever happens; on failure the temporary is gone. */
PareStatus pare_output_commit(PareOutput *o, PareError *err);
void pare_output_abort(PareOutput *o); /* NULL is allowed */
/* All of it at once: a file with these bytes, whole or not at all. */
PareStatus pare_output_save(const char *path, bool force, const void *bytes, size_t size,
                            PareError *err);

/* Installs handlers for SIGINT, SIGTERM and SIGHUP that set a flag; the second signal removes
 * pending temporaries and ends the process at once. Long loops poll pare_interrupted(). Signals
 * that were ignored before (nohup) stay so. SIGPIPE and SIGXFSZ become errors of writing. */
void pare_interrupt_install(void);
bool pare_interrupted(void);
/* PARE_OK, or PARE_E_INTERRUPTED with its message. */
PareStatus pare_interrupt_check(PareError *err);

#endif
