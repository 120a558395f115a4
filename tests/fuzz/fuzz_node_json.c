/* SPDX-License-Identifier: GPL-3.0-only */
/* fuzz_node_json.c: any bytes are a storage node's listing or an answer of etcd within the bounds, or are refused with a message. */
#include "node/etcd_json.h"
#include "store/node_listing.h"
#include "store/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

#define VALUE_MAX 64
#define KEY "x" /* "eA==" */

static void parse_listing(const char *body, size_t len)
{
	struct listed_objects objects;
	struct error err = { 0 };
	bool more;
	int rc = node_listing_parse(body, len, &objects, &more, &err);

	if (rc && ((rc != -EBADMSG && rc != -ENOMEM) || err.code != rc || !*error_text(&err)))
		abort();
	for (size_t i = 0; i < objects.count && !rc; i++)
		if (!store_key_valid(objects.list[i].key) || !objects.list[i].version ||
		    objects.list[i].size > INT64_MAX)
			abort();
	if (objects.count > LISTED_MAX)
		abort();
	listed_objects_destroy(&objects);
}

static void check_found(int rc, const struct etcd_found *found, const struct error *err)
{
	if (rc && ((rc != -EPROTO && rc != -ENOMEM) || err->code != rc || !*error_text(err) || found->value))
		abort();
	if (!rc && found->value && (found->length > VALUE_MAX || found->revision < 1))
		abort();
}

static void parse_etcd(const char *body, size_t len)
{
	struct etcd_found found;
	struct error err = { 0 };
	char text[ETCD_FAULT_TEXT];
	bool done;
	int rc = etcd_range_parse(body, len, KEY, VALUE_MAX, &found, &err);

	check_found(rc, &found, &err);
	free(found.value);
	err = (struct error){ 0 };
	rc = etcd_txn_parse(body, len, KEY, VALUE_MAX, &done, &found, &err);
	check_found(rc, &found, &err);
	free(found.value);
	for (const char *p = etcd_fault_text(body, len, text); *p; p++)
		if (*p < 0x20 || *p > 0x7e)
			abort();
}

/* The bytes between a head and a tail that make more of them get far. */
static void parse_within(const char *head, const char *tail, const uint8_t *data, size_t len, bool etcd)
{
	size_t front = strlen(head), back = strlen(tail);
	char *body = malloc(front + len + back);

	if (!body)
		return;
	memcpy(body, head, front);
	memcpy(body + front, data, len);
	memcpy(body + front + len, tail, back);
	if (etcd)
		parse_etcd(body, front + len + back);
	else
		parse_listing(body, front + len + back);
	free(body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	parse_within("", "", data, len, false);
	parse_within("{\"objects\":[{\"version\":\"0000000000000001.0000000000000001\",", "}],\"more\":true}", data,
	             len, false);
	parse_within("", "", data, len, true);
	parse_within("{\"header\":{\"cluster_id\":\"1\"},\"kvs\":[{\"key\":\"eA==\",", "}]}", data, len, true);
	parse_within("{\"header\":{\"cluster_id\":\"1\"},\"responses\":[{\"response_range\":{", "}}]}", data, len,
	             true);
	return 0;
}
