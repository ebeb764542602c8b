/* What session.c and the decoders share; nobody else includes this. */
#ifndef PARE_RUNTIME_SESSION_IMPL_H
#define PARE_RUNTIME_SESSION_IMPL_H

#include "runtime/forward.h"
#include "runtime/session.h"

struct PareSession {
    const PareModel *model;
    ParePool *pool;
    PareArena *arena;          /* activations: released at the start of every call */
    PareArena *relative_arena; /* expanded relative biases, rebuilt when the reach grows */
    PareArena *result_arena;   /* generated ids */
    PareRelatives relatives;
    PareTransformer transformer;
};

/* A run whose errors go to `err`; forgets all activations of earlier calls. */
PareRun pare_session_begin(PareSession *s, PareError *err);
/* Makes relative biases reach `positions` positions. */
PareStatus pare_session_reach(PareSession *s, size_t positions, PareError *err);
#endif
