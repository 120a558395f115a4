/* SPDX-License-Identifier: GPL-3.0-only */
/* test_aws_credentials.c: keys are found where AWS's own tools look, in their order, and those of roles are renewed. */
#include "store/aws_credentials.h"

#include "lib/loopback_http.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

#define ENVIRONMENT_MAX 12

static char dir[256], file[300], home_file[340];
static char lines[ENVIRONMENT_MAX][512];
static const char *environment[ENVIRONMENT_MAX + 1];
static struct aws_credentials *credentials;
static struct aws_keys keys;
static uint64_t generation;
static struct error err;
static uint64_t patience_ms;

/* A metadata service, of a container or an instance. */
struct service {
	pthread_mutex_t lock;
	int status;       /* of the answer with keys; 0: 200 */
	int token_status; /* of an instance's token; 0: 200 */
	int lives_s;      /* keys; 0: Expiration is left out */
	char text[4096];  /* instead of keys */
	const void *body; /* instead of keys */
	size_t body_length;
	char role[200];          /* an instance's answer to what its role is */
	unsigned faults;         /* 503 instead of keys, so often first */
	unsigned number;         /* of the keys given out */
	char target[1100];       /* of the last question */
	char authorization[600]; /* and its header of that name, or an instance's token */
};

static struct service service = { .lock = PTHREAD_MUTEX_INITIALIZER };
static struct loopback_http *server;

static void give_keys(struct loopback_answer *a)
{
	time_t end = time(NULL) + service.lives_s;
	char expiration[80] = "";
	struct tm tm;

	if (service.lives_s)
		strftime(expiration, sizeof expiration, ", \"Expiration\": \"%Y-%m-%dT%H:%M:%SZ\"",
		         gmtime_r(&end, &tm));
	a->status = service.status ? service.status : 200;
	(void)snprintf(a->text, sizeof a->text,
	               "{\"Code\": \"Success\", \"AccessKeyId\": \"AKIA%u\", \"SecretAccessKey\": \"hidden%u\", "
	               "\"Token\": \"session%u\"%s}",
	               service.number + 1, service.number + 1, service.number + 1, expiration);
	service.number++;
	if (service.faults && service.faults--)
		a->status = 503;
	if (service.text[0])
		memcpy(a->text, service.text, sizeof service.text);
	a->body = service.body;
	a->body_length = service.body_length;
}

static void serve(void *arg, const struct loopback_request *r, struct loopback_answer *a)
{
	static const char roles[] = "/latest/meta-data/iam/security-credentials/";
	bool is_instance = strncmp(r->target, "/latest/", 8) == 0;
	char value[512];

	(void)arg;
	pthread_mutex_lock(&service.lock);
	(void)snprintf(service.target, sizeof service.target, "%s %s", r->method, r->target);
	loopback_header(r, is_instance ? "X-aws-ec2-metadata-token" : "Authorization", service.authorization,
	                sizeof service.authorization);
	if (strcmp(r->target, "/latest/api/token") == 0) {
		a->status = service.token_status ? service.token_status : 200;
		if (strcmp(r->method, "PUT") != 0 ||
		    !*loopback_header(r, "X-aws-ec2-metadata-token-ttl-seconds", value, sizeof value))
			a->status = 400;
		strcpy(a->text, "instance-token==");
	} else if (is_instance && strcmp(service.authorization, "instance-token==") != 0) {
		a->status = 401;
	} else if (strcmp(r->target, roles) == 0) {
		a->status = service.role[0] ? 200 : 404;
		strcpy(a->text, service.role);
	} else if (!is_instance || strcmp(r->target + sizeof roles - 1, "web+role") == 0) {
		give_keys(a);
	} else {
		a->status = 404;
	}
	pthread_mutex_unlock(&service.lock);
}

static void write_file(const char *path, const char *text, mode_t mode)
{
	int fd;

	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	assert_int_equal(fchmod(fd, mode), 0);
	assert_int_equal(close(fd), 0);
}

