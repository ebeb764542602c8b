/* pare-distill: reads options, runs the distill stage, prints its report. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/log.h"
#include "distill/distill.h"
#include "distill/ranks.h"
#include "programs/cli_main.h"

typedef struct {
    PareDistillOptions o;
    const char *method, *columns, *batch_size, *warmup, *log_path;
    int format, optimizer, schedule, keep;
    int64_t seed, steps, epochs, batch_tokens, accumulate, evaluate_every, patience, save_every;
    int64_t num_beams, max_length, max_source, max_target, block, limit;
    double dropout, attention_dropout, activation_dropout, layer_drop, quant_noise;
    double label_weight, soft_weight, temperature, smoothing;
    bool no_shuffle, no_buckets, json;
    FILE *log;
    PareCliCommon common;
} Settings;

/* -- reading what the table cannot -- */

static PareStatus read_methods(Settings *s, PareError *err) {
    static const char *const NAMES[] = {"finetune", "sft", "kd", "pseudo"};
    const char *at = s->method;
    s->o.methods = 0;
    while (at) {
        const char *comma = strchr(at, ',');
        size_t length = comma ? (size_t)(comma - at) : strlen(at), i = 0;
        while (i < 4 && (strlen(NAMES[i]) != length || memcmp(NAMES[i], at, length) != 0))
            i++;
        if (i == 4)
            return pare_error_set(err, PARE_E_USAGE,
                                  "--method '%s': expected finetune, sft, kd, pseudo, or several "
                                  "with commas",
                                  s->method);
        s->o.methods |= 1U << i;
        at = comma ? comma + 1 : NULL;
    }
    return PARE_OK;
}

static PareStatus read_batch_size(Settings *s, PareError *err) {
    int64_t number = 0;
    if (!s->batch_size) {
        if (s->batch_tokens)
            s->o.batches.batch_size = 0;
        return PARE_OK;
    }
    if (strcmp(s->batch_size, "all") != 0 &&
        (!pare_parse_int(s->batch_size, &number) || number < 1))
        return pare_error_set(err, PARE_E_USAGE,
                              "--batch-size '%s': expected a number of examples, or 'all'",
                              s->batch_size);
    s->o.batches.batch_size = (size_t)number;
    return PARE_OK;
}

/* "500" steps, or "5%" of the run. */
static PareStatus read_warmup(Settings *s, PareError *err) {
    int64_t steps;
    PareSchedule *schedule = &s->o.schedule;
    if (!s->warmup && s->schedule != PARE_SCHEDULE_CONSTANT)
        return PARE_OK;
    schedule->warmup_share = 0;
    if (!s->warmup)
        return PARE_OK;
    if (pare_parse_int(s->warmup, &steps) && steps >= 0) {
        schedule->warmup_steps = (uint64_t)steps;
        return PARE_OK;
    }
    if (pare_parse_share(s->warmup, &schedule->warmup_share))
        return PARE_OK;
    return pare_error_set(err, PARE_E_USAGE, "--warmup '%s': expected steps, or a share as 5%%",
                          s->warmup);
}

static void copy_numbers(Settings *s) {
    PareDistillOptions *o = &s->o;
    o->batches.seed = (uint64_t)s->seed;
    o->batches.shuffle = !s->no_shuffle;
    o->batches.buckets = !s->no_buckets && !s->no_shuffle;
    o->batches.batch_tokens = (size_t)s->batch_tokens;
    o->steps = (uint64_t)s->steps;
    o->epochs = (uint64_t)s->epochs;
    o->accumulate = (uint64_t)s->accumulate;
    o->evaluate_every = (uint64_t)s->evaluate_every;
    o->patience = (uint64_t)s->patience;
    o->save_every = (uint64_t)s->save_every;
    o->num_beams = (uint32_t)s->num_beams;
    o->max_length = (uint32_t)s->max_length;
    o->max_source = (size_t)s->max_source;
    o->max_target = (size_t)s->max_target;
    o->block = (size_t)s->block;
    o->limit = (uint64_t)s->limit;
    o->noise.dropout = (float)s->dropout;
    o->noise.attention = (float)s->attention_dropout;
    o->noise.activation = (float)s->activation_dropout;
    o->noise.layer_drop = (float)s->layer_drop;
    o->noise.quantize = (float)s->quant_noise;
    o->weights = (PareLossWeights){.label = (float)s->label_weight,
                                   .soft = (float)s->soft_weight,
                                   .temperature = (float)s->temperature,
                                   .smoothing = (float)s->smoothing};
    o->keep_last = s->keep == 1;
    o->format = (PareDataOptions){.format = (PareDataFormat)s->format, .columns = s->columns};
    o->schedule.kind = (PareScheduleKind)s->schedule;
    o->threads = (size_t)s->common.threads;
    if (!s->common.quiet)
        o->progress = pare_progress_start;
}

