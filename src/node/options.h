/* SPDX-License-Identifier: GPL-3.0-only */
/* options.h: the command line of garnerd. Only reads and checks words; touches no file. */
#ifndef GARNER_NODE_OPTIONS_H
#define GARNER_NODE_OPTIONS_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NODE_DRIVES_MAX 16

enum node_action { NODE_SERVE, NODE_HELP, NODE_VERSION };

struct node_options {
	enum node_action action;
	char *data; /* as given; the directories below point into it */
	const char *drive[NODE_DRIVES_MAX];
	size_t drive_count;
	char *listen; /* "h1:7070", as given */
	char *host;   /* of it, without brackets */
	uint16_t port;
	char *cluster_file;
	unsigned node; /* 0: the one that the cluster map has at host:port */
	bool foreground, debug;
	uint64_t memory;       /* bytes of bodies under way, at most */
	unsigned connections;  /* at most */
	uint64_t scrub_rate;   /* bytes a second; 0: never */
	uint64_t scrub_ms;     /* from the end of one scrub to the next */
	uint64_t heal_ms;      /* between comparisons with the other nodes */
	uint64_t heal_rate;    /* bytes a second that are copied to heal or move; 0: no limit */
	uint64_t tombstone_ms; /* how long what was removed is remembered, at least */
};

/* Reads the command line. Returns 0, or -EINVAL with a text that names the word, or -ENOMEM. End with node_options_free(), also
 * after an error. Not thread-safe (getopt). */
int node_options_parse(int argc, char **argv, struct node_options *o, struct error *err);
void node_options_free(struct node_options *o);

/* Makes file names absolute, as the daemon leaves its directory. 0 or a negative errno. */
int node_options_make_absolute(struct node_options *o, struct error *err);

/* What --help prints. */
extern const char node_options_help[];

#endif
