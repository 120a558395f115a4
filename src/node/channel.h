/* SPDX-License-Identifier: GPL-3.0-only */
/* channel.h: a TCP connection on a loop, plain or with TLS: bytes in, bytes out, without copies that can be avoided.
 *
 * Reading is pulled: the owner is told that there may be bytes, and reads into memory of its own, in pieces as large as it likes.
 * (libevent's bufferevents read 4 KiB at a time into memory of theirs, which halves what a node can take.) Writing goes through
 * an evbuffer, which may hold bytes by reference. On the loop's thread. A callback is always the last thing that an event does, so
 * it may free the channel; and none is called from within a call of the owner's. Knows nothing of HTTP.
 */
#ifndef GARNER_NODE_CHANNEL_H
#define GARNER_NODE_CHANNEL_H

#include "base/error.h"
#include "node/loop.h"

#include <event2/buffer.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

struct channel;
struct tls;

struct channel_handler {
	/* Connected, and the handshake is done. Called once, before all others but on_failed. */
	void (*on_ready)(void *arg);
	/* There may be bytes, or the end: channel_read() until -EAGAIN, or channel_again(). */
	void (*on_readable)(void *arg);
	/* Bytes have gone out, that channel_flush() could not send. */
	void (*on_sent)(void *arg);
	/* It cannot be used any more: free it. `why` is gone then, too. */
	void (*on_failed)(void *arg, int rc, const char *why);
	void *arg;
};

/* Over an accepted socket, which is the channel's from now on (also when this fails). `tls` NULL: plain. NULL when memory is short. */
struct channel *channel_accept(struct loop *l, int fd, struct tls *tls, const struct channel_handler *handler);

/* Begins to connect. 0 with *channel, or -errno. `tls_name` as of tls_begin(). */
int channel_connect(struct loop *l, const struct sockaddr *address, socklen_t length, struct tls *tls,
                    const char *tls_name, const struct channel_handler *handler, struct channel **channel);

/* Closes. What was not sent is lost. NULL is ignored. */
void channel_free(struct channel *c);

/* How many bytes were read; 0 at the end; -EAGAIN: on_readable will be called; or another -errno: free it. */
ssize_t channel_read(struct channel *c, void *bytes, size_t room);
/* Whether on_readable may be called; true at first. */
void channel_want_read(struct channel *c, bool want);
/* on_readable is to be called again although nothing new may have come: the owner has left off before -EAGAIN. */
void channel_again(struct channel *c);

/* What is to be sent; the owner adds to its end. */
struct evbuffer *channel_output(struct channel *c);
/* Sends what can be sent; the rest later, by itself. */
void channel_flush(struct channel *c);
/* Nothing will be added to the output, which is empty: tells the other side. */
void channel_shutdown(struct channel *c);

/* Of all bytes, without those of TLS itself. */
uint64_t channel_bytes_in(const struct channel *c);
uint64_t channel_bytes_out(const struct channel *c);

#endif
