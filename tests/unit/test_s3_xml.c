/* SPDX-License-Identifier: GPL-3.0-only */
/* test_s3_xml.c: the answers of S3 servers: ordinary, odd and hostile. */
#include "store/s3_xml.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HEAD "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
#define LIST HEAD "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
#define LIST_END "</ListBucketResult>"
#define WHOLE "<IsTruncated>false</IsTruncated>"

/* ---- a text that grows ---- */

struct text {
	char *bytes;
	size_t used, room;
};

static void append(struct text *t, const char *more)
{
	size_t len = strlen(more);

	if (t->used + len + 1 > t->room) {
		t->room = 2 * (t->used + len + 1);
		t->bytes = realloc(t->bytes, t->room);
		assert_non_null(t->bytes);
	}
	memcpy(t->bytes + t->used, more, len + 1);
	t->used += len;
}

static void append_times(struct text *t, const char *more, size_t times)
{
	for (size_t i = 0; i < times; i++)
		append(t, more);
}

/* ---- what is expected ---- */

static void listing_of(const char *body, struct s3_listing *listing)
{
	struct error err = { 0 };

	if (s3_listing_parse(body, strlen(body), listing, &err) != 0)
		fail_msg("%s", err.text);
}

static void assert_refused(const char *body, size_t len, int rc, const char *word)
{
	struct s3_listing listing;
	struct error err = { 0 };

	assert_int_equal(s3_listing_parse(body, len, &listing, NULL), rc);
	assert_int_equal(s3_listing_parse(body, len, &listing, &err), rc);
	assert_int_equal(err.code, rc);
	if (!strstr(err.text, word))
		fail_msg("'%s' does not say '%s'", err.text, word);
	assert_null(listing.objects.list);
	assert_int_equal(listing.objects.count, 0);
	assert_string_equal(listing.next_token, "");
	assert_false(listing.truncated);
}

static void assert_no_listing(const char *body, const char *word)
{
	assert_refused(body, strlen(body), -EBADMSG, word);
}

/* A key as it comes out of a listing. */
static void assert_key(const char *sent, bool encoded, const char *key)
{
	struct text t = { 0 };
	struct s3_listing listing;

	append(&t, LIST WHOLE "<Contents><Key>");
	append(&t, sent);
	append(&t, "</Key><Size>1</Size></Contents>");
	append(&t, encoded ? "<EncodingType>url</EncodingType>" LIST_END : LIST_END);
	listing_of(t.bytes, &listing);
	assert_string_equal(listing.objects.list[0].key, key);
	s3_listing_destroy(&listing);
	free(t.bytes);
}

/* ---- listings ---- */

static void a_page_is_read(void **state)
{
	static const char body[] = LIST
		"<Name>bucket</Name><Prefix>p/</Prefix><NextContinuationToken>1ueG&amp;cX/=</NextContinuationToken>"
		"<KeyCount>2</KeyCount><MaxKeys>2</MaxKeys><EncodingType>url</EncodingType><IsTruncated>true</"
		"IsTruncated>"
		"<Contents><Key>p%2Fimages/a</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified>"
		"<ETag>&quot;70ee1738b6b21e2c8a43f3a5ab0eee71&quot;</ETag><Size>434234</Size>"
		"<StorageClass>STANDARD</StorageClass><Owner><ID>1</ID><Key>not this one</Key></Owner></Contents>\n"
		"  <Contents>\n    <ETag>\"x\"</ETag>\n    "
		"<Size>9223372036854775807</Size><Key>p%2Fb%C3%A4+%2B%25</Key></Contents>"
		"<CommonPrefixes><Prefix>q/</Prefix></CommonPrefixes>" LIST_END;
	struct s3_listing listing;

	(void)state;
	listing_of(body, &listing);
	assert_int_equal(listing.objects.count, 2);
	assert_string_equal(listing.objects.list[0].key, "p/images/a");
	assert_int_equal(listing.objects.list[0].size, 434234);
	assert_int_equal(listing.objects.list[0].version, listed_version("70ee1738b6b21e2c8a43f3a5ab0eee71"));
	assert_string_equal(listing.objects.list[1].key, "p/bä +%");
	assert_int_equal(listing.objects.list[1].size, INT64_MAX);
	assert_int_equal(listing.objects.list[1].version, listed_version("x"));
	assert_true(listing.truncated);
	assert_string_equal(listing.next_token, "1ueG&cX/=");
	s3_listing_destroy(&listing);
	assert_null(listing.objects.list);
	s3_listing_destroy(&listing);
}

