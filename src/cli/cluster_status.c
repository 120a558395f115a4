/* SPDX-License-Identifier: GPL-3.0-only */
/* cluster_status.c: reads what nodes say. What is missing is shown as "-", and is not green. */
#include "cli/cluster_status.h"

#include "base/size.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define WHY_MAX 160

struct node_status {
	bool answered, green;
	char state[24];
	int64_t map, hints, quarantined, missing, errors, objects, free, capacity; /* -1: not said */
	size_t peers, peers_up, drives, drives_ok;
	char why[WHY_MAX]; /* what is not green, first of all */
};

static int64_t number(const json_t *object, const char *name)
{
	const json_t *value = json_object_get(object, name);

	return json_is_integer(value) && json_integer_value(value) >= 0 ? json_integer_value(value) : -1;
}

/* A text of a node's that may be printed. */
static void text(const json_t *object, const char *name, char *out, size_t room)
{
	const char *value = json_string_value(json_object_get(object, name));

	snprintf(out, room, "%s", value ? value : "-");
	for (char *p = out; *p; p++)
		if (*p < 0x20 || *p > 0x7e)
			*p = '?';
}

static void blame(struct node_status *s, bool good, const char *why)
{
	if (good)
		return;
	s->green = false;
	if (!s->why[0])
		snprintf(s->why, sizeof s->why, "%s", why);
}

/* Said, but nothing is wrong now. */
static void remark(struct node_status *s, bool said, const char *what)
{
	if (!said && !s->why[0])
		snprintf(s->why, sizeof s->why, "%s", what);
}

static void add_to(int64_t *sum, int64_t value)
{
	if (value >= 0 && (*sum < 0 || !__builtin_add_overflow(*sum, value, sum)))
		*sum = *sum < 0 ? value : *sum;
}

static void read_drives(struct node_status *s, const json_t *drives)
{
	const json_t *drive;
	size_t i;

	json_array_foreach(drives, i, drive)
	{
		const char *state = json_string_value(json_object_get(drive, "state"));

		s->drives++;
		s->drives_ok += state && strcmp(state, "ok") == 0;
		add_to(&s->objects, number(drive, "objects"));
		add_to(&s->free, number(drive, "free"));
		add_to(&s->capacity, number(drive, "capacity"));
	}
}

static void read_status(struct node_status *s, const json_t *status, const struct cluster_map *map)
{
	const json_t *peers = json_object_get(status, "peers"), *peer;
	const json_t *scrub = json_object_get(status, "scrub"), *healing = json_object_get(status, "healing");
	char id[CLUSTER_ID_TEXT];
	size_t i;

	text(status, "state", s->state, sizeof s->state);
	text(status, "cluster", id, sizeof id);
	s->map = number(status, "map");
	s->hints = number(status, "hints");
	s->quarantined = number(status, "quarantined");
	s->errors = number(scrub, "errors");
	s->missing = number(healing, "missing");
	json_array_foreach(peers, i, peer)
	{
		s->peers++;
		s->peers_up += json_is_true(json_object_get(peer, "up"));
	}
	read_drives(s, json_object_get(status, "drives"));
	s->green = true;
	blame(s, strcmp(id, map->id) == 0, "it is of another cluster");
	blame(s, strcmp(s->state, "ok") == 0, "its state is not ok");
	blame(s, s->map == (int64_t)map->version, "it has not the newest map");
	blame(s, s->peers + 1 >= map->node_count && s->peers_up == s->peers, "it does not see all other nodes");
	blame(s, s->drives && s->drives_ok == s->drives, "a drive is not ok");
	blame(s, s->hints == 0, "writes wait for a node that was away");
	blame(s, s->missing == 0, "objects are still to be pulled");
	/* They were replaced, or are among those that are missing. */
	remark(s, s->quarantined == 0, "damaged objects were set aside");
	remark(s, s->errors == 0, "scrubbing has found errors");
}

static void read_answer(struct node_status *s, const struct cluster_answer *a, const struct cluster_map *map,
                        json_t **status)
{
	*s = (struct node_status){ .map = -1,
		                   .hints = -1,
		                   .quarantined = -1,
		                   .missing = -1,
		                   .errors = -1,
		                   .objects = -1,
		                   .free = -1,
		                   .capacity = -1 };
	snprintf(s->state, sizeof s->state, "-");
	*status = NULL;
	if (a->result) {
		blame(s, false, error_text(&a->err));
		return;
	}
	*status = json_loadb(a->body, a->length, JSON_REJECT_DUPLICATES, NULL);
	if (!json_is_object(*status)) {
		json_decref(*status);
		*status = NULL;
		blame(s, false, "its status cannot be read");
		return;
	}
	s->answered = true;
	read_status(s, *status, map);
}