static void set(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Adds "NAME=value" to the environment that is made up. */
static void set(const char *format, ...)
{
	va_list args;
	size_t i = 0;

	while (environment[i])
		i++;
	assert_true(i < ENVIRONMENT_MAX);
	va_start(args, format);
	(void)vsnprintf(lines[i], sizeof lines[i], format, args);
	va_end(args);
	environment[i] = lines[i];
}

static int open_with(const char *passwd_file)
{
	const struct aws_credentials_options options = {
		.passwd_file = passwd_file,
		.environment = { .get = loopback_environment, .arg = environment },
		.home = dir,
		.container_host = server->url,
		.patience_ms = patience_ms,
	};

	memset(&err, 0, sizeof err);
	aws_credentials_close(credentials);
	credentials = NULL;
	return aws_credentials_open(&options, &credentials, &err);
}

static void assert_keys(const char *access, const char *secret, const char *token)
{
	assert_int_equal(aws_credentials_get(credentials, &keys, &generation, NULL), 0);
	assert_string_equal(keys.access_key, access);
	assert_string_equal(keys.secret_key, secret);
	assert_string_equal(keys.session_token, token);
}

/* Opening must fail with `code`, saying `word`, and no secret: all of them begin with "hidden" here. */
static void assert_refused(const char *passwd_file, int code, const char *word)
{
	int rc = open_with(passwd_file);

	if (rc != code || err.code != code || !strstr(err.text, word) || strstr(err.text, "hidden"))
		fail_msg("%d instead of %d and '%s': %s", rc, code, word, err.text);
	assert_null(credentials);
}

static int setup(void **state)
{
	(void)state;
	memset(environment, 0, sizeof environment);
	service = (struct service){ .lock = PTHREAD_MUTEX_INITIALIZER };
	patience_ms = 0;
	server = loopback_http_start(serve, NULL);
	return 0;
}

/* As above, with an EC2 metadata service. */
static int setup_instance(void **state)
{
	setup(state);
	set("AWS_EC2_METADATA_SERVICE_ENDPOINT=%s/", server->url);
	strcpy(service.role, "web+role\n");
	return 0;
}

static int setup_none(void **state)
{
	setup(state);
	set("AWS_EC2_METADATA_DISABLED=TRUE");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	aws_credentials_close(credentials);
	credentials = NULL;
	loopback_http_stop(server);
	unlink(file);
	unlink(home_file);
	return 0;
}

/* ---- passwd file ---- */

static void a_passwd_file_counts_before_all_else(void **state)
{
	(void)state;
	set("AWS_ACCESS_KEY_ID=other");
	set("AWS_SECRET_ACCESS_KEY=hidden");
	write_file(file, "test:tester:hidden1\n", 0600);
	assert_int_equal(open_with(file), 0);
	assert_keys("test:tester", "hidden1", "");
}

static void a_passwd_file_open_to_others_is_refused(void **state)
{
	(void)state;
	write_file(file, "access:hidden1\n", 0644);
	assert_refused(file, -EACCES, "chmod 600");
	unlink(file);
	assert_refused(file, -ENOENT, file);
}

static void keys_that_cannot_be_are_refused(void **state)
{
	char text[300];

	(void)state;
	write_file(file, "acc ess:hidden1\n", 0600);
	assert_refused(file, -EINVAL, "blanks");
	(void)snprintf(text, sizeof text, "access:hidden%0200d", 1);
	write_file(file, text, 0600);
	assert_refused(file, -EINVAL, "longer");
}

static bool secret_is(void *arg)
{
	return aws_credentials_get(credentials, &keys, &generation, NULL) == 0 && strcmp(keys.secret_key, arg) == 0;
}

static void refused_keys_are_read_from_the_file_again(void **state)
{
	(void)state;
	write_file(file, "access:hidden1\n", 0600);
	assert_int_equal(open_with(file), 0);
	write_file(file, "access:hidden2\n", 0600);
	assert_keys("access", "hidden1", "");
	aws_credentials_refused(credentials, generation);
	assert_true(loopback_becomes(secret_is, "hidden2"));
}

/* ---- environment ---- */

static void the_environment_counts_before_profiles(void **state)
{
	(void)state;
	set("AWS_ACCESS_KEY_ID=access");
	set("AWS_SECRET_ACCESS_KEY=hidden1");
	set("AWS_PROFILE=other");
	write_file(home_file, "[default]\naws_access_key_id=b\naws_secret_access_key=hidden\n", 0600);
	assert_int_equal(open_with(NULL), 0);
	assert_keys("access", "hidden1", "");
	set("AWS_SESSION_TOKEN=session");
	assert_int_equal(open_with(NULL), 0);
	assert_keys("access", "hidden1", "session");
}

static void half_a_pair_in_the_environment_is_refused(void **state)
{
	(void)state;
	set("AWS_SECRET_ACCESS_KEY=hidden1");
	assert_refused(NULL, -EINVAL, "AWS_ACCESS_KEY_ID is not");
}

/* ---- profiles ---- */

static const char profiles[] = "# comment\n"
			       "aws_access_key_id = before any section\n"
			       "[default]\n"
			       "aws_access_key_id=first\n"
			       "aws_secret_access_key = hidden/1+#;=\r\n"
			       "; aws_session_token = no\n"
			       "\n"
			       "  [ second one ]  # comment\n"
			       "\tAWS_Access_Key_ID =  second   ; comment\n"
			       "aws_secret_access_key\t=hidden2\n"
			       "aws_session_token= session==\n"
			       "region = eu-central-1\n"
			       "[half]\n"
			       "aws_access_key_id = third\n"
			       "[role]\n"
			       "role_arn = arn:aws:iam::1:role/x\n"
			       "[unclosed\n"
			       "aws_access_key_id = fourth\n";

static void the_default_profile_is_read(void **state)
{
	(void)state;
	write_file(home_file, profiles, 0600);
	assert_int_equal(open_with(NULL), 0);
	assert_keys("first", "hidden/1+#;=", "");
}

static void a_profile_is_chosen_by_name_and_file(void **state)
{
	(void)state;
	write_file(file, profiles, 0644); /* only warned about */
	set("AWS_SHARED_CREDENTIALS_FILE=%s", file);
	set("AWS_PROFILE=second one");
	assert_int_equal(open_with(NULL), 0);
	assert_keys("second", "hidden2", "session==");
}

static void a_profile_that_was_named_must_be_there(void **state)
{
	static const struct {
		const char *name;
		int code;
		const char *word;
	} cases[] = { { "nobody", -ENOKEY, "[nobody]" },
		      { "half", -EINVAL, "no aws_secret_access_key" },
		      { "role", -ENOKEY, "role_arn" },
		      { "unclosed", -ENOKEY, "[unclosed]" } };

	(void)state;
	write_file(home_file, profiles, 0600);
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		environment[1] = NULL;
		set("AWS_PROFILE=%s", cases[i].name);
		assert_refused(NULL, cases[i].code, cases[i].word);
	}
	unlink(home_file);
	assert_refused(NULL, -ENOENT, home_file);
	set("AWS_SHARED_CREDENTIALS_FILE=%s/absent", dir);
	assert_refused(NULL, -ENOENT, "absent");
}

