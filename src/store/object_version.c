/* SPDX-License-Identifier: GPL-3.0-only */
/* object_version.c: versions: order, text, clock; and the names of objects on storage nodes. */
#include "store/object_version.h"

#include "base/clock.h"
#include "store/store.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

int object_version_compare(struct object_version a, struct object_version b)
{
	if (a.counter != b.counter)
		return a.counter < b.counter ? -1 : 1;
	return a.tie < b.tie ? -1 : a.tie > b.tie;
}

bool object_version_is_none(struct object_version v)
{
	return !v.counter && !v.tie;
}

void object_version_format(struct object_version v, char text[OBJECT_VERSION_TEXT])
{
	snprintf(text, OBJECT_VERSION_TEXT, "%016" PRIx64 ".%016" PRIx64, v.counter, v.tie);
}

static bool parse_hex16(const char *text, uint64_t *number)
{
	*number = 0;
	for (int i = 0; i < 16; i++) {
		static const char digits[] = "0123456789abcdef";
		const char *at = text[i] ? strchr(digits, text[i]) : NULL;
		if (!at)
			return false;
		*number = *number << 4 | (uint64_t)(at - digits);
	}
	return true;
}

int object_version_parse(const char *text, struct object_version *v)
{
	if (strlen(text) != OBJECT_VERSION_TEXT - 1 || text[16] != '.' || !parse_hex16(text, &v->counter) ||
	    !parse_hex16(text + 17, &v->tie) || object_version_is_none(*v) || v->counter > OBJECT_COUNTER_MAX)
		return -EINVAL;
	return 0;
}

void version_clock_init(struct version_clock *c)
{
	pthread_mutex_init(&c->mutex, NULL);
	c->last = 0;
}

void version_clock_destroy(struct version_clock *c)
{
	pthread_mutex_destroy(&c->mutex);
}

struct object_version version_clock_next(struct version_clock *c)
{
	struct object_version v;
	uint64_t now = clock_wall_ns();

	pthread_mutex_lock(&c->mutex);
	c->last = now > c->last ? now : c->last + 1;
	v.counter = c->last;
	pthread_mutex_unlock(&c->mutex);
	randombytes_buf(&v.tie, sizeof v.tie);
	return v;
}

void version_clock_seen(struct version_clock *c, uint64_t counter)
{
	pthread_mutex_lock(&c->mutex);
	if (counter > c->last)
		c->last = counter;
	pthread_mutex_unlock(&c->mutex);
}

bool object_pool_valid(const char *pool)
{
	size_t n = strspn(pool, "abcdefghijklmnopqrstuvwxyz0123456789._-");

	return n >= 1 && n <= OBJECT_POOL_MAX && !pool[n] && !strchr("._-", pool[0]);
}

bool object_name_valid(const char *name)
{
	const char *slash = strchr(name, '/');
	char pool[OBJECT_POOL_MAX + 1];

	if (!slash || slash - name > OBJECT_POOL_MAX)
		return false;
	memcpy(pool, name, (size_t)(slash - name));
	pool[slash - name] = '\0';
	return object_pool_valid(pool) && store_key_valid(slash + 1);
}
