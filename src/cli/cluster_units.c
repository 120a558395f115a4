/* SPDX-License-Identifier: GPL-3.0-only */
/* cluster_units.c: what a storage node's host is told about its services. */
#include "cli/cluster_units.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What both services need of the system: next to nothing. */
#define HARDENING                                                       \
	"UMask=0077\n"                                                  \
	"NoNewPrivileges=yes\n"                                         \
	"CapabilityBoundingSet=\n"                                      \
	"AmbientCapabilities=\n"                                        \
	"ProtectSystem=strict\n"                                        \
	"ProtectHome=yes\n"                                             \
	"PrivateTmp=yes\n"                                              \
	"PrivateDevices=yes\n"                                          \
	"ProtectClock=yes\n"                                            \
	"ProtectControlGroups=yes\n"                                    \
	"ProtectHostname=yes\n"                                         \
	"ProtectKernelLogs=yes\n"                                       \
	"ProtectKernelModules=yes\n"                                    \
	"ProtectKernelTunables=yes\n"                                   \
	"ProtectProc=invisible\n"                                       \
	"RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK\n" \
	"RestrictNamespaces=yes\n"                                      \
	"RestrictRealtime=yes\n"                                        \
	"RestrictSUIDSGID=yes\n"                                        \
	"RemoveIPC=yes\n"                                               \
	"LockPersonality=yes\n"                                         \
	"MemoryDenyWriteExecute=yes\n"                                  \
	"SystemCallArchitectures=native\n"                              \
	"SystemCallFilter=@system-service\n"                            \
	"SystemCallErrorNumber=EPERM\n"

static char *text_of(const char *format, ...) __attribute__((format(printf, 1, 2)));
static char *text_of(const char *format, ...)
{
	va_list arguments;
	char *text = NULL;

	va_start(arguments, format);
	if (vasprintf(&text, format, arguments) < 0)
		text = NULL;
	va_end(arguments);
	return text;
}

/* ---- garnerd ---- */

/* "NAME=/a /b" of "/a,/b". */
static void paths_line(const char *name, const char *data, char *text, size_t room)
{
	size_t used = (size_t)snprintf(text, room, "%s=%s\n", name, data);

	for (size_t i = 0; i < used && i < room; i++)
		if (text[i] == ',')
			text[i] = ' ';
}

/* Data that is not where systemd makes a directory has to be allowed, and is made by whoever owns the drives. */
static void data_lines(const char *data, char *text, size_t room)
{
	if (strcmp(data, CLUSTER_DATA_DIR) == 0)
		snprintf(text, room, "StateDirectory=garnerd\nStateDirectoryMode=0700\n");
	else
		paths_line("ReadWritePaths", data, text, room);
}

char *cluster_garnerd_service(const struct cluster_units *u, const struct cluster_node *node)
{
	char address[CLUSTER_ADDRESS_TEXT], data[1200], mounts[1200];
	bool etcd = cluster_etcd_members(u->map->node_count) > 0;

	data_lines(u->data, data, sizeof data);
	/* A drive that is not mounted yet is one that was wiped. */
	paths_line("RequiresMountsFor", u->data, mounts, sizeof mounts);
	return text_of("# A storage node of a garnerfs cluster: node %u of %s\n"
	               "[Unit]\n"
	               "Description=Storage node of garnerfs\n"
	               "Documentation=man:garnerd(8)\n"
	               "Wants=network-online.target\n"
	               "After=network-online.target%s\n"
	               "%s"
	               "\n"
	               "[Service]\n"
	               "Type=exec\n"
	               "User=garnerfs\n"
	               "Group=garnerfs\n"
	               "ExecStart=%s -f --data %s --listen %s --cluster " CLUSTER_CONFIG_DIR "/cluster\n"
	               "Restart=on-failure\n"
	               "RestartSec=2\n"
	               "TimeoutStopSec=60\n"
	               "LimitNOFILE=65536\n"
	               "%s" HARDENING "\n"
	               "[Install]\n"
	               "WantedBy=multi-user.target\n",
	               node->id, u->map->id, etcd ? " etcd.service" : "", mounts, u->garnerd, u->data,
	               cluster_node_address(node, address), data);
}

/* ---- etcd ---- */

size_t cluster_etcd_members(size_t nodes)
{
	if (nodes < 2)
		return 0;
	if (nodes < 3)
		return 1; /* two members would both be needed */
	return nodes < CLUSTER_ETCD_MEMBERS_MAX ? 3 : CLUSTER_ETCD_MEMBERS_MAX;
}

