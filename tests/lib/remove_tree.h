/* SPDX-License-Identifier: GPL-3.0-only */
/* remove_tree.h: removes a directory and all below it. */
#ifndef GARNER_TESTS_REMOVE_TREE_H
#define GARNER_TESTS_REMOVE_TREE_H

#include <errno.h>
#include <ftw.h>
#include <stdio.h>

static inline int remove_tree_entry(const char *path, const struct stat *st, int type, struct FTW *where)
{
	(void)st;
	(void)type;
	(void)where;
	return remove(path) < 0 ? -errno : 0;
}

/* 0, -1 when it cannot be read (errno is ENOENT when there is none), or the negative errno of what could not be removed. */
static inline int remove_tree(const char *path)
{
	return nftw(path, remove_tree_entry, 16, FTW_DEPTH | FTW_PHYS);
}

#endif
