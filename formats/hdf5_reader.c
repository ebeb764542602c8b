/* HDF5 checkpoints of TensorFlow and Keras. */
#include "formats/checkpoint_reader.h"

PareStatus pare_hdf5_open(PareCheckpoint *c, PareError *err) {
    return pare_error_set(err, PARE_E_UNSUPPORTED,
                          "%s: is an HDF5 file, which this version does not read", c->path);
}
