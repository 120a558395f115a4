/* SPDX-License-Identifier: GPL-3.0-only */
/* agreement.c: what all kinds of agreement share: the calls, their rules, and how what is kept is packed. Must not know where it is
 * kept.
 */
#include "node/agreement_private.h"

#include "base/bytes.h"
#include "base/crc32c.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t magic[4] = { 'G', 'N', 'A', 1 };

#define CRC_AT 4
#define COUNTER_AT 8
#define TIE_AT 16

/* ---- values ---- */

static uint32_t checksum(const char *key, const uint8_t *packed, size_t length)
{
	uint32_t crc = crc32c(0, key, strlen(key) + 1);

	return crc32c(crc, packed + COUNTER_AT, length - COUNTER_AT);
}

uint8_t *agreement_pack(const char *key, struct object_version version, const void *bytes, size_t length,
                        size_t *packed_length)
{
	uint8_t *packed = malloc(AGREEMENT_VALUE_HEADER + length);

	if (!packed)
		return NULL;
	memcpy(packed, magic, sizeof magic);
	put_le64(packed + COUNTER_AT, version.counter);
	put_le64(packed + TIE_AT, version.tie);
	if (length)
		memcpy(packed + AGREEMENT_VALUE_HEADER, bytes, length);
	*packed_length = AGREEMENT_VALUE_HEADER + length;
	put_le32(packed + CRC_AT, checksum(key, packed, *packed_length));
	return packed;
}

int agreement_unpack(const char *key, const void *packed, size_t length, struct agreement_value *value,
                     struct error *err)
{
	const uint8_t *from = packed;

	if (length < AGREEMENT_VALUE_HEADER || length > AGREEMENT_VALUE_MAX || memcmp(from, magic, 3) != 0)
		return error_set(err, -EBADMSG, "the agreement's value of %s is none of garnerfs", key);
	if (from[3] != magic[3])
		return error_set(err, -EBADMSG,
		                 "the agreement's value of %s has format %u: a newer garnerd wrote it; update this one",
		                 key, from[3]);
	if (get_le32(from + CRC_AT) != checksum(key, from, length))
		return error_set(err, -EBADMSG, "the agreement's value of %s is damaged: its checksum does not fit",
		                 key);
	*value = (struct agreement_value){
		.version = { get_le64(from + COUNTER_AT), get_le64(from + TIE_AT) },
		.bytes = from + AGREEMENT_VALUE_HEADER,
		.length = length - AGREEMENT_VALUE_HEADER,
	};
	return 0;
}

/* ---- the rules ---- */

static bool same_as_wanted(const struct agreement_call *call)
{
	return call->found_length == call->value_length && memcmp(call->found, call->value, call->value_length) == 0;
}

enum agreement_step agreement_decide(const struct agreement_call *call, int *status, struct error *err)
{
	struct agreement_value there = { 0 };
	int order;

	*status = 0;
	if (call->found) {
		*status = agreement_unpack(call->key, call->found, call->found_length, &there, err);
		if (*status)
			return AGREEMENT_ANSWER;
	}
	order = object_version_compare(there.version, call->version);
	switch (call->kind) {
	case AGREEMENT_CLAIM:
		if (!call->found)
			return AGREEMENT_PUT;
		if (order != 0)
			*status = error_set(err, -EEXIST, "%s is claimed already", call->key);
		return AGREEMENT_ANSWER;
	case AGREEMENT_RELEASE:
		return call->found && order <= 0 ? AGREEMENT_DELETE : AGREEMENT_ANSWER;
	case AGREEMENT_MAP_GET:
		if (!call->found)
			*status = error_set(err, -ENOENT, "the agreement has no map yet");
		return AGREEMENT_ANSWER;
	case AGREEMENT_MAP_SET:
		if (order == 0)
			return AGREEMENT_PUT;
		if (!call->found || !same_as_wanted(call))
			*status = error_set(err, -ESTALE, "the cluster's map is of version %llu, not %llu",
			                    (unsigned long long)there.version.counter,
			                    (unsigned long long)call->version.counter);
		return AGREEMENT_ANSWER;
	case AGREEMENT_NODE_GET:
		return AGREEMENT_ANSWER;
	case AGREEMENT_NODE_REGISTER:
		return call->found && same_as_wanted(call) ? AGREEMENT_ANSWER : AGREEMENT_PUT;
	}
	*status = -EINVAL;
	return AGREEMENT_ANSWER;
}

