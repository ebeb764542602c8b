/* Parsing a command line by a table. */
#include "core/options.h"

#include <stdio.h>
#include <string.h>

#include "core/buffer.h"
#include "core/memory.h"
#include "core/options_parts.h"
#include "core/version.h"

typedef struct {
    const PareOptionTable *table;
    int argc, at;
    char **argv;
    bool *seen; /* for each option of the table, whether it was given */
    PareStringList *operands;
    PareError *err;
} Parse;

/* One option as it stands on the command line. */
typedef struct {
    const PareOption *option;
    const char *shown; /* "--output" or "-o", for messages */
    const char *value; /* what is attached to it, or NULL */
    bool negated;
} Given;

enum { SHOWN_SIZE = 80 };

const char *pare_options_word(const char *values, size_t index, size_t *length) {
    for (; values; values = strchr(values, '|') ? strchr(values, '|') + 1 : NULL, index--) {
        *length = strcspn(values, "|");
        if (index == 0)
            return values;
    }
    return NULL;
}

bool pare_options_negatable(const PareOption *option) {
    return option->kind == PARE_OPT_FLAG && strncmp(option->name, "no-", 3) != 0;
}

bool pare_options_range(const PareOption *option, char *out, size_t size) {
    const double huge = 9e15; /* who writes such a limit means none */
    bool low = option->min > -huge, high = option->max < huge;
    if ((option->min == 0 && option->max == 0) || (!low && !high))
        return false;
    if (low && high)
        snprintf(out, size, "%.15g to %.15g", option->min, option->max);
    else
        snprintf(out, size, low ? "at least %.15g" : "at most %.15g",
                 low ? option->min : option->max);
    return true;
}

static PareStatus list_append(PareStringList *list, const char *item, PareError *err) {
    const char **items = pare_realloc(list->items, list->count + 1, sizeof *items);
    if (!items)
        return pare_memory_error(err, "the command line");
    list->items = items;
    items[list->count++] = item;
    return PARE_OK;
}

/* ---- Finding an option --------------------------------------------------------------------- */

static const PareOption *find_long(const PareOptionTable *table, const char *name, size_t length) {
    for (size_t i = 0; i < table->count; i++) {
        const PareOption *o = &table->options[i];
        if (o->kind != PARE_OPT_HEADING && strlen(o->name) == length &&
            memcmp(o->name, name, length) == 0)
            return o;
    }
    return NULL;
}

static const PareOption *find_letter(const PareOptionTable *table, char letter) {
    for (size_t i = 0; i < table->count; i++)
        if (table->options[i].kind != PARE_OPT_HEADING && table->options[i].letter == letter)
            return &table->options[i];
    return NULL;
}

static size_t smaller(size_t a, size_t b) {
    return a < b ? a : b;
}

/* Insertions, deletions, replacements and swaps of neighbours that turn one name into the other.
 * Names too long for a row are as far apart as can be. */
