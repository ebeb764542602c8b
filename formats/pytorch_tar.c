/* PyTorch's checkpoints from before version 0.2: a tar archive. */
#include "formats/checkpoint_reader.h"

PareStatus pare_pytorch_tar_open(PareCheckpoint *c, PareError *err) {
    return pare_error_set(err, PARE_E_UNSUPPORTED,
                          "%s: this is PyTorch's format from before version 0.2 (a tar archive); "
                          "load it with a PyTorch before 2.0 and save it again",
                          c->path);
}