/* ---- answers ---- */

static void answer_claim(const struct agreement_call *call, int status, const struct error *err)
{
	struct agreement_holder holder = { 0 };
	struct agreement_value there;
	struct error fault = { 0 };

	if (status != -EEXIST) {
		call->answer.claim(call->arg, status, NULL, err);
		return;
	}
	status = call->found ? agreement_unpack(call->key, call->found, call->found_length, &there, &fault) : -EIO;
	holder.body = status ? NULL : malloc(there.length + 1);
	if (!holder.body) {
		status = error_set(&fault, status ? status : -ENOMEM, "%s",
		                   status ? error_text(&fault) : "out of memory for a claim");
		call->answer.claim(call->arg, status, NULL, &fault);
		return;
	}
	memcpy(holder.body, there.bytes, there.length);
	holder.length = there.length;
	holder.version = there.version;
	call->answer.claim(call->arg, -EEXIST, &holder, err);
	free(holder.body);
}

/* The bytes that were found, as a text; NULL with no memory. */
static char *found_text(const struct agreement_call *call, struct agreement_value *there)
{
	struct error fault;

	if (agreement_unpack(call->key, call->found, call->found_length, there, &fault))
		return NULL; /* it was unpacked before: cannot be */
	return strndup((const char *)there->bytes, there->length);
}

static void answer_text(const struct agreement_call *call, int status, const struct error *err)
{
	struct agreement_value there = { 0 };
	struct error fault = { 0 };
	char *text = NULL;

	if (!status && call->found) {
		text = found_text(call, &there);
		if (!text) {
			status = error_set(&fault, -ENOMEM, "out of memory for %s", call->key);
			err = &fault;
		}
	}
	if (call->kind == AGREEMENT_MAP_GET)
		call->answer.map(call->arg, status, text, text ? strlen(text) : 0, there.version.counter, err);
	else
		call->answer.node(call->arg, status, text, err);
	free(text);
}

void agreement_call_end(struct agreement_call *call, int status, const struct error *err)
{
	struct error none = { 0 };

	if (status && (!err || !err->code)) {
		error_set(&none, status, "the agreement failed: %s", strerror(-status));
		err = &none;
	}
	if (!status)
		err = NULL;
	switch (call->kind) {
	case AGREEMENT_CLAIM:
		answer_claim(call, status, err);
		break;
	case AGREEMENT_MAP_GET:
	case AGREEMENT_NODE_GET:
	case AGREEMENT_NODE_REGISTER:
		answer_text(call, status, err);
		break;
	default:
		call->answer.done(call->arg, status, err);
	}
	free(call->value);
	free(call->found);
	free(call);
}

/* ---- calls ---- */

static struct agreement_call *call_new(struct agreement *a, enum agreement_call_kind kind, const char *folder,
                                       const char *name, void *arg)
{
	struct agreement_call *call = calloc(1, sizeof *call);

	if (!call)
		return NULL;
	call->agreement = a;
	call->kind = kind;
	call->arg = arg;
	snprintf(call->key, sizeof call->key, "%s%s", folder, name);
	return call;
}

/* Packs what is to be kept. Frees the call when there is no memory. */
static bool call_value(struct agreement_call *call, struct object_version version, const void *bytes, size_t length)
{
	if (!call)
		return false;
	call->value = agreement_pack(call->key, version, bytes, length, &call->value_length);
	if (call->value)
		return true;
	free(call);
	return false;
}

void agreement_claim(struct agreement *a, const char *name, struct object_version version, const void *body,
                     size_t length, agreement_claim_fn *done, void *arg)
{
	struct agreement_call *call;
	struct error err = { 0 };

	if (!object_name_valid(name) || object_version_is_none(version) || length > AGREEMENT_BODY_MAX) {
		error_set(&err, -EINVAL, "a claim needs an object's name, a version, and at most %d bytes",
		          AGREEMENT_BODY_MAX);
		done(arg, -EINVAL, NULL, &err);
		return;
	}
	call = call_new(a, AGREEMENT_CLAIM, "claims/", name, arg);
	if (!call_value(call, version, body, length)) {
		done(arg, -ENOMEM, NULL, NULL);
		return;
	}
	call->version = version;
	call->answer.claim = done;
	a->ops->start(a, call);
}

