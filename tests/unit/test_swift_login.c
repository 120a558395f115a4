/* SPDX-License-Identifier: GPL-3.0-only */
/* test_swift_login.c: logging in to Swift in both ways; what comes back is checked, renewed before it runs out and when
 * refused. */
#include "store/swift_login.h"

#include "lib/loopback_http.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <sys/stat.h>

static char dir[256], file[300];
static struct loopback_http *server;
static struct swift_login *login;
static struct swift_session session;
static struct error err;
static char url[128];

/* A server of either kind; every secret, here as elsewhere, begins with "hidden". */
struct service {
	pthread_mutex_t lock;
	int status;          /* 0: success */
	char head[8192];     /* instead of the usual headers */
	const char *catalog; /* Keystone's */
	const char *times;   /* Keystone's, as in JSON */
	const char *text;    /* instead of all JSON */
	bool silent;
	unsigned faults; /* 503 for so many log-ins first */
	unsigned logins;
	struct loopback_request seen;
};

static struct service service = { .lock = PTHREAD_MUTEX_INITIALIZER };

#define ENDPOINT(interface, region, url) \
	"{\"interface\":\"" interface "\",\"region_id\":\"" region "\",\"url\":\"http://127.0.0.1:9/" url "\"}"
#define SERVICE(type, endpoints) "{\"type\":\"" type "\",\"endpoints\":[" endpoints "]}"
#define OBJECT_STORE(endpoints) "[" SERVICE("object-store", endpoints) "]"
#define COMPUTE SERVICE("compute", ENDPOINT("public", "one", "no"))
#define INTERNAL ENDPOINT("internal", "one", "internal/")
#define ADMIN ENDPOINT("admin", "one", "admin")
#define PUBLIC ENDPOINT("public", "one", "v1/AUTH_p//")

static const char one_region[] =
	"[7,{\"type\":7}," COMPUTE "," SERVICE("object-store", ADMIN "," INTERNAL "," PUBLIC) "]";

static const char two_regions[] = OBJECT_STORE(ENDPOINT("public", "one", "one") "," ENDPOINT("public", "two", "two"));

static const char odd_time[] =
	"{\"token\":{\"expires_at\":\"hidden\",\"catalog\":" OBJECT_STORE(ENDPOINT("public", "one", "x")) "}}";

static const char odd_endpoints[] =
	OBJECT_STORE("7,{\"interface\":\"public\",\"url\":7},{\"url\":\"http://127.0.0.1:9\"}");

static void serve(void *arg, const struct loopback_request *r, struct loopback_answer *a)
{
	bool keystone = strstr(r->target, "/v3/auth/tokens");

	(void)arg;
	pthread_mutex_lock(&service.lock);
	service.seen = *r;
	a->status = service.status ? service.status : keystone ? 201 : 200;
	service.logins++;
	if (service.faults && service.faults--)
		a->status = 503;
	if (service.head[0])
		strcpy(a->head, service.head);
	else if (keystone)
		(void)snprintf(a->head, sizeof a->head, "X-Subject-Token: hidden-token-%u\r\n", service.logins);
	else
		(void)snprintf(a->head, sizeof a->head,
		               "X-Storage-Url: http://127.0.0.1:9/v1/AUTH_test/\r\nX-Auth-Token: hidden-token-%u\r\n",
		               service.logins);
	if (service.text)
		(void)snprintf(a->text, sizeof a->text, "%s", service.text);
	else if (keystone)
		(void)snprintf(a->text, sizeof a->text, "{\"token\":{%s\"catalog\":%s}}",
		               service.times ? service.times : "", service.catalog ? service.catalog : one_region);
	a->silent = service.silent;
	pthread_mutex_unlock(&service.lock);
}

static const char *seen_header(const char *name)
{
	static char value[1024];

	return loopback_header(&service.seen, name, value, sizeof value);
}

