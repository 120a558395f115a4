/* SPDX-License-Identifier: GPL-3.0-only */
/* crash_state.h: what a power cut could have left of a recording: one state, chosen by a seed, built in a directory.
 *
 * The rules, per file and per sector of 512 bytes:
 *   - a write or size change is there for certain when a sync of its file began after it was answered and was itself
 *     answered before the cut (or the file was opened with O_DSYNC); nothing that began after the cut is there;
 *   - anything between may be there or not, sector by sector, whole sectors only. But a file has one page cache: a sector that
 *     holds a write also holds every earlier write to that sector;
 *   - the size may have grown although the bytes are missing (zeros then);
 *   - changes of a directory are there for certain when a sync of that directory covers them; of the others a prefix in
 *     order is there. A rename between directories is there in both or in neither.
 */
#ifndef GARNER_TESTS_CRASH_STATE_H
#define GARNER_TESTS_CRASH_STATE_H

#include "lib/recorder.h"

#include <stdbool.h>

enum crash_mode {
	CRASH_ANY,          /* the seed picks one of the others */
	CRASH_NOTHING,      /* nothing unsynced is there */
	CRASH_KILLED,       /* everything that was answered is there: the process was killed, not the machine */
	CRASH_RANDOM,       /* each write missing, there or torn on its own */
	CRASH_LAST_MISSING, /* only the last one to three writes are missing or torn */
	CRASH_SMALL_AHEAD,  /* writes of less than a page are there, larger ones at random */
	CRASH_SMALL_BEHIND, /* larger writes are there, those of less than a page at random */
	CRASH_PREFIX,       /* everything up to some moment before the cut, then torn, then nothing */
	CRASH_FILES,        /* each file and directory with all or with nothing of what is unsynced */
	CRASH_MODES
};

struct crash_state {
	uint64_t cut, seed;
	enum crash_mode mode;
	bool noted[RECORDING_NOTE_KINDS];    /* whether a note of that kind came before the cut */
	uint64_t note[RECORDING_NOTE_KINDS]; /* the last one */
	unsigned unsynced, present, torn;    /* writes not covered by a sync, and what became of them */
	unsigned dir_changes, dir_kept;      /* likewise, of directories */
};

/* Builds a state of the cut at moment `cut` in `outdir`, which is made, or is empty. The same arguments build the same
 * state. The recording may still grow. Returns 0 or -errno. Any thread. */
int crash_state_build(struct recording *r, uint64_t cut, uint64_t seed, enum crash_mode mode, const char *outdir,
                      struct crash_state *state);

/* "cut 120, seed 7, last missing: 12 of 15 unsynced writes (1 torn), 2 of 3 changes of directories" */
const char *crash_state_text(const struct crash_state *state, char out[200]);

/* Removes a directory and what is in it. */
int crash_state_remove(const char *dir);

#endif
