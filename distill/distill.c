/* From options to a trained student: opening, checking, and the trainer's setup. */
#include "distill/distill.h"

#include <string.h>

#include "distill/distill_impl.h"
#include "distill/student.h"

PareDistillOptions pare_distill_defaults(void) {
    return (PareDistillOptions){
        .methods = PARE_METHOD_FINETUNE,
        .batches = {.shuffle = true, .buckets = true, .batch_size = 32},
        .epochs = 3,
        .accumulate = 1,
        .optimizer = pare_optimizer_defaults(PARE_OPTIMIZER_ADAMW),
        .schedule = {.kind = PARE_SCHEDULE_LINEAR, .warmup_share = 0.05},
        .rate = 5e-4,
        .clip = 1,
        .noise = {.dropout = 0.1F},
        .weights = {.label = -1, .soft = -1, .temperature = 2},
        .special = {PARE_WARM_UNSET, PARE_WARM_UNSET, PARE_WARM_UNSET},
    };
}

/* -- parameter groups -- */

/* The other names of a tensor's values, ended by NULL. */
static const char *const *aliases_of(const PareDistill *j, size_t tensor) {
    const PareWeights *w = j->weights;
    const char **out = pare_arena_alloc(j->arena, w->slots.count + 1, sizeof *out);
    size_t count = 0;
    for (size_t i = 0; out && i < w->slots.count; i++)
        if (w->tensor_of[i] == tensor && i != w->tensors[tensor].slot)
            out[count++] = w->slots.items[i].name;
    return out;
}

/* The encoder is frozen when the student took it over whole (Shleifer & Rush 2020). */
static bool freezes_encoder(const PareDistill *j) {
    const PareDescription *d = &j->weights->description;
    if (!pare_distill_copies_teacher(j) || j->o->train_encoder ||
        !d->stacks[PARE_ENCODER].present || !d->stacks[PARE_DECODER].present)
        return false;
    const PareStack *teacher = pare_model_description(j->teacher)->stacks;
    return d->stacks[PARE_ENCODER].layer_count == teacher[PARE_ENCODER].layer_count &&
           d->stacks[PARE_DECODER].layer_count < teacher[PARE_DECODER].layer_count;
}

static PareStatus apply_rules(PareDistill *j) {
    const PareDistillOptions *o = j->o;
    PareStatus st = PARE_OK;
    for (size_t i = 0; i < o->freeze.count && !st; i++)
        st = pare_param_groups_freeze(&j->groups, o->freeze.items[i], j->err);
    for (size_t i = 0; i < o->lr_factor.count && !st; i++)
        st = pare_param_groups_lr_factor(&j->groups, o->lr_factor.items[i], j->err);
    for (size_t i = 0; i < o->no_decay.count && !st; i++)
        st = pare_param_groups_no_decay(&j->groups, o->no_decay.items[i], j->err);
    if (!st && freezes_encoder(j))
        st = pare_param_groups_freeze(&j->groups, "encoder.*", j->err);
    return st;
}

static PareStatus make_groups(PareDistill *j) {
    const PareWeights *w = j->weights;
    j->groups.count = w->tensor_count;
    j->groups.tensors = pare_arena_alloc(j->arena, w->tensor_count, sizeof *j->groups.tensors);
    if (!j->groups.tensors)
        return pare_memory_error(j->err, "the parameters");
    for (size_t i = 0; i < w->tensor_count; i++) {
        const PareWeightTensor *t = &w->tensors[i];
        const char *const *aliases = aliases_of(j, i);
        if (!aliases)
            return pare_memory_error(j->err, "the parameters");
        j->groups.tensors[i] = (PareParamTensor){.name = t->name,
                                                 .aliases = aliases,
                                                 .offset = t->offset,
                                                 .rows = (size_t)t->rows,
                                                 .cols = (size_t)t->cols,
                                                 .dims = t->dims};
    }
    pare_param_groups_reset(&j->groups);
    for (size_t i = 0; i < w->tensor_count; i++)
        j->groups.tensors[i].frozen = pare_distill_is_fixed(j, w->tensors[i].name);
    PareStatus st = apply_rules(j);
    if (!st && pare_param_groups_trained(&j->groups) == 0)
        st = pare_error_set(j->err, PARE_E_USAGE,
                            "every tensor is frozen: there is nothing to train");
    return st;
}

