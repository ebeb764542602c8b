/* The table of pare-prune's options, and what they mean together. */
#include "programs/prune_options.h"

#include <string.h>

#include "formats/pare_file.h"
#include "programs/cli_table.h"

ParePruneCommand pare_prune_command(void) {
    return (ParePruneCommand){.batch_size = 64, .iterations = 1};
}

/* -- the table -- */

static const char DESCRIPTION[] =
    "Cuts heads, feed-forward units, layers, width, key/value heads, positions and vocabulary out "
    "of a model: what is named, what matters least, or as much as a target calls for. Tensors "
    "become smaller; nothing is masked.";

static const char EXAMPLES[] =
    "  pare-prune model.pare -o small.pare --heads 25% --ffn 50% --data train.tsv\n"
    "  pare-prune model.pare -o small.pare --target-size 20M --for int8 --data train.tsv\n"
    "  pare-prune model.pare -o small.pare --heads-list '0:1;1:0,3'\n"
    "  pare-prune model.pare --keep-layers enc=6,dec=3 --plan-out plan.json --dry-run\n"
    "  pare-prune model.pare -o small.pare --plan plan.json\n";

static void file_options(ParePruneCommand *c, PareCliTable *t) {
    ParePruneOptions *o = &c->o;
    const PareOption rows[] = {
        {PARE_OPT_STRING, 'o', "output", &o->output, "FILE", "write the pruned model to FILE", 0, 0,
         NULL},
        {PARE_OPT_FLAG, 'n', "dry-run", &c->dry_run, NULL,
         "print what would be kept, and write no model", 0, 0, NULL},
        STRING("plan", &o->plan, "FILE", NULL, "cut what this plan says"),
        STRING("plan-out", &o->plan_out, "FILE", NULL, "write the plan to FILE, as JSON"),
        {PARE_OPT_FLAG, 'f', "force", &o->force, NULL, "replace existing files", 0, 0, NULL}};
    ADD(rows);
}

static void list_options(ParePruneCommand *c, PareCliTable *t) {
    ParePruneOptions *o = &c->o;
    const PareOption rows[] = {
        HEADING("What goes, by name"),
        STRING("heads-list", &o->heads, "LIST", NULL,
               "attention heads to leave out: '0:1;1:0,3', 'enc.0:2;dec.1.cross:0-3'"),
        STRING("ffn-list", &o->units, "LIST", NULL,
               "feed-forward units to leave out: '0:0-63;2:5,7'"),
        STRING("drop-layers", &o->layers, "LIST", NULL,
               "layers to leave out: '1,3', 'dec.1,dec.2'"),
        STRING("drop-sublayers", &o->sublayers, "LIST", NULL,
               "sublayers to leave out: '3.self,2.ffn', 'dec.0.cross'"),
        STRING(
            "kv-heads", &o->kv_heads, "LIST", NULL,
            "replace the key/value heads of every block by so many means: 1, or of one stack, as "
            "dec=1"),
        NUMBER("positions", &c->positions, 1, 1e9, NULL, "keep the first N positions"),
        STRING("vocabulary", &o->vocabulary, "FILE", NULL,
               "keep only the tokens that the texts of this data file use"),
        NUMBER("vocabulary-size", &c->vocabulary_size, 1, 1e9, &c->given.vocabulary_size,
               "of these, the N most frequent")};
    ADD(rows);
}

