/* Command lines: one table a program gives parsing, checks and --help.
 *
 * GNU conventions: long options `--name value` or `--name=value`, short ones `-o value`, unique
 * prefixes are NOT accepted (scripts must not break when options are added), `--` ends options,
 * options and operands may be mixed. --help (also -h, if no option takes it) and --version are
 * added to every table. What takes one value is refused when given twice. Values that targets hold
 * before parsing are the defaults that --help shows. Flags that begin with "no-" have no `--no-`
 * form. */
#ifndef PARE_CORE_OPTIONS_H
#define PARE_CORE_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/error.h"

typedef enum {
    PARE_OPT_FLAG,   /* bool *       : --name; `--no-name` sets false */
    PARE_OPT_STRING, /* const char **: borrowed from argv */
    PARE_OPT_INT,    /* int64_t *    : decimal; units k M G (10^3n) or Ki Mi Gi; range checked */
    PARE_OPT_FLOAT,  /* double *     : finite decimal; range checked */
    PARE_OPT_SHARE,  /* double *     : "25%" or "0.25", stored as 0.25; 0..1 */
    PARE_OPT_LIST,   /* PareStringList *: may be given several times */
    PARE_OPT_CHOICE, /* int *        : index into the words of `values`, which '|' separates */
    PARE_OPT_HEADING /* no option: starts a group in --help */
} PareOptionKind;

typedef struct {
    const char **items;
    size_t count;
} PareStringList; /* freed by pare_options_free */

typedef struct {
    PareOptionKind kind;
    char letter;      /* short form, or 0 */
    const char *name; /* long form without dashes */
    void *target;
    const char *values; /* the word for the value in --help ("FILE"), or the choices "a|b|c" */
    const char *help;
    double min, max; /* INT, FLOAT; both 0: any */
    bool *given;     /* set when the option appeared; may be NULL */
} PareOption;

typedef struct {
    const char *program;     /* "pare-convert" */
    const char *usage;       /* what follows the program's name: "[OPTION]... IN -o OUT" */
    const char *description; /* a paragraph for --help */
    const char *examples;    /* may be NULL */
    const PareOption *options;
    size_t count;
    size_t operands_min, operands_max; /* refused by number before the program sees them */
} PareOptionTable;

typedef enum { PARE_OPTIONS_RUN, PARE_OPTIONS_EXIT } PareOptionsNext;

/* Parses argv[1..]. On PARE_OPTIONS_EXIT (--help, --version printed to stdout) the program returns
 * 0. Operands are borrowed from argv. Errors are PARE_E_USAGE. */
PareStatus pare_options_parse(const PareOptionTable *table, int argc, char **argv,
                              PareStringList *operands, PareOptionsNext *next, PareError *err);
void pare_options_free(const PareOptionTable *table, PareStringList *operands);

/* Strict numbers, also for other parsers: the whole text must be the number. */
bool pare_parse_int(const char *text, int64_t *out);  /* with the units above */
bool pare_parse_float(const char *text, double *out); /* finite */
bool pare_parse_share(const char *text, double *out);

/* Shell-style match: * and ? and [abc]; '*' also matches '.' and '/'. */
bool pare_glob_match(const char *pattern, const char *text);

#endif
