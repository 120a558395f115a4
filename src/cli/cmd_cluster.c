/* SPDX-License-Identifier: GPL-3.0-only */
/* cmd_cluster.c: garner cluster: makes a cluster of storage nodes, and looks after it. */
#include "cli/cluster_init.h"
#include "cli/cluster_status.h"
#include "cli/cluster_units.h"
#include "cli/command.h"

#include "base/size.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* All words of all of its commands. */
struct words {
	const char *cluster, *nodes, *replicas, *quorum, *out, *data, *etcd_port, *rack, *weight;
	bool plain, json, force;
	const char *argument[2]; /* the verb, and what it is about */
};

/* A decimal number from `least` to `most`. */
static int take_number(const char *text, const char *what, unsigned least, unsigned most, unsigned *number,
                       struct error *err)
{
	char *end;
	unsigned long n;

	if (!text)
		return 0;
	n = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || n < least || n > most)
		return error_set(err, -EINVAL, "%s is a number from %u to %u, not '%s'", what, least, most, text);
	*number = (unsigned)n;
	return 0;
}

/* garnerd is where garner is. */
static const char *garnerd_path(char path[PATH_MAX + 16])
{
	ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 1);
	char *slash;

	if (n > 0)
		path[n] = '\0';
	slash = n > 0 ? strrchr(path, '/') : NULL;
	if (slash)
		memcpy(slash + 1, "garnerd", sizeof "garnerd");
	else
		snprintf(path, PATH_MAX, "/usr/bin/garnerd");
	return path;
}

/* ---- init ---- */

static void print_host_commands(const struct cluster_map *map, const char *out)
{
	size_t members = cluster_etcd_members(map->node_count);

	printf("\nOn each node's host, as root, once:\n"
	       "  useradd --system --home-dir " CLUSTER_DATA_DIR " --shell /usr/sbin/nologin garnerfs\n"
	       "  mkdir -m 0755 -p " CLUSTER_CONFIG_DIR "\n");
	if (members)
		printf("  apt-get install etcd-server        (of the first %zu)\n", members);
	printf("Copy to each host what is its own:\n");
	for (size_t i = 0; i < map->node_count; i++)
		printf("  scp %s/node-%u/* root@%s:" CLUSTER_CONFIG_DIR "/\n", out, map->node[i].id, map->node[i].host);
	printf("and there, as root:\n"
	       "  chown -R garnerfs: " CLUSTER_CONFIG_DIR "\n"
	       "  mv " CLUSTER_CONFIG_DIR "/*.service /etc/systemd/system/\n"
	       "  systemctl daemon-reload\n");
	if (members)
		printf("  systemctl enable etcd && systemctl restart --no-block etcd\n");
	printf("  systemctl enable --now garnerd\n");
}

static void print_next(const struct cluster_map *map, const struct cluster_plan *plan)
{
	const char *out = plan->out;

	printf("%s: cluster %s, %zu nodes, %u replicas, quorum %u, agreement %s\n", out, map->id, map->node_count,
	       map->replicas, map->quorum, map->agreement);
	print_host_commands(map, out);
	printf("\nCopy to each host that mounts, into " CLUSTER_CONFIG_DIR ", owned by who mounts:\n"
	       "  %s/cluster %s/cluster.key",
	       out, out);
	if (!plan->plain)
		printf(" %s/ca.pem %s/gateway.pem\n"
		       "Keep %s/ca.key where it is safe. No host needs it, but nodes that join do not get certificates "
		       "without it.",
		       out, out, out);
	printf("\n\nThen:\n"
	       "  garner cluster status\n"
	       "  garner init 'node:///my-pool?cluster=" CLUSTER_CONFIG_DIR "/cluster' --key-file KEY\n");
}