static void share_options(ParePruneCommand *c, PareCliTable *t) {
    ParePruneOptions *o = &c->o;
    const PareOption rows[] = {
        HEADING("What goes, by importance"),
        SHARE("heads", &o->selection.heads, &c->given.heads, "this share of the attention heads"),
        SHARE("ffn", &o->selection.units, &c->given.ffn, "this share of the feed-forward units"),
        SHARE("width", &o->selection.width, &c->given.width,
              "this share of the width of the residual stream"),
        STRING("keep-layers", &o->keep_layers, "LIST", NULL,
               "how many layers stay: 4, or enc=6,dec=3; the least important go"),
        CHOICE("scope", &c->scope, "layer|global", &c->given.scope,
               "layer: the same share of every layer; global: of all layers ranked together"),
        CHOICE("normalize", &c->normalize, "layer|none", &c->given.normalize,
               "global: divide every layer's scores by their L2 norm before ranking"),
        SHARE("min-kept", &o->selection.min_kept, &c->given.min_kept,
              "of every layer's heads and units that stays at least; one always does"),
        STRING("align", &c->align, "N", NULL,
               "round sizes that are kept up to a multiple of N; auto: what the products of this "
               "program work on at once; none (default: none)"),
        NUMBER("iterations", &c->iterations, 1, 1000, &c->given.iterations,
               "cut in N rounds, and measure again what is left")};
    ADD(rows);
}

static void target_options(ParePruneCommand *c, PareCliTable *t) {
    const PareOption rows[] = {
        HEADING("Targets"),
        NUMBER("target-size", &c->target_size, 1, MANY, &c->given.target_size,
               "bytes of the pruned model's file, as 20M: the share is found"),
        STRING("target-speedup", &c->speedup, "X", NULL,
               "predicted on this machine, as 2x: the share is found"),
        STRING("cut", &c->cut, "KINDS", NULL,
               "what the share is of: heads, ffn, width, or several with commas (default: "
               "heads,ffn)"),
        CHOICE("for", &c->precision, "f32|fp16|int8", &c->given.precision,
               "the format in which the model will be used"),
        FLAG("predict", &c->predict, &c->given.predict,
             "print the predicted speed: times products on this machine (default: with "
             "--dry-run)")};
    ADD(rows);
}

static void importance_options(ParePruneCommand *c, PareCliTable *t) {
    ParePruneOptions *o = &c->o;
    const PareOption rows[] = {
        HEADING("Importance and data"),
        STRING("criterion", &c->criterion, "NAME", NULL,
               "gradient, taylor, fisher, activation, reconstruct, magnitude or random (default: "
               "gradient with --data, otherwise magnitude)"),
        STRING("data", &o->data, "FILE", NULL, "labelled data: TSV, JSON lines or text"),
        CHOICE("against", &c->against, "labels|outputs", &c->given.against,
               "what the loss compares with: the data's labels or the model's own outputs"),
        NUMBER("batch-size", &c->batch_size, 1, 1e6, &c->given.batch_size, "examples a batch"),
        NUMBER("batches", &c->batches, 1, MANY, &c->given.batches,
               "only the first N batches (default: all)"),
        NUMBER("seed", &c->seed, 0, MANY, &c->given.seed,
               "of --criterion random, and of the labels that fisher draws from --against outputs"),
        STRING("importance", &o->importance, "FILE", NULL, "scores that --importance-out wrote"),
        STRING("importance-out", &o->importance_out, "FILE", NULL,
               "write the scores to FILE, as JSON"),
        CHOICE("format", &c->format, "auto|tsv|jsonl|text", &c->given.format, "of all data files"),
        STRING("columns", &c->columns, "NAMES", NULL, "of TSV files without header, as text,label"),
        NUMBER("max-source", &c->max_source, 1, MANY, &c->given.max_source,
               "token ids of an input at most"),
        NUMBER("max-target", &c->max_target, 1, MANY, &c->given.max_target,
               "token ids of a target at most"),
        FLAG("truncate", &c->truncate, &c->given.truncate,
             "cut what is too long instead of refusing it"),
        NUMBER("block", &c->block, 2, MANY, &c->given.block,
               "language models: token ids of a window of text (default: the model's positions)"),
        NUMBER("limit", &c->limit, 1, MANY, &c->given.limit,
               "read only the first N rows of each file")};
    ADD(rows);
}

