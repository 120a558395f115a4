/* SPDX-License-Identifier: GPL-3.0-only */
/* agreement_calls.h: calls of an agreement that wait for their answer, and what every kind of agreement has to do. For tests only. */
#ifndef GARNER_TESTS_AGREEMENT_CALLS_H
#define GARNER_TESTS_AGREEMENT_CALLS_H

#include "node/agreement.h"

#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct agreement_answer {
	sem_t there;
	int status;
	struct agreement_holder holder; /* its body is the answer's */
	char *text;                     /* a map, or an incarnation */
	uint64_t version;
	char error[ERROR_TEXT_MAX];
};

static inline void answer_begin(struct agreement_answer *a)
{
	memset(a, 0, sizeof *a);
	sem_init(&a->there, 0, 0);
}

static inline int answer_wait(struct agreement_answer *a)
{
	while (sem_wait(&a->there) && errno == EINTR)
		;
	sem_destroy(&a->there);
	return a->status;
}

static inline void answer_free(struct agreement_answer *a)
{
	free(a->holder.body);
	free(a->text);
	a->holder.body = NULL;
	a->text = NULL;
}

static inline void answer_come(struct agreement_answer *a, int status, const struct error *err)
{
	a->status = status;
	snprintf(a->error, sizeof a->error, "%s", err ? error_text(err) : "");
	sem_post(&a->there);
}

static inline void claim_answered(void *arg, int status, struct agreement_holder *holder, const struct error *err)
{
	struct agreement_answer *a = arg;

	if (holder) {
		a->holder = *holder;
		holder->body = NULL;
	}
	answer_come(a, status, err);
}

static inline void done_answered(void *arg, int status, const struct error *err)
{
	answer_come(arg, status, err);
}

static inline void map_answered(void *arg, int status, const char *text, size_t length, uint64_t version,
                                const struct error *err)
{
	struct agreement_answer *a = arg;

	a->text = text ? strndup(text, length) : NULL;
	a->version = version;
	answer_come(a, status, err);
}

static inline void node_answered(void *arg, int status, const char *previous, const struct error *err)
{
	struct agreement_answer *a = arg;

	a->text = previous ? strdup(previous) : NULL;
	answer_come(a, status, err);
}

static inline int claim(struct agreement *g, const char *name, uint64_t counter, const char *body,
                        struct agreement_answer *a)
{
	answer_begin(a);
	agreement_claim(g, name, (struct object_version){ counter, counter + 1 }, body, strlen(body), claim_answered,
	                a);
	return answer_wait(a);
}

/* The same, for who does not care who has it. */
static inline int claim_only(struct agreement *g, const char *name, uint64_t counter, const char *body)
{
	struct agreement_answer a;
	int rc = claim(g, name, counter, body, &a);

	answer_free(&a);
	return rc;
}

static inline int release_upto(struct agreement *g, const char *name, uint64_t counter)
{
	struct agreement_answer a;

	answer_begin(&a);
	agreement_release(g, name, (struct object_version){ counter, counter + 1 }, done_answered, &a);
	return answer_wait(&a);
}

static inline int map_set(struct agreement *g, uint64_t expected, const char *text)
{
	struct agreement_answer a;

	answer_begin(&a);
	agreement_map_set(g, expected, text, strlen(text), done_answered, &a);
	return answer_wait(&a);
}

static inline int map_get(struct agreement *g, struct agreement_answer *a)
{
	answer_begin(a);
	agreement_map_get(g, map_answered, a);
	return answer_wait(a);
}

static inline int node_register(struct agreement *g, unsigned id, const char *incarnation, struct agreement_answer *a)
{
	answer_begin(a);
	agreement_node_register(g, id, incarnation, node_answered, a);
	return answer_wait(a);
}

/* ---- what every kind does: each wants an agreement where nothing was agreed yet ---- */

static inline void story_of_a_claim(struct agreement *g)
{
	struct agreement_answer a;

	assert_int_equal(claim_only(g, "pool/key", 10, "mine"), 0);
	assert_int_equal(claim_only(g, "pool/key", 10, "mine"), 0); /* asked again */
	assert_int_equal(claim(g, "pool/key", 11, "yours", &a), -EEXIST);
	assert_int_equal(a.holder.version.counter, 10);
	assert_int_equal(a.holder.version.tie, 11);
	assert_int_equal(a.holder.length, 4);
	assert_memory_equal(a.holder.body, "mine", 4);
	answer_free(&a);
	assert_int_equal(claim_only(g, "pool/key2", 11, ""), 0);
	assert_int_equal(claim(g, "pool/key2", 12, "x", &a), -EEXIST);
	assert_int_equal(a.holder.length, 0);
	answer_free(&a);
}

static inline void story_of_a_release(struct agreement *g)
{
	assert_int_equal(release_upto(g, "pool/key", 10), 0); /* there is none */
	assert_int_equal(claim_only(g, "pool/key", 10, "mine"), 0);
	assert_int_equal(release_upto(g, "pool/key", 9), 0); /* it is newer, and stays */
	assert_int_equal(claim_only(g, "pool/key", 11, "x"), -EEXIST);
	assert_int_equal(release_upto(g, "pool/key", 10), 0);
	assert_int_equal(claim_only(g, "pool/key", 11, "x"), 0);
	assert_int_equal(release_upto(g, "pool/key", 12), 0);
	assert_int_equal(claim_only(g, "pool/key", 13, "x"), 0);
}