void agreement_release(struct agreement *a, const char *name, struct object_version upto, agreement_done_fn *done,
                       void *arg)
{
	struct agreement_call *call;
	struct error err = { 0 };

	if (!object_name_valid(name)) {
		error_set(&err, -EINVAL, "a claim has an object's name");
		done(arg, -EINVAL, &err);
		return;
	}
	call = call_new(a, AGREEMENT_RELEASE, "claims/", name, arg);
	if (!call) {
		done(arg, -ENOMEM, NULL);
		return;
	}
	call->version = upto;
	call->answer.done = done;
	a->ops->start(a, call);
}

void agreement_map_get(struct agreement *a, agreement_map_fn *done, void *arg)
{
	struct agreement_call *call = call_new(a, AGREEMENT_MAP_GET, "map", "", arg);

	if (!call) {
		done(arg, -ENOMEM, NULL, 0, 0, NULL);
		return;
	}
	call->answer.map = done;
	a->ops->start(a, call);
}

void agreement_map_set(struct agreement *a, uint64_t expected, const char *text, size_t length, agreement_done_fn *done,
                       void *arg)
{
	struct agreement_call *call;
	struct error err = { 0 };

	if (!length || length > AGREEMENT_MAP_MAX || memchr(text, '\0', length) ||
	    expected >= AGREEMENT_MAP_VERSION_MAX) {
		error_set(&err, -EINVAL, "a cluster's map is a text of 1 to %d bytes", AGREEMENT_MAP_MAX);
		done(arg, -EINVAL, &err);
		return;
	}
	call = call_new(a, AGREEMENT_MAP_SET, "map", "", arg);
	if (!call_value(call, (struct object_version){ expected + 1, 0 }, text, length)) {
		done(arg, -ENOMEM, NULL);
		return;
	}
	call->version.counter = expected;
	call->answer.done = done;
	a->ops->start(a, call);
}

static bool incarnation_valid(const char *text)
{
	size_t n = 0;

	for (; text[n]; n++)
		if (n == AGREEMENT_INCARNATION_MAX || text[n] < 0x20 || text[n] > 0x7e)
			return false;
	return n > 0;
}

void agreement_node_get(struct agreement *a, unsigned id, agreement_node_fn *done, void *arg)
{
	struct agreement_call *call;
	struct error err = { 0 };
	char name[16];

	if (id < 1 || id > AGREEMENT_NODE_MAX) {
		error_set(&err, -EINVAL, "a node has a number from 1");
		done(arg, -EINVAL, NULL, &err);
		return;
	}
	snprintf(name, sizeof name, "%u", id);
	call = call_new(a, AGREEMENT_NODE_GET, "nodes/", name, arg);
	if (!call) {
		done(arg, -ENOMEM, NULL, NULL);
		return;
	}
	call->answer.node = done;
	a->ops->start(a, call);
}

void agreement_node_register(struct agreement *a, unsigned id, const char *incarnation, agreement_node_fn *done,
                             void *arg)
{
	struct agreement_call *call;
	struct error err = { 0 };
	char name[16];

	if (id < 1 || id > AGREEMENT_NODE_MAX || !incarnation_valid(incarnation)) {
		error_set(&err, -EINVAL, "a node has a number from 1, and an incarnation of up to %d characters",
		          AGREEMENT_INCARNATION_MAX);
		done(arg, -EINVAL, NULL, &err);
		return;
	}
	snprintf(name, sizeof name, "%u", id);
	call = call_new(a, AGREEMENT_NODE_REGISTER, "nodes/", name, arg);
	if (!call_value(call, OBJECT_VERSION_NONE, incarnation, strlen(incarnation))) {
		done(arg, -ENOMEM, NULL, NULL);
		return;
	}
	call->answer.node = done;
	a->ops->start(a, call);
}

void agreement_close(struct agreement *a)
{
	if (a)
		a->ops->close(a);
}
