/* SPDX-License-Identifier: GPL-3.0-only */
/* pool.c: one store prefix with its format object and keys.
 *
 * Making a pool asks the store to prove what it promises. What is found is kept in the format object, and a store that claims
 * more later is not believed.
 */
#include "image/pool_claim.h"
#include "image/pool_probe.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "base/report.h"
#include "seal/crypto_init.h"

#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The format object, decoded. */
struct pool_format {
	uint8_t uuid[POOL_UUID_BYTES];
	uint64_t created_ns;
	uint64_t grain_bytes;
	uint64_t sealed;
	uint64_t capabilities;
	struct wrapped_key wrapped; /* when sealed */
};

static const struct seal_key plain_key = { .plain = true };

const char *uuid_format(const uint8_t uuid[16], char out[UUID_TEXT_BYTES])
{
	static const char digits[] = "0123456789abcdef";
	char *o = out;

	for (int i = 0; i < 16; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*o++ = '-';
		*o++ = digits[uuid[i] >> 4];
		*o++ = digits[uuid[i] & 15];
	}
	*o = '\0';
	return out;
}

int pool_secret(const char *key_file, const char *passphrase_file, struct secret **secret, struct error *err)
{
	*secret = NULL;
	if (key_file && passphrase_file)
		return error_set(err, -EINVAL, "a key file and a passphrase file were given: a pool has one of them");
	if (key_file)
		return secret_from_key_file(key_file, secret, err);
	if (passphrase_file)
		return secret_from_passphrase_file(passphrase_file, secret, err);
	return 0;
}

/* ---- small objects ----------------------------------------------------------------------------------------------- */

int pool_get_object(struct pool *p, const char *store_key, enum object_kind kind, const struct seal_key *key,
                    struct fields **f, struct error *err)
{
	uint8_t *bytes = malloc(OBJECT_BYTES_MAX + 1);
	size_t len;
	int rc = -EBADMSG;

	if (!bytes)
		return -ENOMEM;
	for (int tries = 0; tries < 2 && rc == -EBADMSG; tries++) {
		rc = store_get_wait(p->store, store_key, 0, bytes, OBJECT_BYTES_MAX + 1, &len, err);
		if (!rc)
			rc = object_decode(bytes, len, kind, store_key, key, f, err);
	}
	free(bytes);
	return rc;
}

int pool_put_object(struct pool *p, const char *store_key, enum object_kind kind, const struct seal_key *key,
                    const struct fields *f, unsigned put_flags, struct error *err)
{
	uint8_t *bytes;
	size_t len;
	int rc = object_encode(f, kind, store_key, key, &bytes, &len);

	if (rc)
		return error_set(err, rc, "cannot make object %s: %s", store_key, strerror(-rc));
	if (put_flags & STORE_PUT_CREATE_ONLY)
		rc = pool_put_new(p->store, store_key, bytes, len, err);
	else
		rc = store_put_wait(p->store, store_key, bytes, len, put_flags, err);
	free(bytes);
	return rc;
}

void image_object_key(uint64_t image, const char *name, char store_key[STORE_KEY_MAX + 1])
{
	snprintf(store_key, STORE_KEY_MAX + 1, "images/%016" PRIx64 "/%s", image, name);
}

int image_get_object(struct pool *p, uint64_t image, const char *name, enum object_kind kind,
                     char store_key[STORE_KEY_MAX + 1], struct fields **f, struct error *err)
{
	struct seal_key sealing;
	int rc;

	image_object_key(image, name, store_key);
	image_key(&p->master, image, &sealing);
	rc = pool_get_object(p, store_key, kind, &sealing, f, err);
	sodium_memzero(&sealing, sizeof sealing);
	return rc;
}

int image_put_object(struct pool *p, uint64_t image, const char *name, enum object_kind kind, const struct fields *f,
                     struct error *err)
{
	char store_key[STORE_KEY_MAX + 1];
	struct seal_key sealing;
	int rc;

