/* SPDX-License-Identifier: GPL-3.0-only */
/* options.c: the command line of garnerd. */
#include "node/options.h"

#include "base/size.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MIB ((uint64_t)1 << 20)
#define DAY_MS ((uint64_t)24 * 3600 * 1000)

const char node_options_help[] =
	"Usage: garnerd --data DIR[,DIR...] --listen HOST:PORT --cluster FILE [-f] [OPTIONS]\n"
	"A storage node of a garnerfs cluster: keeps objects in the directories, and replicates them.\n"
	"\n"
	"  --data DIR[,DIR...]    where objects are kept: a directory for each drive\n"
	"  --listen HOST:PORT     where others reach this node\n"
	"  --cluster FILE         what garner cluster init has made; keys and certificates are beside it\n"
	"  -f, --foreground       stay in the foreground, messages on standard error\n"
	"  --node N               which node of the cluster this is (the one at HOST:PORT)\n"
	"  --memory SIZE          for what comes in, and for what goes out; beyond it requests are put off (256M)\n"
	"  --connections N        at most (512)\n"
	"  --scrub-rate SIZE      read and checked a second (20M; 0: never)\n"
	"  --scrub-every TIME     from the end of one scrub to the next (7d)\n"
	"  --heal-every TIME      between comparisons with the other nodes (10m)\n"
	"  --heal-rate SIZE       copied a second to heal or to move; 0: no limit (0)\n"
	"  --tombstones TIME      how long it is remembered what was removed (1d)\n"
	"  --debug                say more\n"
	"  -h, --help             this text\n"
	"  -V, --version          the version\n"
	"\n"
	"The manual is garnerd(8), that of the protocol garnerfs-node(7).\n";

enum long_option {
	OPT_DATA = 256,
	OPT_LISTEN,
	OPT_CLUSTER,
	OPT_NODE,
	OPT_MEMORY,
	OPT_CONNECTIONS,
	OPT_SCRUB_RATE,
	OPT_SCRUB_EVERY,
	OPT_HEAL_EVERY,
	OPT_HEAL_RATE,
	OPT_TOMBSTONES,
	OPT_DEBUG,
};

static const struct option long_options[] = {
	{ "data", required_argument, NULL, OPT_DATA },
	{ "listen", required_argument, NULL, OPT_LISTEN },
	{ "cluster", required_argument, NULL, OPT_CLUSTER },
	{ "node", required_argument, NULL, OPT_NODE },
	{ "memory", required_argument, NULL, OPT_MEMORY },
	{ "connections", required_argument, NULL, OPT_CONNECTIONS },
	{ "scrub-rate", required_argument, NULL, OPT_SCRUB_RATE },
	{ "scrub-every", required_argument, NULL, OPT_SCRUB_EVERY },
	{ "heal-every", required_argument, NULL, OPT_HEAL_EVERY },
	{ "heal-rate", required_argument, NULL, OPT_HEAL_RATE },
	{ "tombstones", required_argument, NULL, OPT_TOMBSTONES },
	{ "foreground", no_argument, NULL, 'f' },
	{ "debug", no_argument, NULL, OPT_DEBUG },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'V' },
	{ NULL, 0, NULL, 0 },
};

/* ---- values ---- */

static int set_text(char **to, const char *name, const char *value, struct error *err)
{
	if (!value[0])
		return error_set(err, -EINVAL, "--%s needs a value", name);
	free(*to);
	*to = strdup(value);
	return *to ? 0 : error_set(err, -ENOMEM, "out of memory");
}

static int set_number(unsigned *to, const char *name, const char *value, unsigned least, unsigned most,
                      struct error *err)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(value, &end, 10);
	if (value[0] < '0' || value[0] > '9' || *end || errno || n < least || n > most)
		return error_set(err, -EINVAL, "--%s is a number from %u to %u, not \"%s\"", name, least, most, value);
	*to = (unsigned)n;
	return 0;
}

static int set_size(uint64_t *to, const char *name, const char *value, uint64_t least, struct error *err)
{
	int rc = size_parse(value, to, err);

	if (rc)
		return error_prefix(err, rc, "--%s", name);
	if (*to < least)
		return error_set(err, -EINVAL, "--%s is at least %llu bytes", name, (unsigned long long)least);
	return 0;
}

static int set_time(uint64_t *to, const char *name, const char *value, uint64_t least_ms, struct error *err)
{
	int rc = duration_parse(value, to, err);

	if (rc)
		return error_prefix(err, rc, "--%s", name);
	if (*to < least_ms)
		return error_set(err, -EINVAL, "--%s is at least %llu ms", name, (unsigned long long)least_ms);
	return 0;
}

static int set_option(struct node_options *o, int option, const char *name, const char *value, struct error *err)
{
	switch (option) {
	case OPT_DATA:
		return set_text(&o->data, name, value, err);
	case OPT_LISTEN:
		return set_text(&o->listen, name, value, err);
	case OPT_CLUSTER:
		return set_text(&o->cluster_file, name, value, err);
	case OPT_NODE:
		return set_number(&o->node, name, value, 1, 1000000, err);
	case OPT_MEMORY:
		return set_size(&o->memory, name, value, 16 * MIB, err);
	case OPT_CONNECTIONS:
		return set_number(&o->connections, name, value, 8, 65536, err);
	case OPT_SCRUB_RATE:
		return set_size(&o->scrub_rate, name, value, 0, err);
	case OPT_SCRUB_EVERY:
		return set_time(&o->scrub_ms, name, value, 1000, err);
	case OPT_HEAL_EVERY:
		return set_time(&o->heal_ms, name, value, 100, err);
	case OPT_HEAL_RATE:
		return set_size(&o->heal_rate, name, value, 0, err);
	case OPT_TOMBSTONES:
		return set_time(&o->tombstone_ms, name, value, 1000, err);
	default:
		return error_set(err, -EINVAL, "unknown option; garnerd --help shows those there are");
	}
}

