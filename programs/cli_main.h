/* What every main shares: the common options, the program's name in messages, signals, and the last
 * check that standard output took everything. A main is
 *
 *     PareCliCommon common = {0};
 *     const PareOption options[] = {…, PARE_CLI_OPTIONS(common)};
 *     pare_cli_start("pare-convert");
 *     … pare_options_parse …
 *     pare_cli_apply(&common);
 *     … the work …
 *     return pare_cli_end(status, &err); */
#ifndef PARE_PROGRAMS_CLI_MAIN_H
#define PARE_PROGRAMS_CLI_MAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "core/buffer.h"
#include "core/error.h"
#include "core/options.h"

typedef struct {
    bool quiet, verbose;
    int64_t threads; /* 0: as many as the process may use */
} PareCliCommon;

/* The last rows of a program's option table. */
#define PARE_CLI_OPTIONS(common)                                                                   \
    {.kind = PARE_OPT_FLAG,                                                                        \
     .letter = 'q',                                                                                \
     .name = "quiet",                                                                              \
     .target = &(common).quiet,                                                                    \
     .help = "no warnings and no progress on standard error"},                                     \
    {                                                                                              \
        .kind = PARE_OPT_FLAG, .letter = 'v', .name = "verbose", .target = &(common).verbose,      \
        .help = "say more about what is done"                                                      \
    }
#define PARE_CLI_THREADS(common)                                                                   \
    {                                                                                              \
        .kind = PARE_OPT_INT, .letter = 't', .name = "threads", .target = &(common).threads,       \
        .values = "N", .help = "use N threads (default: all that the process may use)", .min = 1,  \
        .max = 256                                                                                 \
    }

void pare_cli_start(const char *program);
void pare_cli_apply(const PareCliCommon *common);
/* Warns of each line of a text. */
void pare_cli_warn(const char *lines);
/* Writes to standard output; a failure is kept and reported by pare_cli_end. */
void pare_cli_print(const PareBuffer *text);
/* Flushes standard output and returns the exit code; prints the message of a failure. */
int pare_cli_end(PareStatus status, PareError *err);

#endif
