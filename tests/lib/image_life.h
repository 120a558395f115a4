/* SPDX-License-Identifier: GPL-3.0-only */
/* image_life.h: images that lead a random life beside an oracle: what guests do to them, looking at them, and the moments of their past that
 * can be had back. For the model tests, which add bad luck; what should not happen fails the test (cmocka), and says seed and step.
 */
#ifndef GARNER_TESTS_IMAGE_LIFE_H
#define GARNER_TESTS_IMAGE_LIFE_H

#include "lib/image_fixture.h"
#include "lib/oracle.h"

#define FILES 3
#define PASTS 4
#define MOMENTS 8
/* Of moments that one child can note. */
#define NOTES 32
#define MIB ((uint64_t)1 << 20)
#define BYTES_MAX (3 * MIB)
#define DISK (64 * MIB)
#define FAR_MAX (16 * MIB * MIB) /* 16 TiB */

struct file {
	char name[16]; /* "": there is none */
	uint64_t id;
	uint32_t grain;
	struct oracle *oracle;
	struct image *image;          /* while the engine is open */
	uint64_t history_s, since_ns; /* so much history is kept, and from this moment on */
};

/* A snapshot: a moment of a file. */
struct past {
	struct file was; /* its name is that of the snapshot; "": there is none */
	const struct file *of;
	bool is_protected;
};

/* A moment without a name, that was flushed. */
struct moment {
	const struct file *of; /* NULL: there is none */
	struct oracle *oracle;
	uint64_t time_ns;
	struct log_position at; /* segment 0: it may be that of something else by now */
};

struct note {
	uint64_t time_ns;
	struct log_position at;
};

struct world {
	struct image_fixture f;
	struct random r;
	struct file file[FILES];
	struct past past[PASTS];
	struct moment moment[MOMENTS];
	struct note *note;  /* NOTES of them, which children share: what their engines knew of the moments */
	unsigned notes;     /* since the child began */
	uint64_t had, gone; /* moments that were asked for */
	unsigned names;     /* for making new ones */
	uint64_t seed;
	unsigned step;
	bool verbose;
	bool only_oracle;     /* what a child did is repeated, without an engine */
	uint8_t *buf, *other; /* BYTES_MAX each */
};

/* To stderr, when the world is verbose. */
void trace(const struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* One of those that are there. */
struct file *any_file(struct world *w);
/* Fails unless they are equal. */
void expect(struct world *w, const struct file *f, const char *what, int64_t got, int64_t want);

/* ---- looking: image_life.c ---- */

void check_stat(struct world *w, const struct file *f);
/* The whole image: its size, every extent, and every byte that is not in a hole. */
void check_file(struct world *w, const struct file *f);
/* Something of it. */
void look_step(struct world *w);

/* What a guest does. What a crash has to leave as it is: the same numbers are drawn whether there is an engine or not. */
void guest_step(struct world *w);

/* A name that there was not yet. */
void make_name(struct world *w, char name[16]);

/* ---- moments: image_life_past.c ---- */

void check_past(struct world *w, struct past *p);
/* An image with snapshots cannot be unlinked: they are deleted. */
void drop_pasts_of(struct world *w, const struct file *f);
void snapshot_step(struct world *w);

/* The file as it is now is one of the moments that will be looked for. On a guest's step. */
void note_moment(struct world *w, struct file *f);
/* Of a file that is gone. */
void forget_moments_of(struct world *w, const struct file *f);
/* Another host has gone on with the images: positions that it may have given to something else say nothing. */
void forget_positions(struct world *w);
/* What was there before cannot be had any more. */
void end_history(struct world *w, struct file *f);
/* Every one is had back as a new image and compared. */
void check_moments(struct world *w);
/* So much of it, from now on. */
void keep_history(struct world *w, struct file *f, uint64_t seconds);
/* How long history is kept; a moment that is compared. */
void history_step(struct world *w);
/* The file itself is as it was. */
void do_rewind_in_place(struct world *w);
/* A moment to make a new image of, in another place than its file's; NULL: there is none. */
struct moment *any_moment(struct world *w);
/* Rewinds to it, as `name`. False: it is not there any more, and need not be. */
bool rewind_to(struct world *w, struct moment *m, const char *name, struct node_attr *attr);

void free_moments(struct world *w);

#endif