/* -- the objective -- */

static PareStatus set_weights(PareDistill *j) {
    const PareDistillOptions *o = j->o;
    PareLossWeights *w = &j->setup.objective.weights;
    bool kd = o->methods & PARE_METHOD_KD;
    *w = o->weights;
    w->soft = w->soft < 0 ? (kd ? 0.8F : 0) : w->soft;
    w->label = w->label < 0 ? (kd ? 0.2F : 1) : w->label;
    if (kd && w->soft == 0 && o->hidden <= 0 && o->attention <= 0)
        return pare_error_set(j->err, PARE_E_USAGE,
                              "kd with no weight for soft labels, hidden states or attention "
                              "learns nothing from the teacher");
    return PARE_OK;
}

static PareStatus make_objective(PareDistill *j) {
    PareObjective *objective = &j->setup.objective;
    PareStatus st = set_weights(j);
    if (st)
        return st;
    objective->regression = j->task == PARE_EXAMPLES_REGRESSION;
    objective->recompute = j->o->recompute;
    if (!(j->o->methods & PARE_METHOD_KD))
        return PARE_OK;
    objective->teacher_d = pare_model_description(j->teacher);
    objective->teacher_p = pare_model_params(j->teacher);
    return pare_distill_match(j);
}

/* -- the run -- */

static PareScoreKind usual_metric(PareExamplesTask task, bool texts) {
    switch (task) {
    case PARE_EXAMPLES_CLASSIFICATION:
    case PARE_EXAMPLES_TOKENS:
        return PARE_SCORE_ACCURACY;
    case PARE_EXAMPLES_REGRESSION:
        return PARE_SCORE_PEARSON;
    case PARE_EXAMPLES_SEQ2SEQ:
        return texts ? PARE_SCORE_BLEU : PARE_SCORE_LOSS;
    case PARE_EXAMPLES_LM:
        break;
    }
    return PARE_SCORE_PERPLEXITY;
}

static PareStatus set_metric(PareDistill *j, bool texts) {
    const char *name = j->o->metric;
    PareScoreKind *metric = &j->setup.metric;
    *metric = usual_metric(j->task, texts);
    if (name && !pare_score_parse(name, metric))
        return pare_error_set(j->err, PARE_E_USAGE,
                              "--metric '%s': expected loss, perplexity, accuracy, f1, matthews, "
                              "pearson, spearman, bleu, rouge1, rouge2 or rougeL",
                              name);
    if (j->validation && !pare_score_applies(*metric, j->task, texts))
        return pare_error_set(
            j->err, PARE_E_USAGE, "--metric %s: cannot be had from %s%s", name, j->o->validation,
            pare_score_applies(*metric, j->task, true) ? ", which has no target texts"
                                                       : " and a model with this head");
    return PARE_OK;
}

static PareStatus set_evaluation(PareDistill *j) {
    enum { TOKENS = 4096 };
    const PareDistillOptions *o = j->o;
    PareTrainSetup *s = &j->setup;
    bool texts = j->references.count > 0 && j->tokenizer;
    PareStatus st = set_metric(j, texts);
    if (st)
        return st;
    s->evaluation = (PareEvaluation){.examples = j->validation,
                                     .task = j->task,
                                     .batch_tokens = TOKENS,
                                     .generate = j->validation && s->metric >= PARE_SCORE_BLEU,
                                     .references = &j->references,
                                     .tokenizer = j->tokenizer,
                                     .generation = &j->generation};
    if ((o->num_beams || o->max_length) && !(o->methods & PARE_METHOD_PSEUDO) &&
        !s->evaluation.generate)
        return pare_error_set(j->err, PARE_E_USAGE,
                              "--num-beams and --max-length are for texts that are generated: by "
                              "--method pseudo, or in a validation by bleu or rouge");
    st = pare_evaluate_check(&s->evaluation, &j->weights->description, j->err);
    return st ? pare_error_prefix(j->err, "validation by %s", pare_score_name(s->metric)) : PARE_OK;
}

