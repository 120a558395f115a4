/* SPDX-License-Identifier: GPL-3.0-only */
/* garner.c: the garner command: the table of its subcommands, help, version. */
#include "cli/command.h"

#include "base/report.h"

#include <stdio.h>
#include <string.h>

#define KEY_WORDS "[--key-file F | --passphrase-file F] [--passwd-file F]"
#define SECRET_DETAIL                                                        \
	"  --key-file F           the pool's key is in file F (mode 0600)\n" \
	"  --passphrase-file F    the pool's passphrase is the first line of F (mode 0600)\n"
#define PASSWD_DETAIL \
	"  --passwd-file F        F holds NAME:SECRET, what logs in to an s3: or swift: store (mode 0600)\n"
#define KEY_DETAIL SECRET_DETAIL PASSWD_DETAIL

static const struct command commands[] = {
	{ "init", "STORE " KEY_WORDS " [--grain 4K]", "make a pool in a store",
	  SECRET_DETAIL "                         with neither, the pool is plain: not encrypted\n" PASSWD_DETAIL
	                "  --grain SIZE           unit of mapping of new images, 4K to 64K (4K)\n",
	  cmd_init },
	{ "create", "IMAGE SIZE", "make an empty image of that size, like truncate -s",
	  "  IMAGE                  a name in a mount that does not exist yet: /mnt/disks/vm1.raw\n"
	  "  SIZE                   10G, 512M, or bytes\n",
	  cmd_create },
	{ "ls", "MOUNTPOINT|STORE [-l] " KEY_WORDS, "list the images",
	  "  -l                     with size, space in use and time of the last change\n" KEY_DETAIL, cmd_ls },
	{ "info", "IMAGE|STORE [--json] " KEY_WORDS, "what an image or a pool is",
	  "  --json                 for programs\n" KEY_DETAIL, cmd_info },
	{ "status", "MOUNTPOINT|IMAGE [--json]", "how a mount or an image is doing, and how far the store is behind",
	  "  --json                 for programs\n", cmd_status },
	{ "flush", "MOUNTPOINT|IMAGE", "wait until everything written before is in the store", "", cmd_flush },
	{ "import", "FILE IMAGE [--replace] | FILE STORE IMAGE [--replace] " KEY_WORDS " | --onto IMAGE FILE|-",
	  "copy a raw disk file, or what has changed, into a mount or a store",
	  "  STORE IMAGE            a name in the pool of that store, which need not be mounted\n"
	  "  --replace              let the new image take the place of one that has that name\n"
	  "                         Interrupted, it leaves IMAGE.garner-part, and goes on from there when run again.\n"
	  "  --onto IMAGE           FILE, or standard input, is a stream of garner export --since or --stream: IMAGE "
	  "is\n"
	  "                         brought from its snapshot at which the stream begins to that at which it "
	  "ends\n" KEY_DETAIL,
	  cmd_import },
	{ "export",
	  "IMAGE FILE [--replace] | STORE IMAGE[@NAME] FILE [--replace] " KEY_WORDS
	  " | --since NAME|--stream IMAGE[@NAME] FILE|- [--replace]",
	  "copy an image, or what has changed, out of a mount or a store",
	  "  STORE IMAGE[@NAME]     an image in the pool of that store, which need not be mounted, or a snapshot of "
	  "it\n"
	  "  --replace              let the copy take the place of a file that has that name\n"
	  "                         Interrupted, it leaves FILE.garner-part, and goes on from there when run again.\n"
	  "  --since NAME           only what has changed since the snapshot of that name, as a stream for\n"
	  "                         garner import --onto; up to snapshot IMAGE@NAME, or up to now\n"
	  "  --stream               all of it, as such a stream\n" KEY_DETAIL,
	  cmd_export },
	{ "verify", "STORE [IMAGE] " KEY_WORDS, "read everything in a store and check every tag and chain",
	  "  IMAGE                  only that one, by its name in the pool\n" KEY_DETAIL, cmd_verify },
	{ "copy",
	  "STORE STORE [IMAGE] [--key-file F | --passphrase-file F] [--from-passwd-file F] [--to-passwd-file F]",
	  "copy a pool, or one image of it, to another store",
	  "  STORE STORE            where the pool is, and an empty place, or a copy to go on with or to bring up to "
	  "date\n"
	  "  IMAGE                  only that one, by its name in the pool, with the directories above "
	  "it\n" SECRET_DETAIL
	  "  --from-passwd-file F   F holds NAME:SECRET, what logs in to the first store (mode 0600)\n"
	  "  --to-passwd-file F     the same for the second\n"
	  "                         Interrupted, it goes on when run again.\n",
	  cmd_copy },
	{ "snapshot",
	  "create [--group] [--quiesce SOCKET]... IMAGE@NAME... | list IMAGE [--json] | delete|protect|unprotect "
	  "IMAGE@NAME...",
	  "name moments of images",
	  "  create                 of each image as it is now; with --group one moment of all of them (of one NAME)\n"
	  "  --quiesce SOCKET       freeze the file systems of the guest meanwhile, through the socket of its QEMU "
	  "guest "
	  "agent;\n"
	  "                         may be repeated; several images want --group\n"
	  "  list                   what there is, oldest first; --json: for programs\n"
	  "  delete                 what only that snapshot needed is given back\n"
	  "  protect, unprotect     a protected one cannot be deleted\n"
	  "  IMAGE@NAME             an image in a mount, and a name: letters, digits and . _ : + -\n"
	  "                         It is then to be read at MOUNTPOINT/.snapshots/IMAGE/NAME.\n",
	  cmd_snapshot },
	{ "clone", "IMAGE[@NAME] NEW", "make an image that begins as another one, or a snapshot of it",
	  "  IMAGE, IMAGE@NAME      an image in a mount as it is now, or a snapshot of it\n"
	  "  NEW                    the new image, in the same mount\n"
	  "                         They share what they have in common; either can be changed or deleted.\n",
	  cmd_clone },
	{ "rewind", "IMAGE --to MOMENT [--as NEW]", "have an image as it was at some moment",
	  "  --to TIME              \"2026-11-21 23:10:05\" (local time), 2026-11-21T23:10:05Z, or -10m: ten minutes "
	  "ago\n"
	  "  --to @NAME             a snapshot of it\n"
	  "  --to SEGMENT.RECORD    a position of its log, as garner history shows them\n"
	  "  --as NEW               the new image that begins so, in the same mount; IMAGE may be in use, and does not "
	  "change\n"
	  "                         Without it IMAGE itself is then as it was. It must be closed.\n",
	  cmd_rewind },
	{ "history", "IMAGE [--since TIME] [--json] | IMAGE --keep DURATION",
	  "which moments an image can be rewound to, and how many are kept",
	  "  --since TIME           only from then on, as for rewind\n"
	  "  --json                 for programs\n"
	  "  --keep DURATION        from now on every moment of so long a time can be had: 24h, 7d; 0: no more\n",
	  cmd_history },
	{ "flatten", "IMAGE", "part a clone from what it is a clone of",
	  "                         What it shares is copied, and guests go on meanwhile; interrupted, it goes on when "
	  "run again.\n",
	  cmd_flatten },
	{ "diff", "IMAGE@MOMENT IMAGE[@MOMENT] [--json]", "what differs between two moments of an image",
	  "  IMAGE@MOMENT           a snapshot, or a time or log position as for rewind; without @MOMENT: now\n"
	  "  --json                 for programs: a line for each range\n"
	  "                         Says which ranges were written, by the map of the image: no data is read.\n",
	  cmd_diff },
	{ "undelete", "MOUNTPOINT [NAME|ID [IMAGE]]", "what was deleted, and have it back",
	  "                         Without a name: what is in the trash, the oldest first.\n"
	  "  NAME, ID               which of them; an ID where several had that name\n"
	  "  IMAGE                  where it is to be: a name in the mount that does not exist (where it was)\n",
	  cmd_undelete },
	{ "gc", "[--dry-run|--now] MOUNTPOINT|IMAGE...", "give back what nothing needs any more",
	  "  --dry-run              only say what is garbage, and what moving would give\n"
	  "  --now                  do not make way for guests, and delete at once: no host may be reading an older "
	  "state\n"
	  "                         Images in use may be cleaned. Interrupted, it leaves done what was done.\n",
	  cmd_gc },
	{ "df", "[--json] MOUNTPOINT|IMAGE...", "what images take in the store, and for what",
	  "  --json                 for programs: a line for each image\n"
	  "                         live: what the image is now; history: what only its snapshots need; garbage: what\n"
	  "                         garner gc would give back. In bytes as stored, but for logical, allocated and\n"
	  "                         shared.\n",
	  cmd_df },
	{ "takeover", "IMAGE | STORE IMAGE " KEY_WORDS, "take an image over from the host that owns it",
	  "  STORE IMAGE            a name in the pool of that store, which need not be mounted: any host may open it "
	  "then\n" KEY_DETAIL,
	  cmd_takeover },
	{ "cluster",
	  "init --nodes HOST:PORT[@RACK],... --out DIR [--replicas N] [--quorum N] [--data DIR[,DIR...]] [--plain] |\n"
	  "                      status [--json] | map | join HOST:PORT [--rack R] [--weight N] | drain NODE | remove "
	  "NODE [--force] |\n"
	  "                      repair [NODE] | scrub [NODE], each with [--cluster FILE]",
	  "make a cluster of storage nodes, and look after it",
	  "  init                   write all that nodes and gateways need into DIR: map, key, certificates, services\n"
	  "  --replicas, --quorum   how many nodes hold an object (3, or all), and how many are asked (more than "
	  "half)\n"
	  "  --data DIR             where nodes keep objects (/var/lib/garnerd); several drives with commas between\n"
	  "  --plain                no certificates: one host, or a network that nobody else is on\n"
	  "  --etcd-port PORT       of the first etcd of a host, and the next one (2379)\n"
	  "  status                 how all nodes are; exit code 0 only when all is well; --json: for programs\n"
	  "  map                    which nodes there are, as they have agreed\n"
	  "  join, drain, remove    a node more; one whose data is to go to the others; one that has none left "
	  "(--force: or is lost)\n"
	  "  repair, scrub          compare with the other nodes; read all objects and check them; one node, or all\n"
	  "  --cluster FILE         the cluster's file, with key and certificates beside it (/etc/garnerfs/cluster)\n",
	  cmd_cluster },
	{ "key", "STORE " KEY_WORDS " [--new-key-file F | --new-passphrase-file F]",
	  "change the key file or passphrase of a pool",
	  KEY_DETAIL "  --new-key-file F       from now on this is what opens the pool\n"
	             "  --new-passphrase-file F\n",
	  cmd_key },
};

