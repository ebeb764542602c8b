/* pare-convert: a checkpoint's folder to a .pare file. */
#include "convert/convert.h"
#include "core/log.h"
#include "programs/cli_main.h"

typedef struct {
    PareConvertOptions convert;
    const char *output;
    bool dry_run, force, json;
    PareCliCommon common;
} Settings;

static PareStatus convert(PareConvert *c, const Settings *s, PareError *err) {
    const PareConvertSummary *summary = pare_convert_summary(c);
    PareProgress *progress = pare_progress_start("converting", summary->output_bytes);
    PareStatus st = pare_convert_write(c, s->output, s->force, progress, err);
    pare_progress_finish(progress);
    if (!st)
        pare_log_info("%s: %s, %zu tensors, %llu parameters", s->output, summary->architecture,
                      summary->tensors, (unsigned long long)summary->parameters);
    return st;
}

static PareStatus run(Settings *s, PareError *err) {
    PareConvert *c = NULL;
    PareBuffer text = {0};
    PareStatus st = pare_convert_open(&s->convert, &c, err);
    if (!st && !s->dry_run)
        st = convert(c, s, err);
    if (st)
        goto done;
    pare_cli_warn(pare_convert_summary(c)->warnings);
    if (s->dry_run || s->json) {
        pare_convert_describe(c, s->json, &text);
        st = pare_buffer_ok(&text, "the summary", err);
        pare_cli_print(&text);
    }
done:
    pare_buffer_free(&text);
    pare_convert_close(c);
    return st;
}

int main(int argc, char **argv) {
    Settings s = {0};
    PareError err = {0};
    PareStringList operands = {0};
    PareOptionsNext next = PARE_OPTIONS_RUN;
    const PareOption options[] = {
        {.kind = PARE_OPT_STRING,
         .letter = 'o',
         .name = "output",
         .target = &s.output,
         .values = "FILE",
         .help = "write the model to FILE"},
        {.kind = PARE_OPT_FLAG,
         .letter = 'n',
         .name = "dry-run",
         .target = &s.dry_run,
         .help = "check all but the values, print what would be done, and write nothing"},
        {.kind = PARE_OPT_FLAG,
         .letter = 'f',
         .name = "force",
         .target = &s.force,
         .help = "replace an existing FILE"},
        {.kind = PARE_OPT_STRING,
         .name = "root",
         .target = &s.convert.root,
         .values = "KEY",
         .help = "where in a training checkpoint the tensors are: keys joined by '/'"},
        {.kind = PARE_OPT_LIST,
         .name = "allow-unused",
         .target = &s.convert.allow_unused,
         .values = "GLOB",
         .help = "tensors that match may be left over; may be given several times"},
        {.kind = PARE_OPT_FLAG,
         .name = "allow-nonfinite",
         .target = &s.convert.allow_nonfinite,
         .help = "keep NaN and infinite weights, and report them"},
        {.kind = PARE_OPT_FLAG,
         .name = "no-tokenizer",
         .target = &s.convert.no_tokenizer,
         .help = "convert without a tokenizer; the model then reads token ids only"},
        {.kind = PARE_OPT_FLAG,
         .name = "json",
         .target = &s.json,
         .help = "print a summary as one JSON object"},
        PARE_CLI_THREADS(s.common),
        PARE_CLI_OPTIONS(s.common)};
    const PareOptionTable table = {
        .program = "pare-convert",
        .usage = "[OPTION]... FOLDER -o FILE",
        .description = "Makes one .pare file of a checkpoint's folder: weights, settings, labels "
                       "and tokenizer.",
        .examples = "pare-convert my-classifier -o my-classifier.pare\n"
                    "pare-convert my-classifier --dry-run",
        .options = options,
        .count = sizeof options / sizeof *options,
        .operands_min = 1,
        .operands_max = 1};
    pare_cli_start(table.program);
    PareStatus st = pare_options_parse(&table, argc, argv, &operands, &next, &err);
    if (!st && next == PARE_OPTIONS_RUN) {
        pare_cli_apply(&s.common);
        s.convert.folder = operands.items[0];
        s.convert.threads = (size_t)s.common.threads;
        if (!s.output && !s.dry_run)
            st = pare_error_set(&err, PARE_E_USAGE, "no output: give -o FILE, or --dry-run");
        else
            st = run(&s, &err);
    }
    pare_options_free(&table, &operands);
    return pare_cli_end(st, &err);
}