static const char *server_url(const char *path)
{
	(void)snprintf(url, sizeof url, "%s%s", server->url, path);
	return url;
}

static int open_login(const struct swift_login_options *options)
{
	memset(&err, 0, sizeof err);
	swift_login_close(login);
	login = NULL;
	return swift_login_open(options, &login, &err);
}

/* Opening must fail with `code`, saying `word`, and no secret. */
static void assert_refused(const struct swift_login_options *options, int code, const char *word)
{
	int rc = open_login(options);

	if (rc != code || err.code != code || !strstr(err.text, word) || strstr(err.text, "hidden"))
		fail_msg("%d instead of %d and '%s': %s", rc, code, word, err.text);
	assert_null(login);
}

static void assert_session(const char *storage_url, const char *token)
{
	assert_int_equal(swift_login_get(login, &session, NULL), 0);
	assert_string_equal(session.storage_url, storage_url);
	assert_string_equal(session.token, token);
}

static struct swift_login_options version_1(void)
{
	return (struct swift_login_options){ .auth_url = server_url("/auth/v1.0"),
		                             .user = "test:tester",
		                             .key = "hidden key" };
}

static struct swift_login_options keystone(void)
{
	return (struct swift_login_options){
		.auth_url = server_url("/identity/v3/"), .user = "me", .key = "hidden \"key\"", .project = "mine"
	};
}

