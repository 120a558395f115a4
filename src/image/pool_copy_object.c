/* SPDX-License-Identifier: GPL-3.0-only */
/* pool_copy_object.c: small objects from store to store, many at a time. Must not know what is in them. */
#include "image/pool_copy_private.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AT_ONCE 8u

void pool_copy_objects_free(struct copy_object *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(list[i].bytes);
}

/* ---- reading ----------------------------------------------------------------------------------------------------- */

static void got(void *arg, int status, uint64_t length, const struct error *err)
{
	struct copy_object *o = arg;
	struct error large;
	uint8_t *fitting;

	if (!status && length > OBJECT_BYTES_MAX) {
		status = error_set(&large, -EBADMSG, "%s: no small object is so large", o->key);
		err = &large;
	}
	o->gone = status == -ENOENT;
	o->len = status ? 0 : (size_t)length;
	/* Many are kept: only what is used. */
	fitting = status ? NULL : realloc(o->bytes, o->len ? o->len : 1);
	if (fitting)
		o->bytes = fitting;
	flight_end(o->flight, o->gone ? 0 : status, err);
}

static int begin_get(struct store *s, struct copy_object *o, struct flight *flight)
{
	o->flight = flight;
	o->bytes = malloc(OBJECT_BYTES_MAX + 1);
	if (!o->bytes)
		return -ENOMEM;
	flight_begin(flight, AT_ONCE);
	store_get(s, o->key, 0, o->bytes, OBJECT_BYTES_MAX + 1, 0, got, o);
	return 0;
}

int pool_copy_get(struct pool_copy *c, struct store *s, struct copy_object *list, size_t count, struct error *err)
{
	struct flight flight;
	int rc = flight_init(&flight), waited;

	if (rc)
		return rc;
	for (size_t i = 0; i < count && !rc; i++) {
		if (list[i].bytes || list[i].gone)
			continue;
		rc = pool_copy_go_on(c) ? begin_get(s, &list[i], &flight) : -EINTR;
	}
	waited = flight_wait(&flight, err);
	flight_destroy(&flight);
	rc = rc ? rc : waited;
	for (size_t i = 0; i < count; i++) {
		list[i].flight = NULL;
		if (!list[i].gone && !rc)
			continue;
		free(list[i].bytes);
		list[i].bytes = NULL;
	}
	return rc;
}

int pool_copy_get_one(struct pool_copy *c, struct store *s, const char *key, struct copy_object *o, struct error *err)
{
	*o = (struct copy_object){ 0 };
	snprintf(o->key, sizeof o->key, "%s", key);
	return pool_copy_get(c, s, o, 1, err);
}

/* ---- writing ----------------------------------------------------------------------------------------------------- */

static void was_put(void *arg, int status, const struct error *err)
{
	struct copy_object *o = arg;

	o->status = status;
	flight_end(o->flight, status == -EEXIST ? 0 : status, err);
}

static void begin_put(struct pool_copy *c, struct copy_object *o, struct flight *flight)
{
	struct store *s = c->to->store;
	bool new = !o->replace && s->capabilities &STORE_CREATE_ONLY;

	o->flight = flight;
	o->iov = (struct iovec){ o->bytes, o->len };
	flight_begin(flight, AT_ONCE);
	store_put(s, o->key, &o->iov, 1, new ? STORE_PUT_CREATE_ONLY : 0, was_put, o);
}

/* Of a create-only put that was refused. A store that repeats a put, or a run before this one, has put the same. */
static int settle(struct pool_copy *c, struct copy_object *o, struct error *err)
{
	struct copy_object there = { 0 };
	int rc = 0;

	if (o->status != -EEXIST)
		return 0;
	rc = pool_copy_get_one(c, c->to->store, o->key, &there, err);
	if (!rc && (there.gone || there.len != o->len || memcmp(there.bytes, o->bytes, o->len) != 0))
		rc = error_set(err, -EEXIST, "%s: %s is there already, and another: somebody else uses the target",
		               c->to->store->url, o->key);
	pool_copy_objects_free(&there, 1);
	return rc;
}

int pool_copy_put(struct pool_copy *c, struct copy_object *list, size_t count, struct error *err)
{
	struct flight flight;
	int rc = flight_init(&flight), waited;

	if (rc)
		return rc;
	for (size_t i = 0; i < count && !rc; i++) {
		list[i].status = 0;
		if (!list[i].bytes || list[i].gone || list[i].skip)
			continue;
		if (pool_copy_go_on(c))
			begin_put(c, &list[i], &flight);
		else
			rc = -EINTR;
	}
	waited = flight_wait(&flight, err);
	flight_destroy(&flight);
	rc = rc ? rc : waited;
	for (size_t i = 0; i < count; i++) {
		list[i].flight = NULL;
		if (!rc)
			rc = settle(c, &list[i], err);
	}
	return rc;
}

int pool_copy_put_one(struct pool_copy *c, struct copy_object *o, struct error *err)
{
	return pool_copy_put(c, o, 1, err);
}
