/* SPDX-License-Identifier: GPL-3.0-only */
/* object_wire.c: headers that say what an object is. */
#include "node/object_wire.h"

#include "store/node_auth.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
	const char *name;
	unsigned flag;
} flag_names[] = {
	{ "claimed", OBJECT_CLAIMED },
	{ "tombstone", OBJECT_TOMBSTONE },
	{ "damaged", OBJECT_DAMAGED },
};
#define FLAG_NAMES (sizeof flag_names / sizeof flag_names[0])

void wire_flags_format(unsigned flags, char text[WIRE_FLAGS_TEXT])
{
	size_t used = 0;

	text[0] = '\0';
	for (size_t i = 0; i < FLAG_NAMES; i++)
		if (flags & flag_names[i].flag)
			used += (size_t)snprintf(text + used, WIRE_FLAGS_TEXT - used, "%s%s", used ? "," : "",
			                         flag_names[i].name);
	if (!used)
		snprintf(text, WIRE_FLAGS_TEXT, "-");
}

static int parse_flag(const char *word, size_t length, unsigned *flags)
{
	for (size_t i = 0; i < FLAG_NAMES; i++) {
		if (strlen(flag_names[i].name) != length || memcmp(flag_names[i].name, word, length) != 0)
			continue;
		*flags |= flag_names[i].flag;
		return 0;
	}
	return -EINVAL;
}

int wire_flags_parse(const char *text, unsigned *flags)
{
	*flags = 0;
	if (strcmp(text, "-") == 0)
		return 0;
	for (;;) {
		size_t length = strcspn(text, ",");
		if (parse_flag(text, length, flags))
			return -EINVAL;
		if (!text[length])
			return 0;
		text += length + 1;
	}
}

void wire_meta_format(const struct object_meta *meta, char text[WIRE_META_TEXT])
{
	char version[OBJECT_VERSION_TEXT], digest[NODE_DIGEST_TEXT], flags[WIRE_FLAGS_TEXT];

	object_version_format(meta->version, version);
	node_digest_text(meta->digest, digest);
	wire_flags_format(meta->flags, flags);
	snprintf(text, WIRE_META_TEXT, "%s %" PRIu64 " %s %s", version, meta->length, digest, flags);
}

int wire_meta_parse(const char *text, struct object_meta *meta)
{
	char copy[WIRE_META_TEXT], *rest = copy, *word[4];

	memset(meta, 0, sizeof *meta);
	if (snprintf(copy, sizeof copy, "%s", text) >= (int)sizeof copy)
		return -EINVAL;
	for (int i = 0; i < 4; i++)
		if (!(word[i] = strsep(&rest, " ")))
			return -EINVAL;
	if (rest || object_version_parse(word[0], &meta->version) ||
	    message_number(word[1], OBJECT_LENGTH_MAX, &meta->length) || node_digest_parse(word[2], meta->digest) ||
	    wire_flags_parse(word[3], &meta->flags))
		return -EINVAL;
	return 0;
}

static const char *const rule_names[] = {
	[OBJECT_RULE_NEWER] = "fresh", [OBJECT_RULE_ABSENT] = "absent", [OBJECT_RULE_COPY] = "copy"
};

const char *wire_rule_name(enum object_rule rule)
{
	return rule_names[rule];
}

int wire_rule(const struct message_head *head, enum object_rule *rule)
{
	const char *text = message_header(head, WIRE_RULE);

	*rule = OBJECT_RULE_NEWER;
	if (!text)
		return 0;
	for (size_t i = 0; i < sizeof rule_names / sizeof rule_names[0]; i++) {
		if (strcmp(text, rule_names[i]) != 0)
			continue;
		*rule = (enum object_rule)i;
		return 0;
	}
	return -EINVAL;
}

const char *wire_name(const char *path, const char *prefix)
{
	size_t skip = strlen(prefix);

	if (strncmp(path, prefix, skip) != 0 || !object_name_valid(path + skip))
		return NULL;
	return path + skip;
}

uint64_t wire_map_version(const struct message_head *head)
{
	const char *text = message_header(head, WIRE_MAP);
	uint64_t version;

	return text && message_number(text, CLUSTER_VERSION_MAX, &version) == 0 ? version : 0;
}

int wire_put_meta(const struct message_head *head, struct object_meta *meta, struct error *err)
{
	const char *version = message_header(head, WIRE_VERSION), *digest = message_header(head, WIRE_DIGEST);
	const char *flags = message_header(head, WIRE_FLAGS);

	memset(meta, 0, sizeof *meta);
	meta->length = head->length;
	if (!version || object_version_parse(version, &meta->version))
		return error_set(err, -EINVAL, "a put needs " WIRE_VERSION);
	if (!digest || node_digest_parse(digest, meta->digest))
		return error_set(err, -EINVAL, "a put needs " WIRE_DIGEST);
	if (flags && wire_flags_parse(flags, &meta->flags))
		return error_set(err, -EINVAL, "unknown word in " WIRE_FLAGS);
	if (!head->has_length)
		return error_set(err, -EINVAL, "a put needs Content-Length");
	meta->flags &= OBJECT_CLAIMED;
	return 0;
}