/* The defaults of an optimizer, with what was given on the command line over them. */
static void choose_optimizer(Settings *s, const PareOptimizerOptions *given) {
    PareOptimizerOptions d = pare_optimizer_defaults((PareOptimizerKind)s->optimizer);
    d.weight_decay = given->weight_decay;
    d.average = given->average;
    d.momentum = given->momentum;
    d.nesterov = given->nesterov;
    if (d.kind == PARE_OPTIMIZER_ADAMW) {
        d.beta1 = given->beta1;
        d.beta2 = given->beta2;
        d.eps = given->eps;
    }
    if (d.kind == PARE_OPTIMIZER_ADAFACTOR)
        d.relative_step = given->relative_step;
    s->o.optimizer = d;
}

static PareStatus finish_options(Settings *s, PareError *err) {
    PareOptimizerOptions given = s->o.optimizer;
    PareStatus st = s->method ? read_methods(s, err) : PARE_OK;
    if (!st)
        st = read_batch_size(s, err);
    if (!st)
        st = read_warmup(s, err);
    copy_numbers(s);
    choose_optimizer(s, &given);
    if (!st && !s->o.output)
        st = pare_error_set(err, PARE_E_USAGE, "no output: give -o FILE");
    if (!st && !s->o.data)
        st = pare_error_set(err, PARE_E_USAGE, "no training data: give --data FILE");
    return st;
}

/* -- talking -- */

static void write_log(void *context, const char *line) {
    Settings *s = context;
    if (s->log)
        fprintf(s->log, "%s\n", line);
}

static void warn(void *context, const char *line) {
    (void)context;
    pare_log_warn("%s", line);
}

static PareStatus open_log(Settings *s, PareError *err) {
    s->o.log = write_log;
    s->o.warn = warn;
    s->o.talk = s;
    if (!s->log_path || pare_ranks_rank() != 0)
        return PARE_OK;
    s->log = fopen(s->log_path, s->o.resume ? "a" : "w");
    if (!s->log)
        return pare_error_set(err, PARE_E_IO, "%s: %s", s->log_path, strerror(errno));
    setvbuf(s->log, NULL, _IOLBF, 0);
    return PARE_OK;
}

static PareStatus close_log(Settings *s, PareStatus st, PareError *err) {
    if (!s->log)
        return st;
    bool failed = ferror(s->log) != 0;
    failed = fclose(s->log) != 0 || failed;
    if (failed && !st)
        return pare_error_set(err, PARE_E_IO, "%s: the log could not be written whole",
                              s->log_path);
    return st;
}

static void report(const Settings *s, const PareDistillResult *r, PareBuffer *b) {
    const PareTrainResult *t = &r->train;
    double speed = t->seconds > 0 ? (double)t->tokens / t->seconds : 0;
    if (s->json) {
        pare_buffer_printf(b,
                           "{\"steps\":%llu,\"parameters\":%llu,\"teacher_parameters\":%llu,"
                           "\"examples\":%llu,\"seconds\":%.3f,\"tokens_per_s\":%.1f,\"loss\":",
                           (unsigned long long)t->steps, (unsigned long long)r->parameters,
                           (unsigned long long)r->teacher_parameters,
                           (unsigned long long)r->examples, t->seconds, speed);
        pare_buffer_put_json_double(b, t->last_loss);
        if (t->has_best) {
            pare_buffer_printf(b, ",\"best_step\":%llu,\"%s\":", (unsigned long long)t->best_step,
                               pare_score_name(r->metric));
            pare_buffer_put_json_double(b, t->best);
        }
        pare_buffer_puts(b, "}\n");
        return;
    }
    pare_buffer_printf(b, "steps        %llu%s\n", (unsigned long long)t->steps,
                       t->stopped_early ? " (stopped early)" : "");
    pare_buffer_printf(b, "parameters   %llu", (unsigned long long)r->parameters);
    if (r->teacher_parameters)
        pare_buffer_printf(b, ", the teacher's %llu", (unsigned long long)r->teacher_parameters);
    pare_buffer_printf(
        b, "\nexamples     %llu\ntime         %.1f s, %.0f tokens/s\nloss         %.6g\n",
        (unsigned long long)r->examples, t->seconds, speed, t->last_loss);
    if (t->has_best)
        pare_buffer_printf(b, "%-12s %.4f at step %llu\n", pare_score_name(r->metric), t->best,
                           (unsigned long long)t->best_step);
}

