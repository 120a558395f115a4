/* SPDX-License-Identifier: GPL-3.0-only */
/* crc32c.h: CRC-32C (Castagnoli), the checksum of slots and index records.
 *
 * Uses the processor's instruction where there is one (three streams at a time), tables elsewhere. Same result.
 */
#ifndef GARNER_BASE_CRC32C_H
#define GARNER_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* The CRC of `len` bytes continued from `crc` (0 to begin): crc32c(crc32c(0, a), b) is the CRC of a followed by b. Any
 * thread; never blocks. crc32c(0, "123456789", 9) is 0xe3069283. */
uint32_t crc32c(uint32_t crc, const void *buf, size_t len);

/* The same by tables only, as on a processor without the instruction. Here for the tests. */
uint32_t crc32c_portable(uint32_t crc, const void *buf, size_t len);

#endif
