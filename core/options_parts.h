/* Inside of options.c: what parsing and --help share. */
#ifndef PARE_CORE_OPTIONS_PARTS_H
#define PARE_CORE_OPTIONS_PARTS_H

#include <stdbool.h>
#include <stddef.h>

#include "core/options.h"

/* The index-th of the words that '|' separates and its length; NULL beyond the last. */
const char *pare_options_word(const char *values, size_t index, size_t *length);
/* The word for an option's value in --help and in messages: "FILE", or the choices. */
const char *pare_options_value_word(const PareOption *option);
/* A flag is switched off by --no-NAME, unless its own name says "no" already. */
bool pare_options_negatable(const PareOption *option);
/* "1 to 256", "at least 1", "at most 9" into `out`; false when any number will do. */
bool pare_options_range(const PareOption *option, char *out, size_t size);
/* What --help prints, on stdout; whether that worked is for the program to check at its end. */
PareStatus pare_options_help(const PareOptionTable *table, PareError *err);

#endif
