/* Long option tables, put together heading by heading, and what contradicts what. */
#ifndef PARE_PROGRAMS_CLI_TABLE_H
#define PARE_PROGRAMS_CLI_TABLE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "core/options.h"

/* Rows. `where` is what the option writes to; `seen` a bool that tells whether it was given, or
 * NULL. */
#define HEADING(text)                                                                              \
    { .kind = PARE_OPT_HEADING, .help = text }
#define FLAG(name, where, seen, help)                                                              \
    { PARE_OPT_FLAG, 0, name, where, NULL, help, 0, 0, seen }
#define STRING(name, where, word, seen, help)                                                      \
    { PARE_OPT_STRING, 0, name, where, word, help, 0, 0, seen }
#define LIST(name, where, word, help)                                                              \
    { PARE_OPT_LIST, 0, name, where, word, help, 0, 0, NULL }
#define CHOICE(name, where, words, seen, help)                                                     \
    { PARE_OPT_CHOICE, 0, name, where, words, help, 0, 0, seen }
#define NUMBER(name, where, least, most, seen, help)                                               \
    { PARE_OPT_INT, 0, name, where, "N", help, least, most, seen }
#define REAL(name, where, least, most, seen, help)                                                 \
    { PARE_OPT_FLOAT, 0, name, where, "X", help, least, most, seen }
#define SHARE(name, where, seen, help)                                                             \
    { PARE_OPT_SHARE, 0, name, where, "SHARE", help, 0, 0, seen }

/* More than any run has of anything. */
#define MANY 1e15

typedef struct {
    PareOption rows[112];
    size_t count;
} PareCliTable;

void pare_cli_add(PareCliTable *t, const PareOption *rows, size_t count);
#define ADD(rows) pare_cli_add(t, rows, sizeof rows / sizeof *rows)

/* Options that do not go together. */
typedef struct {
    bool wrong;
    const char *message;
} PareCliRule;

/* The first message that is wrong, as PARE_E_USAGE. */
PareStatus pare_cli_check(const PareCliRule *rules, size_t count, PareError *err);
#define CHECK(rules) pare_cli_check(rules, sizeof rules / sizeof *rules, err)

#endif
