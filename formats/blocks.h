/* Packing matrices into the blocked layouts of the .pare file, and quantizing them on the way. */
#ifndef PARE_FORMATS_BLOCKS_H
#define PARE_FORMATS_BLOCKS_H

#include <stddef.h>
#include <stdint.h>

#include "core/tensor.h"

/* w [N, K] float32 row-major -> a BLOCK4 blob (pare_file_blob_bytes bytes, all of it written):
 * symmetric per row, scale = max|w| / 127, q = round to nearest even of w / scale within
 * [-127, 127]; an all-zero row has scale 0. A row with NaN or infinity gets a NaN scale and zeros.
 * Bit-exact on every machine. */
void pare_blocks_pack_i8(const float *w, size_t N, size_t K, void *blob);
/* w [N, K] float32 -> a BLOCK1 blob of F16 or BF16. */
void pare_blocks_pack_half(PareDtype dtype, const float *w, size_t N, size_t K, void *blob);

#endif