static void an_empty_page_is_read(void **state)
{
	struct s3_listing listing;

	(void)state;
	listing_of(LIST WHOLE "<KeyCount>0</KeyCount><Contents2/><Prefix/>" LIST_END, &listing);
	assert_int_equal(listing.objects.count, 0);
	assert_false(listing.truncated);
	assert_string_equal(listing.next_token, "");
	s3_listing_destroy(&listing);
	/* Without the namespace and declaration, as small servers send it. */
	listing_of("<ListBucketResult>" WHOLE "</ListBucketResult>", &listing);
	s3_listing_destroy(&listing);
}

static void keys_are_decoded_only_when_the_answer_says_that_they_are_encoded(void **state)
{
	(void)state;
	assert_key("a%2Fb+c", false, "a%2Fb+c");
	assert_key("a%2Fb+c", true, "a/b c");
	assert_key("a%2fb%25%41", true, "a/b%A");
	assert_key("%01%ff", true, "\x01\xff");
	assert_key("&lt;&#x61;<![CDATA[&]]>&gt;", false, "<a&>");
	assert_key("a<!-- x -->b<other>c</other>d", false, "abd");
	assert_key("%", false, "%");
}

static void keys_that_are_not_encoded_as_they_should_be_are_refused(void **state)
{
	static const char *const keys[] = { "%", "a%2", "%zz", "%4g", "%g4", "a%00b", "%%41" };

	(void)state;
	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
		char body[500];

		(void)snprintf(body, sizeof body,
		               LIST WHOLE
		               "<EncodingType>url</EncodingType><Contents><Key>%s</Key><Size>1</Size></Contents>"
		               "<Contents><Key>2a</Key><Size>1</Size></Contents>" LIST_END,
		               keys[i]);
		assert_no_listing(body, "not encoded");
	}
	assert_no_listing(LIST WHOLE "<EncodingType>rot13</EncodingType>" LIST_END, "unknown encoding");
}

static void a_key_has_up_to_1024_bytes_however_it_is_sent(void **state)
{
	struct text sent = { 0 }, key = { 0 }, body = { 0 };

	(void)state;
	append_times(&sent, "%61", LISTED_KEY_MAX);
	append_times(&key, "a", LISTED_KEY_MAX);
	assert_key(sent.bytes, true, key.bytes);
	assert_key(key.bytes, false, key.bytes);

	append(&body, LIST WHOLE "<Contents><Size>1</Size><Key>");
	append(&body, key.bytes);
	append(&body, "a</Key></Contents>" LIST_END);
	assert_no_listing(body.bytes, "longer than 1024");
	body.used = 0;
	append(&body, LIST WHOLE "<EncodingType>url</EncodingType><Contents><Size>1</Size><Key>");
	append(&body, sent.bytes);
	append(&body, "a</Key></Contents>" LIST_END);
	assert_no_listing(body.bytes, "longer than");
	free(body.bytes);
	free(key.bytes);
	free(sent.bytes);
}

static void a_page_has_up_to_1000_objects(void **state)
{
	struct text body = { 0 };
	struct s3_listing listing;
	char one[200];

	(void)state;
	append(&body, LIST "<EncodingType>url</EncodingType>" WHOLE);
	for (int i = 0; i < LISTED_MAX; i++) {
		(void)snprintf(one, sizeof one, "<Contents><Key>a%%2F%d</Key><ETag>%d</ETag><Size>%d</Size></Contents>",
		               i, i, i);
		append(&body, one);
	}
	append(&body, LIST_END);
	listing_of(body.bytes, &listing);
	assert_int_equal(listing.objects.count, LISTED_MAX);
	for (size_t i = 0; i < LISTED_MAX; i++) {
		(void)snprintf(one, sizeof one, "a/%zu", i);
		assert_string_equal(listing.objects.list[i].key, one);
		assert_int_equal(listing.objects.list[i].size, i);
		assert_int_equal(listing.objects.list[i].version, listed_version(one + 2));
	}
	s3_listing_destroy(&listing);

	body.used -= strlen(LIST_END);
	append(&body, "<Contents><Key>b</Key><Size>0</Size></Contents>" LIST_END);
	assert_no_listing(body.bytes, "more than the 1000");
	free(body.bytes);
}

