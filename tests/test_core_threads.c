/* The pool of threads: every item exactly once, whatever the sizes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "core/memory.h"
#include "core/threads.h"

enum { ITEMS = 5000 };

typedef struct {
    unsigned char seen[ITEMS]; /* plain bytes: the sanitizer shows if two threads share an item */
    size_t count, grain, threads;
    atomic_int errors, calls;
    atomic_size_t highest_thread;
} Job;

static void mark(void *context, size_t begin, size_t end, size_t thread) {
    Job *job = context;
    atomic_fetch_add(&job->calls, 1);
    bool whole = begin == 0 && end == job->count;
    bool multiple = (end - begin) % job->grain == 0 || end == job->count;
    if (begin >= end || end > job->count || thread >= job->threads || (!whole && !multiple))
        atomic_fetch_add(&job->errors, 1);
    if (thread > atomic_load(&job->highest_thread))
        atomic_store(&job->highest_thread, thread);
    for (size_t i = begin; i < end; i++)
        job->seen[i]++;
}

static void check(ParePool *pool, size_t count, size_t grain) {
    static Job job;
    memset(job.seen, 0, sizeof job.seen);
    job.count = count;
    job.grain = grain ? grain : 1;
    job.threads = pare_pool_threads(pool);
    atomic_store(&job.errors, 0);
    atomic_store(&job.calls, 0);
    pare_pool_for(pool, count, grain, mark, &job);
    assert_int_equal(atomic_load(&job.errors), 0);
    for (size_t i = 0; i < ITEMS; i++)
        assert_int_equal(job.seen[i], i < count ? 1 : 0);
    if (count == 0)
        assert_int_equal(atomic_load(&job.calls), 0);
}

static void every_item_is_done_once(void **state) {
    (void)state;
    static const size_t pools[] = {1, 2, 3, 5, 16}, counts[] = {0, 1, 2, 3, 17, 255, 1023, ITEMS},
                        grains[] = {0, 1, 3, 64, 5001, SIZE_MAX};
    for (size_t p = 0; p < sizeof pools / sizeof *pools; p++) {
        ParePool *pool;
        PareError err = {0};
        assert_int_equal(pare_pool_create(pools[p], &pool, &err), PARE_OK);
        assert_int_equal(pare_pool_threads(pool), pools[p]);
        for (size_t c = 0; c < sizeof counts / sizeof *counts; c++)
            for (size_t g = 0; g < sizeof grains / sizeof *grains; g++)
                check(pool, counts[c], grains[g]);
        pare_pool_destroy(pool);
    }
    check(NULL, 100, 7);
    assert_int_equal(pare_pool_threads(NULL), 1);
    pare_pool_destroy(NULL);
}

/* Many short jobs in a row: where waking, entering and leaving cross each other. */
static void jobs_follow_each_other(void **state) {
    (void)state;
    for (size_t threads = 2; threads <= 8; threads *= 2) {
        ParePool *pool;
        PareError err = {0};
        assert_int_equal(pare_pool_create(threads, &pool, &err), PARE_OK);
        for (size_t i = 0; i < 3000; i++) {
            check(pool, i % 40, 1);
            if (i % 500 == 0) { /* time enough for helpers to fall asleep */
                struct timespec pause = {.tv_nsec = 2000000};
                nanosleep(&pause, NULL);
            }
        }
        pare_pool_destroy(pool);
    }
}

static void wait_a_little(void *context, size_t begin, size_t end, size_t thread) {
    struct timespec pause = {.tv_nsec = 20000000};
    atomic_fetch_or((atomic_uint *)context, 1U << thread);
    (void)begin;
    (void)end;
    nanosleep(&pause, NULL);
}

static void all_threads_help(void **state) {
    (void)state;
    ParePool *pool;
    PareError err = {0};
    atomic_uint helped = 0;
    assert_int_equal(pare_pool_create(4, &pool, &err), PARE_OK);
    struct timespec pause = {.tv_nsec = 50000000};
    nanosleep(&pause, NULL);                  /* asleep by now */
    for (int round = 0; round < 2; round++) { /* in a later job, too */
        atomic_store(&helped, 0);
        for (int i = 0; i < 20 && atomic_load(&helped) != 15; i++)
            pare_pool_for(pool, 64, 1, wait_a_little, &helped);
        assert_int_equal(atomic_load(&helped), 15);
    }
    pare_pool_destroy(pool);
}

/* Helpers take much longer than any caller would spin. */
static void be_slow(void *context, size_t begin, size_t end, size_t thread) {
    struct timespec pause = {.tv_nsec = thread ? 10000000 : 1000000};
    nanosleep(&pause, NULL);
    atomic_fetch_add((atomic_size_t *)context, end - begin);
}

static void slow_helpers_are_waited_for(void **state) {
    (void)state;
    for (size_t threads = 2; threads <= 4; threads++) {
        ParePool *pool;
        PareError err = {0};
        assert_int_equal(pare_pool_create(threads, &pool, &err), PARE_OK);
        for (int i = 0; i < 20; i++) {
            atomic_size_t done = 0;
            pare_pool_for(pool, 8, 1, be_slow, &done);
            assert_int_equal(atomic_load(&done), 8);
        }
        pare_pool_destroy(pool);
    }
}

static void pools_come_and_go(void **state) {
    (void)state;
    PareError err = {0};
    for (int i = 0; i < 200; i++) {
        ParePool *pool;
        assert_int_equal(pare_pool_create((size_t)i % 5 + 1, &pool, &err), PARE_OK);
        if (i % 2)
            check(pool, 100, 1);
        pare_pool_destroy(pool);
    }
    ParePool *a, *b;
    assert_int_equal(pare_pool_create(0, &a, &err), PARE_OK);
    assert_int_equal(pare_pool_create(3, &b, &err), PARE_OK);
    assert_true(pare_threads_available() >= 1);
    check(a, 1000, 3);
    check(b, 1000, 3);
    pare_pool_destroy(a);
    pare_pool_destroy(b);
}

static void too_much_is_refused(void **state) {
    (void)state;
    ParePool *pool;
    PareError err = {0};
    assert_int_equal(pare_pool_create(257, &pool, &err), PARE_E_USAGE);
    assert_null(pool);
    PareStatus st = PARE_E_MEMORY;
    for (uint64_t n = 1; st; n++) {
        pare_memory_fail_after(n);
        st = pare_pool_create(4, &pool, &err);
        pare_memory_fail_after(0);
        assert_true(st == PARE_OK || st == PARE_E_MEMORY);
    }
    check(pool, 100, 1);
    pare_pool_destroy(pool);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_item_is_done_once), cmocka_unit_test(jobs_follow_each_other),
        cmocka_unit_test(all_threads_help),        cmocka_unit_test(slow_helpers_are_waited_for),
        cmocka_unit_test(pools_come_and_go),       cmocka_unit_test(too_much_is_refused),
    };
    return cmocka_run_group_tests_name("core: threads", tests, NULL, NULL);
}