static void repair_options(ParePruneCommand *c, PareCliTable *t) {
    ParePruneOptions *o = &c->o;
    const PareOption rows[] = {
        HEADING("Repair"),
        FLAG("repair", &c->repair, &c->given.repair,
             "fit what reads the cut parts to what it read before, by least squares (default: "
             "where there are data)"),
        STRING("calibration", &o->calibration, "FILE", NULL,
               "data for it, without labels (default: --data)"),
        NUMBER("repair-rows", &c->repair_rows, 1, 1e9, &c->given.repair_rows,
               "token positions that it looks at, at most"),
        {PARE_OPT_FLOAT, 0, "ridge", &o->ridge, "X", "how strongly it keeps to the old values",
         1e-12, 1e6, &c->given.ridge},
        HEADING("Running"),
        FLAG("json", &c->json, NULL, "print one JSON object"),
        PARE_CLI_THREADS(c->common),
        PARE_CLI_OPTIONS(c->common)};
    ADD(rows);
}

static PareStatus parse_table(ParePruneCommand *c, int argc, char **argv, PareOptionsNext *next,
                              PareError *err) {
    PareCliTable t = {.count = 0};
    file_options(c, &t);
    list_options(c, &t);
    share_options(c, &t);
    target_options(c, &t);
    importance_options(c, &t);
    repair_options(c, &t);
    const PareOptionTable table = {.program = "pare-prune",
                                   .usage = "[OPTION]... IN.pare -o OUT.pare",
                                   .description = DESCRIPTION,
                                   .examples = EXAMPLES,
                                   .options = t.rows,
                                   .count = t.count,
                                   .operands_min = 1,
                                   .operands_max = 1};
    PareStringList operands = {0};
    PareStatus st = pare_options_parse(&table, argc, argv, &operands, next, err);
    if (!st && *next == PARE_OPTIONS_RUN)
        c->o.input = operands.items[0];
    pare_options_free(&table, &operands);
    return st;
}

/* -- reading what the table cannot -- */

static PareStatus read_criterion(ParePruneCommand *c, PareError *err) {
    c->o.criterion = c->o.data ? PARE_CRITERION_GRADIENT : PARE_CRITERION_MAGNITUDE;
    if (!c->criterion || pare_criterion_parse(c->criterion, &c->o.criterion))
        return PARE_OK;
    return pare_error_set(err, PARE_E_USAGE,
                          "--criterion '%s': expected gradient, taylor, fisher, activation, "
                          "reconstruct, magnitude or random",
                          c->criterion);
}

/* Every product works on blocks of so many rows, and on groups of inputs that divide them. */
static PareStatus read_align(ParePruneCommand *c, PareError *err) {
    int64_t n = 1;
    if (c->align && strcmp(c->align, "auto") == 0)
        n = PARE_BLOCK_ROWS;
    else if (c->align && strcmp(c->align, "none") != 0 &&
             (!pare_parse_int(c->align, &n) || n < 1 || n > 65536))
        return pare_error_set(err, PARE_E_USAGE,
                              "--align '%s': expected a number up to 65536, auto or none",
                              c->align);
    c->o.selection.align = (uint32_t)n;
    return PARE_OK;
}

/* "2x", "1.5" */
static PareStatus read_speedup(ParePruneCommand *c, PareError *err) {
    char text[32];
    size_t length = c->speedup ? strlen(c->speedup) : 0;
    if (!c->speedup)
        return PARE_OK;
    if (length > 0 && c->speedup[length - 1] == 'x')
        length--;
    if (length < sizeof text) {
        memcpy(text, c->speedup, length);
        text[length] = 0;
        if (pare_parse_float(text, &c->o.target_speedup) && c->o.target_speedup > 1)
            return PARE_OK;
    }
    return pare_error_set(err, PARE_E_USAGE, "--target-speedup '%s': expected more than 1, as 2x",
                          c->speedup);
}

