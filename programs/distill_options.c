/* The table of pare-distill's options, and what they mean together. */
#include "programs/distill_options.h"

#include <string.h>

#include "core/memory.h"
#include "distill/ranks.h"
#include "programs/cli_table.h"

PareDistillCommand pare_distill_command(void) {
    PareDistillOptions o = pare_distill_defaults();
    return (PareDistillCommand){.o = o,
                                .epochs = (int64_t)o.epochs,
                                .accumulate = 1,
                                .rate = o.rate,
                                .beta1 = o.optimizer.beta1,
                                .beta2 = o.optimizer.beta2,
                                .eps = o.optimizer.eps,
                                .scale_parameter = true,
                                .schedule = PARE_SCHEDULE_LINEAR,
                                .decoder_start = PARE_WARM_UNSET,
                                .eos = PARE_WARM_UNSET,
                                .pad = PARE_WARM_UNSET,
                                .dropout = 0.1, /* as --help shows it */
                                .label_weight = -1,
                                .soft_weight = -1,
                                .temperature = (double)o.weights.temperature};
}

void pare_distill_command_free(PareDistillCommand *c) {
    PareStringList *lists[] = {&c->o.freeze, &c->o.lr_factor, &c->o.no_decay};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        pare_free(lists[i]->items);
        *lists[i] = (PareStringList){0};
    }
}

/* -- the table -- */

static const char DESCRIPTION[] =
    "Trains a model on labels, or a smaller one with the help of a teacher.";

static const char EXAMPLES[] =
    "  pare-distill --method sft --teacher big.pare --layers enc=6,dec=3 --data train.tsv \\\n"
    "      --validation dev.tsv -o small.pare\n"
    "  pare-distill --method kd --teacher big.pare --layers 4 --data train.tsv -o small.pare\n"
    "  pare-distill --student pruned.pare --data train.tsv --epochs 1 -o healed.pare\n";

static void model_options(PareDistillCommand *c, PareCliTable *t) {
    PareDistillOptions *o = &c->o;
    const PareOption rows[] = {
        HEADING("Models"),
        STRING("method", &c->method, "METHODS", &c->given.method,
               "finetune: labels; sft: labels, of a student made of the teacher's layers; kd: the "
               "teacher's scores; pseudo: the teacher's texts. Several with commas (default: "
               "finetune)"),
        STRING("student", &o->student, "M.pare", NULL, "the model to train"),
        STRING("teacher", &o->teacher, "M.pare", NULL,
               "the model to learn from; without --student the student is made of its layers"),
        STRING("layers", &o->layers, "LIST", NULL,
               "layers of the teacher that the student takes: enc=6,dec=3 (how many), dec=0+2+5 "
               "(which), or 4 for models with one stack"),
        STRING("encoder", &o->encoder, "M.pare", NULL,
               "with --decoder: the student is an encoder-decoder with the encoder of M"),
        STRING("decoder", &o->decoder, "M.pare", NULL,
               "and the only stack of M as its decoder, with new cross-attention"),
        CHOICE("share", &c->share, "none|embeddings|layers", &c->given.share,
               "what the two have in common: the encoder's token table, or all but "
               "cross-attention"),
        NUMBER("decoder-start", &c->decoder_start, 0, INT32_MAX, NULL,
               "token id that such a decoder begins with (default: the tokenizer's first)"),
        NUMBER("eos", &c->eos, 0, INT32_MAX, NULL,
               "and that ends its texts (default: the tokenizer's last)"),
        NUMBER("pad", &c->pad, 0, INT32_MAX, NULL,
               "and that fills batches (default: the tokenizer's, else that of the end)"),
        FLAG("fresh", &o->fresh, NULL, "the student begins with random values"),
        STRING("student-config", &o->student_config, "FILE", NULL,
               "JSON: the student's own description; what it leaves out is as in the teacher. It "
               "begins with random values"),
        CHOICE("embeddings", &c->embeddings, "random|copy", &c->given.embeddings,
               "copy: such students take embeddings and head of the teacher where shapes agree"),
        FLAG("train-encoder", &o->train_encoder, &c->given.train_encoder,
             "train the encoder too when the student took it over whole"),
        {PARE_OPT_STRING, 'o', "output", &o->output, "FILE", "write the student to FILE", 0, 0,
         NULL},
        {PARE_OPT_FLAG, 'f', "force", &o->force, NULL,
         "replace an existing output, log or checkpoint", 0, 0, NULL}};
    ADD(rows);
}

