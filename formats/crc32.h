/* CRC-32 as zip uses it (polynomial 0xEDB88320, ISO 3309), at 3 to 7 GB/s. */
#ifndef PARE_FORMATS_CRC32_H
#define PARE_FORMATS_CRC32_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    uint32_t of[16][256]; /* of[n][b]: byte b followed by n zero bytes */
} PareCrc32;

void pare_crc32_init(PareCrc32 *table);
/* Goes on from `before`, the CRC of what stood in front; 0 at the beginning. */
uint32_t pare_crc32(const PareCrc32 *table, uint32_t before, const void *bytes, size_t size);

#endif