static void without_anything_all_ways_are_named(void **state)
{
	static const char *const ways[] = { "passwd file", "AWS_ACCESS_KEY_ID", "AWS_PROFILE",
		                            "AWS_CONTAINER_CREDENTIALS", "EC2" };

	(void)state;
	assert_refused(NULL, -ENOKEY, "no keys for S3");
	for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++)
		assert_non_null(strstr(err.text, ways[i]));
	assert_null(strstr(err.text, "..."));
	write_file(home_file, "[another]\naws_access_key_id=b\naws_secret_access_key=hidden\n", 0600);
	assert_refused(NULL, -ENOKEY, "no keys for S3");
	assert_int_equal(server->requests, 0);
}

/* ---- containers ---- */

static void a_containers_role_is_asked_at_its_place(void **state)
{
	(void)state;
	service.lives_s = 3600;
	set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/v2/credentials/abc");
	set("AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:1/");
	assert_int_equal(open_with(NULL), 0);
	assert_keys("AKIA1", "hidden1", "session1");
	assert_string_equal(service.target, "GET /v2/credentials/abc");
	assert_string_equal(service.authorization, "");
}

static void a_containers_token_is_sent_from_variable_or_file(void **state)
{
	(void)state;
	set("AWS_CONTAINER_CREDENTIALS_FULL_URI=%s/get", server->url);
	set("AWS_CONTAINER_AUTHORIZATION_TOKEN=hiddenA");
	assert_int_equal(open_with(NULL), 0);
	assert_keys("AKIA1", "hidden1", "session1");
	assert_string_equal(service.target, "GET /get");
	assert_string_equal(service.authorization, "hiddenA");
	set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=%s", file);
	write_file(file, "hiddenB\n", 0644);
	assert_int_equal(open_with(NULL), 0);
	assert_string_equal(service.authorization, "hiddenB");
	unlink(file);
	assert_refused(NULL, -ENOENT, file);
}