static size_t edit_distance(const char *a, size_t a_length, const char *b, size_t b_length) {
    size_t rows[3][SHOWN_SIZE];
    if (a_length >= SHOWN_SIZE || b_length >= SHOWN_SIZE)
        return SHOWN_SIZE;
    for (size_t i = 0; i <= a_length; i++) {
        size_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *top = rows[(i + 1) % 3];
        for (size_t j = 0; j <= b_length; j++) {
            row[j] = i + j;
            if (i == 0 || j == 0)
                continue;
            row[j] = smaller(above[j], row[j - 1]) + 1;
            row[j] = smaller(row[j], above[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = smaller(row[j], top[j - 2] + 1);
        }
    }
    return rows[a_length % 3][b_length];
}

/* A shortened name is near, too: that is what a user of getopt tries. */
static size_t name_distance(const char *typed, size_t length, const char *name) {
    size_t name_length = strlen(name);
    if (length >= 2 && length < name_length && memcmp(typed, name, length) == 0)
        return 1;
    return edit_distance(typed, length, name, name_length);
}

static PareStatus unknown_long(const Parse *p, const char *typed, size_t length) {
    static const char *const builtin[] = {"help", "version"};
    const char *best = NULL;
    size_t nearest = length / 3 + 1; /* farther ones would be guesses */
    for (size_t i = 0; i < p->table->count + 2; i++) {
        const PareOption *o = i < p->table->count ? &p->table->options[i] : NULL;
        const char *name = o ? o->name : builtin[i - p->table->count];
        if (o && o->kind == PARE_OPT_HEADING)
            continue;
        size_t distance = name_distance(typed, length, name);
        if (distance < nearest || (distance == nearest && !best)) {
            nearest = distance;
            best = name;
        }
    }
    if (best)
        return pare_error_set(p->err, PARE_E_USAGE, "unknown option '--%.*s'; did you mean '--%s'?",
                              (int)length, typed, best);
    return pare_error_set(p->err, PARE_E_USAGE, "unknown option '--%.*s'", (int)length, typed);
}

/* ---- Values -------------------------------------------------------------------------------- */

static PareStatus bad_value(const Parse *p, const Given *g, const char *expected) {
    return pare_error_set(p->err, PARE_E_USAGE, "option '%s': found '%s', expected %s", g->shown,
                          g->value, expected);
}

static PareStatus out_of_range(const Parse *p, const Given *g) {
    char range[80];
    pare_options_range(g->option, range, sizeof range);
    return pare_error_set(p->err, PARE_E_USAGE, "option '%s': %s is out of range, expected %s",
                          g->shown, g->value, range);
}

static bool in_range(const PareOption *o, double value) {
    return (o->min == 0 && o->max == 0) || (value >= o->min && value <= o->max);
}

static PareStatus store_choice(const Parse *p, const Given *g) {
    const char *values = g->option->values, *word;
    size_t length, wanted = strlen(g->value);
    for (size_t i = 0; (word = pare_options_word(values, i, &length)); i++) {
        if (length == wanted && memcmp(word, g->value, length) == 0) {
            *(int *)g->option->target = (int)i;
            return PARE_OK;
        }
    }
    PareBuffer list = {0};
    for (size_t i = 0; (word = pare_options_word(values, i, &length)); i++) {
        bool last = !pare_options_word(values, i + 1, &wanted);
        pare_buffer_printf(&list, "%s%.*s", i == 0 ? "" : last ? " or " : ", ", (int)length, word);
    }
    PareStatus status = pare_buffer_ok(&list, "the command line", p->err);
    if (!status)
        status = bad_value(p, g, list.data ? list.data : "nothing");
    pare_buffer_free(&list);
    return status;
}

static PareStatus store_number(const Parse *p, const Given *g) {
    int64_t integer;
    double real;
    switch (g->option->kind) {
    case PARE_OPT_INT:
        if (!pare_parse_int(g->value, &integer))
            return bad_value(p, g, "a whole number (k, M, G, Ki, Mi, Gi may follow)");
        if (!in_range(g->option, (double)integer))
            return out_of_range(p, g);
        *(int64_t *)g->option->target = integer;
        return PARE_OK;
    case PARE_OPT_FLOAT:
        if (!pare_parse_float(g->value, &real))
            return bad_value(p, g, "a finite decimal number");
        if (!in_range(g->option, real))
            return out_of_range(p, g);
        *(double *)g->option->target = real;
        return PARE_OK;
    default:
        if (!pare_parse_share(g->value, &real))
            return bad_value(p, g, "a share such as 25% or 0.25, from 0 to 1");
        *(double *)g->option->target = real;
        return PARE_OK;
    }
}

static PareStatus store(const Parse *p, const Given *g) {
    const PareOption *o = g->option;
    bool *seen = &p->seen[o - p->table->options];
    /* The later of two values would win silently, and one of them was a mistake. */
    if (*seen && o->kind != PARE_OPT_FLAG && o->kind != PARE_OPT_LIST)
        return pare_error_set(p->err, PARE_E_USAGE, "option '--%s' is given twice", o->name);
    *seen = true;
    if (o->given)
        *o->given = true;
    switch (o->kind) {
    case PARE_OPT_FLAG:
        *(bool *)o->target = !g->negated;
        return PARE_OK;
    case PARE_OPT_STRING:
        *(const char **)o->target = g->value;
        return PARE_OK;
    case PARE_OPT_LIST:
        return list_append(o->target, g->value, p->err);
    case PARE_OPT_CHOICE:
        return store_choice(p, g);
    default:
        return store_number(p, g);
    }
}

/* Whether an argument is one of our own options: then it is not the value of the one before. */
static bool is_own_option(const PareOptionTable *table, const char *argument) {
    size_t length = strcspn(argument, "=");
    return strncmp(argument, "--", 2) == 0 &&
           (length == 2 || find_long(table, argument + 2, length - 2));
}

/* Takes the value from behind the option if it has none attached, and stores it. */
static PareStatus complete(Parse *p, Given *g) {
    const char *word = pare_options_value_word(g->option);
    if (g->option->kind == PARE_OPT_FLAG) {
        if (g->value)
            return pare_error_set(p->err, PARE_E_USAGE, "option '%s' takes no value, found '%s'",
                                  g->shown, g->value);
    } else if (!g->value) {
        if (p->at >= p->argc)
            return pare_error_set(p->err, PARE_E_USAGE, "option '%s' needs a value (%s)", g->shown,
                                  word);
        if (is_own_option(p->table, p->argv[p->at]))
            return pare_error_set(p->err, PARE_E_USAGE,
                                  "option '%s' needs a value (%s), found option '%s'", g->shown,
                                  word, p->argv[p->at]);
        g->value = p->argv[p->at++];
    }
    return store(p, g);
}

/* ---- The command line ---------------------------------------------------------------------- */

static PareStatus parse_long(Parse *p, const char *argument) {
    const char *name = argument + 2, *equals = strchr(name, '=');
    size_t length = equals ? (size_t)(equals - name) : strlen(name);
    Given g = {.option = find_long(p->table, name, length), .value = equals ? equals + 1 : NULL};
    if (!g.option && length > 3 && memcmp(name, "no-", 3) == 0) {
        g.option = find_long(p->table, name + 3, length - 3);
        if (g.option && !pare_options_negatable(g.option))
            g.option = NULL;
        g.negated = g.option != NULL;
    }
    if (!g.option)
        return unknown_long(p, name, length);
    char shown[SHOWN_SIZE];
    snprintf(shown, sizeof shown, "--%.*s", (int)length, name);
    g.shown = shown;
    return complete(p, &g);
}

/* "-v", "-o FILE", "-oFILE", and flags together: "-qv". */
static PareStatus parse_letters(Parse *p, const char *argument) {
    for (const char *at = argument + 1; *at; at++) {
        char shown[3] = {'-', *at, '\0'};
        Given g = {.option = find_letter(p->table, *at), .shown = shown};
        if (!g.option)
            return pare_error_set(p->err, PARE_E_USAGE, "unknown option '%s' in '%s'", shown,
                                  argument);
        bool flag = g.option->kind == PARE_OPT_FLAG;
        if (at[1] == '=' && flag)
            return pare_error_set(p->err, PARE_E_USAGE, "'%s': option '%s' takes no value",
                                  argument, shown);
        if (at[1] == '=') /* getopt would make the '=' part of the value: nobody wants that */
            return pare_error_set(p->err, PARE_E_USAGE, "'%s': write '%s VALUE' or '--%s=VALUE'",
                                  argument, shown, g.option->name);
        if (!flag && at[1])
            g.value = at + 1;
        PareStatus status = complete(p, &g);
        if (status || !flag)
            return status;
    }
    return PARE_OK;
}

static bool wants_exit(const Parse *p, const char *argument, PareStatus *status) {
    bool letter = strcmp(argument, "-h") == 0 && !find_letter(p->table, 'h');
    if (letter || (strcmp(argument, "--help") == 0 && !find_long(p->table, "help", 4))) {
        *status = pare_options_help(p->table, p->err);
        return true;
    }
    if (strcmp(argument, "--version") != 0 || find_long(p->table, "version", 7))
        return false;
    fprintf(stdout, "%s (pare) %s\n", p->table->program, PARE_VERSION);
    *status = PARE_OK;
    return true;
}

static PareStatus parse_all(Parse *p, PareOptionsNext *next) {
    PareStatus status = PARE_OK;
    bool only_operands = false;
    while (p->at < p->argc && !status) {
        const char *argument = p->argv[p->at++];
        bool dashed = !only_operands && argument[0] == '-' && argument[1] != '\0';
        if (!dashed) { /* a lone "-" is an operand: it means a stream */
            status = list_append(p->operands, argument, p->err);
        } else if (strcmp(argument, "--") == 0) {
            only_operands = true;
        } else if (wants_exit(p, argument, &status)) {
            *next = PARE_OPTIONS_EXIT;
            return status;
        } else if (argument[1] == '-') {
            status = parse_long(p, argument);
        } else {
            status = parse_letters(p, argument);
        }
    }
    return status;
}

static PareStatus check_operands(const Parse *p) {
    const PareOptionTable *t = p->table;
    const char *plural = t->operands_max == 1 ? "" : "s";
    if (p->operands->count > t->operands_max) {
        const char *extra = p->operands->items[t->operands_max];
        if (t->operands_max == 0)
            return pare_error_set(p->err, PARE_E_USAGE, "unexpected operand '%s'", extra);
        return pare_error_set(p->err, PARE_E_USAGE,
                              "unexpected operand '%s': expected at most %zu operand%s", extra,
                              t->operands_max, plural);
    }
    if (p->operands->count < t->operands_min)
        return pare_error_set(
            p->err, PARE_E_USAGE, "missing operand: found %zu, expected %s%zu (usage: %s %s)",
            p->operands->count, t->operands_min == t->operands_max ? "" : "at least ",
            t->operands_min, t->program, t->usage ? t->usage : "");
    return PARE_OK;
}

PareStatus pare_options_parse(const PareOptionTable *table, int argc, char **argv,
                              PareStringList *operands, PareOptionsNext *next, PareError *err) {
    Parse p = {
        .table = table, .argc = argc, .at = 1, .argv = argv, .operands = operands, .err = err};
    *operands = (PareStringList){0};
    *next = PARE_OPTIONS_RUN;
    p.seen = pare_alloc(table->count, sizeof *p.seen);
    PareStatus status = PARE_OK;
    if (!p.seen)
        status = pare_memory_error(err, "the command line");
    if (!status)
        status = parse_all(&p, next);
    if (!status && *next == PARE_OPTIONS_RUN)
        status = check_operands(&p);
    pare_free(p.seen);
    if (status) /* a caller that gives up at once leaks nothing */
        pare_options_free(table, operands);
    return status;
}

static void list_free(PareStringList *list) {
    pare_free(list->items);
    *list = (PareStringList){0};
}

void pare_options_free(const PareOptionTable *table, PareStringList *operands) {
    for (size_t i = 0; i < table->count; i++)
        if (table->options[i].kind == PARE_OPT_LIST)
            list_free(table->options[i].target);
    list_free(operands);
}
