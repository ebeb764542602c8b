/* Signals that ask to stop: the first sets a flag, the second cleans up and ends the process.
 *
 * The handler may only use what is async-signal-safe: lock-free atomics, unlink, sigaction, raise.
 * A name of the registry belongs to whoever takes it out by an atomic exchange, so that no memory
 * is freed while the handler reads it. */
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/file.h"
#include "core/pending.h"

enum { MAX_PENDING = 256 };

static _Atomic(char *) pending[MAX_PENDING];
static atomic_int interrupts;

_Static_assert(ATOMIC_POINTER_LOCK_FREE == 2 && ATOMIC_INT_LOCK_FREE == 2,
               "a handler may use these atomics");

bool pare_pending_add(char *name) {
    for (size_t i = 0; i < MAX_PENDING; i++) {
        char *empty = NULL;
        if (atomic_compare_exchange_strong(&pending[i], &empty, name))
            return true;
    }
    return false;
}

bool pare_pending_remove(char *name) {
    for (size_t i = 0; i < MAX_PENDING; i++) {
        char *expected = name;
        if (atomic_compare_exchange_strong(&pending[i], &expected, NULL))
            return true;
    }
    return false;
}

static void end_process(int number) {
    for (size_t i = 0; i < MAX_PENDING; i++) {
        char *name = atomic_exchange(&pending[i], NULL);
        if (name)
            unlink(name);
    }
    /* Dying of the signal itself tells a shell's loop to stop as well. */
    struct sigaction plain = {.sa_handler = SIG_DFL};
    sigset_t only;
    sigemptyset(&plain.sa_mask);
    sigemptyset(&only);
    sigaddset(&only, number);
    sigaction(number, &plain, NULL);
    pthread_sigmask(SIG_UNBLOCK, &only, NULL);
    raise(number);
    _Exit(128 + number); /* the first process of a container does not die of its own signals */
}

static void on_signal(int number) {
    if (atomic_fetch_add(&interrupts, 1) > 0)
        end_process(number);
}

/* With SA_RESTART: no library in between reports a write that was interrupted as a broken one. */
static void install(int number) {
    struct sigaction old, action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    /* Who started us with the signal ignored (nohup, a shell's background job) meant it. */
    if (sigaction(number, NULL, &old) == 0 && old.sa_handler != SIG_IGN)
        sigaction(number, &action, NULL);
}

void pare_interrupt_install(void) {
    install(SIGINT);
    install(SIGTERM);
    install(SIGHUP);
    /* A limit on the size of files and a closed pipe are then errors of write(): the program ends
     * by its own way out, which removes temporaries. */
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    sigemptyset(&ignore.sa_mask);
    sigaction(SIGXFSZ, &ignore, NULL);
    sigaction(SIGPIPE, &ignore, NULL);
}

bool pare_interrupted(void) {
    return atomic_load_explicit(&interrupts, memory_order_relaxed) > 0;
}

PareStatus pare_interrupt_check(PareError *err) {
    return pare_interrupted() ? pare_error_set(err, PARE_E_INTERRUPTED, "interrupted") : PARE_OK;
}