static PareStatus run(Settings *s, PareError *err) {
    PareDistillResult result;
    PareBuffer text = {0};
    PareStatus st = open_log(s, err);
    if (!st)
        st = pare_distill(&s->o, &result, err);
    st = close_log(s, st, err);
    if (!st && pare_ranks_rank() == 0 && (!s->common.quiet || s->json)) {
        report(s, &result, &text);
        pare_cli_print(&text);
    }
    pare_buffer_free(&text);
    return st;
}

static Settings defaults(void) {
    PareDistillOptions o = pare_distill_defaults();
    return (Settings){.o = o,
                      .epochs = (int64_t)o.epochs,
                      .accumulate = 1,
                      .schedule = PARE_SCHEDULE_LINEAR,
                      .dropout = 0.1,
                      .label_weight = -1,
                      .soft_weight = -1,
                      .temperature = 2};
}

#define FLAG(option, where, text)                                                                  \
    { .kind = PARE_OPT_FLAG, .name = option, .target = where, .help = text }
#define HEADING(text)                                                                              \
    { .kind = PARE_OPT_HEADING, .help = text }
#define VALUE(kind_, option, where, word, text)                                                    \
    { .kind = kind_, .name = option, .target = where, .values = word, .help = text }
#define NUMBER(kind_, option, where, word, text, least, most)                                      \
    {                                                                                              \
        .kind = kind_, .name = option, .target = where, .values = word, .help = text,              \
        .min = least, .max = most                                                                  \
    }

static Settings opt;

#define MANY 1e15

