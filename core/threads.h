/* The one layer that owns threads. A pool of n means the calling thread plus n-1 helpers, which
 * sleep on a futex-backed condition when idle (a short bounded spin first, skipped when the machine
 * has no free core), so that a busy machine does not collapse them. */
#ifndef PARE_CORE_THREADS_H
#define PARE_CORE_THREADS_H

#include <stddef.h>

#include "core/error.h"

typedef struct ParePool ParePool;

/* threads 0: as many as the process may use (affinity mask). At most 256. */
PareStatus pare_pool_create(size_t threads, ParePool **out, PareError *err);
void pare_pool_destroy(ParePool *pool);         /* NULL is allowed */
size_t pare_pool_threads(const ParePool *pool); /* NULL: 1 */

/* Calls body(context, begin, end, thread) over disjoint ranges that cover [0, count), each but the
 * last a multiple of `grain` long; `thread` < pare_pool_threads. Returns when all are done. Which
 * thread takes which range is unspecified: results must not depend on it. NULL pool or one range:
 * runs in the caller. Not re-entrant from inside a body. */
typedef void (*PareBody)(void *context, size_t begin, size_t end, size_t thread);
void pare_pool_for(ParePool *pool, size_t count, size_t grain, PareBody body, void *context);

size_t pare_threads_available(void);

#endif