static void a_container_may_only_be_asked_nearby(void **state)
{
	static const char *const refused[] = { "http://10.0.0.1/x",         "http://169.254.170.3/x",
		                               "http://169.254.170.230/x",  "http://169.254.169.254/x",
		                               "ftp://127.0.0.1/x",         "nonsense",
		                               "http://s3.example.com/get", "http://a:hidden@127.0.0.1/",
		                               "http://[fd00:ec2::24]/x" };

	(void)state;
	for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
		memset(environment, 0, sizeof environment);
		set("AWS_CONTAINER_CREDENTIALS_FULL_URI=%s", refused[i]);
		assert_refused(NULL, -EINVAL, "AWS_CONTAINER_CREDENTIALS_FULL_URI");
	}
	memset(environment, 0, sizeof environment);
	set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=@evil.example.com/");
	assert_refused(NULL, -EINVAL, "begin with '/'");
}

static void a_containers_refusal_is_said(void **state)
{
	(void)state;
	set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/");
	set("AWS_CONTAINER_AUTHORIZATION_TOKEN=hidden");
	service.status = 403;
	assert_refused(NULL, -EACCES, "403");
	service.status = 500;
	assert_refused(NULL, -EIO, "500");
	set("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE=%s", file);
	write_file(file, "hid\001den\n", 0600);
	assert_refused(NULL, -EINVAL, "Authorization");
}

static void answers_without_sense_are_refused_and_not_shown(void **state)
{
	static const struct {
		const char *text;
		int code;
		const char *word;
	} cases[] = {
		{ "hidden", -EPROTO, "not JSON" },
		{ "[\"hidden\"]", -EPROTO, "not a JSON object" },
		{ "{\"AccessKeyId\": \"hidden\"", -EPROTO, "not JSON" },
		{ "{\"AccessKeyId\": \"hidden\"}", -EPROTO, "without usable keys" },
		{ "{\"AccessKeyId\":\"a\",\"SecretAccessKey\":7,\"Token\":\"hidden\"}", -EPROTO,
		  "without usable keys" },
		{ "{\"AccessKeyId\":\"a\\r\\nX: y\",\"SecretAccessKey\":\"hidden\",\"Token\":\"t\"}", -EPROTO,
		  "usable keys" },
		{ "{\"AccessKeyId\":\"a\",\"SecretAccessKey\":\"hidden\",\"Token\":\"t\",\"Expiration\":\"soon\"}",
		  -EPROTO, "run out" },
		{ "{\"AccessKeyId\":\"a\",\"SecretAccessKey\":\"hidden\",\"Token\":\"t\",\"Expiration\":3}", -EPROTO,
		  "run out" },
		{ "{\"AccessKeyId\":\"a\",\"SecretAccessKey\":\"hidden\",\"Token\":\"t\","
		  "\"Expiration\":\"2001-01-01T00:00:00Z\"}",
		  -EKEYEXPIRED, "2001-01-01" },
		{ "{\"Code\":\"AssumeRoleUnauthorizedAccess\"}", -EPROTO, "AssumeRoleUnauthorizedAccess" },
	};
	static char much[100000];

	(void)state;
	set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/");
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		strcpy(service.text, cases[i].text);
		assert_refused(NULL, cases[i].code, cases[i].word);
	}
	memset(much, '[', sizeof much);
	service.body = much;
	service.body_length = sizeof much;
	assert_refused(NULL, -EMSGSIZE, "127.0.0.1");
	service.body_length = 60000;
	assert_refused(NULL, -EPROTO, "not JSON");
}

