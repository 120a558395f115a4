/* SPDX-License-Identifier: GPL-3.0-only */
/* disk_model.h: a plain array that remembers what every grain of it was after every step: the oracle of the crash tests.
 *
 * An operation is cut into the steps in which the engine logs it: a new size, then grain after grain (a shrink: grain after
 * grain, then the size). Steps count from 1; step 0 is how the model began. A disk is right when, for some one step, its
 * size and all its grains are what the model had after that step. One thread at a time.
 */
#ifndef GARNER_TESTS_DISK_MODEL_H
#define GARNER_TESTS_DISK_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_GRAIN 4096u

struct disk_model;

/* A disk of `size` bytes that never grows past `room`. `bytes` (room of them, zeros past the size) are copied; NULL: zeros. When
 * memory is short it aborts: this is for tests. */
struct disk_model *disk_model_new(uint64_t room, const uint8_t *bytes, uint64_t size);
void disk_model_free(struct disk_model *m);

/* What the calls of the same name in image.h do. Each returns the number of the last step. */
uint32_t disk_model_write(struct disk_model *m, uint64_t offset, const uint8_t *data, uint64_t len);
uint32_t disk_model_discard(struct disk_model *m, uint64_t offset, uint64_t len);
uint32_t disk_model_resize(struct disk_model *m, uint64_t size);

uint32_t disk_model_step(const struct disk_model *m);
uint64_t disk_model_size(const struct disk_model *m);
uint64_t disk_model_room(const struct disk_model *m);
/* As of the last step. Room bytes. */
const uint8_t *disk_model_bytes(const struct disk_model *m);

/* Whether the disk (room bytes, zeros past `size`) is what the model was after some step from `low` to `high`. `*step` is the last
 * such step, or, when there is none, the one that fits best. */
bool disk_model_matches(const struct disk_model *m, const uint8_t *bytes, uint64_t size, uint32_t low, uint32_t high,
                        uint32_t *step);

/* Says on standard error how the disk differs from the model after `step`, grain by grain, a few of them. */
void disk_model_explain(const struct disk_model *m, const uint8_t *bytes, uint64_t size, uint32_t step);

#endif