static inline void story_of_a_map(struct agreement *g)
{
	struct agreement_answer a;

	assert_int_equal(map_get(g, &a), -ENOENT);
	answer_free(&a);
	assert_int_equal(map_set(g, 1, "two"), -ESTALE);
	assert_int_equal(map_set(g, 0, "one"), 0);
	assert_int_equal(map_set(g, 0, "one"), 0); /* asked again */
	assert_int_equal(map_set(g, 0, "another one"), -ESTALE);
	assert_int_equal(map_set(g, 1, "two"), 0);
	assert_int_equal(map_set(g, 0, "one"), -ESTALE);
	assert_int_equal(map_set(g, 2, ""), -EINVAL);
	assert_int_equal(map_get(g, &a), 0);
	assert_string_equal(a.text, "two");
	assert_int_equal(a.version, 2);
	answer_free(&a);
}

static inline void story_of_a_node(struct agreement *g)
{
	struct agreement_answer a;

	assert_int_equal(node_register(g, 1, "first", &a), 0);
	assert_null(a.text);
	answer_free(&a);
	assert_int_equal(node_register(g, 2, "other", &a), 0);
	assert_null(a.text);
	answer_free(&a);
	assert_int_equal(node_register(g, 1, "second", &a), 0);
	assert_string_equal(a.text, "first");
	answer_free(&a);
	assert_int_equal(node_register(g, 1, "second", &a), 0);
	assert_string_equal(a.text, "second");
	answer_free(&a);
	assert_int_equal(node_register(g, 0, "x", &a), -EINVAL);
	assert_int_equal(node_register(g, 1, "", &a), -EINVAL);
	assert_int_equal(node_register(g, 1, "a\nb", &a), -EINVAL);
}

static inline void story_of_what_is_refused(struct agreement *g)
{
	static char long_body[AGREEMENT_BODY_MAX + 2];
	struct agreement_answer a;

	memset(long_body, 'x', sizeof long_body - 1);
	assert_int_equal(claim_only(g, "no slash", 1, "x"), -EINVAL);
	assert_int_equal(claim_only(g, "pool/", 1, "x"), -EINVAL);
	assert_int_equal(claim_only(g, "pool/key", 1, long_body), -EINVAL);
	assert_int_equal(release_upto(g, "pool", 1), -EINVAL);
	answer_begin(&a);
	agreement_claim(g, "pool/key", OBJECT_VERSION_NONE, "x", 1, claim_answered, &a);
	assert_int_equal(answer_wait(&a), -EINVAL);
	long_body[AGREEMENT_BODY_MAX] = '\0';
	assert_int_equal(claim_only(g, "pool/key", 1, long_body), 0);
	assert_int_equal(claim(g, "pool/key", 2, "x", &a), -EEXIST);
	assert_int_equal(a.holder.length, AGREEMENT_BODY_MAX);
	assert_memory_equal(a.holder.body, long_body, AGREEMENT_BODY_MAX);
	answer_free(&a);
}

/* ---- races ---- */

#define RACERS 8

struct racer {
	pthread_t thread;
	struct agreement *agreement;
	pthread_barrier_t *begin;
	unsigned number, rounds;
	unsigned won[64];
	int failed; /* an answer that is neither */
};

static inline void *race(void *arg)
{
	struct racer *r = arg;
	char name[32];

	for (unsigned i = 0; i < r->rounds; i++) {
		int rc;

		snprintf(name, sizeof name, "pool/race%u", i);
		pthread_barrier_wait(r->begin);
		rc = claim_only(r->agreement, name, 100 + r->number, "x");
		if (rc == 0)
			r->won[i]++;
		else if (rc != -EEXIST)
			r->failed = rc;
	}
	return NULL;
}

/* Many threads claim the same names, each for itself: each has one winner. The agreements may be one and the same. */
static inline void story_of_a_race(struct agreement *const g[], unsigned agreements, unsigned rounds)
{
	struct racer racer[RACERS] = { 0 };
	pthread_barrier_t begin;

	pthread_barrier_init(&begin, NULL, RACERS);
	for (unsigned i = 0; i < RACERS; i++) {
		racer[i] = (struct racer){
			.agreement = g[i % agreements], .begin = &begin, .number = i, .rounds = rounds
		};
		assert_int_equal(pthread_create(&racer[i].thread, NULL, race, &racer[i]), 0);
	}
	for (unsigned i = 0; i < RACERS; i++)
		pthread_join(racer[i].thread, NULL);
	pthread_barrier_destroy(&begin);
	for (unsigned n = 0; n < rounds; n++) {
		unsigned winners = 0;

		for (unsigned i = 0; i < RACERS; i++) {
			assert_int_equal(racer[i].failed, 0);
			winners += racer[i].won[n];
		}
		assert_int_equal(winners, 1);
	}
}

#endif
