/* pare-bench: reads options, measures models side by side, prints their speeds. */
#include "core/log.h"
#include "programs/bench_measure.h"
#include "programs/bench_report.h"
#include "programs/cli_main.h"
#include "programs/cli_table.h"

static PareBenchOptions opt = {.length = 32, .inputs = 256, .batch_size = 32, .runs = 5};

static const PareOption OPTIONS[] = {
    CHOICE("task", &opt.task, "auto|forward|generate", NULL,
           "forward: the logits of all rows; generate: write or translate; auto: generate where a "
           "model can"),
    NUMBER("runs", &opt.runs, 1, 1e4, NULL, "measure each model N times, in turns"),
    FLAG("json", &opt.json, NULL, "print one JSON object, with every run, instead of a table"),
    HEADING("Data"),
    {PARE_OPT_STRING, 'd', "data", &opt.data, "FILE",
     "what the models read: TSV, JSON lines or plain text; - is standard input (default: random "
     "token ids)",
     0, 0, NULL},
    FLAG("ids", &opt.ids, NULL, "the data is token ids: JSON lines with input_ids, or lists"),
    CHOICE("format", &opt.format, "auto|tsv|jsonl|text", &opt.given.format,
           "of the data (default: by its first line)"),
    STRING("columns", &opt.columns, "NAMES", NULL,
           "of a TSV file without header: text, text_b, target, label, - to skip one"),
    {PARE_OPT_INT, 'n', "limit", &opt.limit, "N", "use the first N inputs", 1, MANY, NULL},
    FLAG("truncate", &opt.truncate, NULL,
         "cut what is longer than a model reads, instead of refusing it"),
    NUMBER("length", &opt.length, 1, 1e6, &opt.given.length, "without data: token ids of an input"),
    NUMBER("inputs", &opt.inputs, 1, 1e9, &opt.given.inputs, "without data: how many inputs"),
    HEADING("Running"),
    {PARE_OPT_INT, 'b', "batch-size", &opt.batch_size, "N", "inputs that are run together", 1,
     65536, NULL},
    NUMBER("num-beams", &opt.num_beams, 1, 1024, &opt.given.num_beams,
           "generate: beams; 1 is greedy (default: as each model says)"),
    NUMBER("max-length", &opt.max_length, 1, 2147483647, &opt.given.max_length,
           "generate: longest result, prompt included (default: as each model says)"),
    NUMBER("max-new-tokens", &opt.max_new_tokens, 1, 2147483647, &opt.given.max_new_tokens,
           "generate: the same without the prompt (default: as each model says; 32 without data)"),
    PARE_CLI_THREADS(opt.common),
    PARE_CLI_OPTIONS(opt.common),
};

static const PareOptionTable TABLE = {
    .program = "pare-bench",
    .usage = "[OPTION]... MODEL.pare [MODEL.pare]...",
    .description =
        "Measures how fast models are, side by side: they take turns on the same inputs, and each "
        "run of a model is compared with the first model's run beside it, by the clock and by "
        "processor time.",
    .examples = "pare-bench model.int8.pare pruned.int8.pare --data dev.tsv\n"
                "pare-bench model.pare model.int8.pare --length 128 --batch-size 1 --threads 1\n"
                "pare-bench de-en.int8.pare small.int8.pare -d test.tsv --num-beams 4 --json\n",
    .options = OPTIONS,
    .count = sizeof OPTIONS / sizeof *OPTIONS,
    .operands_min = 1,
    .operands_max = 64,
};

static PareStatus check_options(PareError *err) {
    const PareCliRule rules[] = {
        {opt.data && (opt.given.length || opt.given.inputs),
         "--length and --inputs are for random token ids; --data has its own"},
        {!opt.data && opt.ids, "--ids says what the data is: give --data FILE"},
        {!opt.data && (opt.given.format || opt.columns),
         "--format and --columns are for --data FILE"},
        {!opt.data && (opt.limit || opt.truncate),
         "--limit and --truncate are for --data FILE; --inputs and --length are for random token "
         "ids"},
        {opt.ids && (opt.given.format || opt.columns),
         "--format and --columns are about text, and --ids says that the data is token ids"},
        {opt.columns && opt.format != PARE_DATA_AUTO && opt.format != PARE_DATA_TSV,
         "--columns is for --format tsv"},
    };
    return CHECK(rules);
}

static PareStatus measure(PareBench *b, PareError *err) {
    PareBuffer text = {0};
    PareProgress *progress = pare_progress_start("bench", pare_bench_turns(b));
    PareStatus st = pare_bench_measure(b, progress, err);
    pare_progress_finish(progress);
    if (!st)
        st = pare_bench_report(b, &text, err);
    if (!st)
        pare_cli_print(&text);
    pare_buffer_free(&text);
    return st;
}

static PareStatus run(PareStringList paths, PareError *err) {
    PareBench b;
    PareStatus st = check_options(err);
    if (st)
        return st;
    st = pare_bench_open(&b, &opt, paths, err);
    if (!st)
        st = measure(&b, err);
    pare_bench_close(&b);
    return st;
}

int main(int argc, char **argv) {
    PareError err = {0};
    PareStringList operands = {0};
    PareOptionsNext next;
    pare_cli_start(TABLE.program);
    PareStatus st = pare_options_parse(&TABLE, argc, argv, &operands, &next, &err);
    if (!st && next == PARE_OPTIONS_RUN) {
        pare_cli_apply(&opt.common);
        st = run(operands, &err);
    }
    int code = pare_cli_end(st, &err);
    pare_options_free(&TABLE, &operands);
    return code;
}