static void an_object_needs_a_key_and_a_size(void **state)
{
	static const char *const sizes[] = { "",
		                             "-1",
		                             "+1",
		                             "1 ",
		                             " 1",
		                             "1.5",
		                             "0x10",
		                             "1e3",
		                             "9223372036854775808",
		                             "18446744073709551616",
		                             "99999999999999999999999" };

	(void)state;
	assert_no_listing(LIST WHOLE "<Contents><Size>1</Size></Contents>" LIST_END, "without a key");
	assert_no_listing(LIST WHOLE "<Contents/>" LIST_END, "without a key");
	assert_no_listing(LIST WHOLE "<Contents><Key>a</Key></Contents>" LIST_END, "size");
	/* What an object lacks is not taken from the one before it. */
	assert_no_listing(LIST WHOLE
	                  "<Contents><Key>a</Key><Size>1</Size></Contents><Contents><Key>b</Key></Contents>" LIST_END,
	                  "size");
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		char body[400];

		(void)snprintf(body, sizeof body,
		               LIST WHOLE "<Contents><Key>a</Key><Size>%s</Size></Contents>" LIST_END, sizes[i]);
		assert_no_listing(body, "size");
	}
}

static void an_object_without_an_etag_has_no_known_version(void **state)
{
	struct s3_listing listing;

	(void)state;
	listing_of(LIST WHOLE "<Contents><Key>a</Key><ETag>e</ETag><Size>1</Size></Contents>"
	                      "<Contents><Key>b</Key><Size>1</Size></Contents>" LIST_END,
	           &listing);
	assert_int_not_equal(listing.objects.list[0].version, 0);
	assert_int_equal(listing.objects.list[1].version, 0);
	s3_listing_destroy(&listing);
}

static void a_listing_says_whether_it_is_whole(void **state)
{
	(void)state;
	assert_no_listing(LIST LIST_END, "IsTruncated");
	assert_no_listing(LIST "<IsTruncated>maybe</IsTruncated>" LIST_END, "IsTruncated");
	assert_no_listing(LIST "<IsTruncated></IsTruncated>" LIST_END, "IsTruncated");
	assert_no_listing(LIST
	                  "<Contents><IsTruncated>false</IsTruncated><Key>a</Key><Size>1</Size></Contents>" LIST_END,
	                  "IsTruncated");
	assert_no_listing(LIST "<IsTruncated>falsefalsefalse</IsTruncated>" LIST_END, "longer than");
}

static void what_is_said_twice_is_refused(void **state)
{
	(void)state;
	assert_no_listing(LIST WHOLE WHOLE LIST_END, "two IsTruncated");
	assert_no_listing(LIST WHOLE "<Contents><Key>a</Key><Key>b</Key><Size>1</Size></Contents>" LIST_END, "two Key");
	assert_no_listing(LIST WHOLE "<Contents><Key/><Key>b</Key><Size>1</Size></Contents>" LIST_END, "two Key");
}

static void what_is_no_listing_is_refused(void **state)
{
	static const char *const bodies[] = { "",
		                              " ",
		                              "x",
		                              "{}",
		                              "<html><body>502 Bad Gateway</body></html>",
		                              "<ListAllMyBucketsResult/>",
		                              LIST WHOLE,
		                              LIST WHOLE "</Other>",
		                              LIST WHOLE LIST_END LIST WHOLE LIST_END,
		                              LIST WHOLE "&undefined;" LIST_END,
		                              LIST WHOLE "<Contents><Key>\xff\xfe</Key></Contents>" LIST_END,
		                              LIST WHOLE "<Contents><Key>&#0;</Key></Contents>" LIST_END,
		                              "<?xml version=\"1.0\" encoding=\"nonsense\"?><ListBucketResult/>" };

	(void)state;
	for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++)
		assert_no_listing(bodies[i], "no ListBucketResult document");
	assert_refused(NULL, 0, -EBADMSG, "no ListBucketResult document");
	/* A byte 0 in the middle, and a body that is cut anywhere. */
	assert_refused(LIST WHOLE "\0" LIST_END, sizeof(LIST WHOLE "\0" LIST_END) - 1, -EBADMSG, "no ListBucketResult");
	for (size_t len = 0; len < strlen(LIST WHOLE LIST_END); len++)
		assert_refused(LIST WHOLE LIST_END, len, -EBADMSG, "no ListBucketResult");
}