/* ---- what belongs together ---- */

/* "host:port", "[address]:port". */
static int split_listen(struct node_options *o, struct error *err)
{
	const char *colon = strrchr(o->listen, ':');
	const char *host = o->listen;
	size_t length = colon ? (size_t)(colon - host) : 0;
	unsigned port;

	if (!colon || !length)
		return error_set(err, -EINVAL, "--listen is HOST:PORT, as in h1:7070, not \"%s\"", o->listen);
	if (host[0] == '[' && host[length - 1] == ']') {
		host++;
		length -= 2;
	}
	if (set_number(&port, "listen: the port", colon + 1, 1, 65535, err))
		return -EINVAL;
	o->port = (uint16_t)port;
	o->host = strndup(host, length);
	return o->host ? 0 : error_set(err, -ENOMEM, "out of memory");
}

static int split_data(struct node_options *o, struct error *err)
{
	char *rest = o->data, *word;

	o->drive_count = 0;
	while ((word = strsep(&rest, ","))) {
		if (!word[0])
			return error_set(err, -EINVAL, "--data has an empty name among its directories");
		if (o->drive_count == NODE_DRIVES_MAX)
			return error_set(err, -EINVAL, "--data has more than %d directories", NODE_DRIVES_MAX);
		for (size_t i = 0; i < o->drive_count; i++)
			if (strcmp(o->drive[i], word) == 0)
				return error_set(err, -EINVAL, "--data names %s twice", word);
		o->drive[o->drive_count++] = word;
	}
	return 0;
}

static int check(struct node_options *o, int words_left, struct error *err)
{
	int rc;

	if (o->action != NODE_SERVE)
		return 0;
	if (words_left)
		return error_set(err, -EINVAL, "too many words; garnerd --help shows what it takes");
	if (!o->data || !o->listen || !o->cluster_file)
		return error_set(err, -EINVAL, "--%s is missing; garnerd --help shows what it takes",
		                 !o->data     ? "data"
		                 : !o->listen ? "listen"
		                              : "cluster");
	rc = split_listen(o, err);
	return rc ? rc : split_data(o, err);
}

int node_options_parse(int argc, char **argv, struct node_options *o, struct error *err)
{
	int option, index = -1, rc = 0;

	*o = (struct node_options){
		.memory = 256 * MIB,
		.connections = 512,
		.scrub_rate = 20 * MIB,
		.scrub_ms = 7 * DAY_MS,
		.heal_ms = 600 * 1000,
		.tombstone_ms = DAY_MS,
	};
	opterr = 0;
	optind = 1;
	while (!rc && (option = getopt_long(argc, argv, "fhV", long_options, &index)) >= 0) {
		switch (option) {
		case 'f':
			o->foreground = true;
			break;
		case OPT_DEBUG:
			o->debug = true;
			break;
		case 'h':
			o->action = NODE_HELP;
			return 0;
		case 'V':
			o->action = NODE_VERSION;
			return 0;
		case '?':
			rc = error_set(err, -EINVAL, "%s: no such option, or its value is missing; see garnerd --help",
			               argv[optind - 1]);
			break;
		default:
			rc = set_option(o, option, long_options[index].name, optarg, err);
		}
	}
	return rc ? rc : check(o, argc - optind, err);
}

void node_options_free(struct node_options *o)
{
	free(o->data);
	free(o->listen);
	free(o->host);
	free(o->cluster_file);
	memset(o, 0, sizeof *o);
}

/* ---- file names ---- */

static char *absolute(const char *name, const char *here)
{
	char *text;

	if (name[0] == '/')
		return strdup(name);
	return asprintf(&text, "%s/%s", here, name) < 0 ? NULL : text;
}

int node_options_make_absolute(struct node_options *o, struct error *err)
{
	char *here = getcwd(NULL, 0), *cluster = NULL, *data = NULL;
	size_t room = 1, at[NODE_DRIVES_MAX], used = 0;
	int rc = -ENOMEM;

	if (!here)
		return error_set(err, -errno, "the current directory: %s", strerror(errno));
	for (size_t i = 0; i < o->drive_count; i++)
		room += strlen(o->drive[i]) + strlen(here) + 2;
	cluster = absolute(o->cluster_file, here);
	data = calloc(1, room);
	if (!cluster || !data)
		goto out;
	for (size_t i = 0; i < o->drive_count; i++) {
		char *name = absolute(o->drive[i], here);
		if (!name)
			goto out;
		at[i] = used;
		used += (size_t)snprintf(data + used, room - used, "%s", name) + 1;
		free(name);
	}
	free(o->data);
	o->data = data;
	for (size_t i = 0; i < o->drive_count; i++)
		o->drive[i] = data + at[i];
	free(o->cluster_file);
	o->cluster_file = cluster;
	data = cluster = NULL;
	rc = 0;
out:
	free(data);
	free(cluster);
	free(here);
	return rc ? error_set(err, rc, "out of memory") : 0;
}
