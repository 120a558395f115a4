/* SPDX-License-Identifier: GPL-3.0-only */
/* fuzz_s3_xml.c: any bytes as each of the three documents of S3: read within the bounds, or refused with a message.
 *
 * The first byte chooses: the rest as a body; the rest inside the frame of a listing, a deletion or an error.
 */
#include "store/s3_xml.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

/* Refused for one of the reasons there are, and in words. */
static void check_refusal(int rc, const struct error *err)
{
	if ((rc != -EBADMSG && rc != -EIO && rc != -ENOMEM) || err->code != rc || !*error_text(err) ||
	    strpbrk(err->text, "\r\n"))
		abort();
}

/* Terminated within its room. */
static void check_text(const char *text, size_t room)
{
	if (strnlen(text, room) == room)
		abort();
}

static void listing(const char *body, size_t len)
{
	struct s3_listing l;
	struct error err = { 0 };
	int rc = s3_listing_parse(body, len, &l, &err);

	if (rc < 0) {
		check_refusal(rc, &err);
		if (l.objects.count || l.objects.list)
			abort();
		return;
	}
	if (l.objects.count > LISTED_MAX)
		abort();
	check_text(l.next_token, sizeof l.next_token);
	for (size_t i = 0; i < l.objects.count; i++) {
		check_text(l.objects.list[i].key, sizeof l.objects.list[i].key);
		if (!*l.objects.list[i].key || l.objects.list[i].size > INT64_MAX)
			abort();
	}
	s3_listing_destroy(&l);
}

static void deletion(const char *body, size_t len)
{
	struct s3_deletion d;
	struct error err = { 0 };
	int rc = s3_deletion_parse(body, len, &d, &err);

	if (rc < 0) {
		check_refusal(rc, &err);
		if (d.count || d.failures)
			abort();
		return;
	}
	if (d.count > LISTED_MAX)
		abort();
	for (size_t i = 0; i < d.count; i++) {
		check_text(d.failures[i].key, sizeof d.failures[i].key);
		check_text(d.failures[i].code, sizeof d.failures[i].code);
		check_text(d.failures[i].message, sizeof d.failures[i].message);
		if (!*d.failures[i].key || !*d.failures[i].code)
			abort();
	}
	s3_deletion_destroy(&d);
}

static void error_document(const char *body, size_t len)
{
	struct s3_error e;
	struct error err = { 0 };
	int rc = s3_error_parse(body, len, &e, &err);

	if (rc < 0)
		check_refusal(rc, &err);
	if (rc == -EIO || (rc == 0) != (*e.code != '\0'))
		abort();
	check_text(e.code, sizeof e.code);
	check_text(e.message, sizeof e.message);
	check_text(e.region, sizeof e.region);
	check_text(e.endpoint, sizeof e.endpoint);
	if (strpbrk(e.message, "\r\n"))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len)
{
	static const struct {
		const char *head, *tail;
	} frames[] = {
		{ "", "" },
		{ "<ListBucketResult><IsTruncated>false</IsTruncated>", "</ListBucketResult>" },
		{ "<ListBucketResult><IsTruncated>true</IsTruncated><EncodingType>url</EncodingType><Contents><Key>",
		  "</Key><Size>1</Size></Contents></ListBucketResult>" },
		{ "<DeleteResult><Error><Key>k</Key><Code>", "</Error></DeleteResult>" },
		{ "<Error><Code>c</Code><Message>", "</Message></Error>" },
	};
	size_t head, tail, frame;
	char *body;

	if (len < 1)
		return 0;
	frame = data[0] % (sizeof frames / sizeof frames[0]);
	head = strlen(frames[frame].head);
	tail = strlen(frames[frame].tail);
	/* Exactly as long as it is, so that a read past its end is seen. */
	body = malloc(head + len - 1 + tail);
	if (!body)
		return 0;
	memcpy(body, frames[frame].head, head);
	memcpy(body + head, data + 1, len - 1);
	memcpy(body + head + len - 1, frames[frame].tail, tail);
	listing(body, head + len - 1 + tail);
	deletion(body, head + len - 1 + tail);
	error_document(body, head + len - 1 + tail);
	free(body);
	return 0;
}
