/* SPDX-License-Identifier: GPL-3.0-only */
/* keys.c: wrapping and unwrapping the master key, reading what wraps it, deriving what hangs from it.
 *
 * Wrapped bytes: nonce, then the AEAD of the master key under Argon2id(secret, salt), then its tag. Salt and cost need no
 * binding of their own: another salt or cost gives another wrapping key. Must never put a secret into a message.
 */
#include "seal/keys.h"

#include "seal/crypto_init.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sodium.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#define SECRET_BYTES_MAX 4096
#define KEY_FILE_BYTES_MIN 16
#define PASSPHRASE_CHARS_MIN 8

#define OPS_LIMIT_MAX 100
#define MEM_LIMIT_MAX ((uint64_t)4 << 30)

static const uint8_t wrap_ad[] = "garner master key 1";

static_assert(KEYS_SALT_BYTES == crypto_pwhash_SALTBYTES, "salt size");
static_assert(SEAL_KEY_BYTES == crypto_kdf_KEYBYTES, "kdf key size");

struct secret {
	size_t length;
	uint8_t bytes[SECRET_BYTES_MAX];
};

static struct secret *secret_new(void)
{
	struct secret *s;

	crypto_init();
	/* The size is a multiple of the struct's alignment, which sodium_malloc() needs to return an aligned address. */
	s = sodium_malloc(sizeof *s);
	if (s)
		s->length = 0;
	return s;
}

void secret_free(struct secret *s)
{
	sodium_free(s);
}

static int check_owner_and_mode(int fd, const char *path, struct error *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return error_set(err, -errno, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode) && !S_ISFIFO(st.st_mode))
		return error_set(err, -EINVAL, "%s is not a file", path);
	if (st.st_uid != 0 && st.st_uid != geteuid())
		return error_set(err, -EACCES, "%s belongs to another user; run: chown %u '%s'", path,
		                 (unsigned)geteuid(), path);
	if (st.st_mode & 0177)
		return error_set(err, -EACCES, "%s can be used by others (mode %03o); run: chmod 600 '%s'", path,
		                 (unsigned)(st.st_mode & 0777), path);
	return 0;
}

/* Reads until `len` bytes are there or the input ends. Returns how many, or a negative errno. */
static ssize_t read_all(int fd, uint8_t *buf, size_t len)
{
	size_t got = 0;

	while (got < len) {
		ssize_t n = read(fd, buf + got, len - got);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (n == 0)
			break;
		got += (size_t)n;
	}
	return (ssize_t)got;
}

/* Reads the first SECRET_BYTES_MAX bytes of the file; `*longer` when there are more. */
static int secret_read(const char *path, struct secret **secret, bool *longer, struct error *err)
{
	struct secret *s = NULL;
	uint8_t one_more;
	ssize_t n;
	int fd, rc;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0)
		return error_set(err, -errno, "%s: %s", path, strerror(errno));
	rc = check_owner_and_mode(fd, path, err);
	if (rc < 0)
		goto out;
	s = secret_new();
	if (!s) {
		rc = error_set(err, -ENOMEM, "%s: no memory that can be locked", path);
		goto out;
	}
	n = read_all(fd, s->bytes, sizeof s->bytes);
	if (n >= 0) {
		s->length = (size_t)n;
		n = read_all(fd, &one_more, 1);
		sodium_memzero(&one_more, 1);
	}
	if (n < 0) {
		rc = error_set(err, (int)n, "%s: %s", path, strerror((int)-n));
		goto out;
	}
	*longer = n > 0;
	*secret = s;
	s = NULL;
out:
	secret_free(s);
	close(fd);
	return rc;
}

int secret_from_key_file(const char *path, struct secret **secret, struct error *err)
{
	struct secret *s = NULL;
	bool longer;
	int rc = secret_read(path, &s, &longer, err);

	if (rc < 0)
		return rc;
	if (longer || s->length < KEY_FILE_BYTES_MIN) {
		rc = error_set(err, -EINVAL, "key file %s is too %s: it must hold %d to %d bytes", path,
		               longer ? "long" : "short", KEY_FILE_BYTES_MIN, SECRET_BYTES_MAX);
		secret_free(s);
		return rc;
	}
	*secret = s;
	return 0;
}

/* Characters of UTF-8 text: bytes that do not continue one. */
static size_t count_characters(const uint8_t *text, size_t len)
{
	size_t count = 0;

	for (size_t i = 0; i < len; i++)
		count += (text[i] & 0xc0) != 0x80;
	return count;
}