static void an_error_document_in_place_of_a_listing_is_an_error_with_its_words(void **state)
{
	static const char body[] = HEAD "<Error><Code>InternalError</Code><Message>try\nagain</Message></Error>";

	(void)state;
	assert_refused(body, strlen(body), -EIO, "InternalError: try again");
	assert_refused("<Error><Code>A</Code></Error>", strlen("<Error><Code>A</Code></Error>"), -EIO, "refused: A");
	assert_no_listing("<Error/>", "no ListBucketResult");
}

static void documents_that_declare_entities_are_refused_before_they_grow(void **state)
{
	static const char laughs[] =
		"<?xml version=\"1.0\"?><!DOCTYPE ListBucketResult [<!ENTITY a \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\">"
		"<!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;\"><!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;\">"
		"<!ENTITY d \"&c;&c;&c;&c;&c;&c;&c;&c;\"><!ENTITY e \"&d;&d;&d;&d;&d;&d;&d;&d;\">]>"
		"<ListBucketResult>" WHOLE "<Contents><Key>&e;</Key><Size>1</Size></Contents></ListBucketResult>";
	static const char in_error[] = "<!DOCTYPE Error [<!ENTITY a \"x\">]><Error><Code>&a;</Code></Error>";
	struct s3_error error;

	(void)state;
	assert_no_listing(laughs, "document type");
	assert_no_listing("<!DOCTYPE ListBucketResult SYSTEM \"file:///etc/passwd\"><ListBucketResult/>",
	                  "document type");
	assert_no_listing("<!DOCTYPE html><html/>", "document type");
	assert_int_equal(s3_error_parse(in_error, strlen(in_error), &error, NULL), -EBADMSG);
}

static void depth_and_length_are_bounded(void **state)
{
	struct text body = { 0 };
	struct s3_listing listing;

	(void)state;
	append(&body, LIST WHOLE);
	append_times(&body, "<a>", 15);
	append_times(&body, "</a>", 15);
	append(&body, LIST_END);
	listing_of(body.bytes, &listing);
	s3_listing_destroy(&listing);
	body.used = 0;
	append(&body, LIST WHOLE);
	append_times(&body, "<a>", 16);
	append_times(&body, "</a>", 16);
	append(&body, LIST_END);
	assert_no_listing(body.bytes, "nested");
	body.used = 0;
	append(&body, LIST WHOLE);
	append_times(&body, "<a>", 100000);
	assert_no_listing(body.bytes, "nested");

	body.used = 0;
	append(&body, LIST WHOLE "<NextContinuationToken>");
	append_times(&body, "t", S3_TOKEN_MAX);
	append(&body, "</NextContinuationToken>" LIST_END);
	listing_of(body.bytes, &listing);
	assert_int_equal(strlen(listing.next_token), S3_TOKEN_MAX);
	s3_listing_destroy(&listing);
	body.used = 0;
	append(&body, LIST WHOLE "<NextContinuationToken>");
	append_times(&body, "t", S3_TOKEN_MAX + 1);
	assert_no_listing(body.bytes, "NextContinuationToken longer than");

	body.used = 0;
	append(&body, LIST WHOLE);
	append_times(&body, " ", S3_BODY_MAX);
	append(&body, LIST_END);
	assert_no_listing(body.bytes, "longer than 8388608");

	/* Names of elements that nobody asked for may be of any length. */
	body.used = 0;
	append(&body, LIST WHOLE "<");
	append_times(&body, "x", 5000);
	append(&body, "/>" LIST_END);
	listing_of(body.bytes, &listing);
	s3_listing_destroy(&listing);
	free(body.bytes);
}

static void versions_differ_with_the_etag_and_not_with_its_quotes(void **state)
{
	(void)state;
	assert_int_equal(listed_version("\"abc\""), listed_version("abc"));
	assert_int_not_equal(listed_version("abc"), listed_version("abd"));
	assert_int_not_equal(listed_version("abc"), listed_version("\"abc"));
	assert_int_not_equal(listed_version("\""), 0);
	assert_int_equal(listed_version(NULL), 0);
	assert_int_equal(listed_version(""), 0);
	assert_int_equal(listed_version("\"\""), 0);
	/* The same on every host and in every later version: hosts keep it (the BLAKE2b-128 of "abc", its first half). */
	assert_true(listed_version("abc") == UINT64_C(0xcf4ab791c62b8d2b));
}

/* ---- deletions ---- */