static void data_options(PareDistillCommand *c, PareCliTable *t) {
    PareDistillOptions *o = &c->o;
    const PareOption rows[] = {
        HEADING("Data"),
        STRING("data", &o->data, "FILE", NULL, "training data: TSV, JSON lines or text"),
        STRING("validation", &o->validation, "FILE", NULL,
               "held-out data that picks the best parameters"),
        CHOICE("format", &c->format, "auto|tsv|jsonl|text", NULL, "of both files"),
        STRING("columns", &c->columns, "NAMES", NULL,
               "of TSV files without header, as source,target"),
        NUMBER("max-source", &c->max_source, 1, MANY, NULL, "token ids of an input at most"),
        NUMBER("max-target", &c->max_target, 1, MANY, NULL, "token ids of a target at most"),
        FLAG("truncate", &o->truncate, NULL, "cut what is too long instead of refusing it"),
        NUMBER("block", &c->block, 2, MANY, NULL,
               "language models: token ids of a window of text (default: the model's positions)"),
        NUMBER("limit", &c->limit, 1, MANY, NULL, "read only the first N rows of each file")};
    ADD(rows);
}

static void batch_options(PareDistillCommand *c, PareCliTable *t) {
    PareDistillOptions *o = &c->o;
    const PareOption rows[] = {
        HEADING("Training"),
        NUMBER("epochs", &c->epochs, 1, 1e6, &c->given.epochs, "times through the data"),
        NUMBER("steps", &c->steps, 1, MANY, &c->given.steps, "steps, instead of epochs"),
        STRING("batch-size", &c->batch_size, "N", NULL,
               "examples a batch, or 'all' (default: 32, or no limit with --batch-tokens)"),
        NUMBER("batch-tokens", &c->batch_tokens, 1, MANY, &c->given.batch_tokens,
               "tokens a batch at most, counted on the side that has more"),
        FLAG("drop-last", &o->batches.drop_last, NULL,
             "leave out the batch that the end of the data did not fill"),
        NUMBER("accumulate", &c->accumulate, 1, 1e6, NULL, "batches a step"),
        FLAG("no-shuffle", &c->no_shuffle, NULL, "take the data in the file's order"),
        FLAG("no-buckets", &c->no_buckets, NULL, "do not put examples of like length together"),
        NUMBER("seed", &c->seed, 0, MANY, NULL, "of all random decisions")};
    ADD(rows);
}

static void optimizer_options(PareDistillCommand *c, PareCliTable *t) {
    PareDistillOptions *o = &c->o;
    const PareOption rows[] = {
        CHOICE("optimizer", &c->optimizer, "adamw|adafactor|sgd", NULL, "what makes the steps"),
        REAL("lr", &c->rate, 0, 1e30, &c->given.rate, "the learning rate"),
        REAL("weight-decay", &c->weight_decay, 0, 1e6, NULL, "of tensors with two dimensions"),
        REAL("beta1", &c->beta1, 0, 1, &c->given.beta1, "adamw, adafactor"),
        REAL("beta2", &c->beta2, 0, 1, &c->given.beta2, "adamw"),
        REAL("eps", &c->eps, 0, 1, &c->given.eps, "adamw"),
        REAL("momentum", &c->momentum, 0, 1, &c->given.momentum, "sgd"),
        FLAG("nesterov", &c->nesterov, &c->given.nesterov, "sgd: Nesterov's momentum"),
        FLAG("relative-step", &c->relative_step, &c->given.relative_step,
             "adafactor: it sets the learning rate itself (default: unless --lr is given)"),
        FLAG("scale-parameter", &c->scale_parameter, &c->given.scale_parameter,
             "adafactor: steps are relative to the size of each tensor (default: yes)"),
        REAL("average", &c->average, 0, 1, NULL,
             "keep a moving average of the parameters with this decay, as 0.999"),
        REAL("clip", &o->clip, 0, 1e9, NULL, "largest norm of the gradient; 0: any"),
        CHOICE("schedule", &c->schedule, "constant|linear|cosine", &c->given.schedule,
               "how the rate goes on after the warm-up"),
        STRING("warmup", &c->warmup, "N", &c->given.warmup,
               "steps, or share of the run, in which the rate rises (default: 5%; constant: 0)"),
        {PARE_OPT_SHARE, 0, "min-lr", &o->schedule.min_ratio, "SHARE",
         "of the rate, at the end of the run", 0, 0, &c->given.min_rate},
        LIST("freeze", &o->freeze, "GLOB", "tensors that are not trained; may be repeated"),
        LIST("lr-factor", &o->lr_factor, "GLOB=X",
             "multiplies the learning rate of tensors; may be repeated"),
        LIST("no-decay", &o->no_decay, "GLOB", "tensors without weight decay; may be repeated"),
        FLAG("checkpoint-layers", &o->recompute, NULL,
             "compute layers again in the backward pass instead of storing them: less memory")};
    ADD(rows);
}