	image_object_key(image, name, store_key);
	image_key(&p->master, image, &sealing);
	rc = pool_put_object(p, store_key, kind, &sealing, f, 0, err);
	sodium_memzero(&sealing, sizeof sealing);
	return rc;
}

/* ---- the format object ------------------------------------------------------------------------------------------- */

static struct fields *format_fields(const struct pool_format *format)
{
	struct fields *f = fields_new();

	if (!f)
		return NULL;
	fields_add_u64(f, "version", POOL_VERSION);
	fields_add_bytes(f, "uuid", format->uuid, sizeof format->uuid);
	fields_add_u64(f, "created", format->created_ns);
	fields_add_u64(f, "grain", format->grain_bytes);
	fields_add_u64(f, "capabilities", format->capabilities);
	fields_add_u64(f, "sealed", format->sealed);
	if (format->sealed) {
		fields_add_bytes(f, "salt", format->wrapped.salt, sizeof format->wrapped.salt);
		fields_add_u64(f, "ops", format->wrapped.ops_limit);
		fields_add_u64(f, "mem", format->wrapped.mem_limit);
		fields_add_bytes(f, "key", format->wrapped.bytes, sizeof format->wrapped.bytes);
	}
	return f;
}

/* The uuid makes it differ from what any other host puts there. */
static int format_claim(struct pool *p, const struct pool_format *format, struct error *err)
{
	struct fields *f = format_fields(format);
	int rc = f ? pool_claim(p, POOL_KEY, OBJECT_POOL, &plain_key, f, err) : -ENOMEM;

	fields_free(f);
	if (rc == -EEXIST)
		return error_set(err, rc, "already a pool: %s (made by another host just now)", p->store->url);
	if (rc == -ETIMEDOUT || rc == -EAGAIN)
		return error_prefix(err, rc, "%s: there may be a pool now, or not (garner info says)", p->store->url);
	return rc;
}

static int format_replace(struct pool *p, const struct pool_format *format, struct error *err)
{
	struct fields *f = format_fields(format);
	int rc = f ? pool_put_object(p, POOL_KEY, OBJECT_POOL, &plain_key, f, 0, err) : -ENOMEM;

	fields_free(f);
	return rc;
}

static int format_parse(const struct fields *f, struct pool_format *format, struct error *err)
{
	uint64_t version;

	memset(format, 0, sizeof *format);
	if (fields_u64(f, "version", &version) || version == 0)
		return error_set(err, -EBADMSG, "the pool's format object has no version");
	if (version > POOL_VERSION)
		return error_set(err, -EPROTONOSUPPORT,
		                 "the pool has format version %" PRIu64
		                 ", and this garnerfs knows up to %d: upgrade it",
		                 version, POOL_VERSION);
	if (fields_bytes(f, "uuid", format->uuid, sizeof format->uuid) ||
	    fields_u64(f, "created", &format->created_ns) || fields_u64(f, "grain", &format->grain_bytes) ||
	    fields_u64(f, "sealed", &format->sealed) || fields_u64(f, "capabilities", &format->capabilities) ||
	    format->sealed > 1)
		return error_set(err, -EBADMSG, "the pool's format object is damaged");
	if (!grain_bytes_valid(format->grain_bytes))
		return error_set(err, -EBADMSG, "the pool's format object names an impossible grain size: %" PRIu64,
		                 format->grain_bytes);
	if (format->sealed &&
	    (fields_bytes(f, "salt", format->wrapped.salt, sizeof format->wrapped.salt) ||
	     fields_u64(f, "ops", &format->wrapped.ops_limit) || fields_u64(f, "mem", &format->wrapped.mem_limit) ||
	     fields_bytes(f, "key", format->wrapped.bytes, sizeof format->wrapped.bytes)))
		return error_set(err, -EBADMSG,
		                 "the pool's format object says sealed, but its key is missing or damaged");
	return 0;
}