static int init(const struct words *w, struct error *err)
{
	char garnerd[PATH_MAX + 16];
	struct cluster_plan plan = { .nodes = w->nodes,
		                     .out = w->out,
		                     .plain = w->plain,
		                     .data = w->data ? w->data : CLUSTER_DATA_DIR,
		                     .garnerd = garnerd_path(garnerd),
		                     .etcd_port = CLUSTER_ETCD_PORT };
	struct cluster_map map;
	int rc = take_number(w->replicas, "--replicas", 1, CLUSTER_REPLICAS_MAX, &plan.replicas, err);

	if (!rc)
		rc = take_number(w->quorum, "--quorum", 1, CLUSTER_REPLICAS_MAX, &plan.quorum, err);
	if (!rc)
		rc = take_number(w->etcd_port, "--etcd-port", 1, 65535 - 2 * CLUSTER_ETCD_MEMBERS_MAX, &plan.etcd_port,
		                 err);
	if (!rc && (plan.data[0] != '/' || strpbrk(plan.data, " \"'\\%\n")))
		rc = error_set(err, -EINVAL,
		               "--data is a directory with its whole path, or several with commas between");
	if (!rc)
		rc = cluster_init(&plan, &map, err);
	if (!rc)
		print_next(&map, &plan);
	return rc;
}

/* ---- what nodes are told ---- */

/* Prints the text of an answer {"ok":true,"text":...}. */
static int print_answer(const struct cluster_answer *a, struct error *err)
{
	json_t *answer = a->result ? NULL : json_loadb(a->body, a->length, JSON_REJECT_DUPLICATES, NULL);
	const char *text = json_string_value(json_object_get(answer, "text"));
	bool good = json_is_true(json_object_get(answer, "ok"));
	char shown[400];
	int rc = 0;

	snprintf(shown, sizeof shown, "%s", text ? text : good ? "done" : "the node's answer cannot be read");
	for (char *p = shown; *p; p++)
		if (*p < 0x20 || *p > 0x7e)
			*p = '?';
	if (a->result)
		rc = error_set(err, a->result, "%s", error_text(&a->err));
	else if (!good)
		rc = error_set(err, -EIO, "%s: %s", a->address, shown);
	else
		printf("%s: %s\n", a->address, shown);
	json_decref(answer);
	return rc;
}

static int tell(struct cluster_client *client, const char *target, unsigned node, bool only, struct error *err)
{
	struct cluster_answer answer;
	int rc;

	cluster_client_ask(client, HTTP_POST, target, node, only, &answer);
	rc = print_answer(&answer, err);
	cluster_answer_destroy(&answer);
	return rc;
}

/* A node by its number or its HOST:PORT. */
static int find_node(const struct cluster_map *map, const char *word, unsigned *id, struct error *err)
{
	char address[CLUSTER_ADDRESS_TEXT], number[16];

	for (size_t i = 0; i < map->node_count; i++) {
		snprintf(number, sizeof number, "%u", map->node[i].id);
		*id = map->node[i].id;
		if (strcmp(word, number) == 0 || strcmp(word, cluster_node_address(&map->node[i], address)) == 0)
			return 0;
	}
	return error_set(
		err, -ENOENT,
		"the cluster has no node '%s': give its number, or HOST:PORT, as garner cluster status shows them",
		word);
}

/* Repairs or scrubs one node, or all. */
static int tell_each(struct cluster_client *client, const char *verb, const char *word, struct error *err)
{
	const struct cluster_map *map = cluster_client_map(client);
	char target[64];
	unsigned id;
	int rc, all = 0;

	snprintf(target, sizeof target, "/v1/admin/%s", verb);
	if (word) {
		rc = find_node(map, word, &id, err);
		return rc ? rc : tell(client, target, id, true, err);
	}
	for (size_t i = 0; i < map->node_count; i++) {
		struct error fault = { 0 };

		rc = tell(client, target, map->node[i].id, true, &fault);
		if (!rc)
			continue;
		if (all) /* the first one is told by the command itself */
			fprintf(stderr, "garner cluster: %s\n", error_text(&fault));
		else if (err)
			*err = fault;
		all = rc;
	}
	return all;
}

/* Whether a member of the cluster's etcd is on the host of a node. */
static bool hosts_etcd(const struct cluster_map *map, unsigned id)
{
	const struct cluster_node *node = cluster_map_node(map, id);
	char url[CLUSTER_HOST_MAX + 8];

	if (!node)
		return false;
	snprintf(url, sizeof url, strchr(node->host, ':') ? "://[%s]:" : "://%s:", node->host);
	return strstr(map->agreement, url);
}

