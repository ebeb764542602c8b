/* The pool of threads.
 *
 * One 64-bit word says what is going on: the number of the job, whether it is open, and how many
 * helpers are inside. A helper enters by a compare-and-swap on the whole word, so that it can only
 * enter a job that is open; the caller closes the job when no range is left and waits only for the
 * helpers that are inside. A helper that the system has not scheduled yet is thus never waited for,
 * which keeps a busy machine from collapsing. The fields of a job change only while it is closed
 * and nobody is inside.
 *
 * Sleeping and waking follow Dekker: each side first announces itself, then looks at the other's
 * word, both sequentially consistent; so at least one of them sees the other. */
#include "core/threads.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "core/memory.h"

enum { MAX_THREADS = 256, SPINS = 1000, RANGES_PER_THREAD = 8, CACHE_LINE = 64 };

/* The word: the job's number in the upper half, OPEN, and the count of helpers inside. */
static const uint64_t job_step = UINT64_C(1) << 32;
static const uint64_t open_bit = UINT64_C(1) << 31;

static uint64_t inside_of(uint64_t word) {
    return word & (open_bit - 1);
}

struct ParePool {
    /* The job. `range` is the length of a range in items, of which there are `ranges`. */
    PareBody body;
    void *context;
    size_t count, range, ranges;

    size_t threads, started;
    pthread_t *helpers;
    bool may_spin;

    pthread_mutex_t mutex;
    pthread_cond_t work, idle;
    atomic_size_t sleepers;    /* helpers that wait for `work`, or are about to */
    atomic_bool caller_sleeps; /* the caller waits for `idle`, or is about to */
    atomic_bool stopping;

    /* On cache lines of their own: everybody writes them. */
    _Alignas(CACHE_LINE) atomic_uint_fast64_t word;
    _Alignas(CACHE_LINE) atomic_size_t next_range;
};

typedef struct {
    ParePool *pool;
    size_t thread;
} Start;

/* Of the calling thread, so that taskset and cpusets are respected. The mask may be larger than
 * cpu_set_t knows on machines of more than 1024 processors; then the number online is the answer.
 */
size_t pare_threads_available(void) {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        return CPU_COUNT(&set) > 0 ? (size_t)CPU_COUNT(&set) : 1;
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (size_t)online : 1;
}

