/* The table of pare-run's options, and which command takes which. */
#include "programs/run_options.h"

#include <string.h>

enum {
    EVERY = PARE_RUN_CLASSIFY | PARE_RUN_GENERATE | PARE_RUN_SCORE | PARE_RUN_LOGITS |
            PARE_RUN_TOKENIZE,
    SHIFTING = PARE_RUN_GENERATE | PARE_RUN_SCORE | PARE_RUN_LOGITS
};

static const struct {
    const char *name;
    PareRunCommand command;
} COMMANDS[] = {{"classify", PARE_RUN_CLASSIFY},
                {"generate", PARE_RUN_GENERATE},
                {"score", PARE_RUN_SCORE},
                {"logits", PARE_RUN_LOGITS},
                {"tokenize", PARE_RUN_TOKENIZE}};

PareRunOptions pare_run_options(void) {
    return (PareRunOptions){.input = "-", .batch_size = 32};
}

/* -- the table -- */

#define STRING(letter, name, member, word, help)                                                   \
    { PARE_OPT_STRING, letter, name, &o->member, word, help, 0, 0, &o->given.member }
#define FLAG(name, member, help)                                                                   \
    { PARE_OPT_FLAG, 0, name, &o->member, NULL, help, 0, 0, &o->given.member }
#define NUMBER(name, member, min, max, help)                                                       \
    { PARE_OPT_INT, 0, name, &o->member, "N", help, min, max, &o->given.member }
#define REAL(name, member, min, max, help)                                                         \
    { PARE_OPT_FLOAT, 0, name, &o->member, "X", help, min, max, &o->given.member }
#define HEADING(text)                                                                              \
    { .kind = PARE_OPT_HEADING, .help = text }

static const char DESCRIPTION[] =
    "Runs a model over lines of text, or of token ids, and prints what it gives, one result for "
    "each line and in their order. Commands: classify labels texts, tokens, or the span that "
    "answers; generate writes on, or translates; score gives a text's negative log-likelihood; "
    "logits gives the raw scores; tokenize gives the token ids that the model would read.";

static const char EXAMPLES[] =
    "  echo 'what a fine day' | pare-run classify mood.pare\n"
    "  pare-run generate de-en.pare --input german.txt --num-beams 4 --output english.txt\n"
    "  pare-run score lm.pare --input lines.txt --json\n"
    "  pare-run logits model.pare --ids --json <ids.jsonl\n"
    "  pare-run --self-test model.int8.pare\n";

enum { INT_LIMIT = 2147483647 };

/* Fills the options and words[0..*count), the operands. */
static PareStatus parse_table(PareRunOptions *o, int argc, char **argv, const char *words[2],
                              size_t *count, PareOptionsNext *next, PareError *err) {
    const PareOption options[] = {
        HEADING("Input and output"),
        STRING('i', "input", input, "FILE", "read FILE (default: standard input)"),
        {PARE_OPT_CHOICE, 0, "format", &o->format, "text|tsv|jsonl|auto",
         "what the input is (default: by FILE's ending, else text, one a line)", 0, 0,
         &o->given.format},
        STRING(0, "columns", columns, "NAMES",
               "the columns of a TSV file without header, such as source,target"),
        FLAG("ids", ids, "the input is token ids: JSON lines with input_ids, or lists"),
        FLAG("truncate", truncate, "cut inputs to the model's positions"),
        NUMBER("limit", limit, 1, 9e15, "stop after N inputs"),
        STRING('o', "output", output, "FILE", "write FILE (default: standard output)"),
        FLAG("force", force, "replace an existing output"),
        FLAG("json", json, "print one JSON object for each input"),
        HEADING("Work"),
        {PARE_OPT_INT, 'b', "batch-size", &o->batch_size, "N",
         "run up to N inputs together (default: 32); results do not depend on it, but for the last "
         "digits of F32",
         1, 65536, &o->given.batch},
        PARE_CLI_THREADS(o->common),
        FLAG("self-test", self_test, "replay the self-test that the model file carries"),
        PARE_CLI_OPTIONS(o->common),
        HEADING("Generation (default: what the model file says)"),
        NUMBER("num-beams", num_beams, 1, 1024, "beams; 1 is greedy"),
        NUMBER("max-length", max_length, 1, INT_LIMIT, "longest result, prompt included"),
        NUMBER("max-new-tokens", max_new_tokens, 1, INT_LIMIT, "the same without the prompt"),
        NUMBER("min-length", min_length, 0, INT_LIMIT, "no end before this length"),
        REAL("length-penalty", length_penalty, -1e6, 1e6,
             "a result's score is its log-probability / length^X"),
        NUMBER("no-repeat-ngram-size", no_repeat_ngram_size, 0, INT_LIMIT,
               "no N tokens in a row occur twice"),
        {PARE_OPT_CHOICE, 0, "early-stopping", &o->early_stopping, "false|true|never",
         "when beam search is done (default: the model's)", 0, 0, &o->given.early_stopping},
        REAL("repetition-penalty", repetition_penalty, 1e-6, 1e6,
             "scores of tokens that occurred are divided by X"),
        STRING(0, "bad-words-ids", bad_words, "JSON", "lists of ids never to generate, or none"),
        STRING(0, "forced-bos-token-id", forced_bos, "ID", "the first generated token, or none"),
        STRING(0, "forced-eos-token-id", forced_eos, "ID",
               "the last token at the longest length, or none"),
        STRING(0, "decoder-start-token-id", decoder_start, "ID", "what the decoder begins with"),
        STRING(0, "eos-token-id", eos, "ID|JSON", "what ends a result: an id, a list, or none"),
        STRING(0, "pad-token-id", pad, "ID", "what stands where a label is -100, or none"),
    };
    const PareOptionTable table = {.program = "pare-run",
                                   .usage = "COMMAND MODEL.pare [OPTION]...",
                                   .description = DESCRIPTION,
                                   .examples = EXAMPLES,
                                   .options = options,
                                   .count = sizeof options / sizeof *options,
                                   .operands_min = 1,
                                   .operands_max = 2};
    PareStringList operands = {0};
    PareStatus st = pare_options_parse(&table, argc, argv, &operands, next, err);
    for (*count = 0; !st && *count < operands.count; ++*count)
        words[*count] = operands.items[*count];
    pare_options_free(&table, &operands);
    return st;
}