/* A URL of the member that is the map's i-th node. */
static int member_url(const struct cluster_units *u, size_t i, bool peer, char *text, size_t room)
{
	const struct cluster_node *node = &u->map->node[i];
	unsigned port = u->etcd_port + peer;

	for (size_t k = 0; k < i; k++)
		port += strcmp(u->map->node[k].host, node->host) == 0 ? 2 : 0;
	return snprintf(text, room, strchr(node->host, ':') ? "%s://[%s]:%u" : "%s://%s:%u",
	                u->plain ? "http" : "https", node->host, port);
}

int cluster_etcd_endpoints(const struct cluster_units *u, char *text, size_t room)
{
	size_t used = 0;

	for (size_t i = 0; i < cluster_etcd_members(u->map->node_count); i++) {
		if (i && used < room)
			text[used++] = ',';
		used += used < room ? (size_t)member_url(u, i, false, text + used, room - used) : 0;
		if (used >= room)
			return -ENOSPC;
	}
	return (int)used;
}

/* etcd listens on addresses only: for a name on all of the host's. */
static void listen_url(const char *url, const char *host, char *text, size_t room)
{
	uint8_t address[16];
	const char *port = strrchr(url, ':');

	if (inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1)
		snprintf(text, room, "%s", url);
	else
		snprintf(text, room, "%.*s://0.0.0.0%s", (int)strcspn(url, ":"), url, port);
}

#define SECURITY(which)                                            \
	which "-transport-security:\n"                             \
	      "  cert-file: " CLUSTER_CONFIG_DIR "/node.pem\n"     \
	      "  key-file: " CLUSTER_CONFIG_DIR "/node.pem\n"      \
	      "  trusted-ca-file: " CLUSTER_CONFIG_DIR "/ca.pem\n" \
	      "  client-cert-auth: true\n"

char *cluster_etcd_yaml(const struct cluster_units *u, const struct cluster_node *node)
{
	char client[300], peer[300], listen_client[300], listen_peer[300], all[CLUSTER_ETCD_MEMBERS_MAX * 330] = "";
	size_t self = (size_t)(node - u->map->node), used = 0;

	member_url(u, self, false, client, sizeof client);
	member_url(u, self, true, peer, sizeof peer);
	listen_url(client, node->host, listen_client, sizeof listen_client);
	listen_url(peer, node->host, listen_peer, sizeof listen_peer);
	for (size_t i = 0; i < cluster_etcd_members(u->map->node_count); i++) {
		used += (size_t)snprintf(all + used, sizeof all - used, "%snode-%u=", i ? "," : "", u->map->node[i].id);
		used += (size_t)member_url(u, i, true, all + used, sizeof all - used);
	}
	return text_of(
		"# What the nodes of a garnerfs cluster agree on. For etcd 3.4 and later: etcd --config-file FILE\n"
		"name: node-%u\n"
		"data-dir: " CLUSTER_ETCD_DIR "\n"
		"listen-client-urls: %s\n"
		"advertise-client-urls: %s\n"
		"listen-peer-urls: %s\n"
		"initial-advertise-peer-urls: %s\n"
		"initial-cluster: %s\n"
		"initial-cluster-token: garnerfs-%s\n"
		"initial-cluster-state: new\n"
		"%s"
		"enable-grpc-gateway: true\n" /* with a file, 3.4 does not do it by itself */
		"auto-compaction-mode: periodic\n"
		"auto-compaction-retention: \"1h\"\n"
		"quota-backend-bytes: 2147483648\n"
		"logger: zap\n"
		"log-level: warn\n",
		node->id, listen_client, client, listen_peer, peer, all, u->map->id,
		u->plain ? "" : SECURITY("client") SECURITY("peer"));
}

char *cluster_etcd_service(const struct cluster_units *u)
{
	return text_of("# The agreement of the garnerfs cluster %s\n"
	               "[Unit]\n"
	               "Description=etcd of the cluster of garnerfs\n"
	               "Documentation=https://etcd.io/docs/v3.4/\n"
	               "Wants=network-online.target\n"
	               "After=network-online.target\n"
	               "\n"
	               "[Service]\n"
	               "Type=notify\n"
	               "User=garnerfs\n"
	               "Group=garnerfs\n"
	               "ExecStart=/usr/bin/etcd --config-file " CLUSTER_CONFIG_DIR "/etcd.yaml\n"
	               "Restart=on-failure\n"
	               "RestartSec=2\n"
	               "LimitNOFILE=65536\n"
	               "StateDirectory=garner-etcd\n"
	               "StateDirectoryMode=0700\n" HARDENING "\n"
	               "[Install]\n"
	               "WantedBy=multi-user.target\n",
	               u->map->id);
}