static void relax(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void run_ranges(ParePool *p, size_t thread) {
    for (;;) {
        size_t index = atomic_fetch_add_explicit(&p->next_range, 1, memory_order_relaxed);
        if (index >= p->ranges)
            return;
        size_t begin = index * p->range;
        size_t end = index == p->ranges - 1 ? p->count : begin + p->range;
        p->body(p->context, begin, end, thread);
    }
}

/* ---- Helpers ------------------------------------------------------------------------------- */

static bool has_work(ParePool *p, uint64_t last_job) {
    uint64_t word = atomic_load(&p->word);
    return atomic_load(&p->stopping) || ((word & open_bit) && word / job_step != last_job);
}

static void wait_for_work(ParePool *p, uint64_t last_job) {
    for (int i = 0; i < SPINS && p->may_spin; i++) {
        if (has_work(p, last_job))
            return;
        relax();
    }
    pthread_mutex_lock(&p->mutex);
    atomic_fetch_add(&p->sleepers, 1);
    while (!has_work(p, last_job))
        pthread_cond_wait(&p->work, &p->mutex);
    atomic_fetch_sub(&p->sleepers, 1);
    pthread_mutex_unlock(&p->mutex);
}

/* Enters the job that is open, unless it is the one that this helper has done already. */
static bool enter(ParePool *p, uint64_t *last_job) {
    uint64_t word = atomic_load(&p->word);
    while ((word & open_bit) && word / job_step != *last_job) {
        if (atomic_compare_exchange_weak(&p->word, &word, word + 1)) {
            *last_job = word / job_step;
            return true;
        }
    }
    return false;
}

static void leave(ParePool *p) {
    uint64_t left = atomic_fetch_sub(&p->word, 1) - 1;
    if ((left & open_bit) || inside_of(left) || !atomic_load(&p->caller_sleeps))
        return;
    pthread_mutex_lock(&p->mutex);
    pthread_cond_signal(&p->idle);
    pthread_mutex_unlock(&p->mutex);
}

static void *help(void *argument) {
    Start start = *(Start *)argument;
    uint64_t last_job = 0;
    pare_free(argument);
    while (!atomic_load(&start.pool->stopping)) {
        wait_for_work(start.pool, last_job);
        if (enter(start.pool, &last_job)) {
            run_ranges(start.pool, start.thread);
            leave(start.pool);
        }
    }
    return NULL;
}

/* ---- The caller ---------------------------------------------------------------------------- */

/* Wakes as many sleepers as there are ranges that the caller will not take at once. */
static void wake(ParePool *p, size_t useful) {
    if (atomic_load(&p->sleepers) == 0)
        return;
    pthread_mutex_lock(&p->mutex);
    size_t sleeping = atomic_load(&p->sleepers);
    if (useful >= sleeping) {
        pthread_cond_broadcast(&p->work);
    } else {
        while (useful-- > 0)
            pthread_cond_signal(&p->work);
    }
    pthread_mutex_unlock(&p->mutex);
}

/* Closes the job and waits until the last helper inside has left. */
static void finish(ParePool *p) {
    uint64_t word = atomic_fetch_and(&p->word, ~open_bit);
    for (int i = 0; i < SPINS && inside_of(word) && p->may_spin; i++) {
        relax();
        word = atomic_load(&p->word);
    }
    if (inside_of(word) == 0)
        return;
    pthread_mutex_lock(&p->mutex);
    atomic_store(&p->caller_sleeps, true);
    while (inside_of(atomic_load(&p->word)))
        pthread_cond_wait(&p->idle, &p->mutex);
    atomic_store(&p->caller_sleeps, false);
    pthread_mutex_unlock(&p->mutex);
}

/* Several ranges for each thread, so that a thread that is slow or late holds nobody up. */
static void divide(ParePool *p, size_t count, size_t grain) {
    size_t grains = count / grain + (count % grain != 0);
    size_t share = grains / (p->threads * RANGES_PER_THREAD);
    size_t per_range = share > 0 ? share : 1;
    p->count = count;
    p->range = per_range * grain;
    p->ranges = grains / per_range + (grains % per_range != 0);
}

void pare_pool_for(ParePool *pool, size_t count, size_t grain, PareBody body, void *context) {
    if (grain == 0)
        grain = 1;
    if (!pool || pool->threads == 1 || count <= grain) {
        if (count)
            body(context, 0, count, 0);
        return;
    }
    pool->body = body;
    pool->context = context;
    divide(pool, count, grain);
    atomic_store_explicit(&pool->next_range, 0, memory_order_relaxed);
    /* Nobody is inside, so that only this thread writes the word. Opening it publishes the job. */
    uint64_t job = atomic_load(&pool->word) / job_step + 1;
    atomic_store(&pool->word, job * job_step | open_bit);
    wake(pool, pool->ranges - 1);
    run_ranges(pool, 0);
    finish(pool);
}

/* ---- Creating and destroying --------------------------------------------------------------- */

static int start_helper(ParePool *p, size_t thread) {
    Start *start = pare_alloc(1, sizeof *start);
    if (!start)
        return -1;
    *start = (Start){.pool = p, .thread = thread};
    int error = pthread_create(&p->helpers[thread], NULL, help, start);
    if (error)
        pare_free(start);
    return error;
}

/* Signals are for the program's own thread: helpers are born with all of them blocked. */
static int start_helpers(ParePool *p) {
    sigset_t all, old;
    int error = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    for (p->started = 1; p->started < p->threads && !error; p->started += !error)
        error = start_helper(p, p->started);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return error;
}

PareStatus pare_pool_create(size_t threads, ParePool **out, PareError *err) {
    size_t available = pare_threads_available();
    *out = NULL;
    if (threads == 0)
        threads = available < MAX_THREADS ? available : MAX_THREADS;
    if (threads > MAX_THREADS)
        return pare_error_set(err, PARE_E_USAGE, "%zu threads were asked for, at most %d can be",
                              threads, MAX_THREADS);
    ParePool *p = pare_alloc(1, sizeof *p);
    if (p)
        p->helpers = pare_alloc(threads, sizeof *p->helpers);
    if (!p || !p->helpers) {
        pare_free(p);
        return pare_memory_error(err, "the threads");
    }
    p->threads = threads;
    p->may_spin = available >= threads && available > 1;
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->idle, NULL);
    int error = start_helpers(p);
    if (error) {
        pare_pool_destroy(p);
        return error < 0 ? pare_memory_error(err, "the threads")
                         : pare_error_set(err, PARE_E_IO, "cannot start %zu threads: %s", threads,
                                          strerror(error));
    }
    *out = p;
    return PARE_OK;
}

void pare_pool_destroy(ParePool *pool) {
    if (!pool)
        return;
    pthread_mutex_lock(&pool->mutex);
    atomic_store(&pool->stopping, true);
    pthread_cond_broadcast(&pool->work);
    pthread_mutex_unlock(&pool->mutex);
    for (size_t i = 1; i < pool->started; i++)
        pthread_join(pool->helpers[i], NULL);
    pthread_cond_destroy(&pool->idle);
    pthread_cond_destroy(&pool->work);
    pthread_mutex_destroy(&pool->mutex);
    pare_free(pool->helpers);
    pare_free(pool);
}

size_t pare_pool_threads(const ParePool *pool) {
    return pool ? pool->threads : 1;
}