/* -- what goes together -- */

static PareStatus find_command(PareRunOptions *o, const char *const *words, size_t count,
                               PareError *err) {
    if (o->self_test && count == 2)
        return pare_error_set(err, PARE_E_USAGE, "--self-test takes a model file and no command");
    o->model = words[count - 1];
    if (o->self_test) {
        o->command = PARE_RUN_SELF_TEST;
        return PARE_OK;
    }
    for (size_t i = 0; i < sizeof COMMANDS / sizeof *COMMANDS; i++)
        if (strcmp(words[0], COMMANDS[i].name) == 0)
            o->command = COMMANDS[i].command;
    if (!o->command)
        return pare_error_set(err, PARE_E_USAGE,
                              "'%s' is not a command; expected classify, generate, score, logits "
                              "or tokenize",
                              words[0]);
    if (count == 1)
        return pare_error_set(err, PARE_E_USAGE, "the model file is missing: %s MODEL.pare",
                              words[0]);
    return PARE_OK;
}

static PareStatus check_command(const PareRunOptions *o, const char *command, PareError *err) {
    const struct {
        const char *name;
        bool given;
        unsigned commands;
    } table[] = {
        {"input", o->given.input, EVERY},
        {"format", o->given.format, EVERY},
        {"columns", o->given.columns, EVERY},
        {"ids", o->given.ids, EVERY},
        {"truncate", o->given.truncate, EVERY},
        {"limit", o->given.limit, EVERY},
        {"output", o->given.output, EVERY},
        {"force", o->given.force, EVERY},
        {"batch-size", o->given.batch, EVERY},
        {"num-beams", o->given.num_beams, PARE_RUN_GENERATE},
        {"max-length", o->given.max_length, PARE_RUN_GENERATE},
        {"max-new-tokens", o->given.max_new_tokens, PARE_RUN_GENERATE},
        {"min-length", o->given.min_length, PARE_RUN_GENERATE},
        {"length-penalty", o->given.length_penalty, PARE_RUN_GENERATE},
        {"no-repeat-ngram-size", o->given.no_repeat_ngram_size, PARE_RUN_GENERATE},
        {"early-stopping", o->given.early_stopping, PARE_RUN_GENERATE},
        {"repetition-penalty", o->given.repetition_penalty, PARE_RUN_GENERATE},
        {"bad-words-ids", o->given.bad_words, PARE_RUN_GENERATE},
        {"forced-bos-token-id", o->given.forced_bos, PARE_RUN_GENERATE},
        {"forced-eos-token-id", o->given.forced_eos, PARE_RUN_GENERATE},
        {"eos-token-id", o->given.eos, PARE_RUN_GENERATE},
        {"decoder-start-token-id", o->given.decoder_start, SHIFTING},
        {"pad-token-id", o->given.pad, SHIFTING},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].given && !(table[i].commands & (unsigned)o->command))
            return pare_error_set(err, PARE_E_USAGE, "--%s does not apply to %s", table[i].name,
                                  command);
    return PARE_OK;
}

static PareStatus check_together(const PareRunOptions *o, PareError *err) {
    if (o->ids && (o->given.format || o->given.columns))
        return pare_error_set(err, PARE_E_USAGE,
                              "--%s is about text, and --ids says that the input is token ids",
                              o->given.format ? "format" : "columns");
    if (o->given.columns && o->given.format && o->format != PARE_RUN_FORMAT_TSV &&
        o->format != PARE_RUN_FORMAT_AUTO)
        return pare_error_set(err, PARE_E_USAGE, "--columns is for --format tsv");
    if (o->force && !o->output)
        return pare_error_set(err, PARE_E_USAGE, "--force is for --output FILE");
    return PARE_OK;
}

static bool ends_with(const char *text, const char *end) {
    size_t size = strlen(text), end_size = strlen(end);
    return size > end_size && strcmp(text + size - end_size, end) == 0;
}

/* The name of a file says what it is; standard input is text. */
static void guess_format(PareRunOptions *o) {
    if (o->given.format)
        return;
    if (o->columns || ends_with(o->input, ".tsv"))
        o->format = PARE_RUN_FORMAT_TSV;
    else if (ends_with(o->input, ".jsonl"))
        o->format = PARE_RUN_FORMAT_JSONL;
}

PareStatus pare_run_options_parse(PareRunOptions *o, int argc, char **argv, PareOptionsNext *next,
                                  PareError *err) {
    const char *words[2];
    size_t count;
    PareStatus st = parse_table(o, argc, argv, words, &count, next, err);
    if (st || *next != PARE_OPTIONS_RUN)
        return st;
    st = find_command(o, words, count, err);
    if (!st)
        st = check_command(o, o->self_test ? "--self-test" : words[0], err);
    if (!st)
        st = check_together(o, err);
    guess_format(o);
    return st;
}