/* What a target's share is of: what is named, or heads and units for which no share was given. */
static PareStatus read_cut(ParePruneCommand *c, PareError *err) {
    static const char *const NAMES[] = {"heads", "ffn", "width"};
    const bool given[] = {c->given.heads, c->given.ffn, c->given.width};
    if (!c->cut && !c->given.heads)
        c->o.cut |= PARE_CUT_HEADS;
    if (!c->cut && !c->given.ffn)
        c->o.cut |= PARE_CUT_UNITS;
    if (!c->cut && !c->o.cut)
        return pare_error_set(err, PARE_E_USAGE,
                              "--heads and --ffn say what goes, and leave nothing for the target "
                              "to find; --cut width would");
    for (const char *at = c->cut; at;) {
        const char *comma = strchr(at, ',');
        size_t length = comma ? (size_t)(comma - at) : strlen(at), i = 0;
        while (i < 3 && (strlen(NAMES[i]) != length || memcmp(NAMES[i], at, length) != 0))
            i++;
        if (i == 3)
            return pare_error_set(err, PARE_E_USAGE,
                                  "--cut '%s': expected heads, ffn, width, or several with commas",
                                  c->cut);
        if (given[i])
            return pare_error_set(err, PARE_E_USAGE,
                                  "--cut %s and --%s contradict each other: the target finds the "
                                  "share",
                                  NAMES[i], NAMES[i]);
        c->o.cut |= 1U << i;
        at = comma ? comma + 1 : NULL;
    }
    return PARE_OK;
}

/* -- what goes together -- */

static bool has_shares(const ParePruneCommand *c) {
    return c->given.heads || c->given.ffn || c->given.width || c->given.target_size || c->speedup;
}

static bool selects(const ParePruneCommand *c) {
    return has_shares(c) || c->o.keep_layers;
}

/* An option that would be ignored is a mistake of the user's. */
static PareStatus check_selection(const ParePruneCommand *c, PareError *err) {
    bool target = c->given.target_size || c->speedup;
    const PareCliRule rules[] = {
        {!c->o.output && !c->dry_run, "no output: give -o FILE, or --dry-run"},
        {c->o.output && c->dry_run, "--dry-run writes no model: leave -o out"},
        {c->given.target_size && c->speedup,
         "--target-size and --target-speedup contradict each other"},
        {c->given.scope && !has_shares(c), "--scope is for --heads, --ffn and targets"},
        {c->given.normalize && c->scope != PARE_SCOPE_GLOBAL,
         "--normalize is for --scope global: within a layer it changes no ranking"},
        {c->given.min_kept && !has_shares(c), "--min-kept is for shares and targets"},
        {c->align && !has_shares(c), "--align is for shares and targets: lists are exact"},
        {c->given.iterations && c->iterations > 1 && !selects(c),
         "--iterations is for shares, --keep-layers and targets"},
        {c->cut && !target, "--cut is for --target-size and --target-speedup"},
        {c->given.precision && !target && !(c->given.predict ? c->predict : c->dry_run),
         "--for is for targets and --predict; pare-prune writes F32, pare-quantize the others"},
        {c->given.vocabulary_size && !c->o.vocabulary, "--vocabulary-size needs a --vocabulary"}};
    return CHECK(rules);
}