static bool keys_are_newer(void *arg)
{
	return aws_credentials_get(credentials, &keys, &generation, NULL) == 0 &&
	       atoi(keys.access_key + 4) > *(int *)arg;
}

static void a_roles_keys_are_renewed_before_they_run_out(void **state)
{
	int first = 1;

	(void)state;
	service.lives_s = 3;
	set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/");
	assert_int_equal(open_with(NULL), 0);
	assert_true(loopback_becomes(keys_are_newer, &first));
}

static void refused_keys_of_a_role_are_renewed_at_once(void **state)
{
	int first = 1;

	(void)state;
	service.lives_s = 36000;
	set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/");
	assert_int_equal(open_with(NULL), 0);
	assert_keys("AKIA1", "hidden1", "session1");
	aws_credentials_refused(credentials, generation);
	assert_true(loopback_becomes(keys_are_newer, &first));
	assert_keys("AKIA2", "hidden2", "session2");
}

/* Many requests may have been signed with the same keys, and their answers come later than the new ones. */
static void keys_that_are_refused_late_do_not_cost_the_new_ones(void **state)
{
	int first = 1;
	uint64_t old;

	(void)state;
	service.lives_s = 36000;
	set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/");
	assert_int_equal(open_with(NULL), 0);
	assert_keys("AKIA1", "hidden1", "session1");
	old = generation;
	aws_credentials_refused(credentials, old);
	assert_true(loopback_becomes(keys_are_newer, &first));
	assert_true(generation != old);
	aws_credentials_refused(credentials, old);
	assert_keys("AKIA2", "hidden2", "session2");
}

static bool in_trouble(void *arg)
{
	struct error *why = arg;

	return aws_credentials_get(credentials, &keys, &generation, why) == -EAGAIN &&
	       strstr(why->text, "could not be renewed");
}

static void what_goes_wrong_later_is_said(void **state)
{
	struct error trouble = { 0 };

	(void)state;
	set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/");
	assert_int_equal(open_with(NULL), 0);
	assert_int_equal(aws_credentials_get(credentials, &keys, &generation, NULL), 0);
	pthread_mutex_lock(&service.lock);
	service.status = 503;
	pthread_mutex_unlock(&service.lock);
	aws_credentials_refused(credentials, generation);
	assert_true(loopback_becomes(in_trouble, &trouble));
	assert_non_null(strstr(trouble.text, "503"));
	assert_null(strstr(trouble.text, "hidden"));
}

static void a_containers_first_keys_are_asked_for_again_after_a_fault(void **state)
{
	(void)state;
	patience_ms = 3600 * 1000;
	service.faults = 2;
	set("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI=/");
	assert_int_equal(open_with(NULL), 0);
	assert_keys("AKIA3", "hidden3", "session3");
	service.status = 403;
	assert_refused(NULL, -EACCES, "403");
	assert_int_equal(server->requests, 4);
}

/* ---- instances ---- */

static void an_instances_role_is_asked_with_a_token(void **state)
{
	(void)state;
	service.lives_s = 3600;
	assert_int_equal(open_with(NULL), 0);
	assert_keys("AKIA1", "hidden1", "session1");
	assert_string_equal(service.target, "GET /latest/meta-data/iam/security-credentials/web+role");
	assert_string_equal(service.authorization, "instance-token==");
	assert_int_equal(server->requests, 3);
}

