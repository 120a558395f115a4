/* SPDX-License-Identifier: GPL-3.0-only */
/* object_heads.c: a few places, of which the oldest is used next. */
#include "cache/object_heads.h"

#include "base/clock.h"
#include "store/store_types.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define PLACES 4
#define KEEP_NS UINT64_C(5000000000)

struct object_heads {
	pthread_mutex_t mutex;
	struct place {
		char key[STORE_KEY_MAX + 1]; /* "": none */
		uint8_t *bytes;
		size_t len;
		bool whole;
		uint64_t kept_ns;
	} place[PLACES];
};

struct object_heads *object_heads_new(void)
{
	struct object_heads *h = calloc(1, sizeof *h);

	if (h)
		pthread_mutex_init(&h->mutex, NULL);
	return h;
}

static void empty(struct place *p)
{
	free(p->bytes);
	*p = (struct place){ 0 };
}

void object_heads_free(struct object_heads *h)
{
	if (!h)
		return;
	for (int k = 0; k < PLACES; k++)
		empty(&h->place[k]);
	pthread_mutex_destroy(&h->mutex);
	free(h);
}

/* The object's place, or NULL. What has been there for too long goes. With the mutex. */
static struct place *find(struct object_heads *h, const char *key)
{
	uint64_t now = clock_monotonic_ns();
	struct place *found = NULL;

	for (int k = 0; k < PLACES; k++) {
		struct place *p = &h->place[k];
		if (p->key[0] && now - p->kept_ns > KEEP_NS)
			empty(p);
		else if (p->key[0] && strcmp(p->key, key) == 0)
			found = p;
	}
	return found;
}

void object_heads_keep(struct object_heads *h, const char *key, const uint8_t *bytes, size_t len, bool whole)
{
	uint8_t *copy = malloc(len ? len : 1);

	if (!copy)
		return;
	memcpy(copy, bytes, len);
	pthread_mutex_lock(&h->mutex);
	struct place *p = find(h, key);
	for (int k = 0; !p && k < PLACES; k++)
		if (!h->place[k].key[0])
			p = &h->place[k];
	if (!p) {
		p = &h->place[0];
		for (int k = 1; k < PLACES; k++)
			if (h->place[k].kept_ns < p->kept_ns)
				p = &h->place[k];
	}
	empty(p);
	*p = (struct place){ .bytes = copy, .len = len, .whole = whole, .kept_ns = clock_monotonic_ns() };
	strncpy(p->key, key, sizeof p->key - 1);
	pthread_mutex_unlock(&h->mutex);
}

bool object_heads_read(struct object_heads *h, const char *key, uint64_t offset, uint8_t *buf, size_t *len)
{
	pthread_mutex_lock(&h->mutex);
	const struct place *p = find(h, key);
	size_t there = p && offset < p->len ? p->len - (size_t)offset : 0;
	bool enough = p && (there >= *len || (p->whole && offset <= p->len));

	if (enough) {
		*len = there < *len ? there : *len;
		memcpy(buf, p->bytes + offset, *len);
	}
	pthread_mutex_unlock(&h->mutex);
	return enough;
}

void object_heads_drop(struct object_heads *h, const char *key)
{
	pthread_mutex_lock(&h->mutex);
	struct place *p = find(h, key);
	if (p)
		empty(p);
	pthread_mutex_unlock(&h->mutex);
}