static void write_file(const char *text, mode_t mode)
{
	int fd;

	unlink(file);
	fd = open(file, O_WRONLY | O_CREAT | O_EXCL, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	assert_int_equal(close(fd), 0);
}

static bool token_is_newer(void *arg)
{
	return swift_login_get(login, &session, NULL) == 0 &&
	       atoi(session.token + strlen("hidden-token-")) > *(int *)arg;
}

static int setup(void **state)
{
	(void)state;
	service = (struct service){ .lock = PTHREAD_MUTEX_INITIALIZER };
	server = loopback_http_start(serve, NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	swift_login_close(login);
	login = NULL;
	loopback_http_stop(server);
	unlink(file);
	return 0;
}

/* ---- version 1 ---- */

static void version_1_gives_storage_url_and_token(void **state)
{
	struct swift_login_options o = version_1();

	(void)state;
	assert_int_equal(open_login(&o), 0);
	assert_session("http://127.0.0.1:9/v1/AUTH_test", "hidden-token-1");
	assert_string_equal(service.seen.method, "GET");
	assert_string_equal(service.seen.target, "/auth/v1.0");
	assert_string_equal(seen_header("X-Auth-User"), "test:tester");
	assert_string_equal(seen_header("X-Auth-Key"), "hidden key");
}

static void a_storage_token_will_do(void **state)
{
	struct swift_login_options o = version_1();

	(void)state;
	service.status = 204;
	strcpy(service.head, "X-Storage-Url: https://swift.example.com/v1/x\r\nX-Storage-Token: hidden2\r\n");
	assert_int_equal(open_login(&o), 0);
	assert_session("https://swift.example.com/v1/x", "hidden2");
}

static void the_key_comes_from_a_passwd_file_each_time(void **state)
{
	struct swift_login_options o = version_1();
	int first = 1;

	(void)state;
	o.passwd_file = file;
	o.user = o.key = NULL;
	write_file("test:tester:hidden1\n", 0600);
	assert_int_equal(open_login(&o), 0);
	assert_string_equal(seen_header("X-Auth-User"), "test:tester");
	assert_string_equal(seen_header("X-Auth-Key"), "hidden1");
	o.user = "test:other";
	write_file("hidden2\n", 0600);
	assert_int_equal(open_login(&o), 0);
	assert_string_equal(seen_header("X-Auth-User"), "test:other");
	assert_string_equal(seen_header("X-Auth-Key"), "hidden2");
	write_file("hidden3\n", 0600);
	assert_int_equal(swift_login_get(login, &session, NULL), 0);
	first = atoi(session.token + strlen("hidden-token-"));
	swift_login_refused(login, session.generation);
	assert_true(loopback_becomes(token_is_newer, &first));
	assert_string_equal(seen_header("X-Auth-Key"), "hidden3");
	write_file("hidden4\n", 0644);
	assert_refused(&o, -EACCES, "chmod 600");
}

static void a_refused_user_is_named_and_not_the_key(void **state)
{
	struct swift_login_options o = version_1();

	(void)state;
	service.text = "hidden";
	service.status = 401;
	assert_refused(&o, -EACCES, "test:tester");
	service.status = 403;
	assert_refused(&o, -EACCES, "test:tester");
	o = keystone();
	assert_refused(&o, -EACCES, "project");
}

static void other_failures_say_what_to_look_at(void **state)
{
	struct swift_login_options o = version_1();
	char nobody[64];

	(void)state;
	service.status = 404;
	assert_refused(&o, -EINVAL, "auth URL");
	service.status = 302;
	assert_refused(&o, -EINVAL, "auth URL");
	service.status = 503;
	assert_refused(&o, -EIO, "503");
	service.silent = true;
	o.timeout_ms = 200;
	assert_refused(&o, -ETIMEDOUT, "127.0.0.1");
	o.auth_url = loopback_nobody(nobody);
	assert_refused(&o, -EHOSTUNREACH, "no connection");
}

static void answers_that_lack_something_or_carry_too_much_are_refused(void **state)
{
	struct swift_login_options o = version_1();
	char long_url[600], long_token[4200];

	(void)state;
	strcpy(service.head, "X-Auth-Token: hidden\r\n");
	assert_refused(&o, -EPROTO, "storage URL");
	strcpy(service.head, "X-Storage-Url: https://swift.example.com/\r\n");
	assert_refused(&o, -EPROTO, "without a token");
	strcpy(service.head, "X-Storage-Url: https://swift.example.com/\r\nX-Auth-Token: hidden two\r\n");
	assert_refused(&o, -EPROTO, "token that cannot be");
	strcpy(service.head, "X-Storage-Url: http://swift.example.com/\r\nX-Auth-Token: hidden\r\n");
	assert_refused(&o, -EINVAL, "the storage URL that 127.0.0.1");
	strcpy(service.head, "X-Storage-Url: https://me:hidden@swift.example.com/\r\nX-Auth-Token: hidden\r\n");
	assert_refused(&o, -EINVAL, "the storage URL that 127.0.0.1");
	strcpy(service.head, "X-Storage-Url: https://swift.example.com/?x\r\nX-Auth-Token: hidden\r\n");
	assert_refused(&o, -EPROTO, "storage URL that cannot be");
	memset(long_url, 'u', sizeof long_url);
	long_url[512 - strlen("https://")] = '\0';
	(void)snprintf(service.head, sizeof service.head, "X-Storage-Url: https://%s\r\nX-Auth-Token: hidden\r\n",
	               long_url);
	assert_refused(&o, -EPROTO, "storage URL that cannot be");
	memset(long_token, 't', sizeof long_token);
	long_token[4097] = '\0';
	(void)snprintf(service.head, sizeof service.head,
	               "X-Storage-Url: https://s.example.com\r\nX-Auth-Token: %s\r\n", long_token);
	assert_refused(&o, -EPROTO, "token that cannot be");
	long_token[4096] = '\0';
	(void)snprintf(service.head, sizeof service.head,
	               "X-Storage-Url: https://s.example.com\r\nX-Auth-Token: %s\r\n", long_token);
	assert_int_equal(open_login(&o), 0);
	assert_session("https://s.example.com", long_token);
}

static void a_token_is_renewed_before_it_runs_out(void **state)
{
	struct swift_login_options o = version_1();
	int first = 1;

	(void)state;
	strcpy(service.head,
	       "X-Storage-Url: http://127.0.0.1:9/v1\r\nX-Auth-Token: hidden-token-1\r\nX-Auth-Token-Expires: 3\r\n");
	assert_int_equal(open_login(&o), 0);
	assert_session("http://127.0.0.1:9/v1", "hidden-token-1");
	pthread_mutex_lock(&service.lock);
	service.head[0] = '\0';
	pthread_mutex_unlock(&service.lock);
	assert_true(loopback_becomes(token_is_newer, &first));
}

static void an_odd_lifetime_does_not_end_a_token(void **state)
{
	static const char *const odd[] = { "soon", "-1", "", "99999999999999999999999", "12 h" };
	struct swift_login_options o = version_1();

	(void)state;
	for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
		(void)snprintf(
			service.head, sizeof service.head,
			"X-Storage-Url: http://127.0.0.1:9/v1\r\nX-Auth-Token: hidden\r\nX-Auth-Token-Expires: %s\r\n",
			odd[i]);
		assert_int_equal(open_login(&o), 0);
		assert_session("http://127.0.0.1:9/v1", "hidden");
	}
}

static void a_refused_token_is_replaced_once(void **state)
{
	struct swift_login_options o = version_1();
	int first = 1;
	uint64_t generation;

	(void)state;
	assert_int_equal(open_login(&o), 0);
	assert_session("http://127.0.0.1:9/v1/AUTH_test", "hidden-token-1");
	generation = session.generation;
	pthread_mutex_lock(&service.lock);
	for (int i = 0; i < 10; i++)
		swift_login_refused(login, generation);
	assert_int_equal(swift_login_get(login, &session, NULL), -EAGAIN);
	pthread_mutex_unlock(&service.lock);
	assert_true(loopback_becomes(token_is_newer, &first));
	assert_true(session.generation != generation);
	swift_login_refused(login, generation);
	assert_session("http://127.0.0.1:9/v1/AUTH_test", "hidden-token-2");
}

static bool in_trouble(void *arg)
{
	struct error *why = arg;

	return swift_login_get(login, &session, why) == -EAGAIN && strstr(why->text, "could not be renewed");
}

static void a_log_in_that_fails_later_says_why(void **state)
{
	struct swift_login_options o = version_1();
	struct error trouble = { 0 };

	(void)state;
	assert_int_equal(open_login(&o), 0);
	assert_int_equal(swift_login_get(login, &session, NULL), 0);
	pthread_mutex_lock(&service.lock);
	service.status = 401;
	pthread_mutex_unlock(&service.lock);
	swift_login_refused(login, session.generation);
	assert_true(loopback_becomes(in_trouble, &trouble));
	assert_non_null(strstr(trouble.text, "test:tester"));
	assert_null(strstr(trouble.text, "hidden"));
}

static void the_first_log_in_is_tried_again_after_a_fault(void **state)
{
	struct swift_login_options o = version_1();

	(void)state;
	o.patience_ms = 3600 * 1000;
	service.faults = 2;
	assert_int_equal(open_login(&o), 0);
	assert_session("http://127.0.0.1:9/v1/AUTH_test", "hidden-token-3");
	service.status = 401;
	assert_refused(&o, -EACCES, "test:tester");
	assert_int_equal(service.logins, 4);
}

/* ---- Keystone ---- */

/* The string at a path such as "auth.scope.project.name" of what was asked. */
static const char *asked(const char *path)
{
	static char text[256];
	json_t *json = json_loads(service.seen.body, 0, NULL), *at = json;
	char parts[128], *rest = parts, *part;

	(void)snprintf(parts, sizeof parts, "%s", path);
	while ((part = strsep(&rest, ".")))
		at = json_is_array(at) ? json_array_get(at, (size_t)atoi(part)) : json_object_get(at, part);
	(void)snprintf(text, sizeof text, "%s", json_is_string(at) ? json_string_value(at) : "(none)");
	json_decref(json);
	return text;
}

static void keystone_gives_a_token_and_a_catalog(void **state)
{
	struct swift_login_options o = keystone();

	(void)state;
	assert_int_equal(open_login(&o), 0);
	assert_session("http://127.0.0.1:9/v1/AUTH_p", "hidden-token-1");
	assert_string_equal(service.seen.method, "POST");
	assert_string_equal(service.seen.target, "/identity/v3/auth/tokens");
	assert_string_equal(seen_header("Content-Type"), "application/json");
	assert_string_equal(asked("auth.identity.methods.0"), "password");
	assert_string_equal(asked("auth.identity.password.user.name"), "me");
	assert_string_equal(asked("auth.identity.password.user.password"), "hidden \"key\"");
	assert_string_equal(asked("auth.identity.password.user.domain.id"), "default");
	assert_string_equal(asked("auth.scope.project.name"), "mine");
	assert_string_equal(asked("auth.scope.project.domain.id"), "default");
}

static void domains_are_sent_by_name(void **state)
{
	struct swift_login_options o = keystone();

	(void)state;
	o.user_domain = "people";
	assert_int_equal(open_login(&o), 0);
	assert_string_equal(asked("auth.identity.password.user.domain.name"), "people");
	assert_string_equal(asked("auth.scope.project.domain.name"), "people");
	o.project_domain = "things";
	assert_int_equal(open_login(&o), 0);
	assert_string_equal(asked("auth.identity.password.user.domain.name"), "people");
	assert_string_equal(asked("auth.scope.project.domain.name"), "things");
}

static void an_application_credential_needs_no_user_and_no_project(void **state)
{
	struct swift_login_options o = { .application_credential_id = "abc",
		                         .application_credential_secret = "hidden1" };

	(void)state;
	o.auth_url = server_url("/identity"); /* that it is Keystone's is known of the credential */
	assert_int_equal(open_login(&o), 0);
	assert_session("http://127.0.0.1:9/v1/AUTH_p", "hidden-token-1");
	assert_string_equal(service.seen.target, "/identity/v3/auth/tokens");
	assert_string_equal(asked("auth.identity.methods.0"), "application_credential");
	assert_string_equal(asked("auth.identity.application_credential.id"), "abc");
	assert_string_equal(asked("auth.identity.application_credential.secret"), "hidden1");
	assert_string_equal(asked("auth.scope.project.name"), "(none)");
	o.application_credential_secret = NULL;
	assert_refused(&o, -EINVAL, "OS_APPLICATION_CREDENTIAL_SECRET");
	o.passwd_file = file;
	write_file("abc:hidden2\n", 0600);
	assert_int_equal(open_login(&o), 0);
	assert_string_equal(asked("auth.identity.application_credential.secret"), "hidden2");
}

static void region_and_interface_choose_the_endpoint(void **state)
{
	struct swift_login_options o = keystone();

	(void)state;
	o.interface = "internal";
	assert_int_equal(open_login(&o), 0);
	assert_session("http://127.0.0.1:9/internal", "hidden-token-1");
	o.interface = "adminURL";
	assert_int_equal(open_login(&o), 0);
	assert_session("http://127.0.0.1:9/admin", "hidden-token-2");
	o.interface = NULL;
	service.catalog = two_regions;
	assert_refused(&o, -EINVAL, "'one' and 'two'");
	o.region = "two";
	assert_int_equal(open_login(&o), 0);
	assert_session("http://127.0.0.1:9/two", "hidden-token-4");
	o.region = "three";
	assert_refused(&o, -EINVAL, "three");
	service.catalog = "[]";
	assert_refused(&o, -EINVAL, "no object-store");
}

static void answers_without_sense_are_refused_and_not_shown(void **state)
{
	static const char *const texts[] = {
		"hidden", "[\"hidden\"]", "{\"token\":\"hidden\"}", "{\"hidden\":{}}", "{\"token\":{\"catalog\":[",
		odd_time
	};
	static const char *const catalogs[] = { "7", "{}", "[{\"type\":\"object-store\",\"endpoints\":7}]",
		                                odd_endpoints };
	struct swift_login_options o = keystone();

	(void)state;
	for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
		service.text = texts[i];
		assert_refused(&o, -EPROTO, "127.0.0.1");
	}
	service.text = NULL;
	for (size_t i = 0; i < sizeof catalogs / sizeof catalogs[0]; i++) {
		service.catalog = catalogs[i];
		assert_refused(&o, -EINVAL, "no object-store");
	}
	service.catalog = NULL;
	strcpy(service.head, "X-No: token\r\n");
	assert_refused(&o, -EPROTO, "without a token");
}