/* Cuts `s` at the end of its first line. False when no line ends in what was read and there is more. */
static bool cut_first_line(struct secret *s, bool longer)
{
	uint8_t *end = memchr(s->bytes, '\n', s->length);

	if (!end)
		return !longer;
	size_t length = (size_t)(end - s->bytes);
	sodium_memzero(end, s->length - length);
	s->length = length;
	return true;
}

int secret_from_passphrase_file(const char *path, struct secret **secret, struct error *err)
{
	struct secret *s = NULL;
	bool longer;
	int rc = secret_read(path, &s, &longer, err);

	if (rc < 0)
		return rc;
	if (!cut_first_line(s, longer))
		rc = error_set(err, -EINVAL, "the first line of %s is longer than %d bytes", path, SECRET_BYTES_MAX);
	else if (count_characters(s->bytes, s->length) < PASSPHRASE_CHARS_MIN)
		rc = error_set(err, -EINVAL, "the passphrase in %s is too short: at least %d characters", path,
		               PASSPHRASE_CHARS_MIN);
	if (rc < 0) {
		secret_free(s);
		return rc;
	}
	*secret = s;
	return 0;
}

static int write_text(int fd, const char *text)
{
	size_t len = strlen(text);

	while (len) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		text += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Reads one line into `s`. Ends with -EINTR when a signal waits on `signals`. */
static int read_line(int tty, int signals, struct secret *s)
{
	struct pollfd fds[2] = { { .fd = tty, .events = POLLIN }, { .fd = signals, .events = POLLIN } };

	for (;;) {
		uint8_t c;
		ssize_t n;

		if (poll(fds, 2, -1) < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (fds[1].revents)
			return -EINTR;
		n = read(tty, &c, 1);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0)
			return -errno;
		if (n == 0 || c == '\n')
			return 0;
		if (s->length == sizeof s->bytes)
			return -EINVAL;
		s->bytes[s->length++] = c;
		sodium_memzero(&c, 1);
	}
}

/* Asks once, echo off. Signals that would end or stop the program are held back until the terminal is as it was. */
static int ask(int tty, const char *prompt, struct secret *s)
{
	struct termios before, quiet;
	sigset_t held, mask;
	int signals, rc, rc2;

	sigemptyset(&held);
	sigaddset(&held, SIGINT);
	sigaddset(&held, SIGQUIT);
	sigaddset(&held, SIGTERM);
	sigaddset(&held, SIGHUP);
	sigaddset(&held, SIGTSTP);
	rc = -pthread_sigmask(SIG_BLOCK, &held, &mask);
	if (rc < 0)
		return rc;
	signals = signalfd(-1, &held, SFD_CLOEXEC | SFD_NONBLOCK);
	if (signals < 0 || tcgetattr(tty, &before) < 0) {
		rc = -errno;
		goto out;
	}
	quiet = before;
	quiet.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK | ECHONL);
	quiet.c_lflag |= ICANON | ISIG;
	if (tcsetattr(tty, TCSAFLUSH, &quiet) < 0) {
		rc = -errno;
		goto out;
	}
	rc = write_text(tty, prompt);
	if (rc == 0)
		rc = read_line(tty, signals, s);
	if (tcsetattr(tty, TCSAFLUSH, &before) < 0 && rc == 0)
		rc = -errno;
	rc2 = write_text(tty, "\n");
	if (rc == 0)
		rc = rc2;
out:
	if (signals >= 0)
		close(signals);
	rc2 = -pthread_sigmask(SIG_SETMASK, &mask, NULL);
	return rc < 0 ? rc : rc2;
}

/* Asks again and compares. */
static int ask_again(int tty, const struct secret *first, struct error *err)
{
	struct secret *again = secret_new();
	int rc;

	if (!again)
		return error_set(err, -ENOMEM, "no memory that can be locked");
	rc = ask(tty, "Again: ", again);
	if (rc < 0)
		error_set(err, rc, "asking for the passphrase: %s", strerror(-rc));
	else if (again->length != first->length || sodium_memcmp(again->bytes, first->bytes, first->length) != 0)
		rc = error_set(err, -EINVAL, "the two passphrases differ");
	secret_free(again);
	return rc;
}

int secret_from_terminal(const char *prompt, bool confirm, struct secret **secret, struct error *err)
{
	struct secret *s = NULL;
	int tty, rc;

	tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
	if (tty < 0 || !isatty(tty)) {
		rc = error_set(err, -ENOTTY,
		               "no terminal to ask for the passphrase; use a passphrase file or a key file");
		goto out;
	}
	s = secret_new();
	if (!s) {
		rc = error_set(err, -ENOMEM, "no memory that can be locked");
		goto out;
	}
	rc = ask(tty, prompt, s);
	if (rc < 0) {
		error_set(err, rc, "asking for the passphrase: %s", strerror(-rc));
		goto out;
	}
	if (count_characters(s->bytes, s->length) < PASSPHRASE_CHARS_MIN) {
		rc = error_set(err, -EINVAL, "the passphrase is too short: at least %d characters",
		               PASSPHRASE_CHARS_MIN);
		goto out;
	}
	if (confirm)
		rc = ask_again(tty, s, err);
	if (rc < 0)
		goto out;
	*secret = s;
	s = NULL;
out:
	secret_free(s);
	if (tty >= 0)
		close(tty);
	return rc;
}

