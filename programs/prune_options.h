/* pare-prune's options: the table, what needs reading beyond it, and what contradicts what. */
#ifndef PARE_PROGRAMS_PRUNE_OPTIONS_H
#define PARE_PROGRAMS_PRUNE_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"
#include "core/options.h"
#include "programs/cli_main.h"
#include "prune/prune.h"

/* The options as they were given, and, once parsed, what they mean to the stage. */
typedef struct {
    ParePruneOptions o;
    PareCliCommon common;
    bool dry_run, json;

    const char *criterion, *columns, *align, *cut, *speedup;
    int format, scope, normalize, against, precision;
    int64_t positions, iterations, target_size, batch_size, batches, seed, repair_rows;
    int64_t max_source, max_target, block, limit, vocabulary_size;
    bool repair, truncate, predict;
    struct {
        bool heads, ffn, width, scope, normalize, min_kept, iterations, target_size, precision;
        bool predict;
        bool batch_size, batches, against, seed, repair, ridge, repair_rows;
        bool format, max_source, max_target, truncate, block, limit, vocabulary_size;
    } given;
} ParePruneCommand;

/* Defaults. */
ParePruneCommand pare_prune_command(void);
/* Parses the command line into `c`; *next as pare_options_parse gives it. What the options point to
 * is borrowed from argv. */
PareStatus pare_prune_command_parse(ParePruneCommand *c, int argc, char **argv,
                                    PareOptionsNext *next, PareError *err);

#endif