static void keys_that_were_not_deleted_are_told_with_the_reason(void **state)
{
	static const char body[] =
		HEAD "<DeleteResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Deleted><Key>a</Key></Deleted>"
		     "<Error><Key>b&amp;c</Key><Code>AccessDenied</Code><Message>Access\tDenied</Message></Error>"
		     "<Error><Code>NoSuchKey</Code><Key>gone</Key></Error>"
		     "<Error><Key>d</Key><VersionId>1</VersionId><Code>InternalError</Code></Error></DeleteResult>";
	struct s3_deletion deletion;

	(void)state;
	assert_int_equal(s3_deletion_parse(body, strlen(body), &deletion, NULL), 0);
	assert_int_equal(deletion.count, 2);
	assert_string_equal(deletion.failures[0].key, "b&c");
	assert_string_equal(deletion.failures[0].code, "AccessDenied");
	assert_string_equal(deletion.failures[0].message, "Access Denied");
	assert_string_equal(deletion.failures[1].key, "d");
	assert_string_equal(deletion.failures[1].code, "InternalError");
	assert_string_equal(deletion.failures[1].message, "");
	s3_deletion_destroy(&deletion);
	assert_int_equal(s3_deletion_parse("<DeleteResult/>", 15, &deletion, NULL), 0);
	assert_int_equal(deletion.count, 0);
	s3_deletion_destroy(&deletion);
}

static void a_deletion_that_is_none_is_refused(void **state)
{
	static const struct {
		const char *body;
		int rc;
		const char *word;
	} cases[] = {
		{ "", -EBADMSG, "no DeleteResult" },
		{ "<html/>", -EBADMSG, "no DeleteResult" },
		{ "<DeleteResult><Error><Key>a</Key></Error></DeleteResult>", -EBADMSG, "which or why" },
		{ "<DeleteResult><Error><Code>a</Code></Error></DeleteResult>", -EBADMSG, "which or why" },
		{ "<DeleteResult><Error><Key>a</Key><Code>b</Code></Error>", -EBADMSG, "no DeleteResult" },
		{ "<Error><Code>MalformedXML</Code></Error>", -EIO, "MalformedXML" },
	};
	struct s3_deletion deletion;

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		struct error err = { 0 };

		assert_int_equal(s3_deletion_parse(cases[i].body, strlen(cases[i].body), &deletion, &err), cases[i].rc);
		assert_non_null(strstr(err.text, cases[i].word));
		assert_null(deletion.failures);
		assert_int_equal(deletion.count, 0);
	}
}

static void a_deletion_fails_for_up_to_1000_keys(void **state)
{
	struct text body = { 0 };
	struct s3_deletion deletion;
	struct error err = { 0 };

	(void)state;
	append(&body, "<DeleteResult>");
	append_times(&body, "<Error><Key>a</Key><Code>b</Code></Error>", LISTED_MAX);
	append(&body, "</DeleteResult>");
	assert_int_equal(s3_deletion_parse(body.bytes, body.used, &deletion, NULL), 0);
	assert_int_equal(deletion.count, LISTED_MAX);
	assert_string_equal(deletion.failures[LISTED_MAX - 1].code, "b");
	s3_deletion_destroy(&deletion);
	body.used -= strlen("</DeleteResult>");
	append(&body, "<Error><Key>a</Key><Code>b</Code></Error></DeleteResult>");
	assert_int_equal(s3_deletion_parse(body.bytes, body.used, &deletion, &err), -EBADMSG);
	assert_non_null(strstr(err.text, "1000"));
	free(body.bytes);
}

/* ---- errors ---- */

static void an_error_document_is_read(void **state)
{
	static const char body[] = HEAD
		"<Error><Code>AuthorizationHeaderMalformed</Code><Message>the region 'us-east-1' is wrong; expecting "
		"'eu-central-1'</Message><Region>eu-central-1</Region><Endpoint>b.s3.eu-central-1.amazonaws.com</"
		"Endpoint>"
		"<AWSAccessKeyId>AKIA</AWSAccessKeyId><RequestId>1</RequestId><Details><Code>no</Code></Details></"
		"Error>";
	struct s3_error error;

	(void)state;
	assert_int_equal(s3_error_parse(body, strlen(body), &error, NULL), 0);
	assert_string_equal(error.code, "AuthorizationHeaderMalformed");
	assert_string_equal(error.message, "the region 'us-east-1' is wrong; expecting 'eu-central-1'");
	assert_string_equal(error.region, "eu-central-1");
	assert_string_equal(error.endpoint, "b.s3.eu-central-1.amazonaws.com");
}