static int format_load(struct pool *p, struct pool_format *format, struct error *err)
{
	struct fields *f;
	int rc = pool_get_object(p, POOL_KEY, OBJECT_POOL, &plain_key, &f, err);

	if (rc == -ENOENT)
		return error_set(err, rc, "no pool at %s: make one with garner init", p->store->url);
	if (rc)
		return rc;
	rc = format_parse(f, format, err);
	fields_free(f);
	return rc;
}

/* ---- making a pool ----------------------------------------------------------------------------------------------- */

static int is_content(void *arg, const struct store_entry *entry)
{
	(void)arg;
	return strncmp(entry->key, PROBE_PREFIX, strlen(PROBE_PREFIX)) != 0;
}

/* 1, 0, or -errno. */
static int store_is_empty(struct store *s, struct error *err)
{
	int rc = store_list_each(s, "", NULL, is_content, NULL, err);

	return rc < 0 ? rc : rc == 0;
}

static int check_place_is_free(struct store *s, struct error *err)
{
	uint64_t size;
	int rc = store_head_wait(s, POOL_KEY, &size, err);

	if (rc == 0)
		return error_set(err, -EEXIST, "already a pool: %s", s->url);
	if (rc != -ENOENT)
		return rc;
	rc = store_is_empty(s, err);
	if (rc < 0)
		return rc;
	if (rc == 0)
		return error_set(err, -ENOTEMPTY, "%s holds other objects: a pool needs a place of its own", s->url);
	return 0;
}

static int make_format(struct pool_format *format, const struct secret *secret, uint32_t grain_bytes, struct error *err)
{
	struct seal_key master;
	int rc;

	randombytes_buf(format->uuid, sizeof format->uuid);
	format->uuid[6] = (uint8_t)((format->uuid[6] & 0x0f) | 0x40); /* RFC 4122: version 4 */
	format->uuid[8] = (uint8_t)((format->uuid[8] & 0x3f) | 0x80);
	format->created_ns = clock_wall_ns();
	format->grain_bytes = grain_bytes;
	format->sealed = secret != NULL;
	if (!secret)
		return 0;
	master_key_new(&master);
	rc = master_key_wrap(&master, secret, &format->wrapped, err);
	sodium_memzero(&master, sizeof master);
	return rc;
}

/* 0 stands for the smallest. */
static int check_grain(uint32_t grain_bytes, struct error *err)
{
	if (grain_bytes == 0 || grain_bytes_valid(grain_bytes))
		return 0;
	return error_set(err, -EINVAL, "grain size %" PRIu32 ": it must be a power of two from %u to %u", grain_bytes,
	                 GRAIN_BYTES_MIN, GRAIN_BYTES_MAX);
}

static bool can_tell_hosts_apart(const struct store *s)
{
	return s->capabilities & (STORE_CREATE_ONLY | STORE_READ_LATEST);
}

int pool_make(struct store *s, const struct pool_clock *clock, const struct secret *secret, uint32_t grain_bytes,
              struct error *err)
{
	struct pool_format format = { 0 };
	struct pool p = { .store = s, .clock = clock };
	int rc;

	crypto_init();
	rc = check_grain(grain_bytes, err);
	if (!rc)
		rc = check_place_is_free(s, err);
	if (!rc)
		rc = pool_probe(s, &format.capabilities, err);
	if (rc)
		return rc;
	s->capabilities &= (unsigned)format.capabilities;
	rc = make_format(&format, secret, grain_bytes ? grain_bytes : GRAIN_BYTES_MIN, err);
	if (!rc)
		rc = format_claim(&p, &format, err);
	if (!rc && !can_tell_hosts_apart(s))
		report_warning("%s: the store cannot tell two hosts apart: the pool is written only with "
		               "-o exclusive=yes, by the one host that uses it",
		               s->url);
	return rc;
}

