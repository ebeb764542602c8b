/* Writing tf_model.h5. */
#include "formats/checkpoint_writer.h"

PareStatus pare_hdf5_save(const PareSaveJob *job, PareError *err) {
    return pare_error_set(err, PARE_E_UNSUPPORTED, "%s: HDF5 is not written yet", job->path);
}
