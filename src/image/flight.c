/* SPDX-License-Identifier: GPL-3.0-only */
/* flight.c: several calls to the store at once, and a caller that waits for them. */
#include "image/flight.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

int flight_init(struct flight *f)
{
	int rc;

	memset(f, 0, sizeof *f);
	rc = pthread_mutex_init(&f->mutex, NULL);
	if (rc)
		return -rc;
	rc = pthread_cond_init(&f->changed, NULL);
	if (rc)
		pthread_mutex_destroy(&f->mutex);
	return -rc;
}

void flight_destroy(struct flight *f)
{
	assert(f->pending == 0);
	pthread_cond_destroy(&f->changed);
	pthread_mutex_destroy(&f->mutex);
}

void flight_begin(struct flight *f, unsigned max)
{
	pthread_mutex_lock(&f->mutex);
	while (f->pending >= max)
		pthread_cond_wait(&f->changed, &f->mutex);
	f->pending++;
	pthread_mutex_unlock(&f->mutex);
}

void flight_end(struct flight *f, int status, const struct error *err)
{
	pthread_mutex_lock(&f->mutex);
	assert(f->pending > 0);
	if (status && !f->rc) {
		f->rc = status;
		error_set(&f->err, status, "%s", err && err->text[0] ? err->text : strerror(-status));
	}
	f->pending--;
	/* Under the mutex: the waiter may free the flight as soon as it has it. */
	pthread_cond_broadcast(&f->changed);
	pthread_mutex_unlock(&f->mutex);
}

int flight_wait(struct flight *f, struct error *err)
{
	int rc;

	pthread_mutex_lock(&f->mutex);
	while (f->pending > 0)
		pthread_cond_wait(&f->changed, &f->mutex);
	rc = f->rc;
	if (rc)
		error_set(err, rc, "%s", f->err.text);
	pthread_mutex_unlock(&f->mutex);
	return rc;
}
