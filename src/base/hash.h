/* SPDX-License-Identifier: GPL-3.0-only */
/* hash.h: a table from 64-bit keys to pointers. Not thread-safe: the owner locks. */
#ifndef GARNER_BASE_HASH_H
#define GARNER_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

struct hash;

/* An empty table, or NULL when memory is short. hash_free() does not touch the values; NULL is ignored. */
struct hash *hash_new(void);
void hash_free(struct hash *h);

/* The value under `key`, or NULL. */
void *hash_get(const struct hash *h, uint64_t key);

/* Sets the value (not NULL). Returns 0, or -ENOMEM with the table as it was. */
int hash_put(struct hash *h, uint64_t key, void *value);

/* Takes the key out and returns its value, or NULL. */
void *hash_remove(struct hash *h, uint64_t key);

size_t hash_count(const struct hash *h);

/* Visits every pair in no order: begin with *cursor = 0; returns the value and sets *key, or returns NULL at the end.
 * hash_remove() of the pair just returned is allowed while visiting; hash_put() is not. */
void *hash_next(const struct hash *h, size_t *cursor, uint64_t *key);

#endif