int pool_init(const char *url, const struct store_options *options, const struct secret *secret, uint32_t grain_bytes,
              struct error *err)
{
	struct store_options creating = options ? *options : (struct store_options){ 0 };
	struct store *s;
	int rc = check_grain(grain_bytes, err);

	creating.create = true;
	if (!rc)
		rc = store_open(url, &creating, &s, err);
	if (rc)
		return rc;
	rc = pool_make(s, NULL, secret, grain_bytes, err);
	store_close(s);
	return rc;
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

static int unlock(struct pool *p, const struct pool_format *format, const struct secret *secret, struct error *err)
{
	if (format->sealed && !secret)
		return error_set(
			err, -ENOKEY,
			"the pool at %s is sealed: give its key with --key-file FILE or --passphrase-file FILE",
			p->store->url);
	/* Whoever can write to the store could put a plain format object there, and read what is written after. */
	if (!format->sealed && secret)
		return error_set(err, -EINVAL, "the pool at %s has no key, but one was given: wrong pool?",
		                 p->store->url);
	p->sealed = format->sealed;
	if (format->sealed) {
		int rc = master_key_unwrap(&format->wrapped, secret, &p->master, err);
		if (rc)
			return rc;
	} else {
		p->master.plain = true;
	}
	catalog_key(&p->master, &p->catalog);
	return 0;
}

int pool_open(const char *url, const struct store_options *options, const struct secret *secret, struct pool **pool,
              struct error *err)
{
	struct pool_format format;
	struct pool *p;
	int rc;

	crypto_init();
	p = sodium_malloc(sizeof *p); /* locked memory: it holds keys */
	if (!p)
		return -ENOMEM;
	memset(p, 0, sizeof *p);
	rc = store_open(url, options, &p->store, err);
	if (rc == -ENOKEY)
		rc = -EACCES; /* the store's keys: of a pool it means that its own is missing */
	if (!rc)
		rc = format_load(p, &format, err);
	if (!rc)
		rc = unlock(p, &format, secret, err);
	if (rc) {
		pool_close(p);
		return rc;
	}
	memcpy(p->uuid, format.uuid, sizeof p->uuid);
	p->grain_bytes = (uint32_t)format.grain_bytes;
	p->created_ns = format.created_ns;
	p->store->capabilities &= (unsigned)format.capabilities;
	*pool = p;
	return 0;
}

int pool_may_write(const struct pool *p, bool exclusive, struct error *err)
{
	if (exclusive || can_tell_hosts_apart(p->store))
		return 0;
	return error_set(
		err, -EOPNOTSUPP,
		"%s: the store cannot tell two hosts apart, and two that write one image would destroy it: mount "
		"with -o exclusive=yes if no other host ever uses this pool, or with -o ro",
		p->store->url);
}

void pool_close(struct pool *p)
{
	if (!p)
		return;
	store_close(p->store);
	sodium_free(p); /* wipes */
}

int pool_may_begin(const char *url, const struct store_options *options, struct error *err)
{
	struct store *s;
	int rc = store_open(url, options, &s, err);

	if (rc)
		return rc;
	rc = s->capabilities & STORE_DIRECTORY ? store_is_empty(s, err) : 0;
	store_close(s);
	return rc;
}

int pool_rewrap(struct pool *p, const struct secret *secret, struct error *err)
{
	struct pool_format format;
	int rc;

	if (!p->sealed)
		return error_set(err, -EINVAL, "the pool at %s is plain: it has no key to wrap", p->store->url);
	rc = format_load(p, &format, err);
	if (rc)
		return rc;
	if (!format.sealed || memcmp(format.uuid, p->uuid, sizeof format.uuid) != 0)
		return error_set(err, -ESTALE, "the pool at %s is not the one that was opened", p->store->url);
	rc = master_key_wrap(&p->master, secret, &format.wrapped, err);
	if (rc)
		return rc;
	return format_replace(p, &format, err);
}