static void a_token_of_keystone_lives_by_keystones_clock(void **state)
{
	struct swift_login_options o = keystone();
	int first = 1;

	(void)state;
	service.times = "\"issued_at\":\"2001-01-01T00:00:00.000000Z\",\"expires_at\":\"2001-01-01T00:00:03.000000Z\",";
	assert_int_equal(open_login(&o), 0);
	assert_true(loopback_becomes(token_is_newer, &first));
	service.times = "\"expires_at\":\"2001-01-01T00:00:03.000000Z\",";
	assert_refused(&o, -EKEYEXPIRED, "clock");
}

/* ---- what is asked for ---- */

static void what_is_missing_is_named_before_anything_is_asked(void **state)
{
	struct swift_login_options o = version_1();

	(void)state;
	o.auth_url = NULL;
	assert_refused(&o, -EINVAL, "ST_AUTH");
	o = version_1();
	o.user = NULL;
	assert_refused(&o, -EINVAL, "ST_USER");
	o = version_1();
	o.key = NULL;
	assert_refused(&o, -EINVAL, "ST_KEY");
	o = version_1();
	o.key = "hidden\r\nX-Evil: yes";
	assert_refused(&o, -EINVAL, "control characters");
	o.auth_url = "http://swift.example.com/auth/v1.0";
	assert_refused(&o, -EINVAL, "the auth URL");
	o = keystone();
	o.project = NULL;
	assert_refused(&o, -EINVAL, "OS_PROJECT_NAME");
	o = keystone();
	o.key = NULL;
	assert_refused(&o, -EINVAL, "OS_PASSWORD");
	o.auth_url = "https://keystone.example.com/v2.0/";
	assert_refused(&o, -EINVAL, "version 3");
	assert_int_equal(server->requests, 0);
}