#define COMMANDS (sizeof commands / sizeof commands[0])

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < COMMANDS; i++)
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	return NULL;
}

static void print_help(FILE *out)
{
	fputs("Usage: garner COMMAND [WORD...]\n"
	      "Works with pools of disk images and with the mounts that show them.\n"
	      "\n",
	      out);
	for (size_t i = 0; i < COMMANDS; i++)
		fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
	fputs("\n"
	      "STORE is file:///srv/pool, s3://bucket/prefix, swift://container/prefix or "
	      "node://host:7070/pool?cluster=FILE,\n"
	      "see garnerfs-stores(7);\n"
	      "MOUNTPOINT is where garnerfs shows it; IMAGE is a file in there.\n"
	      "`garner COMMAND --help` tells more, and the manual is garner(1). `garnerfs STORE MOUNTPOINT` mounts a "
	      "pool.\n",
	      out);
}

static int help(int argc, char **argv)
{
	const struct command *c = argc > 1 ? find_command(argv[1]) : NULL;
	char *ask[] = { argv[1], (char[]){ "--help" }, NULL };

	if (c)
		return c->run(c, 2, ask);
	print_help(stdout);
	return EXIT_DONE;
}

int main(int argc, char **argv)
{
	const struct command *c;
	int rc;

	report_init("garner", REPORT_NOTICE);
	if (argc < 2) {
		print_help(stderr);
		return EXIT_USAGE;
	}
	c = find_command(argv[1]);
	if (c) {
		rc = c->run(c, argc - 1, argv + 1);
		return command_finish(c, rc);
	}
	if (!strcmp(argv[1], "help") || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
		rc = help(argc - 1, argv + 1);
	} else if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		printf("garner %s\n", PACKAGE_VERSION);
		rc = EXIT_DONE;
	} else {
		report_error("there is no command '%s': `garner --help` lists them", argv[1]);
		return EXIT_USAGE;
	}
	return command_finish(NULL, rc);
}