static void noise_options(PareDistillCommand *c, PareCliTable *t) {
    PareDistillOptions *o = &c->o;
    const PareOption rows[] = {
        HEADING("Losses and noise"),
        REAL("label-weight", &c->label_weight, 0, 1e6, &c->given.label_weight,
             "of the labels (default: 1, with kd 0.2)"),
        REAL("soft-weight", &c->soft_weight, 0, 1e6, &c->given.soft_weight,
             "kd: of the teacher's scores (default: 0.8)"),
        REAL("temperature", &c->temperature, 1e-3, 1e3, &c->given.temperature,
             "kd: of the teacher's scores"),
        REAL("hidden-weight", &o->hidden, 0, 1e6, NULL, "kd: of differences of hidden states"),
        REAL("attention-weight", &o->attention, 0, 1e6, NULL,
             "kd: of differences of attention probabilities"),
        SHARE("label-smoothing", &c->smoothing, NULL, "of the labels"),
        SHARE("dropout", &c->dropout, NULL, "of embeddings and of what sublayers add"),
        SHARE("attention-dropout", &c->attention_dropout, NULL, "of attention probabilities"),
        SHARE("activation-dropout", &c->activation_dropout, NULL, "of feed-forward units"),
        SHARE("layerdrop", &c->layer_drop, NULL, "of whole layers"),
        SHARE("quant-noise", &c->quant_noise, NULL,
              "of the blocks of every matrix that take INT8's values; 1: all of them"),
        FLAG("quant-activations", &o->noise.quantize_rows, NULL,
             "products read INT8's activations, too")};
    ADD(rows);
}

static void generation_options(PareDistillCommand *c, PareCliTable *t) {
    PareDistillOptions *o = &c->o;
    const PareOption rows[] = {
        HEADING("Pseudo-labels and generation"),
        STRING("pseudo-labels", &o->pseudo.path, "FILE", NULL,
               "where the teacher's texts are kept (default: OUTPUT.pseudo.jsonl)"),
        FLAG("mix", &o->pseudo.mix, NULL, "train on the true targets, too"),
        NUMBER("num-beams", &c->num_beams, 1, 256, NULL, "of pseudo-labels and validation texts"),
        NUMBER("max-length", &c->max_length, 1, 1e6, NULL, "token ids of a generated text")};
    ADD(rows);
}

static void running_options(PareDistillCommand *c, PareCliTable *t) {
    PareDistillOptions *o = &c->o;
    const PareOption rows[] = {
        HEADING("Running"),
        STRING("metric", &o->metric, "NAME", NULL,
               "that picks the best parameters: loss, perplexity, accuracy, f1, matthews, "
               "pearson, spearman, bleu, rouge1, rouge2, rougeL (default: what suits the task)"),
        NUMBER("eval-every", &c->evaluate_every, 1, MANY, NULL,
               "steps between evaluations (default: an epoch)"),
        NUMBER("patience", &c->patience, 1, 1e6, NULL,
               "stop after so many evaluations without a better one"),
        CHOICE("keep", &c->keep, "best|last", &c->given.keep, "parameters that are written"),
        STRING("checkpoint", &o->state, "FILE", NULL,
               "where an interrupted run goes on (default: OUTPUT.training)"),
        NUMBER("save-every", &c->save_every, 1, MANY, NULL,
               "steps between checkpoints (default: an epoch)"),
        FLAG("resume", &o->resume, NULL, "go on from the checkpoint, if there is one"),
        STRING("log-json", &c->log_path, "FILE", NULL, "write a JSON line a step"),
        FLAG("log-gradients", &o->log_gradients, NULL,
             "log the norm of every tensor's gradient in the first step, too"),
        FLAG("json", &c->json, NULL, "print the report as one JSON object"),
        PARE_CLI_THREADS(c->common),
        PARE_CLI_OPTIONS(c->common)};
    ADD(rows);
}

static PareStatus parse_table(PareDistillCommand *c, int argc, char **argv, PareOptionsNext *next,
                              PareError *err) {
    PareCliTable t = {.count = 0};
    model_options(c, &t);
    data_options(c, &t);
    batch_options(c, &t);
    optimizer_options(c, &t);
    noise_options(c, &t);
    generation_options(c, &t);
    running_options(c, &t);
    const PareOptionTable table = {.program = "pare-distill",
                                   .usage = "[OPTION]... --data FILE -o OUT.pare",
                                   .description = DESCRIPTION,
                                   .examples = EXAMPLES,
                                   .options = t.rows,
                                   .count = t.count};
    PareStringList operands = {0};
    return pare_options_parse(&table, argc, argv, &operands, next, err);
}