static const char *const version_1_lines[] = { "ST_AUTH=https://s.example.com/auth/v1.0", "ST_USER=a:b",
	                                       "ST_KEY=hidden1", NULL };
static const char *const keystone_lines[] = { "OS_AUTH_URL=https://k.example.com:5000",
	                                      "OS_USERNAME=me",
	                                      "OS_PASSWORD=hidden2",
	                                      "OS_PROJECT_NAME=mine",
	                                      "OS_USER_DOMAIN_NAME=people",
	                                      "OS_PROJECT_DOMAIN_NAME=things",
	                                      "OS_REGION_NAME=one",
	                                      "OS_INTERFACE=internal",
	                                      NULL };
static const char *const application_lines[] = { "OS_AUTH_URL=https://k.example.com:5000/v3",
	                                         "OS_APPLICATION_CREDENTIAL_ID=abc",
	                                         "OS_APPLICATION_CREDENTIAL_SECRET=hidden3", "OS_REGION_NAME=one",
	                                         NULL };

static void from(const char *const *lines, struct swift_login_options *o)
{
	const struct environment e = { .get = loopback_environment, .arg = (void *)(uintptr_t)lines };

	swift_login_options_from_env(&e, o);
}

static void the_environment_fills_in_version_1(void **state)
{
	struct swift_login_options o = { 0 };

	(void)state;
	from(version_1_lines, &o);
	assert_string_equal(o.auth_url, "https://s.example.com/auth/v1.0");
	assert_string_equal(o.user, "a:b");
	assert_string_equal(o.key, "hidden1");
	o = (struct swift_login_options){ .auth_url = "http://127.0.0.1/auth/v1.0", .user = "c:d" };
	from(version_1_lines, &o);
	assert_string_equal(o.auth_url, "http://127.0.0.1/auth/v1.0");
	assert_string_equal(o.user, "c:d");
	assert_string_equal(o.key, "hidden1");
	o = (struct swift_login_options){ .passwd_file = "/file" };
	from(version_1_lines, &o);
	assert_null(o.key);
}

