/* PyTorch's checkpoints from before version 1.6: a stream of pickles, then the storages. */
#include "formats/checkpoint_reader.h"

PareStatus pare_pytorch_legacy_open(PareCheckpoint *c, PareError *err) {
    return pare_error_set(
        err, PARE_E_UNSUPPORTED,
        "%s: this is PyTorch's format from before version 1.6, which this version "
        "does not read; load it and save it again with a newer PyTorch",
        c->path);
}