void master_key_new(struct seal_key *master)
{
	crypto_init();
	master->plain = false;
	randombytes_buf(master->bytes, sizeof master->bytes);
}

/* The key that wraps: Argon2id of the secret at the cost that `wrapped` names. */
static int wrapping_key(const struct wrapped_key *wrapped, const struct secret *secret, uint8_t key[SEAL_KEY_BYTES],
                        struct error *err)
{
	if (crypto_pwhash(key, SEAL_KEY_BYTES, (const char *)secret->bytes, secret->length, wrapped->salt,
	                  wrapped->ops_limit, wrapped->mem_limit, crypto_pwhash_ALG_ARGON2ID13) != 0)
		return error_set(err, -ENOMEM, "no memory to derive the key: %" PRIu64 " MiB are needed",
		                 (wrapped->mem_limit + (1 << 20) - 1) >> 20);
	return 0;
}

int master_key_wrap(const struct seal_key *master, const struct secret *secret, struct wrapped_key *wrapped,
                    struct error *err)
{
	uint8_t key[SEAL_KEY_BYTES];
	int rc;

	assert(!master->plain);
	crypto_init();
	memset(wrapped, 0, sizeof *wrapped);
	randombytes_buf(wrapped->salt, sizeof wrapped->salt);
	wrapped->ops_limit = crypto_pwhash_OPSLIMIT_INTERACTIVE;
	wrapped->mem_limit = crypto_pwhash_MEMLIMIT_INTERACTIVE;
	rc = wrapping_key(wrapped, secret, key, err);
	if (rc == 0) {
		randombytes_buf(wrapped->bytes, SEAL_NONCE_BYTES);
		crypto_aead_xchacha20poly1305_ietf_encrypt(wrapped->bytes + SEAL_NONCE_BYTES, NULL, master->bytes,
		                                           SEAL_KEY_BYTES, wrap_ad, sizeof wrap_ad, NULL,
		                                           wrapped->bytes, key);
	}
	sodium_memzero(key, sizeof key);
	return rc;
}

int master_key_unwrap(const struct wrapped_key *wrapped, const struct secret *secret, struct seal_key *master,
                      struct error *err)
{
	uint8_t key[SEAL_KEY_BYTES];
	int rc;

	crypto_init();
	if (wrapped->ops_limit < crypto_pwhash_OPSLIMIT_MIN || wrapped->ops_limit > OPS_LIMIT_MAX ||
	    wrapped->mem_limit < crypto_pwhash_MEMLIMIT_MIN || wrapped->mem_limit > MEM_LIMIT_MAX)
		return error_set(err, -EBADMSG,
		                 "the wrapped key asks for an absurd cost: %" PRIu64 " passes over %" PRIu64 " bytes",
		                 wrapped->ops_limit, wrapped->mem_limit);
	memset(master, 0, sizeof *master);
	rc = wrapping_key(wrapped, secret, key, err);
	if (rc == 0 && crypto_aead_xchacha20poly1305_ietf_decrypt(
			       master->bytes, NULL, NULL, wrapped->bytes + SEAL_NONCE_BYTES,
			       SEAL_KEY_BYTES + SEAL_TAG_BYTES, wrap_ad, sizeof wrap_ad, wrapped->bytes, key) != 0)
		rc = error_set(err, -EKEYREJECTED, "wrong passphrase or key file");
	if (rc < 0)
		sodium_memzero(master, sizeof *master);
	sodium_memzero(key, sizeof key);
	return rc;
}

static void derive(const struct seal_key *master, uint64_t id, const char context[crypto_kdf_CONTEXTBYTES],
                   struct seal_key *out)
{
	crypto_init();
	memset(out, 0, sizeof *out);
	out->plain = master->plain;
	if (!master->plain)
		crypto_kdf_derive_from_key(out->bytes, sizeof out->bytes, id, context, master->bytes);
}

void image_key(const struct seal_key *master, uint64_t image_id, struct seal_key *out)
{
	derive(master, image_id, "gnrimage", out);
}

void catalog_key(const struct seal_key *master, struct seal_key *out)
{
	derive(master, 1, "gnrcatlg", out);
}