static void of_an_error_document_that_is_cut_the_beginning_counts(void **state)
{
	static const char body[] =
		"<Error><Code>SlowDown</Code><Message>Please reduce</Message><Region>x</Region></Error>";
	size_t code_end = strlen("<Error><Code>SlowDown</Code>");
	struct s3_error error;

	(void)state;
	for (size_t len = 0; len <= strlen(body); len++) {
		int rc = s3_error_parse(body, len, &error, NULL);

		if (len >= code_end) {
			assert_int_equal(rc, 0);
			assert_string_equal(error.code, "SlowDown");
		}
		if (rc < 0) {
			assert_int_equal(rc, -EBADMSG);
			assert_string_equal(error.code, "");
			assert_string_equal(error.message, "");
		}
	}
	assert_int_equal(s3_error_parse("<Error><Code></Code></Error>", 28, &error, NULL), -EBADMSG);
}

static void what_is_no_error_document_is_refused(void **state)
{
	static const char *const bodies[] = { "",
		                              "Service Unavailable",
		                              "<html><Code>x</Code></html>",
		                              "<Error/>",
		                              "<Error><Message>m</Message></Error>",
		                              "<Error><a><Code>x</Code></a></Error>" };
	struct s3_error error;

	(void)state;
	for (size_t i = 0; i < sizeof bodies / sizeof bodies[0]; i++) {
		struct error err = { 0 };

		memset(&error, 'x', sizeof error);
		assert_int_equal(s3_error_parse(bodies[i], strlen(bodies[i]), &error, &err), -EBADMSG);
		assert_int_equal(err.code, -EBADMSG);
		assert_string_equal(error.code, "");
		assert_string_equal(error.message, "");
	}
}

static void a_long_message_is_cut_between_characters_and_made_one_line(void **state)
{
	struct text body = { 0 };
	struct s3_error error;

	(void)state;
	append(&body, "<Error><Code>X</Code><Message>a\n\tb&#x7f;");
	append_times(&body, "ä", 1000);
	append(&body, "</Message></Error>");
	assert_int_equal(s3_error_parse(body.bytes, body.used, &error, NULL), 0);
	assert_memory_equal(error.message, "a  b ä", 7);
	/* 5 bytes and then pairs: the last byte of 256 would be half a character. */
	assert_int_equal(strlen(error.message), 255);
	assert_memory_equal(error.message + 253, "ä", 3);
	free(body.bytes);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_page_is_read),
		cmocka_unit_test(an_empty_page_is_read),
		cmocka_unit_test(keys_are_decoded_only_when_the_answer_says_that_they_are_encoded),
		cmocka_unit_test(keys_that_are_not_encoded_as_they_should_be_are_refused),
		cmocka_unit_test(a_key_has_up_to_1024_bytes_however_it_is_sent),
		cmocka_unit_test(a_page_has_up_to_1000_objects),
		cmocka_unit_test(an_object_needs_a_key_and_a_size),
		cmocka_unit_test(an_object_without_an_etag_has_no_known_version),
		cmocka_unit_test(a_listing_says_whether_it_is_whole),
		cmocka_unit_test(what_is_said_twice_is_refused),
		cmocka_unit_test(what_is_no_listing_is_refused),
		cmocka_unit_test(an_error_document_in_place_of_a_listing_is_an_error_with_its_words),
		cmocka_unit_test(documents_that_declare_entities_are_refused_before_they_grow),
		cmocka_unit_test(depth_and_length_are_bounded),
		cmocka_unit_test(versions_differ_with_the_etag_and_not_with_its_quotes),
		cmocka_unit_test(keys_that_were_not_deleted_are_told_with_the_reason),
		cmocka_unit_test(a_deletion_that_is_none_is_refused),
		cmocka_unit_test(a_deletion_fails_for_up_to_1000_keys),
		cmocka_unit_test(an_error_document_is_read),
		cmocka_unit_test(of_an_error_document_that_is_cut_the_beginning_counts),
		cmocka_unit_test(what_is_no_error_document_is_refused),
		cmocka_unit_test(a_long_message_is_cut_between_characters_and_made_one_line),
	};

	return cmocka_run_group_tests_name("s3_xml", tests, NULL, NULL);
}
