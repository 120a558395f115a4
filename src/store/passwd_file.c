/* SPDX-License-Identifier: GPL-3.0-only */
/* passwd_file.c: a small file that holds what logs in to a store. Must never put what it holds into a message. */
#include "store/passwd_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX ((size_t)4096)

struct opened {
	int fd;
	struct stat st;
};

/* Not blocking, so that a FIFO is refused and not waited for. */
static int open_regular(const char *path, struct opened *file, struct error *err)
{
	file->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (file->fd < 0 || fstat(file->fd, &file->st) < 0)
		return error_set(err, -errno, "%s: %s", path, strerror(errno));
	if (!S_ISREG(file->st.st_mode))
		return error_set(err, -EINVAL, "%s is not a regular file", path);
	return 0;
}

static void close_file(struct opened *file)
{
	if (file->fd >= 0)
		close(file->fd);
}

static int check_owner_and_mode(const struct opened *file, const char *path, struct error *err)
{
	if (file->st.st_uid != 0 && file->st.st_uid != geteuid())
		return error_set(err, -EACCES, "%s belongs to another user; run: chown %u '%s'", path,
		                 (unsigned)geteuid(), path);
	if (file->st.st_mode & 077)
		return error_set(err, -EACCES, "%s can be used by others (mode %03o); run: chmod 600 '%s'", path,
		                 (unsigned)(file->st.st_mode & 0777), path);
	return 0;
}

static int load(const struct opened *file, const char *path, char *buf, size_t room, struct error *err)
{
	size_t got = 0;

	while (got < room) {
		ssize_t n = read(file->fd, buf + got, room - got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set(err, -errno, "%s: %s", path, strerror(errno));
		if (n == 0)
			break;
		got += (size_t)n;
	}
	if (got == room)
		return error_set(err, -EFBIG, "%s is longer than %zu bytes: it must be another file", path, room - 1);
	buf[got] = '\0';
	if (strlen(buf) != got)
		return error_set(err, -EINVAL, "%s has zero bytes in it: it is not a text", path);
	return 0;
}

int passwd_file_load(const char *path, char *buf, size_t room, bool *others, struct error *err)
{
	struct opened file;
	int rc = open_regular(path, &file, err);

	if (rc == 0)
		rc = load(&file, path, buf, room, err);
	if (rc == 0 && others)
		*others = file.st.st_mode & 077;
	close_file(&file);
	return rc;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r';
}

/* Cuts `text` into lines that count, without the blanks around them. Returns how many there are, at most `most` + 1. */
static size_t cut_lines(char *text, char **lines, size_t most)
{
	size_t count = 0;
	char *rest = text;

	while (rest && count <= most) {
		char *line = strsep(&rest, "\n"), *end;

		while (is_blank(*line))
			line++;
		for (end = line + strlen(line); end > line && is_blank(end[-1]); end--)
			end[-1] = '\0';
		if (*line == '\0' || *line == '#')
			continue;
		if (count < most)
			lines[count] = line;
		count++;
	}
	return count;
}

/* Where name and secret are. False when the lines are something else. */
static bool find_parts(char **lines, size_t count, const char *known, const char **name, const char **secret)
{
	size_t length = known ? strlen(known) : 0;
	char *colon;

	*name = known ? known : lines[0];
	*secret = lines[count - 1];
	if (count == 2)
		return !known || strcmp(lines[0], known) == 0;
	if (known) {
		if (strncmp(lines[0], known, length) == 0 && lines[0][length] == ':')
			*secret = lines[0] + length + 1;
		return true;
	}
	colon = strrchr(lines[0], ':');
	if (!colon)
		return false;
	*colon = '\0';
	*secret = colon + 1;
	return true;
}

static bool has_control(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ' || *text == 0x7f)
			return true;
	return false;
}

static int parse(const char *path, char *text, const char *known, struct passwd_entry *entry, struct error *err)
{
	const char *name, *secret;
	char *lines[2];
	size_t count = cut_lines(text, lines, 2);

	if (count == 0)
		return error_set(err, -EINVAL, "%s holds no key: write NAME:SECRET into it", path);
	if (count > 2 || !find_parts(lines, count, known, &name, &secret))
		return error_set(err, -EINVAL,
		                 "%s holds neither one line NAME:SECRET nor a name and a secret on two lines%s", path,
		                 known ? ", for the user that was given" : "");
	if (!*name || !*secret)
		return error_set(err, -EINVAL, "%s has an empty name or secret: write NAME:SECRET into it", path);
	if (has_control(name) || has_control(secret))
		return error_set(err, -EINVAL, "%s has control characters in it: write NAME:SECRET into it", path);
	if (strlen(name) > PASSWD_FIELD_MAX || strlen(secret) > PASSWD_FIELD_MAX)
		return error_set(err, -EINVAL, "%s has a name or secret longer than %d bytes", path, PASSWD_FIELD_MAX);
	memcpy(entry->name, name, strlen(name) + 1);
	memcpy(entry->secret, secret, strlen(secret) + 1);
	return 0;
}

int passwd_file_read(const char *path, const char *name, struct passwd_entry *entry, struct error *err)
{
	char text[FILE_MAX + 1];
	struct opened file;
	int rc;

	memset(entry, 0, sizeof *entry);
	rc = open_regular(path, &file, err);
	if (rc == 0)
		rc = check_owner_and_mode(&file, path, err);
	if (rc == 0)
		rc = load(&file, path, text, sizeof text, err);
	if (rc == 0)
		rc = parse(path, text, name, entry, err);
	close_file(&file);
	sodium_memzero(text, sizeof text);
	return rc;
}
