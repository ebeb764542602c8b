/*
 * make-data: writes the data sets of the two sample models, out of nothing but a seed.
 *
 *   words   numbers, dates, times and amounts of money, and how to say them in English
 *   intent  short spoken commands, and which of ten things each one asks for
 *
 * The same arguments give the same bytes on every machine: integers only, and a random number
 * generator of our own. Which split a row belongs to is decided by a hash of its text and by
 * nothing else, so train, dev and test never share a row, whatever their seeds.
 */
#include "make-data.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- splits, and rows that occur once ------------------------------------------------------ */

enum split { SPLIT_TRAIN, SPLIT_DEV, SPLIT_TEST };

static const char *const SPLITS[] = {"train", "dev", "test"};

/* Nine texts in ten are for training; dev and test share the tenth. */
static enum split split_of(const char *text) {
    uint64_t part = hash_text(text) % 20;
    return part == 0 ? SPLIT_DEV : part == 1 ? SPLIT_TEST : SPLIT_TRAIN;
}

/* A set of the hashes of the rows written so far: open addressing, at most half full. */
struct seen {
    uint64_t *slots;
    uint64_t mask;
};

static bool seen_open(struct seen *seen, uint32_t rows) {
    uint64_t size = 16;
    while (size < 2 * (uint64_t)rows)
        size *= 2;
    seen->mask = size - 1;
    seen->slots =
        size > SIZE_MAX / sizeof *seen->slots ? NULL : calloc((size_t)size, sizeof *seen->slots);
    return seen->slots != NULL;
}

/* Adds the text; false if it was there already. */
static bool seen_add(struct seen *seen, const char *text) {
    uint64_t hash = hash_text(text) | 1; /* zero marks an empty slot */
    uint64_t at = (hash >> 1) & seen->mask;
    for (; seen->slots[at] != 0; at = (at + 1) & seen->mask) {
        if (seen->slots[at] == hash)
            return false;
    }
    seen->slots[at] = hash;
    return true;
}

struct options {
    bool intent; /* the job: intent, or else words */
    bool labels; /* print the names of the labels and nothing else */
    enum split split;
    uint32_t rows;
    uint64_t seed;
};

/* Makes rows until one is of the right split and new, and writes it. */
static bool write_words_row(struct rng *rng, enum split split, struct seen *seen) {
    struct words_row row;
    words_make_row(rng, &row);
    if (split_of(row.source.text) != split || !seen_add(seen, row.source.text))
        return false;
    printf("%s\t%s\n", row.source.text, row.target.text);
    return true;
}

/*
 * The clean sentence decides the split, so that no test sentence is a training sentence with a
 * typo; the noisy one must agree, so that no text can ever be in two splits.
 */
static bool write_intent_row(struct rng *rng, enum split split, struct seen *seen) {
    struct intent_command command;
    intent_make_command(rng, &command);
    if (split_of(command.clean.text) != split || split_of(command.noisy.text) != split ||
        !seen_add(seen, command.noisy.text))
        return false;
    printf("%s\t%u\n", command.noisy.text, command.label);
    return true;
}

static int write_rows(const struct options *options) {
    struct rng rng = {hash_mix(options->seed + 1)};
    struct seen seen;
    if (!seen_open(&seen, options->rows)) {
        fprintf(stderr, "make-data: not enough memory for %u rows\n", options->rows);
        return 1;
    }
    printf("%s\n", options->intent ? "sentence\tlabel" : "source\ttarget");
    uint32_t rows = 0;
    uint32_t rejected = 0;
    while (rows < options->rows && rejected < 1000000) {
        bool wrote = options->intent ? write_intent_row(&rng, options->split, &seen)
                                     : write_words_row(&rng, options->split, &seen);
        rows += wrote;
        rejected = wrote ? 0 : rejected + 1;
    }
    free(seen.slots);
    if (rows < options->rows) {
        fprintf(stderr, "make-data: found only %u different rows of the %u asked for\n", rows,
                options->rows);
        return 1;
    }
    return 0;
}