static const PareOption OPTIONS[] = {
    HEADING("Models"),
    VALUE(PARE_OPT_STRING, "method", &opt.method, "METHODS",
          "finetune: labels; sft: labels, of a student made of the teacher's layers; kd: the "
          "teacher's scores; pseudo: the teacher's texts. Several with commas"),
    VALUE(PARE_OPT_STRING, "student", &opt.o.student, "M.pare", "the model to train"),
    VALUE(PARE_OPT_STRING, "teacher", &opt.o.teacher, "M.pare",
          "the model to learn from; without --student the student is made of its layers"),
    VALUE(PARE_OPT_STRING, "layers", &opt.o.layers, "LIST",
          "layers of the teacher that the student takes: enc=6,dec=3 (how MANY), dec=0+2+5 "
          "(which), or 4 for models with one stack"),
    FLAG("train-encoder", &opt.o.train_encoder,
         "train the encoder too when the student took it over whole"),
    {.kind = PARE_OPT_STRING,
     .letter = 'o',
     .name = "output",
     .target = &opt.o.output,
     .values = "FILE",
     .help = "write the student to FILE"},
    {.kind = PARE_OPT_FLAG,
     .letter = 'f',
     .name = "force",
     .target = &opt.o.force,
     .help = "replace an existing FILE"},

    HEADING("Data"),
    VALUE(PARE_OPT_STRING, "data", &opt.o.data, "FILE", "training data: TSV, JSON lines or text"),
    VALUE(PARE_OPT_STRING, "validation", &opt.o.validation, "FILE",
          "held-out data that picks the best parameters"),
    VALUE(PARE_OPT_CHOICE, "format", &opt.format, "auto|tsv|jsonl|text", "of both files"),
    VALUE(PARE_OPT_STRING, "columns", &opt.columns, "NAMES", "of TSV files without header"),
    NUMBER(PARE_OPT_INT, "max-source", &opt.max_source, "N", "ids of an input at most", 1, MANY),
    NUMBER(PARE_OPT_INT, "max-target", &opt.max_target, "N", "ids of a target at most", 1, MANY),
    NUMBER(PARE_OPT_INT, "block", &opt.block, "N", "language models: ids of a window of text", 2,
           MANY),
    NUMBER(PARE_OPT_INT, "limit", &opt.limit, "N", "read only so many rows", 1, MANY),
    FLAG("truncate", &opt.o.truncate, "cut what is too long instead of refusing it"),

    HEADING("Training"),
    NUMBER(PARE_OPT_INT, "epochs", &opt.epochs, "N", "times through the data", 1, 1e6),
    NUMBER(PARE_OPT_INT, "steps", &opt.steps, "N", "steps, instead of epochs", 1, MANY),
    VALUE(PARE_OPT_STRING, "batch-size", &opt.batch_size, "N",
          "examples a batch, or 'all' (default: 32)"),
    NUMBER(PARE_OPT_INT, "batch-tokens", &opt.batch_tokens, "N",
           "tokens a batch: the larger of both sides", 1, MANY),
    NUMBER(PARE_OPT_INT, "accumulate", &opt.accumulate, "N", "batches a step", 1, 1e6),
    FLAG("no-shuffle", &opt.no_shuffle, "take the data in the file's order"),
    FLAG("no-buckets", &opt.no_buckets, "do not put examples of like length together"),
    NUMBER(PARE_OPT_INT, "seed", &opt.seed, "N", "of all random decisions", 0, MANY),
    VALUE(PARE_OPT_CHOICE, "optimizer", &opt.optimizer, "adamw|adafactor|sgd", "what steps"),
    NUMBER(PARE_OPT_FLOAT, "lr", &opt.o.rate, "X", "the learning rate", 0, 1e6),
    NUMBER(PARE_OPT_FLOAT, "weight-decay", &opt.o.optimizer.weight_decay, "X",
           "of tensors with two dimensions", 0, 1e6),
    NUMBER(PARE_OPT_FLOAT, "beta1", &opt.o.optimizer.beta1, "X", "of adamw", 0, 1),
    NUMBER(PARE_OPT_FLOAT, "beta2", &opt.o.optimizer.beta2, "X", "of adamw", 0, 1),
    NUMBER(PARE_OPT_FLOAT, "eps", &opt.o.optimizer.eps, "X", "of adamw", 0, 1),
    NUMBER(PARE_OPT_FLOAT, "momentum", &opt.o.optimizer.momentum, "X", "of sgd", 0, 1),
    FLAG("relative-step", &opt.o.optimizer.relative_step,
         "adafactor sets its own rate and ignores --lr"),
    NUMBER(PARE_OPT_FLOAT, "average", &opt.o.optimizer.average, "X",
           "keep a moving average of the parameters with this decay, as 0.999", 0, 1),
    NUMBER(PARE_OPT_FLOAT, "clip", &opt.o.clip, "X", "largest norm of the gradient; 0: any", 0,
           1e9),
    VALUE(PARE_OPT_CHOICE, "schedule", &opt.schedule, "constant|linear|cosine",
          "how the rate goes on after the warm-up"),
    VALUE(PARE_OPT_STRING, "warmup", &opt.warmup, "N",
          "steps, or share of the run, in which the rate rises (default: 5%; constant: 0)"),
    VALUE(PARE_OPT_SHARE, "min-lr", &opt.o.schedule.min_ratio, "SHARE",
          "of the rate, at the end of the run"),
    VALUE(PARE_OPT_LIST, "freeze", &opt.o.freeze, "GLOB", "tensors that are not trained"),
    VALUE(PARE_OPT_LIST, "lr-factor", &opt.o.lr_factor, "GLOB=X",
          "multiplies the learning rate of tensors"),
    VALUE(PARE_OPT_LIST, "no-decay", &opt.o.no_decay, "GLOB", "tensors without weight decay"),
    FLAG("checkpoint-layers", &opt.o.recompute,
         "compute layers again in the backward pass instead of storing them: less memory"),

    HEADING("Losses and noise"),
    NUMBER(PARE_OPT_FLOAT, "label-weight", &opt.label_weight, "X",
           "of the labels (default: 1, with kd 0.2)", -1, 1e6),
    NUMBER(PARE_OPT_FLOAT, "soft-weight", &opt.soft_weight, "X",
           "of the teacher's scores (default: 0.8 with kd)", -1, 1e6),
    NUMBER(PARE_OPT_FLOAT, "temperature", &opt.temperature, "X", "of the teacher's scores", 1e-3,
           1e3),
    NUMBER(PARE_OPT_FLOAT, "hidden-weight", &opt.o.hidden, "X",
           "of differences between hidden states", 0, 1e6),
    NUMBER(PARE_OPT_FLOAT, "attention-weight", &opt.o.attention, "X",
           "of differences between attention probabilities", 0, 1e6),
    VALUE(PARE_OPT_SHARE, "label-smoothing", &opt.smoothing, "SHARE", "of the labels"),
    VALUE(PARE_OPT_SHARE, "dropout", &opt.dropout, "SHARE",
          "of embeddings and of what sublayers add"),
    VALUE(PARE_OPT_SHARE, "attention-dropout", &opt.attention_dropout, "SHARE",
          "of attention probabilities"),
    VALUE(PARE_OPT_SHARE, "activation-dropout", &opt.activation_dropout, "SHARE",
          "of feed-forward units"),
    VALUE(PARE_OPT_SHARE, "layerdrop", &opt.layer_drop, "SHARE", "of whole layers"),
    VALUE(PARE_OPT_SHARE, "quant-noise", &opt.quant_noise, "SHARE",
          "of the blocks of every matrix that take INT8's values; 1: all of them"),
    FLAG("quant-activations", &opt.o.noise.quantize_rows, "products read INT8's activations, too"),

    HEADING("Pseudo-labels and generation"),
    VALUE(PARE_OPT_STRING, "pseudo-labels", &opt.o.pseudo.path, "FILE",
          "where the teacher's texts are kept (default: OUTPUT.pseudo.jsonl)"),
    FLAG("mix", &opt.o.pseudo.mix, "train on true targets, too"),
    NUMBER(PARE_OPT_INT, "num-beams", &opt.num_beams, "N",
           "of pseudo-labels and of validation texts", 1, 256),
    NUMBER(PARE_OPT_INT, "max-length", &opt.max_length, "N", "ids of a generated text", 1, 1e6),

    HEADING("Running"),
    VALUE(PARE_OPT_STRING, "metric", &opt.o.metric, "NAME",
          "that picks the best parameters: loss, perplexity, accuracy, f1, matthews, pearson, "
          "spearman, bleu, rouge1, rouge2, rougeL"),
    NUMBER(PARE_OPT_INT, "eval-every", &opt.evaluate_every, "N",
           "steps between evaluations (default: an epoch)", 1, MANY),
    NUMBER(PARE_OPT_INT, "patience", &opt.patience, "N",
           "stop after so many evaluations without a better one", 1, 1e6),
    VALUE(PARE_OPT_CHOICE, "keep", &opt.keep, "best|last", "parameters that are written"),
    VALUE(PARE_OPT_STRING, "checkpoint", &opt.o.state, "FILE",
          "where an interrupted run goes on (default: OUTPUT.training)"),
    NUMBER(PARE_OPT_INT, "save-every", &opt.save_every, "N",
           "steps between checkpoints (default: an epoch)", 1, MANY),
    FLAG("resume", &opt.o.resume, "go on from the checkpoint, if there is one"),
    VALUE(PARE_OPT_STRING, "log-json", &opt.log_path, "FILE", "write a JSON line a step"),
    FLAG("log-gradients", &opt.o.log_gradients,
         "log the norm of every tensor's gradient in the first step"),
    FLAG("json", &opt.json, "print the report as one JSON object"),
    PARE_CLI_THREADS(opt.common),
    PARE_CLI_OPTIONS(opt.common)};

