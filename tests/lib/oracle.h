/* SPDX-License-Identifier: GPL-3.0-only */
/* oracle.h: what an image should hold: its size and its bytes, as plain pages in memory; what is not there is zero. For tests. */
#ifndef GARNER_TESTS_ORACLE_H
#define GARNER_TESTS_ORACLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* At least the largest grain. */
#define ORACLE_PAGE 65536u

struct oracle;

struct oracle *oracle_new(void);
/* As it is now. */
struct oracle *oracle_clone(const struct oracle *o);
void oracle_free(struct oracle *o);

uint64_t oracle_size(const struct oracle *o);
void oracle_resize(struct oracle *o, uint64_t size);
/* Extends when it ends past the end. */
void oracle_write(struct oracle *o, uint64_t offset, const void *buf, size_t len);
/* What lies past the end is ignored. */
void oracle_zero(struct oracle *o, uint64_t offset, uint64_t len);
/* What lies past the end is zeros. */
void oracle_read(const struct oracle *o, uint64_t offset, void *buf, size_t len);
/* As image_copy(): how many bytes. */
uint64_t oracle_copy(const struct oracle *from, uint64_t offset, struct oracle *to, uint64_t to_offset, uint64_t len);

/* What lseek() has to answer where exactly the grains with a byte that is not zero are data: the offset, or -ENXIO. */
int64_t oracle_seek(const struct oracle *o, uint64_t offset, bool data, uint32_t grain);
/* Bytes of those grains. */
uint64_t oracle_allocated(const struct oracle *o, uint32_t grain);

/* The numbers of all pages that are not zero, ascending; malloc'ed. */
uint64_t *oracle_pages(const struct oracle *o, size_t *count);

#endif