/* -- reading what the table cannot -- */

static PareStatus read_methods(PareDistillCommand *c, PareError *err) {
    static const char *const NAMES[] = {"finetune", "sft", "kd", "pseudo"};
    const char *at = c->method;
    c->o.methods = 0;
    while (at) {
        const char *comma = strchr(at, ',');
        size_t length = comma ? (size_t)(comma - at) : strlen(at), i = 0;
        while (i < 4 && (strlen(NAMES[i]) != length || memcmp(NAMES[i], at, length) != 0))
            i++;
        if (i == 4)
            return pare_error_set(err, PARE_E_USAGE,
                                  "--method '%s': expected finetune, sft, kd, pseudo, or several "
                                  "with commas",
                                  c->method);
        c->o.methods |= 1U << i;
        at = comma ? comma + 1 : NULL;
    }
    return PARE_OK;
}

static PareStatus read_batch_size(PareDistillCommand *c, PareError *err) {
    int64_t number = 0;
    bool all = c->batch_size && strcmp(c->batch_size, "all") == 0;
    if (!c->batch_size) {
        if (c->batch_tokens)
            c->o.batches.batch_size = 0;
        return PARE_OK;
    }
    if (all && c->given.batch_tokens)
        return pare_error_set(err, PARE_E_USAGE,
                              "--batch-size all and --batch-tokens contradict each other");
    if (!all && (!pare_parse_int(c->batch_size, &number) || number < 1))
        return pare_error_set(err, PARE_E_USAGE,
                              "--batch-size '%s': expected a number of examples, or 'all'",
                              c->batch_size);
    c->o.batches.batch_size = (size_t)number;
    return PARE_OK;
}

/* "500" steps, or "5%" of the run. */
static PareStatus read_warmup(PareDistillCommand *c, PareError *err) {
    int64_t steps;
    PareSchedule *schedule = &c->o.schedule;
    if (!c->warmup && c->schedule != PARE_SCHEDULE_CONSTANT)
        return PARE_OK;
    schedule->warmup_share = 0;
    if (!c->warmup)
        return PARE_OK;
    if (pare_parse_int(c->warmup, &steps) && steps >= 0) {
        schedule->warmup_steps = (uint64_t)steps;
        return PARE_OK;
    }
    if (pare_parse_share(c->warmup, &schedule->warmup_share))
        return PARE_OK;
    return pare_error_set(err, PARE_E_USAGE, "--warmup '%s': expected steps, or a share as 5%%",
                          c->warmup);
}

/* -- what goes together -- */

/* An option that would be ignored is a mistake of the user's. */
static PareStatus check_optimizer(const PareDistillCommand *c, PareError *err) {
    bool adamw = c->optimizer == PARE_OPTIMIZER_ADAMW, sgd = c->optimizer == PARE_OPTIMIZER_SGD;
    bool adafactor = c->optimizer == PARE_OPTIMIZER_ADAFACTOR;
    bool relative = adafactor && (c->given.relative_step ? c->relative_step : !c->given.rate);
    const PareCliRule rules[] = {
        {c->given.beta1 && sgd, "--beta1 is for adamw and adafactor"},
        {c->given.beta2 && !adamw, "--beta2 is for adamw"},
        {c->given.eps && !adamw, "--eps is for adamw"},
        {(c->given.momentum || c->given.nesterov) && !sgd,
         "--momentum and --nesterov are for --optimizer sgd"},
        {c->nesterov && c->momentum <= 0, "--nesterov needs a --momentum"},
        {(c->given.relative_step || c->given.scale_parameter) && !adafactor,
         "--relative-step and --scale-parameter are for --optimizer adafactor"},
        {relative && c->given.rate, "--relative-step and --lr contradict each other"},
        {relative && (c->given.schedule || c->given.warmup || c->given.min_rate),
         "adafactor sets its rate itself (--relative-step): --schedule, --warmup and --min-lr "
         "need an --lr"},
        {c->given.min_rate && c->schedule == PARE_SCHEDULE_CONSTANT,
         "--min-lr is for the schedules linear and cosine"},
    };
    return CHECK(rules);
}

