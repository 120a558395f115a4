/* SPDX-License-Identifier: GPL-3.0-only */
/* drive_set.h: which drives make up a node, and whether one is missing, wiped or stale.
 *
 * Each drive has a file "drive" (which drive it is, of which node of which cluster), and a copy of the node's list of drives in a file
 * "drives", with a generation: the highest counts. A drive that once was left out stays in the list as such: what was put
 * and removed without it makes it stale for good. Knows nothing of objects.
 */
#ifndef GARNER_NODE_DRIVE_SET_H
#define GARNER_NODE_DRIVE_SET_H

#include "node/object_store.h"

#define DRIVE_ID_BYTES 16
#define DRIVE_ID_TEXT (2 * DRIVE_ID_BYTES + 1)
#define DRIVE_PATH_MAX 1024
#define DRIVE_LIST_MAX 256 /* members and those that were left out; of these the oldest are forgotten */
#define DRIVE_TEXT_MAX 16384

/* ---- texts: pure ---- */

struct drive_identity {
	char drive[DRIVE_ID_TEXT];
	char cluster[OBJECT_CLUSTER_ID_TEXT];
	unsigned node;
};

struct drive_list {
	char cluster[OBJECT_CLUSTER_ID_TEXT];
	unsigned node;
	uint64_t generation; /* 0: there is no list */
	enum object_store_state state;
	struct object_version floor; /* see object_store_floor() */
	size_t count;
	struct drive_listed {
		char drive[DRIVE_ID_TEXT];
		bool out;
	} drive[DRIVE_LIST_MAX];
};

/* The length of the text, which ends with a line of its checksum; or -ENOSPC. */
int drive_identity_format(const struct drive_identity *id, char *text, size_t room);
int drive_list_format(const struct drive_list *list, char *text, size_t room);
/* -EBADMSG. The text ends with a zero byte. */
int drive_identity_parse(const char *text, struct drive_identity *id, struct error *err);
int drive_list_parse(const char *text, struct drive_list *list, struct error *err);

struct drive_listed *drive_list_find(struct drive_list *list, const char *drive);
/* Adds it as a member, or marks it as left out. */
void drive_list_set(struct drive_list *list, const char *drive, bool out);

/* ---- rules: pure ---- */

/* What was found in one directory. */
struct drive_found {
	const char *path;
	bool unusable;            /* cannot be read */
	bool empty;               /* holds nothing: neither identity nor anything else */
	bool fresh;               /* has an identity, and nothing ever came after that */
	struct drive_identity id; /* unless empty or unusable */
	struct drive_list list;   /* generation 0: none */
};

/* Decides: every directory is this node's, or is empty. `list` is the one to be written to all drives that work (its generation is higher
 * than any found, if it changed; *changed), with the empty ones not in it yet: they get their identity after this and are then
 * added by drive_list_set(). -EINVAL with what to do when a directory does not belong here. */
int drive_set_decide(const struct drive_found *found, size_t count, const char *cluster, unsigned node,
                     struct drive_list *list, bool *changed, struct error *err);

/* ---- files ---- */

/* Looks at a directory. 0 also for an unusable one; -ENOENT there is none; -EINVAL it holds other things than a drive's; -EBADMSG the
 * file "drive" is damaged. */
int drive_set_look(struct disk *disk, const char *path, struct drive_found *found, struct error *err);

/* Write DIR/drive or DIR/drives, durably, all or nothing. */
int drive_identity_write(struct disk *disk, const char *dir, const struct drive_identity *id);
int drive_list_write(struct disk *disk, const char *dir, const struct drive_list *list);

#endif