static void an_instance_that_has_no_role_or_no_service_is_said(void **state)
{
	char nobody[64];

	(void)state;
	service.role[0] = '\0';
	assert_refused(NULL, -ENOKEY, "has no role");
	strcpy(service.role, "../../user-data\n");
	assert_refused(NULL, -ENOKEY, "cannot be one");
	strcpy(service.role, "role\nhidden\n");
	assert_refused(NULL, -ENOKEY, "404");
	service.token_status = 403;
	assert_refused(NULL, -ENOKEY, "403");
	environment[0] = NULL;
	set("AWS_EC2_METADATA_SERVICE_ENDPOINT=%s", loopback_nobody(nobody));
	assert_refused(NULL, -ENOKEY, "no connection");
	environment[0] = NULL;
	set("AWS_EC2_METADATA_SERVICE_ENDPOINT=http://metadata.example.com");
	assert_refused(NULL, -ENOKEY, "link-local");
}

static void an_instances_first_keys_are_asked_for_again_after_a_fault(void **state)
{
	(void)state;
	patience_ms = 3600 * 1000;
	service.faults = 2;
	assert_int_equal(open_with(NULL), 0);
	assert_keys("AKIA3", "hidden3", "session3");
}

/* Every host without keys asks, EC2 or not. */
static void an_instance_that_is_none_is_not_waited_for(void **state)
{
	char nobody[64];

	(void)state;
	patience_ms = 3600 * 1000;
	service.token_status = 404;
	assert_refused(NULL, -ENOKEY, "404");
	assert_int_equal(server->requests, 1);
	environment[0] = NULL;
	set("AWS_EC2_METADATA_SERVICE_ENDPOINT=%s", loopback_nobody(nobody));
	assert_refused(NULL, -ENOKEY, "no connection");
}

static int make_dir(void **state)
{
	const char *tmp = getenv("TMPDIR");
	char sub[300];

	(void)state;
	(void)snprintf(dir, sizeof dir, "%s/garner-aws-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir))
		return -1;
	(void)snprintf(file, sizeof file, "%s/file", dir);
	(void)snprintf(sub, sizeof sub, "%s/.aws", dir);
	(void)snprintf(home_file, sizeof home_file, "%s/credentials", sub);
	return mkdir(sub, 0700);
}

static int remove_dir(void **state)
{
	char sub[300];

	(void)state;
	(void)snprintf(sub, sizeof sub, "%s/.aws", dir);
	return rmdir(sub) || rmdir(dir) ? -1 : 0;
}

#define NONE(name) cmocka_unit_test_setup_teardown(name, setup_none, teardown)
#define CONTAINER(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define INSTANCE(name) cmocka_unit_test_setup_teardown(name, setup_instance, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		NONE(a_passwd_file_counts_before_all_else),
		NONE(a_passwd_file_open_to_others_is_refused),
		NONE(keys_that_cannot_be_are_refused),
		NONE(refused_keys_are_read_from_the_file_again),
		NONE(the_environment_counts_before_profiles),
		NONE(half_a_pair_in_the_environment_is_refused),
		NONE(the_default_profile_is_read),
		NONE(a_profile_is_chosen_by_name_and_file),
		NONE(a_profile_that_was_named_must_be_there),
		NONE(without_anything_all_ways_are_named),
		CONTAINER(a_containers_role_is_asked_at_its_place),
		CONTAINER(a_containers_token_is_sent_from_variable_or_file),
		CONTAINER(a_container_may_only_be_asked_nearby),
		CONTAINER(a_containers_refusal_is_said),
		CONTAINER(answers_without_sense_are_refused_and_not_shown),
		CONTAINER(a_roles_keys_are_renewed_before_they_run_out),
		CONTAINER(refused_keys_of_a_role_are_renewed_at_once),
		CONTAINER(keys_that_are_refused_late_do_not_cost_the_new_ones),
		CONTAINER(what_goes_wrong_later_is_said),
		CONTAINER(a_containers_first_keys_are_asked_for_again_after_a_fault),
		INSTANCE(an_instances_role_is_asked_with_a_token),
		INSTANCE(an_instance_that_has_no_role_or_no_service_is_said),
		INSTANCE(an_instances_first_keys_are_asked_for_again_after_a_fault),
		INSTANCE(an_instance_that_is_none_is_not_waited_for),
	};

	return cmocka_run_group_tests_name("aws_credentials", tests, make_dir, remove_dir);
}