static PareStatus check_rest(const PareDistillCommand *c, PareError *err) {
    bool kd = c->o.methods & PARE_METHOD_KD;
    const PareCliRule rules[] = {
        {!c->o.output, "no output: give -o FILE"},
        {!c->o.data, "no training data: give --data FILE"},
        {c->given.steps && c->given.epochs, "--steps and --epochs contradict each other"},
        {c->given.temperature && !kd, "--temperature belongs to --method kd"},
        {c->dropout >= 1 || c->attention_dropout >= 1 || c->activation_dropout >= 1 ||
             c->layer_drop >= 1,
         "--dropout, --attention-dropout, --activation-dropout and --layerdrop must leave "
         "something: "
         "expected less than 1"},
        {c->given.keep && !c->o.validation, "--keep needs a --validation file to choose by"},
        {c->o.log_gradients && !c->log_path, "--log-gradients needs --log-json FILE"},
        {c->given.share && !c->o.encoder && !c->o.decoder,
         "--share is for --encoder and --decoder"},
        {c->given.embeddings && !c->o.fresh && !c->o.student_config,
         "--embeddings is for --fresh and --student-config"},
        {c->columns && c->format != PARE_DATA_AUTO && c->format != PARE_DATA_TSV,
         "--columns is for TSV files"},
    };
    return CHECK(rules);
}

/* -- what they mean to the stage -- */

static void copy_noise(PareDistillCommand *c) {
    PareDistillOptions *o = &c->o;
    o->noise.dropout = (float)c->dropout;
    o->noise.attention = (float)c->attention_dropout;
    o->noise.activation = (float)c->activation_dropout;
    o->noise.layer_drop = (float)c->layer_drop;
    o->noise.quantize = (float)c->quant_noise;
    o->weights = (PareLossWeights){.label = (float)c->label_weight,
                                   .soft = (float)c->soft_weight,
                                   .temperature = (float)c->temperature,
                                   .smoothing = (float)c->smoothing};
}

static void copy_optimizer(PareDistillCommand *c) {
    PareOptimizerOptions d = pare_optimizer_defaults((PareOptimizerKind)c->optimizer);
    d.weight_decay = c->weight_decay;
    d.average = c->average;
    d.momentum = c->momentum;
    d.nesterov = c->nesterov;
    d.beta1 = c->given.beta1 ? c->beta1 : d.beta1;
    d.beta2 = c->given.beta2 ? c->beta2 : d.beta2;
    d.eps = c->given.eps ? c->eps : d.eps;
    d.relative_step = c->given.relative_step ? c->relative_step : !c->given.rate;
    d.scale_parameter = c->scale_parameter;
    c->o.optimizer = d;
    c->o.rate = c->rate;
    c->o.schedule.kind = (PareScheduleKind)c->schedule;
}

static void copy_numbers(PareDistillCommand *c) {
    PareDistillOptions *o = &c->o;
    o->batches.seed = (uint64_t)c->seed;
    o->batches.shuffle = !c->no_shuffle;
    o->batches.buckets = !c->no_buckets && !c->no_shuffle;
    o->batches.batch_tokens = (size_t)c->batch_tokens;
    o->steps = (uint64_t)c->steps;
    o->epochs = (uint64_t)c->epochs;
    o->accumulate = (uint64_t)c->accumulate;
    o->evaluate_every = (uint64_t)c->evaluate_every;
    o->patience = (uint64_t)c->patience;
    o->save_every = (uint64_t)c->save_every;
    o->num_beams = (uint32_t)c->num_beams;
    o->max_length = (uint32_t)c->max_length;
    o->max_source = (size_t)c->max_source;
    o->max_target = (size_t)c->max_target;
    o->block = (size_t)c->block;
    o->limit = (uint64_t)c->limit;
    o->keep_last = c->keep == 1;
    o->share = (PareWarmShare)c->share;
    o->special = (PareWarmIds){(int32_t)c->decoder_start, (int32_t)c->eos, (int32_t)c->pad};
    o->copy_embeddings = c->embeddings == 1;
    o->format = (PareDataOptions){.format = (PareDataFormat)c->format, .columns = c->columns};
    o->threads = (size_t)c->common.threads;
    if (!c->common.quiet && pare_ranks_rank() == 0)
        o->progress = pare_progress_start;
}

PareStatus pare_distill_command_parse(PareDistillCommand *c, int argc, char **argv,
                                      PareOptionsNext *next, PareError *err) {
    PareStatus st = parse_table(c, argc, argv, next, err);
    if (st || *next != PARE_OPTIONS_RUN)
        return st;
    if (c->method)
        st = read_methods(c, err);
    if (!st)
        st = check_rest(c, err);
    if (!st)
        st = check_optimizer(c, err);
    if (!st)
        st = read_batch_size(c, err);
    if (!st)
        st = read_warmup(c, err);
    copy_noise(c);
    copy_optimizer(c);
    copy_numbers(c);
    return st;
}
