/* SPDX-License-Identifier: GPL-3.0-only */
/* share_list.h: the slot of a share record: a range of grains that from there on is what other logs hold. Pure.
 *
 * 4096 bytes, little-endian, padded with zeros to the slot: magic "GSHR" u32, version u32, first grain u64, grains u64,
 * layers u32, runs u32; then the runs, of 16 bytes each: entry u64, count u32, mapped u16, kind u16; then zeros. The
 * runs cover the range in order, without gaps. Entries are of layers, never of the log that the record is in. The
 * record's own checksum covers all of it.
 */
#ifndef GARNER_MAP_SHARE_LIST_H
#define GARNER_MAP_SHARE_LIST_H

#include "base/error.h"
#include "log/types.h"

#include <stdbool.h>
#include <stddef.h>

#define SHARE_LIST_BYTES 4096
#define SHARE_LIST_VERSION 1
#define SHARE_RUNS_MAX 254

enum share_kind {
	SHARE_NOTHING = 0, /* `count` grains that read as zeros; entry and mapped are 0 */
	SHARE_GRAINS = 1,  /* `count` grains, in slots one after the other from `entry` on; mapped is 0 */
	SHARE_LEAVES =
		2 /* `count` leaves of a map, likewise, with `mapped` grains each; from a multiple of 512 grains on */
};

struct share_run {
	map_entry_t entry;
	uint32_t count;
	uint16_t mapped;
	uint16_t kind;
};

struct share_list {
	grain_no_t first;
	uint64_t grains; /* all runs together */
	uint32_t layers; /* the highest layer of an entry; 0: there is none */
	uint32_t count;
	struct share_run runs[SHARE_RUNS_MAX];
};

/* An empty list of what comes from `first` on. */
void share_list_begin(struct share_list *l, grain_no_t first);

/* Adds what comes next: a run of `count` 1 or, if it is SHARE_NOTHING, of any. Joins it to the last run where that is
 * possible. False: the list is full. */
bool share_list_add(struct share_list *l, enum share_kind kind, map_entry_t entry, uint32_t count, unsigned mapped);

/* How many grains a run covers. */
uint64_t share_run_grains(const struct share_run *run);

void share_list_encode(const struct share_list *l, uint8_t out[SHARE_LIST_BYTES]);
/* -EBADMSG, or -EPROTONOSUPPORT for a newer version. What is accepted is encoded to the same bytes again. */
int share_list_decode(const uint8_t in[SHARE_LIST_BYTES], struct share_list *l, struct error *err);

#endif