/* How many steps epochs have is known later, from the data. */
static PareStatus check_schedule(const PareDistill *j) {
    PareSchedule schedule = j->o->schedule;
    schedule.total = j->o->steps;
    return schedule.total ? pare_schedule_check(&schedule, j->err) : PARE_OK;
}

static void set_up(PareDistill *j) {
    const PareDistillOptions *o = j->o;
    PareTrainSetup *s = &j->setup;
    s->weights = j->weights;
    s->like = j->like;
    s->examples = j->examples;
    s->batches = o->batches;
    s->steps = o->steps;
    s->epochs = o->steps ? 0 : o->epochs;
    s->accumulate = o->accumulate;
    s->groups = &j->groups;
    s->padding = pare_distill_padding(j);
    s->optimizer = o->optimizer;
    s->schedule = o->schedule;
    s->rate = o->rate;
    s->clip = o->clip;
    s->noise = o->noise;
    s->noise.seed = o->batches.seed;
    s->threads = o->threads;
    s->evaluate_every = o->evaluate_every;
    s->patience = o->patience;
    s->keep_last = o->keep_last;
    s->state = j->state;
    s->save_every = o->save_every;
    s->resume = o->resume;
    s->log = o->log;
    s->warn = o->warn;
    s->detail = o->detail;
    s->judged = o->judged;
    s->talk = o->talk;
    s->log_gradients = o->log_gradients;
    s->progress = o->progress;
}

static PareStatus run(PareDistill *j, PareDistillResult *out) {
    PareStatus st = pare_distill_check_options(j);
    if (!st)
        st = pare_distill_open_models(j);
    if (!st)
        st = pare_distill_plan_student(j);
    if (!st)
        st = pare_distill_check_pair(j);
    if (!st)
        st = pare_distill_projections(j);
    if (!st)
        st = pare_distill_make_student(j);
    if (!st)
        st = make_groups(j);
    if (!st)
        st = pare_distill_open_data(j);
    if (!st)
        st = make_objective(j);
    if (!st)
        st = set_evaluation(j);
    if (!st)
        st = check_schedule(j);
    if (!st) /* the first thing that takes long: whatever can be refused has been by now */
        st = pare_distill_pseudo_labels(j);
    if (!st)
        st = pare_distill_settings(j);
    if (st)
        return st;
    set_up(j);
    st = pare_train(&j->setup, &out->train, j->err);
    if (st)
        return st;
    out->metric = j->setup.metric;
    out->examples = pare_examples_count(j->examples);
    return pare_distill_write(j, out);
}

static void free_all(PareDistill *j) {
    pare_examples_close(j->examples);
    pare_examples_close(j->validation);
    pare_references_free(&j->references);
    pare_tokenizer_free(j->tokenizer);
    pare_weights_destroy(j->weights);
    pare_model_close(j->origin);
    pare_model_close(j->teacher);
    pare_model_close(j->encoder);
    pare_model_close(j->decoder);
    pare_buffer_free(&j->settings);
    pare_arena_destroy(j->arena);
}

PareStatus pare_distill(const PareDistillOptions *o, PareDistillResult *out, PareError *err) {
    PareDistill j = {.o = o, .err = err, .arena = pare_arena_create(0)};
    *out = (PareDistillResult){0};
    PareStatus st = j.arena ? run(&j, out) : pare_memory_error(err, "distillation");
    free_all(&j);
    return st;
}