static void the_environment_fills_in_keystone(void **state)
{
	struct swift_login_options o = { 0 };

	(void)state;
	from(keystone_lines, &o);
	assert_string_equal(o.auth_url, "https://k.example.com:5000");
	assert_string_equal(o.user, "me");
	assert_string_equal(o.key, "hidden2");
	assert_string_equal(o.project, "mine");
	assert_string_equal(o.user_domain, "people");
	assert_string_equal(o.project_domain, "things");
	assert_string_equal(o.region, "one");
	assert_string_equal(o.interface, "internal");
	o = (struct swift_login_options){ .region = "two", .project = "theirs", .passwd_file = "/file" };
	from(keystone_lines, &o);
	assert_string_equal(o.region, "two");
	assert_string_equal(o.project, "theirs");
	assert_null(o.key);
	o = (struct swift_login_options){ 0 };
	from(application_lines, &o);
	assert_string_equal(o.application_credential_id, "abc");
	assert_string_equal(o.application_credential_secret, "hidden3");
	assert_null(o.user);
	o = (struct swift_login_options){ .user = "me" };
	from(application_lines, &o);
	assert_null(o.application_credential_id);
}

static void keystones_password_is_not_sent_to_version_1(void **state)
{
	struct swift_login_options o = { .auth_url = "https://s.example.com/auth/v1.0" };

	(void)state;
	from(keystone_lines, &o);
	assert_null(o.user);
	assert_null(o.key);
	assert_null(o.project);
	o = (struct swift_login_options){ 0 };
	from(NULL, &o);
	assert_null(o.auth_url);
	assert_null(o.user);
}

