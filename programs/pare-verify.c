/* pare-verify: reads options, calls the verify stage, prints its report. */
#include "core/log.h"
#include "programs/cli_main.h"
#include "verify/verify.h"

static struct {
    PareCliCommon common;
    const char *reference, *data, *columns;
    int task, format;
    int64_t limit, batch_size, num_beams, max_length, window;
    PareStringList max_drop;
    bool json, truncate;
} opt;

static const PareOption OPTIONS[] = {
    {.kind = PARE_OPT_STRING,
     .letter = 'r',
     .name = "reference",
     .target = &opt.reference,
     .values = "FILE",
     .help = "the model that the candidate is compared with (a .pare file)"},
    {.kind = PARE_OPT_STRING,
     .letter = 'd',
     .name = "data",
     .target = &opt.data,
     .values = "FILE",
     .help = "what to judge on: TSV or JSON lines with labels or targets, or plain text for lm; - "
             "is standard input"},
    {.kind = PARE_OPT_CHOICE,
     .name = "task",
     .target = &opt.task,
     .values = "auto|classification|translation|lm",
     .help = "what is measured (default: what the models' head is made for)"},
    {.kind = PARE_OPT_LIST,
     .name = "max-drop",
     .target = &opt.max_drop,
     .values = "NAME=NUMBER",
     .help = "exit with 3 when the candidate is worse by more: accuracy=POINTS, bleu=POINTS, "
             "perplexity=PERCENT, bits_per_byte=PERCENT; may be repeated"},
    {.kind = PARE_OPT_FLAG,
     .name = "json",
     .target = &opt.json,
     .help = "print one JSON object instead of a table"},
    {.kind = PARE_OPT_HEADING, .help = "Data"},
    {.kind = PARE_OPT_CHOICE,
     .name = "format",
     .target = &opt.format,
     .values = "auto|tsv|jsonl|text",
     .help = "of the data (default: by its first line)"},
    {.kind = PARE_OPT_STRING,
     .name = "columns",
     .target = &opt.columns,
     .values = "NAMES",
     .help = "of a TSV file without header: text, text_b, target, label, - to skip one"},
    {.kind = PARE_OPT_INT,
     .letter = 'n',
     .name = "limit",
     .target = &opt.limit,
     .values = "N",
     .help = "use the first N rows (lines)",
     .min = 1,
     .max = 1e15},
    {.kind = PARE_OPT_FLAG,
     .name = "truncate",
     .target = &opt.truncate,
     .help = "cut what is longer than the models read, instead of refusing it"},
    {.kind = PARE_OPT_INT,
     .name = "window",
     .target = &opt.window,
     .values = "N",
     .help = "lm: tokens that are read at a time (default: the models' positions)",
     .min = 2,
     .max = 1e9},
    {.kind = PARE_OPT_HEADING, .help = "Running"},
    {.kind = PARE_OPT_INT,
     .name = "num-beams",
     .target = &opt.num_beams,
     .values = "N",
     .help = "translation: hypotheses of the beam search (default: as each model says)",
     .min = 1,
     .max = 1024},
    {.kind = PARE_OPT_INT,
     .name = "max-length",
     .target = &opt.max_length,
     .values = "N",
     .help = "translation: tokens at most, with the decoder's start (default: as each model says)",
     .min = 2,
     .max = 1e6},
    {.kind = PARE_OPT_INT,
     .letter = 'b',
     .name = "batch-size",
     .target = &opt.batch_size,
     .values = "N",
     .help = "rows (lm: windows) that are run together (default: 32)",
     .min = 1,
     .max = 4096},
    PARE_CLI_THREADS(opt.common),
    PARE_CLI_OPTIONS(opt.common),
};

static const PareOptionTable TABLE = {
    .program = "pare-verify",
    .usage = "[OPTION]... --reference REFERENCE.pare --data FILE CANDIDATE.pare",
    .description =
        "Runs two models on the same data and tells what the candidate lost: accuracy with its "
        "interval, BLEU as sacreBLEU computes it, perplexity, and how far its logits drifted.",
    .examples = "pare-verify -r model.pare -d dev.tsv model.int8.pare --max-drop accuracy=0.5\n"
                "pare-verify -r model.pare -d test.tsv model.int8.pare --num-beams 4 --max-drop "
                "bleu=0.2\n"
                "pare-verify -r model.pare -d test.txt model.fp16.pare --max-drop perplexity=0.3 "
                "--json\n",
    .options = OPTIONS,
    .count = sizeof OPTIONS / sizeof *OPTIONS,
    .operands_min = 1,
    .operands_max = 1,
};

static PareStatus fill_options(const char *candidate, PareVerifyOptions *o, PareError *err) {
    static const PareDataFormat formats[] = {PARE_DATA_AUTO, PARE_DATA_TSV, PARE_DATA_JSONL,
                                             PARE_DATA_TEXT};
    if (!opt.reference)
        return pare_error_set(err, PARE_E_USAGE, "--reference FILE is missing");
    if (!opt.data)
        return pare_error_set(err, PARE_E_USAGE, "--data FILE is missing");
    *o = (PareVerifyOptions){.reference = opt.reference,
                             .candidate = candidate,
                             .data = opt.data,
                             .task = (PareVerifyTask)opt.task,
                             .format = formats[opt.format],
                             .columns = opt.columns,
                             .limit = (uint64_t)opt.limit,
                             .threads = (size_t)opt.common.threads,
                             .batch_size = (size_t)opt.batch_size,
                             .num_beams = (uint32_t)opt.num_beams,
                             .max_length = (uint32_t)opt.max_length,
                             .truncate = opt.truncate,
                             .window = (size_t)opt.window};
    PareStatus status = PARE_OK;
    for (size_t i = 0; i < opt.max_drop.count && !status; i++)
        status = pare_verify_limit_parse(opt.max_drop.items[i], &o->limits, err);
    return status;
}

static PareStatus run(const char *candidate, PareError *err) {
    PareVerifyOptions o;
    PareVerifyReport report;
    PareBuffer text = {0};
    PareStatus status = fill_options(candidate, &o, err);
    if (status)
        return status;
    o.progress = pare_progress_start("verify", o.limit);
    status = pare_verify_run(&o, &report, err);
    pare_progress_finish(o.progress);
    if (status)
        return status;
    if (opt.json)
        pare_verify_write_json(&o, &report, &text);
    else
        pare_verify_write_table(&o, &report, &text);
    if (!(status = pare_buffer_ok(&text, "the report", err))) {
        pare_cli_print(&text);
        status = pare_verify_check(&o, &report, err);
    }
    pare_buffer_free(&text);
    return status;
}

int main(int argc, char **argv) {
    PareError err = {0};
    PareStringList operands = {0};
    PareOptionsNext next;
    pare_cli_start(TABLE.program);
    PareStatus status = pare_options_parse(&TABLE, argc, argv, &operands, &next, &err);
    if (!status && next == PARE_OPTIONS_RUN) {
        pare_cli_apply(&opt.common);
        status = run(operands.items[0], &err);
    }
    int code = pare_cli_end(status, &err);
    pare_options_free(&TABLE, &operands);
    return code;
}
