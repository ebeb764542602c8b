/* What the sandboxed process does with an HDF5 file, and how it says so.
 *
 * Messages are a byte that tells their kind, then fields in little-endian order; a text is its
 * length (u32) and its bytes. The first request that the child answers is the walk, without being
 * asked: any number of LIST, TEXT, DATASET and PROGRESS, then DONE or REFUSED. Later requests are
 * for one dataset: dtype (u8), bytes (u64), path (text), answered by PROGRESS and then DONE or
 * REFUSED, with the elements in the shared memory. Private to formats/. */
#ifndef PARE_FORMATS_HDF5_CHILD_H
#define PARE_FORMATS_HDF5_CHILD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    PARE_H5_DATASET = 'D', /* path, foreign name ("": ours), dtype, dims, shape, direct, deflated,
                              offset, stored, address */
    PARE_H5_LIST = 'L',    /* path of the group, name */
    PARE_H5_TEXT = 'T',    /* of the list that began last */
    PARE_H5_PROGRESS = 'P',
    PARE_H5_DONE = 'N',
    PARE_H5_REFUSED = 'R' /* path, why */
};

/* The bytes of the HDF5 file, which the child inherits. */
typedef struct {
    const uint8_t *data;
    size_t size;
} PareHdf5Image;

bool pare_hdf5_child_prepare(void *image);
void pare_hdf5_child_serve(void *image);

#endif