static int make_dir(void **state)
{
	const char *tmp = getenv("TMPDIR");

	(void)state;
	(void)snprintf(dir, sizeof dir, "%s/garner-swift-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir))
		return -1;
	(void)snprintf(file, sizeof file, "%s/passwd", dir);
	return 0;
}

static int remove_dir(void **state)
{
	(void)state;
	return rmdir(dir);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(version_1_gives_storage_url_and_token),
		CASE(a_storage_token_will_do),
		CASE(the_key_comes_from_a_passwd_file_each_time),
		CASE(a_refused_user_is_named_and_not_the_key),
		CASE(other_failures_say_what_to_look_at),
		CASE(answers_that_lack_something_or_carry_too_much_are_refused),
		CASE(a_token_is_renewed_before_it_runs_out),
		CASE(an_odd_lifetime_does_not_end_a_token),
		CASE(a_refused_token_is_replaced_once),
		CASE(a_log_in_that_fails_later_says_why),
		CASE(the_first_log_in_is_tried_again_after_a_fault),
		CASE(keystone_gives_a_token_and_a_catalog),
		CASE(domains_are_sent_by_name),
		CASE(an_application_credential_needs_no_user_and_no_project),
		CASE(region_and_interface_choose_the_endpoint),
		CASE(answers_without_sense_are_refused_and_not_shown),
		CASE(a_token_of_keystone_lives_by_keystones_clock),
		CASE(what_is_missing_is_named_before_anything_is_asked),
		CASE(the_environment_fills_in_version_1),
		CASE(the_environment_fills_in_keystone),
		CASE(keystones_password_is_not_sent_to_version_1),
	};

	return cmocka_run_group_tests_name("swift_login", tests, make_dir, remove_dir);
}
