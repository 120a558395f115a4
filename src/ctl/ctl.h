/* SPDX-License-Identifier: GPL-3.0-only */
/* ctl.h: the control socket: how the garner command talks to the daemon that has a pool mounted.
 *
 * An AF_UNIX stream socket, "control" in the cache directory, mode 0600. The protocol is lines of text. A request is
 *     garner 1 COMMAND [WORD...]
 * and its answer any number of lines that begin with "= ", then one line "ok" or "error ERRNO TEXT". A connection may carry
 * many requests, one at a time. Closing it gives up what runs. Commands (ID is 16 hex digits, 0 means everything):
 *     status text|json [ID]   state of the engine, or of one image
 *     images text|json        state of every image that is open or has unsent data here: one line for each
 *     flush ID                waits until all is in the store; sends "left BYTES" lines meanwhile
 *     takeover ID             fences the owner and takes the image over
 *     snapshot create NAME ID...    of all these images, one moment; sends "taken" once when that is over (what is written
 *                             afterwards is not in it), then "left BYTES" lines until all is in the store
 *     snapshot check NAME ID...     whether that could be done
 *     snapshot list text|json ID    one line each, oldest first
 *     snapshot delete|protect|unprotect NAME ID
 *     snapshot find NAME ID   one line: "ID ORIGIN TIME SIZE", the ids in hex, time in ns
 *     snapshot import NAME ID ORIGIN    one that holds what snapshot ORIGIN holds
 *     diff ID FROM TO BEGIN   what differs between two moments from offset BEGIN on, each a snapshot's name or @SEGMENT.RECORD, a position
 *                             of the log (FROM -: an empty image): lines "data|zero OFFSET LENGTH"; after some thousands of them a line
 *                             "more OFFSET": where to begin next
 *     moment ID SEGMENT RECORD TIME    which moment that is (SEGMENT 0: of that time, in ns): "moment SEGMENT RECORD TIME"
 *     clean gently|now|dry-run ID   cleans the image; sends "phase PHASE DONE ALL" lines meanwhile, then "result" and the numbers of
 *                             struct clean_result in their order
 *     orphans now|dry-run     as engine_find_orphans(); sends "found N"
 *     space ID                what it takes: "space" and the numbers of struct image_space
 *     trash                   what was deleted, oldest first: lines "ID DELETED EXPIRES NAME", times in ns, the name in hex
 *     undelete ID DIR NAME    brings it back: DIR an id, NAME in hex; 0 and - for where it was
 *     flatten ID              copies what the image shares into its own log; sends "left BYTES" lines meanwhile
 *     clone ID DIR NAME       a new image as the image or snapshot ID is: DIR an id, NAME in hex
 *     rewind ID DIR NAME SEGMENT RECORD TIME     a new image as ID was at that position of its log (SEGMENT 0: at that time, in ns); sends
 *                             "moment SEGMENT RECORD TIME": which one it was. DIR 0 and NAME -: ID itself is as it was then, or its image as
 *                             it was when it was taken if it is a snapshot; sends "before SEGMENT RECORD TIME", too
 *     history ID SINCE        its past from that time on: lines "keep SECONDS", "segments COUNT", "oldest SEGMENT RECORD TIME", "newest ..."
 *                             and, the oldest first, "snapshot TIME NAME", "span SEGMENT RECORD TIME BYTES" (written from then on; the last
 *                             one is the end)
 *     keep ID SECONDS         so much of its history is kept
 * JSON comes as one line for each object. Knows nothing of FUSE, nor of segments.
 */
#ifndef GARNER_CTL_CTL_H
#define GARNER_CTL_CTL_H

#include "base/clock.h"
#include "base/error.h"
#include "image/image.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define CTL_VERSION 1
#define CTL_REQUEST_MAX 2048        /* bytes of a request line, newline included */
#define CTL_LINE_MAX 16384          /* bytes of an answer line, newline included */
#define CTL_SNAPSHOT_IMAGES_MAX 100 /* of one moment */
#define CTL_SOCKET_NAME "control"