static PareStatus check_importance(const ParePruneCommand *c, PareError *err) {
    bool measured = selects(c) || c->o.importance_out;
    bool from_data =
        measured && !c->o.importance && pare_criterion_needs_data(c->o.criterion) && c->o.data;
    bool random = c->o.criterion == PARE_CRITERION_RANDOM;
    bool reconstruct = from_data && c->o.criterion == PARE_CRITERION_RECONSTRUCT;
    bool sampled = from_data && c->against && c->o.criterion == PARE_CRITERION_FISHER;
    bool calibrates = c->given.repair ? c->repair : c->o.data || c->o.calibration;
    bool data = c->o.data || c->o.calibration || c->o.vocabulary;
    const PareCliRule rules[] = {
        {c->criterion && !measured,
         "--criterion is for shares, --keep-layers, targets and --importance-out"},
        {c->criterion && c->o.importance,
         "--importance has scores already; --criterion would not be used"},
        {c->o.importance && !selects(c), "--importance is for shares, --keep-layers and targets"},
        {c->o.importance && c->o.importance_out,
         "--importance and --importance-out contradict each other"},
        {c->given.against && !from_data,
         "--against is for criteria that look at data: give --data FILE"},
        {c->given.against && (c->o.criterion == PARE_CRITERION_ACTIVATION || reconstruct),
         "--against is for criteria with a loss; activation and reconstruct have none"},
        {(c->given.batch_size || c->given.batches) && (!from_data || reconstruct),
         "--batch-size and --batches are for criteria that look at batches of data"},
        {c->given.seed && !(measured && !c->o.importance && (random || sampled)),
         "--seed is for --criterion random, and for fisher with --against outputs"},
        {c->o.data && !from_data && !(calibrates && !c->o.calibration),
         "--data is used neither for importance nor for repair"},
        {c->o.calibration && c->given.repair && !c->repair,
         "--calibration is for repair, which --no-repair turns off"},
        {(c->given.ridge || c->given.repair_rows) && !calibrates && !reconstruct,
         "--ridge and --repair-rows are for repair, which needs --data or --calibration, and for "
         "--criterion reconstruct"},
        {(c->given.format || c->columns || c->given.limit) && !data,
         "--format, --columns and --limit are for data files"},
        {(c->given.max_source || c->given.max_target || c->given.truncate || c->given.block) &&
             !c->o.data && !c->o.calibration,
         "--max-source, --max-target, --truncate and --block are for --data and --calibration"},
        {c->columns && c->format != PARE_DATA_AUTO && c->format != PARE_DATA_TSV,
         "--columns is for TSV files"},
    };
    return CHECK(rules);
}

/* -- what they mean to the stage -- */

static void copy_values(ParePruneCommand *c) {
    ParePruneOptions *o = &c->o;
    o->positions = (uint32_t)c->positions;
    o->vocabulary_size = (uint32_t)c->vocabulary_size;
    o->selection.scope = (PareScope)c->scope;
    o->selection.normalize = c->scope == PARE_SCOPE_GLOBAL && c->normalize == 0;
    o->iterations = (uint32_t)c->iterations;
    o->target_bytes = (uint64_t)c->target_size;
    o->format = (PareWeightFormat)c->precision;
    o->own_outputs = c->against == 1;
    o->batch_size = (size_t)c->batch_size;
    o->limit_batches = (uint64_t)c->batches;
    o->seed = (uint64_t)c->seed;
    o->reading = (ParePruneDataOptions){
        .format = {.format = (PareDataFormat)c->format, .columns = c->columns},
        .max_source = (size_t)c->max_source,
        .max_target = (size_t)c->max_target,
        .block = (size_t)c->block,
        .limit = (uint64_t)c->limit,
        .truncate = c->truncate};
    o->predict = c->predict ? PARE_PREDICT_YES : PARE_PREDICT_NO;
    if (c->dry_run && !c->given.predict && (!c->common.quiet || c->json))
        o->predict = PARE_PREDICT_CUT; /* what nobody sees is not timed */
    o->repair = !c->given.repair ? PARE_REPAIR_AUTO : c->repair ? PARE_REPAIR_YES : PARE_REPAIR_NO;
    o->repair_rows = (uint64_t)c->repair_rows;
    o->threads = (size_t)c->common.threads;
    o->progress = c->common.quiet ? NULL : pare_progress_start;
}

PareStatus pare_prune_command_parse(ParePruneCommand *c, int argc, char **argv,
                                    PareOptionsNext *next, PareError *err) {
    PareStatus st = parse_table(c, argc, argv, next, err);
    if (st || *next != PARE_OPTIONS_RUN)
        return st;
    st = read_criterion(c, err);
    if (!st)
        st = read_align(c, err);
    if (!st)
        st = read_speedup(c, err);
    if (!st)
        st = check_selection(c, err);
    if (!st)
        st = check_importance(c, err);
    if (!st && (c->given.target_size || c->speedup))
        st = read_cut(c, err);
    copy_values(c);
    return st;
}