/* ---- the command line ---------------------------------------------------------------------- */

static const char USAGE[] =
    "usage: make-data words|intent --split train|dev|test --rows N --seed S\n"
    "       make-data intent --labels\n"
    "\n"
    "Writes a data set to standard output: tab-separated lines under a header.\n"
    "\n"
    "  words        numbers, dates, times and amounts, and how to say them in English\n"
    "               (columns: source, target)\n"
    "  intent       short commands, and the number of the intent of each\n"
    "               (columns: sentence, label)\n"
    "\n"
    "  --split S    train, dev or test; no text is ever in two of them (default: train)\n"
    "  --rows N     how many rows, all different (default: 1000)\n"
    "  --seed S     any number; the same seed gives the same rows everywhere (default: 1)\n"
    "  --labels     print the names of the intents, one a line, in the order of their numbers\n"
    "  --help       print this text\n";

static int refuse(const char *format, const char *what) {
    fprintf(stderr, "make-data: ");
    fprintf(stderr, format, what);
    fprintf(stderr, " (make-data --help tells more)\n");
    return 2;
}

/* Plain decimal digits only, no larger than the limit. */
static bool read_number(const char *text, uint64_t limit, uint64_t *number) {
    *number = 0;
    if (*text == '\0')
        return false;
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9')
            return false;
        uint64_t digit = (uint64_t)(*text - '0');
        if (*number > (limit - digit) / 10)
            return false;
        *number = *number * 10 + digit;
    }
    return true;
}

static int read_value(struct options *options, const char *name, const char *value) {
    uint64_t number;
    if (value == NULL)
        return refuse("option %s needs a value", name);
    if (strcmp(name, "--split") == 0) {
        for (uint32_t i = 0; i < COUNT(SPLITS); i++) {
            if (strcmp(value, SPLITS[i]) == 0) {
                options->split = (enum split)i;
                return 0;
            }
        }
        return refuse("--split must be train, dev or test, not '%s'", value);
    }
    if (strcmp(name, "--rows") == 0) {
        if (!read_number(value, 100000000, &number))
            return refuse("--rows must be a number from 0 to 100000000, not '%s'", value);
        options->rows = (uint32_t)number;
        return 0;
    }
    if (!read_number(value, UINT64_MAX, &options->seed))
        return refuse("--seed must be a number from 0 to 18446744073709551615, not '%s'", value);
    return 0;
}

static int read_options(struct options *options, int count, char **args) {
    *options = (struct options){.rows = 1000, .seed = 1};
    if (count < 2)
        return refuse("the job is missing: %s", "words or intent");
    options->intent = strcmp(args[1], "intent") == 0;
    if (!options->intent && strcmp(args[1], "words") != 0)
        return refuse("the job must be words or intent, not '%s'", args[1]);
    for (int i = 2; i < count; i++) {
        if (strcmp(args[i], "--labels") == 0 && options->intent) {
            options->labels = true;
            continue;
        }
        if (strcmp(args[i], "--split") != 0 && strcmp(args[i], "--rows") != 0 &&
            strcmp(args[i], "--seed") != 0)
            return refuse("unknown option '%s'", args[i]);
        int status = read_value(options, args[i], args[i + 1]);
        if (status != 0)
            return status;
        i++;
    }
    return 0;
}

static int run(const struct options *options) {
    if (!options->labels)
        return write_rows(options);
    for (uint32_t i = 0; intent_name(i) != NULL; i++)
        printf("%s\n", intent_name(i));
    return 0;
}

int main(int argc, char **argv) {
    struct options options;
    int status = 0;
    bool help = false;
    for (int i = 1; i < argc; i++)
        help = help || strcmp(argv[i], "--help") == 0;
    if (help)
        fputs(USAGE, stdout);
    else
        status = read_options(&options, argc, argv);
    if (!help && status == 0)
        status = run(&options);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        fprintf(stderr, "make-data: cannot write to standard output\n");
        return 1;
    }
    return status;
}
