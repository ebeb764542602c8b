/* A pickle reader that executes nothing.
 *
 * Python's pickle is a program for a stack machine, and loading one may call any function. This
 * machine builds a graph of values instead. A global is only a name, must be on the caller's
 * allow-list, and a call of one becomes a node that the caller may interpret. All opcodes of
 * protocols 0 to 5 that data uses are known; the extension registry and buffers outside of the
 * stream are refused. */
#ifndef PARE_FORMATS_PICKLE_H
#define PARE_FORMATS_PICKLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"
#include "core/memory.h"

typedef enum {
    PARE_PICKLE_NONE,
    PARE_PICKLE_BOOL,       /* integer */
    PARE_PICKLE_INT,        /* integer */
    PARE_PICKLE_FLOAT,      /* number */
    PARE_PICKLE_BIG_INT,    /* text, size: an integer of more than 64 bits, as it was written */
    PARE_PICKLE_TEXT,       /* text, size: UTF-8, unchecked, not terminated */
    PARE_PICKLE_BYTES,      /* text, size */
    PARE_PICKLE_TUPLE,      /* items, size */
    PARE_PICKLE_LIST,       /* items, size */
    PARE_PICKLE_SET,        /* items, size */
    PARE_PICKLE_DICT,       /* items, size: key, value, key, value, … */
    PARE_PICKLE_GLOBAL,     /* global */
    PARE_PICKLE_PERSISTENT, /* items[0]: the persistent id */
    PARE_PICKLE_CALL /* items[0]: a GLOBAL; items[1]: a TUPLE of arguments; items[2], if size is
                        3: the state that the object was given. Items that were added to the object
                        are dropped. */
} ParePickleKind;

/* An entry of the allow-list. A call of one that `makes_dict` becomes a DICT. */
typedef struct {
    const char *module, *name;
    int code; /* the caller's */
    bool makes_dict;
} ParePickleGlobal;

typedef struct ParePickle ParePickle;
struct ParePickle {
    uint8_t kind;
    uint32_t size, capacity;
    union {
        int64_t integer;
        double number;
        const char *text;
        const ParePickle **items;
        const ParePickleGlobal *global;
    };
};

typedef struct {
    const ParePickleGlobal *globals;
    size_t count;
    /* May be NULL: stands for everything in the module `package->module` and those below it. */
    const ParePickleGlobal *package;
} ParePickleAllowList;

typedef struct {
    const ParePickle **items;
    size_t count, capacity;
} ParePickleList;

/* Runs the pickle that `bytes` begin with. Values live in `arena`; texts point into `bytes`. The
 * graph may contain itself: walk it with a bound. `where` begins messages ("model.bin: data.pkl").
 * `used` (may be NULL) gets the length of the pickle: bytes behind it are the caller's business. */
PareStatus pare_pickle_load(const void *bytes, size_t size, const char *where,
                            const ParePickleAllowList *allowed, PareArena *arena,
                            const ParePickle **out, size_t *used, PareError *err);
/* The same, and every persistent id in the order of the stream: `persistent->items` is for the
 * caller to pare_free, also after a failure. */
PareStatus pare_pickle_load_tracked(const void *bytes, size_t size, const char *where,
                                    const ParePickleAllowList *allowed, PareArena *arena,
                                    const ParePickle **out, size_t *used,
                                    ParePickleList *persistent, PareError *err);
/* "a dict", "an integer", … for messages. */
const char *pare_pickle_kind_name(const ParePickle *v);
bool pare_pickle_text_is(const ParePickle *v, const char *text);

#endif
