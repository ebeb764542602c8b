/* Opening an HDF5 file that lies in a part of the checkpoint's mapping (all of it, or the member of
 * an archive). Private to formats/. */
#ifndef PARE_FORMATS_HDF5_READER_H
#define PARE_FORMATS_HDF5_READER_H

#include "formats/checkpoint_reader.h"

PareStatus pare_hdf5_open_part(PareCheckpoint *c, const uint8_t *data, size_t size, PareError *err);

#endif
