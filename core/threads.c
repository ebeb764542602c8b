/* The pool: helpers that sleep until there is work. */
#include "core/threads.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "core/memory.h"

enum { MAX_THREADS = 256, SPINS = 2000 };

struct ParePool {
    size_t threads, started;
    pthread_t *handles;
    pthread_mutex_t mutex;
    pthread_cond_t work, done;
    _Atomic uint32_t generation; /* changes when there is work or the end has come */
    _Atomic uint32_t running;    /* helpers that have not finished this generation */
    _Atomic bool stopping;
    bool may_spin;
    /* The current job; written before generation changes. */
    PareBody body;
    void *context;
    size_t count, grain;
    _Atomic size_t next;
};

typedef struct {
    ParePool *pool;
    size_t index;
} Start;

size_t pare_threads_available(void) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return 1;
    int n = CPU_COUNT(&set);
    return n > 0 ? (size_t)n : 1;
}

static void pause_cpu(void) {
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#endif
}

static void take_ranges(ParePool *p, size_t thread) {
    for (;;) {
        size_t begin = atomic_fetch_add(&p->next, p->grain);
        if (begin >= p->count)
            return;
        size_t left = p->count - begin;
        p->body(p->context, begin, begin + (left < p->grain ? left : p->grain), thread);
    }
}

/* Waits until the generation is no longer `seen`: a short spin when cores are free, then sleep. */
static uint32_t wait_for_work(ParePool *p, uint32_t seen) {
    for (int i = 0; p->may_spin && i < SPINS; i++) {
        if (atomic_load_explicit(&p->generation, memory_order_acquire) != seen)
            return atomic_load(&p->generation);
        pause_cpu();
    }
    pthread_mutex_lock(&p->mutex);
    while (atomic_load(&p->generation) == seen)
        pthread_cond_wait(&p->work, &p->mutex);
    uint32_t now = atomic_load(&p->generation);
    pthread_mutex_unlock(&p->mutex);
    return now;
}

static void *helper(void *argument) {
    Start start = *(Start *)argument;
    ParePool *p = start.pool;
    uint32_t seen = 0;
    pare_free(argument);
    for (;;) {
        seen = wait_for_work(p, seen);
        if (atomic_load(&p->stopping))
            return NULL;
        take_ranges(p, start.index);
        if (atomic_fetch_sub(&p->running, 1) == 1) {
            pthread_mutex_lock(&p->mutex);
            pthread_cond_signal(&p->done);
            pthread_mutex_unlock(&p->mutex);
        }
    }
}

static void wait_for_helpers(ParePool *p) {
    for (int i = 0; p->may_spin && i < SPINS; i++) {
        if (atomic_load_explicit(&p->running, memory_order_acquire) == 0)
            return;
        pause_cpu();
    }
    pthread_mutex_lock(&p->mutex);
    while (atomic_load(&p->running) != 0)
        pthread_cond_wait(&p->done, &p->mutex);
    pthread_mutex_unlock(&p->mutex);
}

static void wake(ParePool *p) {
    pthread_mutex_lock(&p->mutex);
    atomic_fetch_add(&p->generation, 1);
    pthread_cond_broadcast(&p->work);
    pthread_mutex_unlock(&p->mutex);
}

static bool start_helper(ParePool *p, size_t index) {
    Start *start = pare_alloc(1, sizeof *start);
    if (!start)
        return false;
    *start = (Start){p, index};
    if (pthread_create(&p->handles[index], NULL, helper, start) != 0) {
        pare_free(start);
        return false;
    }
    return true;
}

PareStatus pare_pool_create(size_t threads, ParePool **out, PareError *err) {
    *out = NULL;
    size_t available = pare_threads_available();
    threads = threads ? threads : available;
    if (threads > MAX_THREADS)
        return pare_error_set(err, PARE_E_USAGE, "%zu threads; at most %d are supported", threads,
                              MAX_THREADS);
    ParePool *p = pare_alloc(1, sizeof *p);
    if (p)
        p->handles = pare_alloc(threads, sizeof *p->handles);
    if (!p || !p->handles) {
        pare_free(p);
        return pare_memory_error(err, "threads");
    }
    p->threads = threads;
    p->may_spin = available >= threads && available > 1;
    pthread_mutex_init(&p->mutex, NULL);
    pthread_cond_init(&p->work, NULL);
    pthread_cond_init(&p->done, NULL);
    for (p->started = 1; p->started < threads; p->started++)
        if (!start_helper(p, p->started)) {
            pare_pool_destroy(p);
            return pare_error_set(err, PARE_E_MEMORY, "cannot start %zu threads", threads);
        }
    *out = p;
    return PARE_OK;
}

void pare_pool_destroy(ParePool *p) {
    if (!p)
        return;
    atomic_store(&p->stopping, true);
    wake(p);
    for (size_t i = 1; i < p->started; i++)
        pthread_join(p->handles[i], NULL);
    pthread_mutex_destroy(&p->mutex);
    pthread_cond_destroy(&p->work);
    pthread_cond_destroy(&p->done);
    pare_free(p->handles);
    pare_free(p);
}

size_t pare_pool_threads(const ParePool *pool) {
    return pool ? pool->threads : 1;
}

void pare_pool_for(ParePool *pool, size_t count, size_t grain, PareBody body, void *context) {
    grain = grain ? grain : 1;
    if (!pool || pool->threads == 1 || count <= grain) {
        if (count)
            body(context, 0, count, 0);
        return;
    }
    pool->body = body;
    pool->context = context;
    pool->count = count;
    pool->grain = grain;
    atomic_store(&pool->next, 0);
    atomic_store(&pool->running, (uint32_t)(pool->threads - 1));
    wake(pool);
    take_ranges(pool, 0);
    wait_for_helpers(pool);
}