static int drain_or_remove(struct cluster_client *client, const struct words *w, struct error *err)
{
	bool removes = strcmp(w->argument[0], "remove") == 0;
	const struct cluster_map *map = cluster_client_map(client);
	char target[64];
	unsigned id, other = 0;
	int rc = find_node(map, w->argument[1], &id, err);
	bool etcd = !rc && removes && hosts_etcd(map, id);

	if (rc)
		return rc;
	/* Not the one that is to go, if there is another. */
	for (size_t i = 0; i < map->node_count && !other; i++)
		other = map->node[i].id != id ? map->node[i].id : 0;
	snprintf(target, sizeof target, "/v1/admin/%s?node=%u%s", w->argument[0], id,
	         removes && w->force ? "&force=1" : "");
	rc = tell(client, target, other, false, err);
	if (!rc && etcd)
		printf("Its host has a member of the cluster's etcd, which stays one: leave that running, or give its "
		       "address to a "
		       "host that takes its place.\n");
	return rc;
}

/* ---- join ---- */

/* Writes what the new node's host needs, where the authority's key is. */
static int write_new_node(struct cluster_client *client, const struct words *w, const struct cluster_node *wanted,
                          struct error *err)
{
	char garnerd[PATH_MAX + 16];
	struct cluster_plan plan = { .data = w->data ? w->data : CLUSTER_DATA_DIR,
		                     .garnerd = garnerd_path(garnerd),
		                     .etcd_port = CLUSTER_ETCD_PORT };
	const struct cluster_map *map;
	unsigned id = 0;
	int rc = cluster_client_refresh(client, err);

	map = cluster_client_map(client);
	for (size_t i = 0; i < map->node_count && !rc; i++)
		if (strcmp(map->node[i].host, wanted->host) == 0 && map->node[i].port == wanted->port)
			id = map->node[i].id;
	if (!rc && !id)
		rc = error_set(err, -EIO, "the cluster's map does not show the new node yet: try again");
	if (rc)
		return rc;
	rc = cluster_add_node(w->cluster, map, id, &plan, err);
	if (rc)
		return error_prefix(
			err, rc,
			"the node is in the map; but what its host needs cannot be written (run it where 'garner "
			"cluster init' has put ca.key)");
	printf("Copy node-%u, beside the cluster's file, to " CLUSTER_CONFIG_DIR
	       " of %s, and start garnerd there: it gets its data from the "
	       "others.\n",
	       id, wanted->host);
	return 0;
}

static int join(struct cluster_client *client, const struct words *w, struct error *err)
{
	struct cluster_node node;
	unsigned weight = 100;
	char target[CLUSTER_HOST_MAX + 128];
	int rc = cluster_node_parse(w->argument[1], strlen(w->argument[1]), &node, err);

	if (!rc && w->rack && (node.rack[0] || strlen(w->rack) > CLUSTER_RACK_MAX || !*w->rack))
		rc = error_set(err, -EINVAL, "a rack is a name of up to %d characters, given once", CLUSTER_RACK_MAX);
	if (!rc)
		rc = take_number(w->weight, "--weight", 1, CLUSTER_WEIGHT_MAX, &weight, err);
	if (rc)
		return rc;
	if (w->rack)
		snprintf(node.rack, sizeof node.rack, "%s", w->rack);
	/* Hosts and racks that the map would refuse are refused by the node; here only what would change the request. */
	if (strpbrk(node.host, "&?#% ") || strpbrk(node.rack, "&?#% "))
		return error_set(err, -EINVAL, "a host's or rack's name cannot have such characters");
	snprintf(target, sizeof target, "/v1/admin/join?host=%s&port=%u&rack=%s&weight=%u", node.host, node.port,
	         node.rack, weight);
	rc = tell(client, target, 0, false, err);
	return rc ? rc : write_new_node(client, w, &node, err);
}

/* ---- looking ---- */

static int status(struct cluster_client *client, bool json, struct error *err)
{
	struct cluster_answer answers[CLUSTER_NODES_MAX];
	size_t count = cluster_client_ask_all(client, "/v1/status", answers);
	bool green = cluster_status_print(stdout, cluster_client_map(client), answers, count, json);

	for (size_t i = 0; i < count; i++)
		cluster_answer_destroy(&answers[i]);
	return green ? 0 : error_set(err, -EIO, "the cluster is not well, see above");
}

