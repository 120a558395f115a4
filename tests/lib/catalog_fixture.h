/* SPDX-License-Identifier: GPL-3.0-only */
/* catalog_fixture.h: several hosts, each a pool and a catalog of its own, over one directory; and shorthand. For tests
 * only.
 */
#ifndef GARNER_TESTS_CATALOG_FIXTURE_H
#define GARNER_TESTS_CATALOG_FIXTURE_H

#include "image/catalog.h"
#include "lib/pool_fixture.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define HOSTS 4

static char dir[200];
static struct pool *pool[HOSTS];
static struct catalog *host[HOSTS];

static inline int setup(void **state)
{
	(void)state;
	fixture_make_dir(dir);
	for (int i = 0; i < HOSTS; i++) {
		pool[i] = fixture_open_pool(dir, i == 0);
		host[i] = catalog_new(pool[i], NULL);
		assert_non_null(host[i]);
	}
	return 0;
}

static inline int teardown(void **state)
{
	(void)state;
	for (int i = 0; i < HOSTS; i++) {
		catalog_free(host[i]);
		pool_close(pool[i]);
	}
	fixture_remove_dir(dir);
	return 0;
}

/* ---- shorthand ---- */

static inline int try_create(struct catalog *c, uint64_t parent, const char *name, enum node_type type, uint64_t *id)
{
	struct catalog_entry e = { .parent = parent, .type = type, .mode = 0640, .uid = 7, .gid = 8 };
	struct error err = { 0 };
	int rc;

	assert_true(strlen(name) < sizeof e.name);
	memcpy(e.name, name, strlen(name) + 1);
	rc = catalog_create(c, &e, &err);
	*id = e.id;
	return rc;
}

static inline uint64_t create(struct catalog *c, uint64_t parent, const char *name, enum node_type type)
{
	uint64_t id;

	assert_int_equal(try_create(c, parent, name, type, &id), 0);
	return id;
}

/* The id at a name as the store says now; 0: there is none. */
static inline uint64_t at(struct catalog *c, uint64_t parent, const char *name)
{
	struct catalog_entry e;
	struct error err = { 0 };
	int rc = catalog_lookup(c, parent, name, 0, &e, &err);

	if (rc == -ENOENT)
		return 0;
	if (rc)
		fail_msg("%s: %s", name, error_text(&err));
	assert_string_equal(e.name, name);
	assert_int_equal(e.parent, parent);
	return e.id;
}

static inline int move(struct catalog *c, uint64_t from, const char *name, uint64_t to, const char *new_name)
{
	struct error err = { 0 };

	return catalog_rename(c, from, name, to, new_name, false, NULL, &err);
}

static inline int drop(struct catalog *c, uint64_t parent, const char *name, enum node_type type)
{
	struct error err = { 0 };

	return catalog_remove(c, parent, name, type, NULL, &err);
}

struct seen {
	uint64_t ids[64];
	size_t count;
	char names[64][40];
};

static inline int see_entry(void *arg, const struct catalog_entry *entry)
{
	struct seen *seen = arg;

	snprintf(seen->names[seen->count], sizeof seen->names[0], "%.39s", entry->name);
	seen->ids[seen->count++] = entry->id;
	return 0;
}

static inline int see_id(void *arg, const struct trashed *t)
{
	struct seen *seen = arg;

	seen->ids[seen->count++] = t->entry.id;
	return 0;
}

static inline bool has(const struct seen *seen, uint64_t id)
{
	for (size_t i = 0; i < seen->count; i++)
		if (seen->ids[i] == id)
			return true;
	return false;
}

/* A host that knows nothing yet. */
static inline struct catalog *newcomer(struct pool **p)
{
	struct catalog *c;

	*p = fixture_open_pool(dir, false);
	c = catalog_new(*p, NULL);
	assert_non_null(c);
	return c;
}

static inline struct seen list_anew(uint64_t parent)
{
	struct seen seen = { 0 };
	struct pool *p;
	struct catalog *c = newcomer(&p);
	struct error err = { 0 };

	assert_int_equal(catalog_list(c, parent, see_entry, &seen, &err), 0);
	catalog_free(c);
	pool_close(p);
	return seen;
}

static inline struct seen trash(struct catalog *c)
{
	struct seen seen = { 0 };
	struct error err = { 0 };

	assert_int_equal(catalog_trash_each(c, see_id, &seen, &err), 0);
	return seen;
}

#endif