/* ---- the table ---- */

static const char *number_text(int64_t n, char out[24])
{
	if (n < 0)
		return "-";
	snprintf(out, 24, "%" PRId64, n);
	return out;
}

static const char *bytes_text(int64_t n, char out[SIZE_TEXT_MAX])
{
	if (n < 0)
		return "-";
	size_format((uint64_t)n, out);
	return out;
}

static void print_row(FILE *out, const struct cluster_node *node, const struct node_status *s)
{
	char address[CLUSTER_ADDRESS_TEXT], peers[48] = "-", drives[48] = "-", map[24], objects[24],
					    free_text[SIZE_TEXT_MAX], capacity[SIZE_TEXT_MAX], hints[24], missing[24],
					    quarantined[24];

	if (s->answered) {
		snprintf(peers, sizeof peers, "%zu/%zu", s->peers_up, s->peers);
		snprintf(drives, sizeof drives, "%zu/%zu", s->drives_ok, s->drives);
	}
	fprintf(out, "%-4u %-24s %-8s %-11s %4s %6s %6s %9s %9s %9s %6s %7s %7s  %s\n", node->id,
	        cluster_node_address(node, address), cluster_node_state_name(node->state),
	        s->answered ? s->state : "no answer", number_text(s->map, map), peers, drives,
	        number_text(s->objects, objects), bytes_text(s->free, free_text), bytes_text(s->capacity, capacity),
	        number_text(s->hints, hints), number_text(s->missing, missing),
	        number_text(s->quarantined, quarantined), s->why);
}

static void print_table_head(FILE *out, const struct cluster_map *map)
{
	fprintf(out, "cluster %s, map %" PRIu64 ": %zu nodes, %u replicas, quorum %u, agreement %s\n", map->id,
	        map->version, map->node_count, map->replicas, map->quorum, map->agreement);
	fprintf(out, "%-4s %-24s %-8s %-11s %4s %6s %6s %9s %9s %9s %6s %7s %7s\n", "NODE", "ADDRESS", "IN MAP",
	        "STATE", "MAP", "PEERS", "DRIVES", "OBJECTS", "FREE", "CAPACITY", "HINTS", "MISSING", "DAMAGED");
}

/* ---- JSON ---- */

static json_t *node_json(const struct cluster_node *node, const struct cluster_answer *a, const struct node_status *s,
                         json_t *status)
{
	char address[CLUSTER_ADDRESS_TEXT];

	/* Errors of nodes may hold any bytes; what is no UTF-8 is left out. */
	json_t *error = a->result || !s->green ? json_string(s->why) : NULL;
	json_t *object = json_pack("{s:i, s:s, s:s, s:b, s:b}", "node", (int)node->id, "address",
	                           cluster_node_address(node, address), "in_map", cluster_node_state_name(node->state),
	                           "answered", s->answered, "ok", s->green);

	if (object && error)
		json_object_set(object, "problem", error);
	json_decref(error);
	if (object && status)
		json_object_set(object, "status", status);
	return object;
}

static void print_json(FILE *out, const struct cluster_map *map, json_t *nodes, bool green)
{
	json_t *all =
		json_pack("{s:s, s:I, s:i, s:i, s:b, s:O}", "cluster", map->id, "map", (json_int_t)map->version,
	                  "replicas", (int)map->replicas, "quorum", (int)map->quorum, "ok", green, "nodes", nodes);

	if (all)
		json_dumpf(all, out, JSON_COMPACT);
	fputc('\n', out);
	json_decref(all);
}

bool cluster_status_print(FILE *out, const struct cluster_map *map, const struct cluster_answer *answers, size_t count,
                          bool json)
{
	json_t *nodes = json_array(), *status;
	struct node_status s;
	bool green = count > 0;

	if (!json)
		print_table_head(out, map);
	for (size_t i = 0; i < count; i++) {
		const struct cluster_node *node = cluster_map_node(map, answers[i].node);

		if (!node)
			continue;
		read_answer(&s, &answers[i], map, &status);
		green = green && s.green;
		if (json)
			json_array_append_new(nodes, node_json(node, &answers[i], &s, status));
		else
			print_row(out, node, &s);
		json_decref(status);
	}
	if (json)
		print_json(out, map, nodes, green);
	else
		fprintf(out, "%s\n", green ? "all is well" : "not all is well");
	json_decref(nodes);
	return green;
}