static int print_map(struct cluster_client *client, struct error *err)
{
	char text[CLUSTER_TEXT_MAX];
	int rc = cluster_client_refresh(client, err);

	if (!rc && cluster_map_format(cluster_client_map(client), text, sizeof text) < 0)
		rc = error_set(err, -EIO, "the cluster's map is too long");
	if (!rc)
		fputs(text, stdout);
	return rc;
}

/* ---- the command ---- */

struct verb {
	const char *name;
	bool wants_node, may_have_node;
};

static const struct verb verbs[] = {
	{ "init", false, false }, { "status", false, false }, { "map", false, false },   { "join", true, true },
	{ "drain", true, true },  { "remove", true, true },   { "repair", false, true }, { "scrub", false, true },
};

/* 0, or EXIT_USAGE after having said why. */
static int check_words(const struct command *c, const struct words *w)
{
	const char *verb = w->argument[0];
	bool init_verb = strcmp(verb, "init") == 0, join_verb = strcmp(verb, "join") == 0;
	const struct verb *v = NULL;

	for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
		if (strcmp(verbs[i].name, verb) == 0)
			v = &verbs[i];
	if (!v)
		return command_usage(c, "\"%s\" is not init, status, map, join, drain, remove, repair or scrub", verb);
	if (v->wants_node && !w->argument[1])
		return command_usage(c, "%s: which node?", verb);
	if (!v->may_have_node && w->argument[1])
		return command_usage(c, "'%s' is one argument too many", w->argument[1]);
	if (init_verb ? !w->nodes || !w->out
	              : w->nodes || w->out || w->replicas || w->quorum || w->plain || w->etcd_port)
		return command_usage(
			c, init_verb ? "init wants --nodes and --out"
				     : "--nodes, --out, --replicas, --quorum, --plain and --etcd-port go with init");
	if ((w->rack || w->weight) && !join_verb)
		return command_usage(c, "--rack and --weight go with join");
	if (w->data && !init_verb && !join_verb)
		return command_usage(c, "--data goes with init and join");
	if (w->json && strcmp(verb, "status") != 0)
		return command_usage(c, "--json goes with status");
	if (w->force && strcmp(verb, "remove") != 0)
		return command_usage(c, "--force goes with remove");
	if (init_verb && w->cluster)
		return command_usage(c, "--cluster does not go with init");
	return 0;
}

static int run(const struct words *w, struct error *err)
{
	struct cluster_client *client;
	const char *verb = w->argument[0];
	int rc = cluster_client_open(w->cluster, &client, err);

	if (rc)
		return rc;
	if (strcmp(verb, "status") == 0)
		rc = status(client, w->json, err);
	else if (strcmp(verb, "map") == 0)
		rc = print_map(client, err);
	else if (strcmp(verb, "join") == 0)
		rc = join(client, w, err);
	else if (strcmp(verb, "drain") == 0 || strcmp(verb, "remove") == 0)
		rc = drain_or_remove(client, w, err);
	else
		rc = tell_each(client, verb, w->argument[1], err);
	cluster_client_close(client);
	return rc;
}

int cmd_cluster(const struct command *c, int argc, char **argv)
{
	struct words w = { 0 };
	const struct command_option options[] = {
		{ "cluster", &w.cluster, NULL },
		{ "nodes", &w.nodes, NULL },
		{ "replicas", &w.replicas, NULL },
		{ "quorum", &w.quorum, NULL },
		{ "out", &w.out, NULL },
		{ "data", &w.data, NULL },
		{ "etcd-port", &w.etcd_port, NULL },
		{ "rack", &w.rack, NULL },
		{ "weight", &w.weight, NULL },
		{ "plain", NULL, &w.plain },
		{ "json", NULL, &w.json },
		{ "force", NULL, &w.force },
		{ 0 },
	};
	struct error err = { 0 };
	int rc = command_parse(c, argc, argv, options, 1, 2, w.argument);

	if (rc != 0)
		return command_parse_exit(rc);
	if (check_words(c, &w))
		return EXIT_USAGE;
	if (!w.cluster)
		w.cluster = CLUSTER_CONFIG_DIR "/cluster";
	rc = strcmp(w.argument[0], "init") == 0 ? init(&w, &err) : run(&w, &err);
	return rc < 0 ? command_failed(c, &err) : EXIT_DONE;
}
