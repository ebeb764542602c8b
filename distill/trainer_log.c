/* Lines of the training log: one JSON object each. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "distill/ranks.h"
#include "distill/trainer_impl.h"

double pare_trainer_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static void number(PareBuffer *out, const char *name, double value) {
    pare_buffer_printf(out, ",\"%s\":", name);
    pare_buffer_put_json_double(out, value);
}

static void send(PareTrainer *t) {
    pare_buffer_puts(&t->line, "}");
    if (t->s->log && pare_ranks_rank() == 0 && !t->line.failed)
        t->s->log(t->s->talk, t->line.data);
}

static void begin(PareTrainer *t) {
    pare_buffer_clear(&t->line);
    pare_buffer_printf(&t->line, "{\"step\":%llu", (unsigned long long)t->at.step);
}

void pare_trainer_log_step(PareTrainer *t, const PareStepReport *r) {
    const PareLossTerms *l = &r->terms;
    const PareObjective *o = &t->objective;
    begin(t);
    pare_buffer_printf(&t->line, ",\"epoch\":%llu", (unsigned long long)r->epoch);
    number(&t->line, "loss", l->total);
    number(&t->line, "label", l->label);
    if (o->teacher_d)
        number(&t->line, "soft", l->soft);
    if (o->matching && o->matching->hidden > 0)
        number(&t->line, "hidden", l->hidden);
    if (o->matching && o->matching->attention > 0)
        number(&t->line, "attention", l->attention);
    if (!o->regression && l->counted)
        number(&t->line, "accuracy", (double)l->hits / (double)l->counted);
    number(&t->line, "grad_norm", r->grad_norm);
    number(&t->line, "lr", r->rate);
    pare_buffer_printf(&t->line, ",\"tokens\":%zu", l->tokens);
    number(&t->line, "tokens_per_s", r->seconds > 0 ? (double)l->tokens / r->seconds : 0);
    send(t);
}

static void log_scores(PareTrainer *t, const PareScores *s) {
    begin(t);
    pare_buffer_puts(&t->line, ",\"validation\":{");
    const char *comma = "";
    for (int i = 0; i < PARE_SCORE_COUNT; i++) {
        if (!s->has[i])
            continue;
        pare_buffer_printf(&t->line, "%s\"%s\":", comma, pare_score_name((PareScoreKind)i));
        pare_buffer_put_json_double(&t->line, s->value[i]);
        comma = ",";
    }
    pare_buffer_puts(&t->line, "}");
    send(t);
}

void pare_trainer_log_gradients(PareTrainer *t) {
    const PareWeights *w = t->s->weights;
    begin(t);
    pare_buffer_puts(&t->line, ",\"gradients\":{");
    const char *comma = "";
    for (size_t i = 0; i < w->tensor_count; i++) {
        const PareWeightTensor *tensor = &w->tensors[i];
        double sum = 0;
        if (!t->ranges[i].trained)
            continue;
        for (size_t k = 0; k < tensor->count; k++)
            sum += (double)t->grads[tensor->offset + k] * t->grads[tensor->offset + k];
        pare_buffer_puts(&t->line, comma);
        pare_buffer_put_json_string(&t->line, tensor->name, strlen(tensor->name));
        pare_buffer_puts(&t->line, ":");
        pare_buffer_put_json_double(&t->line, sqrt(sum));
        comma = ",";
    }
    pare_buffer_puts(&t->line, "}");
    send(t);
}

/* The scores in the log, and for the user. */
void pare_trainer_tell_scores(PareTrainer *t) {
    PareTrainJudgement j = {.step = t->at.step,
                            .steps = t->total,
                            .scores = t->result->scores,
                            .metric = t->s->metric,
                            .has_best = t->at.has_best,
                            .best = t->at.best,
                            .best_step = t->at.best_step};
    log_scores(t, &j.scores);
    if (t->s->judged && pare_ranks_rank() == 0)
        t->s->judged(t->s->talk, &j);
}

static void tell_detail(PareTrainer *t) {
    if (t->s->detail && pare_ranks_rank() == 0 && !t->line.failed)
        t->s->detail(t->s->talk, t->line.data);
}

void pare_trainer_tell_plan(PareTrainer *t) {
    pare_buffer_clear(&t->line);
    pare_buffer_printf(&t->line, "%llu steps, %zu examples, %llu of %zu parameters are trained",
                       (unsigned long long)t->total, pare_examples_count(t->s->examples),
                       (unsigned long long)pare_param_groups_trained(t->s->groups),
                       t->s->weights->count);
    if (t->at.step)
        pare_buffer_printf(&t->line, "; goes on behind step %llu", (unsigned long long)t->at.step);
    tell_detail(t);
}

void pare_trainer_tell_saved(PareTrainer *t) {
    pare_buffer_clear(&t->line);
    pare_buffer_printf(&t->line, "step %llu: saved in %s%s", (unsigned long long)t->at.step,
                       t->s->state, t->at.pending ? ", the evaluation is still to come" : "");
    tell_detail(t);
}

void pare_trainer_warn(PareTrainer *t, const char *text) {
    if (t->s->warn && pare_ranks_rank() == 0)
        t->s->warn(t->s->talk, text);
}
