/* Packing matrices into the blocked layouts that kernels read, and quantizing them on the way. The
 * .pare file holds the same bytes: PARE_LAYOUT_BLOCK4 and _BLOCK1 of formats/pare_file.h say what
 * lies where. */
#ifndef PARE_CORE_BLOCKS_H
#define PARE_CORE_BLOCKS_H

#include <stddef.h>
#include <stdint.h>

#include "core/tensor.h"

enum { PARE_BLOCK_ROWS = 16, PARE_BLOCK_DEPTH = 4 };

/* w [N, K] float32 row-major -> a BLOCK4 blob (pare_file_blob_bytes bytes, all of it written):
 * symmetric per row, scale = max|w| / 127, q = round to nearest even of w / scale within
 * [-127, 127]; an all-zero row has scale 0. A row with NaN or infinity gets a NaN scale and zeros.
 * Bit-exact on every machine. */
void pare_blocks_pack_i8(const float *w, size_t N, size_t K, void *blob);
/* The blocks [begin, end) of 16 rows of it alone, for threads that share a matrix. */
void pare_blocks_pack_i8_part(const float *w, size_t N, size_t K, size_t begin, size_t end,
                              void *blob);
/* A row [K] of w -> what it stands for in that blob: scale * q [K]. */
void pare_blocks_round_i8(const float *row, size_t K, float *out);
/* w [N, K] float32 -> a BLOCK1 blob of F16 or BF16. */
void pare_blocks_pack_half(PareDtype dtype, const float *w, size_t N, size_t K, void *blob);

#endif
