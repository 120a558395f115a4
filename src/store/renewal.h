/* SPDX-License-Identifier: GPL-3.0-only */
/* renewal.h: a value that runs out, such as a token, fetched anew by a thread of its own some time before it does.
 *
 * The rules by which it is fetched: first by renewal_new(), and after faults that pass again, soon, for as long as who
 * opens it waits; then `margin_ns` before the end, or a quarter of its life when that is less, a little earlier by chance
 * so that many hosts do not ask in step; at once when a server refused it; and after a failure again and again, with
 * growing pauses of at most a minute. Never two fetches at a time, and after the first value never two begun within a
 * second. A value is handed out until its end, however the fetching goes, but not after a server refused it. Knows
 * nothing of what the value is.
 */
#ifndef GARNER_STORE_RENEWAL_H
#define GARNER_STORE_RENEWAL_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>

struct renewal;

#define RENEWAL_FOREVER UINT64_MAX

struct renewal_options {
	const char *what; /* for messages: "the keys of role web"; copied */
	size_t size;      /* of the value, in bytes; copied as they are, wiped when they are not needed any more */
	/* Fetches a value and says how long from now it can be used (RENEWAL_FOREVER: until refused). May block, but
	 * not for ever: renewal_free() waits for it. One call at a time, with no lock held. 0 or a negative errno with
	 * the text. */
	int (*fetch)(void *arg, void *value, uint64_t *lifetime_ns, struct error *err);
	void *arg;
	uint64_t margin_ns;
	/* For how long the first fetch is begun again after a fault that passes: -EIO, -ETIMEDOUT or -EHOSTUNREACH. 0: it
	 * is tried once. */
	uint64_t patience_ms;
};

/* Fetches the first value on the calling thread, and starts the thread that renews it. Returns 0 and `*renewal`, or
 * what fetch() returned, or -ENOMEM, -EAGAIN (no thread). Blocks as fetch() does, and for `patience_ms` at most before it
 * is called for the last time. */
int renewal_new(const struct renewal_options *options, struct renewal **renewal, struct error *err);

/* Ends the thread, after the fetch that it may be in. No other call may be under way. NULL is ignored. */
void renewal_free(struct renewal *r);

/* Copies the value into `value` and its number (which changes with each fetch) into `*generation`, which may be NULL.
 * Returns 0; or -EAGAIN while it has run out or was refused, with `err` saying why the last fetch failed if it did, and
 * `value` is left alone. Any thread; never blocks for long. */
int renewal_get(struct renewal *r, void *value, uint64_t *generation, struct error *err);

/* A server refused the value of that generation: it is not handed out any more, and is fetched at once, but for the
 * rules above. Ignored when there is a newer one. Any thread; never blocks for long. */
void renewal_expired(struct renewal *r, uint64_t generation);

/* How long after its fetch a value that lives for `lifetime_ns` is renewed: the rule above, with its chance. For
 * tests. */
uint64_t renewal_wait_ns(uint64_t lifetime_ns, uint64_t margin_ns);

#endif