/* A file name as a word: two hex digits for each byte. Decoding answers -EPROTO for anything else. Pure. */
#define CTL_NAME_TEXT_MAX (2 * NAME_BYTES_MAX + 1)
void ctl_name_encode(const char *name, char out[CTL_NAME_TEXT_MAX]);
int ctl_name_decode(const char *text, char name[NAME_BYTES_MAX + 1]);

/* ---- diff.c: what the server prints, and the client reads ---- */

int ctl_print_found(FILE *out, struct engine *e, const char *name, uint64_t id, struct error *err);
int ctl_print_diff(FILE *out, struct engine *e, uint64_t id, const char *from, const char *to, uint64_t begin,
                   struct error *err);

/* The extended attributes by which a mount tells where its socket is and how an image does. */
#define CTL_XATTR_SOCKET "user.garner.socket"
#define CTL_XATTR_STATUS "user.garner.status"

/* ---- the daemon's side ------------------------------------------------------------------------------------------- */

struct ctl_server;

/* Makes the socket in the engine's cache directory (what a crash left there is replaced) and starts to answer, on threads of
 * its own. Stop it before engine_close(). Returns 0, or a negative errno with a text in `err`. */
int ctl_server_start(struct engine *engine, struct ctl_server **server, struct error *err);

/* Gives up what runs, closes every connection, removes the socket, joins the threads, frees. NULL is ignored. */
void ctl_server_stop(struct ctl_server *server);

/* The absolute path of the socket; lives as long as the server. */
const char *ctl_server_path(const struct ctl_server *server);

/* ---- the command's side ------------------------------------------------------------------------------------------ */

struct ctl_client;

/* Finds the daemon behind `path`, anything in a garnerfs mount (its root, an image, a directory), and connects to it. `*id`
 * becomes the image's id, or 0 when `path` is a directory. -ENOTSUP when `path` is not in a garnerfs mount; -ECONNREFUSED
 * when the daemon does not answer; -EACCES when its user is another one. The text names the path. Free with
 * ctl_disconnect(). */
int ctl_connect(const char *path, struct ctl_client **client, uint64_t *id, struct error *err);

/* The same by the path of the socket itself, of any length. */
int ctl_connect_socket(const char *socket_path, struct ctl_client **client, struct error *err);

/* NULL is ignored. */
void ctl_disconnect(struct ctl_client *client);

/* When calls give up (-ETIMEDOUT), by clock_monotonic_ns(); 0: never. May be changed while a call runs, by what it calls. */
void ctl_set_deadline(struct ctl_client *client, uint64_t deadline_ns);

/* Called for each line of an answer, without "= " and newline. Returns 0 to go on; anything else ends the call, which
 * returns that value, and the connection (further calls answer -ENOTCONN). */
typedef int ctl_line_fn(void *arg, const char *line);

/* Sends `request` ("status json", "flush 00000000000000a1": without "garner 1") and waits for the whole answer, as long as it
 * takes. `line` may be NULL. Returns 0, the daemon's error (negative errno; its text in `err`), -EINTR after a signal whose
 * handler was installed without SA_RESTART, or -ECONNRESET when the daemon went away. */
int ctl_call(struct ctl_client *client, const char *request, ctl_line_fn *line, void *arg, struct error *err);

/* The commands. */
int ctl_status(struct ctl_client *client, uint64_t id, bool json, ctl_line_fn *line, void *arg, struct error *err);
int ctl_images(struct ctl_client *client, bool json, ctl_line_fn *line, void *arg, struct error *err);
/* `progress` (may be NULL) is told the bytes left now and then; it returns false to give up (-EINTR). */
int ctl_flush(struct ctl_client *client, uint64_t id, bool (*progress)(void *arg, uint64_t bytes_left), void *arg,
              struct error *err);
int ctl_takeover(struct ctl_client *client, uint64_t id, struct error *err);
/* -E2BIG for more than CTL_SNAPSHOT_IMAGES_MAX. `taken` (may be NULL) is called once when the moment is over, while what
 * belongs to it is still on its way to the store. */