static const PareOptionTable TABLE = {
    .program = "pare-distill",
    .usage = "[OPTION]... --data FILE -o OUT.pare",
    .description = "Trains a model on labels, or a smaller one with the help of a teacher.",
    .examples = "pare-distill --method sft --teacher big.pare --layers enc=6,dec=3 --data "
                "train.tsv \\\n"
                "    --validation dev.tsv -o small.pare\n"
                "pare-distill --method kd --teacher big.pare --layers 4 --data train.tsv -o "
                "small.pare\n"
                "pare-distill --student pruned.pare --data train.tsv --epochs 1 -o healed.pare",
    .options = OPTIONS,
    .count = sizeof OPTIONS / sizeof *OPTIONS};

int main(int argc, char **argv) {
    PareError err = {0};
    PareStringList operands = {0};
    PareOptionsNext next = PARE_OPTIONS_RUN;
    opt = defaults();
    pare_cli_start(TABLE.program);
    PareStatus st = pare_ranks_start(&argc, &argv, &err);
    if (!st)
        st = pare_options_parse(&TABLE, argc, argv, &operands, &next, &err);
    if (!st && next == PARE_OPTIONS_RUN) {
        pare_cli_apply(&opt.common);
        st = finish_options(&opt, &err);
        if (!st)
            st = run(&opt, &err);
    }
    pare_options_free(&TABLE, &operands);
    int code = pare_cli_end(st, &err);
    pare_ranks_finish(st != PARE_OK);
    return code;
}
