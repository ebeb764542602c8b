/* The HDF5 library, behind an interface of our own. Private to formats/.
 *
 * The library is not safe against crafted files, and hands on whatever a file says to the operating
 * system (external storage, links into other files, plugins). Hence two rules. Bytes come and go
 * through callbacks only: its own drivers are never used. And a file of somebody else is read in a
 * sandboxed process of its own (hdf5_child.c), never in the program's. The library is not safe to
 * use from several threads at a time either. */
#ifndef PARE_FORMATS_HDF5_LIBRARY_H
#define PARE_FORMATS_HDF5_LIBRARY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/tensor.h"

/* Where a file's bytes are. Each returns false on failure; `write` is NULL for a file to read. */
typedef struct {
    void *context;
    uint64_t size; /* when opened; of a file to write, 0 */
    bool (*read)(void *context, uint64_t at, size_t size, void *out);
    bool (*write)(void *context, uint64_t at, size_t size, const void *bytes);
} PareHdf5Io;

typedef struct PareHdf5 PareHdf5;

/* Starts the library without plugins and messages; once more does no harm. */
bool pare_hdf5_start(void);
void pare_hdf5_close(PareHdf5 *h); /* of a file to read; NULL is allowed */
/* What the library complained of last, for a message; "" when it did not. */
const char *pare_hdf5_complaint(void);

/* ---- Reading ---- */

/* A dataset, as far as the library tells: nothing here may be believed. */
typedef struct {
    const char *path;    /* from the root, without a slash in front */
    PareDtype dtype;     /* PARE_DTYPE_COUNT: `foreign` names it */
    const char *foreign; /* NULL where the dtype is ours */
    PareTensorType type; /* the same dtype, and the shape */
    bool direct;         /* the elements lie at `offset` as they are wanted */
    bool deflated;       /* stored with compression */
    uint64_t offset;     /* within the file */
    uint64_t stored;     /* bytes in the file */
    uint64_t address;    /* the same for two links to one dataset */
} PareHdf5Dataset;

/* Who is told what a file holds. A false return ends the walk. */
typedef struct {
    void *context;
    bool (*dataset)(void *context, const PareHdf5Dataset *dataset);
    /* A list of texts that hangs on a group begins; its texts, of any bytes, follow. */
    bool (*list)(void *context, const char *group, const char *name);
    bool (*text)(void *context, const char *bytes, size_t size);
    bool (*progress)(void *context);
    /* Why the file is refused, as the end of a sentence; the walk ends. */
    void (*refuse)(void *context, const char *path, const char *why);
} PareHdf5Visitor;

PareHdf5 *pare_hdf5_open_image(const PareHdf5Io *io);
/* Every dataset and the lists of names on every group, depth first. Refused are links other than
 * hard ones, external and virtual storage, foreign filters, and groups that occur twice. false when
 * a callback or the file ended the walk. */
bool pare_hdf5_walk(PareHdf5 *h, const PareHdf5Visitor *visitor);
/* All elements of a dataset with the dtype and size that the walk told, little-endian; `progress`
 * (with `context`) is called between pieces. */
bool pare_hdf5_read(PareHdf5 *h, const char *path, PareDtype dtype, void *dst, size_t bytes,
                    bool (*progress)(void *context), void *context);

/* ---- Writing ---- */

/* The file that is written. Nothing in it depends on anything but the calls. */
PareHdf5 *pare_hdf5_create(const PareHdf5Io *io);
/* `path` names groups that may not exist yet. */
bool pare_hdf5_write_dataset(PareHdf5 *h, const char *path, const PareTensorType *type,
                             const void *elements);
/* An attribute of `group` ("" for the root), which is created if need be: a list of `count` texts,
 * `width` bytes each, padded with NULs; a `count` of 0 is one text that is no list. */
bool pare_hdf5_write_texts(PareHdf5 *h, const char *group, const char *name, const char *texts,
                           size_t count, size_t width);
/* Writes what is left and frees; false when that fails. */
bool pare_hdf5_finish(PareHdf5 *h);

#endif