int ctl_snapshot_create(struct ctl_client *client, const char *name, const uint64_t *ids, size_t count,
                        void (*taken)(void *arg), void *arg, struct error *err);
int ctl_snapshot_check(struct ctl_client *client, const char *name, const uint64_t *ids, size_t count,
                       struct error *err);
int ctl_snapshot_list(struct ctl_client *client, uint64_t id, bool json, ctl_line_fn *line, void *arg,
                      struct error *err);
/* Only name, id, origin, time and size are told; `name` may be that of `info`. */
int ctl_snapshot_find(struct ctl_client *client, const char *name, uint64_t id, struct snapshot_info *info,
                      struct error *err);
int ctl_snapshot_import(struct ctl_client *client, const char *name, uint64_t id, uint64_t origin, struct error *err);
/* What differs between two moments, by name or position (CTL_POSITION), from offset *begin on, or some of it: *begin is then where to go
 * on; else UINT64_MAX. The ranges are malloc'ed. `from` NULL: an empty image. */
#define CTL_POSITION "@%" PRIu64 ".%" PRIu32
int ctl_diff(struct ctl_client *client, uint64_t id, const char *from, const char *to, uint64_t *begin,
             struct image_range **ranges, size_t *count, struct error *err);
/* As engine_find_orphans(). */
int ctl_orphans(struct ctl_client *client, bool dry_run, uint64_t *found, struct error *err);

/* `progress` as for engine_clean(). */
int ctl_clean(struct ctl_client *client, uint64_t id, const struct clean_options *options, clean_progress_fn *progress,
              void *arg, struct clean_result *result, struct error *err);
int ctl_space(struct ctl_client *client, uint64_t id, struct image_space *space, struct error *err);
struct ctl_trashed {
	uint64_t id;
	char deleted[CLOCK_TEXT_MAX], expires[CLOCK_TEXT_MAX]; /* "2026-02-03 04:05:06 +0000" */
	char name[NAME_BYTES_MAX + 1];
};
int ctl_trash_list(struct ctl_client *client, int (*each)(void *arg, const struct ctl_trashed *t), void *arg,
                   struct error *err);
/* `dir` 0 and `name` NULL: where it was. */
int ctl_undelete(struct ctl_client *client, uint64_t id, uint64_t dir, const char *name, struct error *err);

int ctl_clone(struct ctl_client *client, uint64_t id, uint64_t dir, const char *name, struct error *err);
/* As engine_moment_find(). */
int ctl_moment_find(struct ctl_client *client, uint64_t id, struct image_moment *m, struct error *err);
/* As engine_rewind(). */
int ctl_rewind(struct ctl_client *client, uint64_t id, struct image_moment *m, uint64_t dir, const char *name,
               struct error *err);
/* As engine_rewind_in_place(). */
int ctl_rewind_in_place(struct ctl_client *client, uint64_t id, struct image_moment *m, struct image_moment *before,
                        struct error *err);
/* As engine_history(); the snapshots of that time, too. */
struct ctl_past {
	struct history history;
	struct {
		char name[SNAPSHOT_NAME_MAX + 1];
		uint64_t time_ns;
	} * snapshots;
	size_t snapshot_count;
	struct history_span *spans;
	size_t span_count;
};
/* Ended by ctl_past_free() in any case. */
int ctl_history(struct ctl_client *client, uint64_t id, uint64_t since_ns, struct ctl_past *past, struct error *err);
void ctl_past_free(struct ctl_past *past);
int ctl_keep(struct ctl_client *client, uint64_t id, uint64_t seconds, struct error *err);
/* Progress as with ctl_flush(). */
int ctl_flatten(struct ctl_client *client, uint64_t id, bool (*progress)(void *arg, uint64_t bytes_left), void *arg,
                struct error *err);
/* `verb`: delete, protect or unprotect. */
int ctl_snapshot_change(struct ctl_client *client, const char *verb, const char *name, uint64_t id, struct error *err);

#endif
