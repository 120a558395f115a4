/* SPDX-License-Identifier: GPL-3.0-only */
/* environment.h: the environment as log-ins see it: the process's own, or one that a test made up. */
#ifndef GARNER_STORE_ENVIRONMENT_H
#define GARNER_STORE_ENVIRONMENT_H

#include <stddef.h>
#include <stdlib.h>

struct environment {
	const char *(*get)(void *arg, const char *name); /* NULL: getenv() */
	void *arg;
};

/* The value of `name`, or NULL when it is not set or empty. Valid as long as nobody changes the environment. `e` may be
 * NULL. */
static inline const char *environment_get(const struct environment *e, const char *name)
{
	const char *value = e && e->get ? e->get(e->arg, name) : getenv(name);

	return value && *value ? value : NULL;
}

#endif
