/* Temporaries that a signal's handler must remove; between output.c and interrupt.c. */
#ifndef PARE_CORE_PENDING_H
#define PARE_CORE_PENDING_H

#include <stdbool.h>

/* Enters a name (which must stay until it is removed again); false when the registry is full. */
bool pare_pending_add(char *name);
/* False when a handler has taken the name just now: then it must not be freed, and the process is
 * about to end. */
bool pare_pending_remove(char *name);

#endif
