/* SPDX-License-Identifier: GPL-3.0-only */
/* piece.h: a piece of a body, which several hold at the same time: the disk and some peers, without a copy.
 *
 * Its bytes do not change once somebody else holds it. Pieces of bodies that come in count against a budget for as long as anybody
 * holds them, so that a slow disk or peer cannot fill the memory. Any thread.
 */
#ifndef GARNER_NODE_PIECE_H
#define GARNER_NODE_PIECE_H

#include <event2/buffer.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct piece;

/* ---- how many bytes of bodies there may be ---- */

struct piece_budget;

/* NULL when memory is short. One reference is the caller's; every piece and reservation has its own. */
struct piece_budget *piece_budget_new(uint64_t limit);
void piece_budget_put(struct piece_budget *b);
/* Sets `bytes` aside: false when that would be more than the limit. piece_budget_release() gives them back, but for those that
 * have become pieces since. */
bool piece_budget_reserve(struct piece_budget *b, uint64_t bytes);
void piece_budget_release(struct piece_budget *b, uint64_t bytes);
uint64_t piece_budget_used(const struct piece_budget *b);

/* ---- pieces ---- */

/* A piece with room for `room` bytes, none of which are there yet; the caller has the only reference, and may write to its
 * bytes. `reserved` (which may be NULL): `room` bytes of a reservation there are the piece's from now on. NULL when memory is short. */
struct piece *piece_new(size_t room, struct piece_budget *reserved);
/* A piece that is a copy of bytes, of no budget. NULL when memory is short. */
struct piece *piece_copy(const void *bytes, size_t length);

struct piece *piece_get(struct piece *p);
/* NULL is ignored. */
void piece_put(struct piece *p);

const uint8_t *piece_bytes(const struct piece *p);
size_t piece_length(const struct piece *p);

/* Adds it to the end of a buffer, by reference: 0 or -ENOMEM. The buffer may be on another thread than other holders. */
int piece_add_to(struct piece *p, struct evbuffer *buffer);

/* While nobody else holds it: the room that is left, and that `length` bytes more of it are filled. */
uint8_t *piece_room(struct piece *p, size_t *room);
void piece_fill(struct piece *p, size_t length);
/* Gives up room that was not filled, and its part of the reservation: returns how many bytes that was. The piece may move. */
size_t piece_shrink(struct piece **p);

#endif
