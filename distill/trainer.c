/* The loop around steps: evaluations, checkpoints, and the end. */
#include "distill/trainer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "distill/ranks.h"
#include "distill/trainer_impl.h"
#include "runtime/blas.h"

/* Large, since batches differ in size: many small chunks would fit none but their own. */
enum { ARENA_CHUNK = 1 << 25 };

/* -- before the first step -- */

static PareStatus count_steps(PareTrainer *t) {
    const PareTrainSetup *s = t->s;
    uint64_t batches = 0;
    t->total = s->steps;
    for (uint64_t e = 0; e < s->epochs; e++) {
        size_t count;
        PareStatus st = pare_batches_in(t->batches, e, &count, t->err);
        if (st)
            return st;
        batches += count;
    }
    if (s->epochs)
        t->total = (batches + s->accumulate - 1) / s->accumulate;
    return PARE_OK;
}

/* What the tape may train, in the order of the block. */
static PareStatus make_ranges(PareTrainer *t) {
    const PareWeights *w = t->s->weights;
    t->ranges = pare_alloc(w->tensor_count, sizeof *t->ranges);
    if (!t->ranges)
        return pare_memory_error(t->err, "the trainer");
    for (size_t i = 0; i < w->tensor_count; i++)
        t->ranges[i] = (PareTapeRange){w->tensors[i].offset, w->tensors[i].count,
                                       !t->s->groups->tensors[i].frozen};
    return PARE_OK;
}

/* Nothing that the encoder reads is trained: it needs no tape. */
static bool encoder_is_frozen(const PareTrainer *t) {
    const PareWeights *w = t->s->weights;
    for (size_t i = 0; i < w->slots.count; i++)
        if (strncmp(w->slots.items[i].name, "encoder.", 8) == 0 &&
            t->ranges[w->tensor_of[i]].trained)
            return false;
    return true;
}

static PareStatus allocate(PareTrainer *t) {
    const PareTrainSetup *s = t->s;
    size_t count = s->weights->count;
    t->arena = pare_arena_create(ARENA_CHUNK);
    t->grads = pare_alloc(count, sizeof *t->grads);
    if (s->evaluation.examples && !s->keep_last)
        t->best = pare_alloc(count, sizeof *t->best);
    if (!t->arena || !t->grads || (s->evaluation.examples && !s->keep_last && !t->best))
        return pare_memory_error(t->err, "the trainer");
    return PARE_OK;
}

static PareStatus prepare(PareTrainer *t) {
    const PareTrainSetup *s = t->s;
    const PareWeights *w = s->weights;
    PareStatus st = pare_kernels_init(t->err);
    pare_blas_init();
    if (!st)
        st = allocate(t);
    if (!st)
        st = make_ranges(t);
    if (!st)
        st = pare_pool_create(s->threads, &t->pool, t->err);
    if (!st)
        st = pare_tape_create(w->values, t->grads, t->ranges, w->tensor_count, &t->tape, t->err);
    if (!st)
        pare_tape_set_padding(t->tape, s->padding);
    if (!st)
        st = pare_optimizer_create(&s->optimizer, s->groups, w->values, w->count, &t->optimizer,
                                   t->err);
    if (!st)
        st = pare_batches_create(&s->batches, s->examples, &t->batches, t->err);
    if (!st)
        st = count_steps(t);
    if (!st)
        st = pare_model_create(s->like, &w->description, &w->slots, w->data, &t->model, t->err);
    if (st)
        return st;
    t->objective = s->objective;
    t->objective.d = &w->description;
    t->objective.p = &w->params;
    t->objective.frozen_encoder =
        w->description.stacks[PARE_ENCODER].present && encoder_is_frozen(t);
    return PARE_OK;
}

static void free_all(PareTrainer *t) {
    pare_progress_finish(t->progress);
    pare_model_close(t->model);
    pare_batches_destroy(t->batches);
    pare_optimizer_destroy(t->optimizer);
    pare_tape_destroy(t->tape);
    pare_pool_destroy(t->pool);
    pare_arena_destroy(t->arena);
    pare_buffer_free(&t->line);
    pare_free(t->items);
    pare_free(t->grads);
    pare_free(t->ranges);
    pare_free(t->best);
}

/* -- evaluations -- */

/* Calls `then` while the parameters are those that would be kept now: their average where there is
 * one. */
static PareStatus with_kept(PareTrainer *t, PareStatus (*then)(PareTrainer *t)) {
    const PareWeights *w = t->s->weights;
    if (t->s->optimizer.average <= 0)
        return then(t);
    float *raw = pare_alloc(w->count, sizeof *raw);
    if (!raw)
        return pare_memory_error(t->err, "the averaged parameters");
    memcpy(raw, w->values, w->count * sizeof *raw);
    pare_optimizer_average(t->optimizer, raw, w->values);
    PareStatus st = then(t);
    memcpy(w->values, raw, w->count * sizeof *raw);
    pare_free(raw);
    return st;
}

static bool better(const PareTrainer *t, double value) {
    if (isnan(value))
        return false;
    return !t->at.has_best ||
           (pare_score_falls(t->s->metric) ? value < t->at.best : value > t->at.best);
}

/* Ctrl-C on any rank stops all of them at the same place; `stop` tells what to do there. */
static PareStatus interrupted_anywhere(PareTrainer *t, bool interrupted) {
    PareStatus st = pare_ranks_any(&interrupted, t->err);
    return !st && interrupted ? PARE_E_INTERRUPTED : st;
}

static PareStatus judge(PareTrainer *t) {
    const PareTrainSetup *s = t->s;
    PareEvaluation e = s->evaluation;
    PareScores *scores = &t->result->scores;
    PareStatus st = PARE_OK;
    e.model = t->model;
    e.threads = s->threads;
    if (pare_ranks_rank() == 0) {
        if (s->progress)
            e.progress = s->progress("evaluating", pare_examples_count(e.examples));
        st = pare_evaluate(&e, scores, t->err);
        pare_progress_finish(e.progress);
    }
    if (!st || st == PARE_E_INTERRUPTED)
        st = interrupted_anywhere(t, st == PARE_E_INTERRUPTED);
    if (!st)
        st = pare_ranks_share(scores, sizeof *scores, t->err);
    if (st)
        return st;
    t->result->evaluated = true;
    if (!scores->has[s->metric])
        return pare_error_set(t->err, PARE_E_USAGE,
                              "the validation data gives no %s for this model",
                              pare_score_name(s->metric));
    t->at.since_best++;
    if (!better(t, scores->value[s->metric]))
        return PARE_OK;
    t->at.has_best = true;
    t->at.best = scores->value[s->metric];
    t->at.best_step = t->at.step;
    t->at.since_best = 0;
    if (t->best)
        memcpy(t->best, s->weights->values, s->weights->count * sizeof *t->best);
    return PARE_OK;
}

/* The evaluation that is pending. */
static PareStatus evaluate(PareTrainer *t) {
    PareStatus st = with_kept(t, judge);
    if (st)
        return st;
    t->at.pending = false;
    pare_trainer_tell_scores(t);
    return PARE_OK;
}

/* -- the loop -- */

static void show(PareTrainer *t, const PareStepReport *r) {
    char note[96];
    snprintf(note, sizeof note, "loss %.4g, %.0f tokens/s", r->terms.total,
             t->result->seconds > 0 ? (double)t->result->tokens / t->result->seconds : 0);
    pare_progress_update(t->progress, t->at.step, note);
}

/* A checkpoint that cannot be written must not end the training; the last one stays. */
static bool save(PareTrainer *t) {
    PareError *err = t->err, own = {0};
    char text[PARE_ERROR_MESSAGE_SIZE + 96];
    t->err = &own;
    bool failed = pare_trainer_save(t) != PARE_OK;
    if (failed) {
        snprintf(text, sizeof text, "no checkpoint at step %llu: %s",
                 (unsigned long long)t->at.step, own.message);
        pare_trainer_warn(t, text);
    }
    t->err = err;
    if (failed || !t->s->state)
        return false;
    pare_trainer_tell_saved(t);
    return true;
}

/* A step may leave parameters that are no numbers, which the next one would stumble over; they must
 * not be judged, saved or written. */
static PareStatus check_parameters(const PareTrainer *t) {
    const PareWeights *w = t->s->weights;
    for (size_t i = 0; i < w->tensor_count; i++)
        for (size_t k = 0; k < w->tensors[i].count; k++)
            if (!isfinite(w->values[w->tensors[i].offset + k]))
                return pare_error_set(t->err, PARE_E_FORMAT,
                                      "step %llu: '%s' is not finite any more; a lower learning "
                                      "rate, a warm-up or clipping may help",
                                      (unsigned long long)t->at.step, w->tensors[i].name);
    return PARE_OK;
}

static bool due(const PareTrainer *t, uint64_t every, bool epoch_ended) {
    return every ? t->at.step % every == 0 : epoch_ended;
}

/* An evaluation may take long, and whatever ends the run in it must not cost the training before:
 * a checkpoint that is due is written first, and knows what is pending. */
static PareStatus after_step(PareTrainer *t, bool epoch_ended) {
    PareStatus st = PARE_OK;
    bool last = t->at.step == t->total;
    bool saving = last || due(t, t->s->save_every, epoch_ended);
    t->at.pending =
        t->s->evaluation.examples && (last || due(t, t->s->evaluate_every, epoch_ended));
    if (t->at.pending || saving)
        st = check_parameters(t);
    if (!st && saving)
        save(t);
    if (st || !t->at.pending)
        return st;
    st = evaluate(t);
    if (!st && saving)
        save(t);
    return st;
}

static PareStatus run_step(PareTrainer *t) {
    PareStepReport r;
    PareStatus st = pare_trainer_step(t, &r);
    if (st)
        return st;
    t->result->tokens += r.terms.tokens;
    t->result->seconds += r.seconds;
    t->result->last_loss = r.terms.total;
    if (t->s->log_gradients && t->at.step == 1)
        pare_trainer_log_gradients(t);
    pare_trainer_log_step(t, &r);
    show(t, &r);
    return after_step(t, t->at.position.epoch != r.epoch);
}

static bool patience_ends(const PareTrainer *t) {
    return t->s->patience && t->at.since_best >= t->s->patience;
}

/* Saves, and says how to go on. The first rank to fail ends all, so that they wait for the one that
 * saves. */
static PareStatus stop(PareTrainer *t) {
    const char *what = t->at.pending ? "interrupted in the evaluation after" : "interrupted after";
    bool saved = save(t) && pare_ranks_rank() == 0;
    PareStatus st = pare_ranks_any(&saved, t->err);
    if (st)
        return st;
    if (!saved)
        return pare_error_set(t->err, PARE_E_INTERRUPTED, "%s step %llu of %llu", what,
                              (unsigned long long)t->at.step, (unsigned long long)t->total);
    return pare_error_set(t->err, PARE_E_INTERRUPTED,
                          "%s step %llu of %llu; the same command with --resume goes on from %s",
                          what, (unsigned long long)t->at.step, (unsigned long long)t->total,
                          t->s->state);
}

static PareStatus loop(PareTrainer *t) {
    PareStatus st = PARE_OK;
    if (t->at.pending) { /* in the run before this one */
        st = evaluate(t);
        if (!st)
            save(t);
    }
    while (!st && t->at.step < t->total && !patience_ends(t)) {
        st = interrupted_anywhere(t, pare_interrupted());
        if (!st)
            st = run_step(t);
    }
    t->result->stopped_early = !st && t->at.step < t->total;
    return st == PARE_E_INTERRUPTED ? stop(t) : st;
}

/* The parameters that the run ends with. */
static void keep(PareTrainer *t) {
    const PareWeights *w = t->s->weights;
    if (t->best && t->at.has_best) {
        memcpy(w->values, t->best, w->count * sizeof *t->best);
        return;
    }
    if (t->best)
        pare_trainer_warn(t, "no evaluation gave a score: the last parameters are kept");
    if (t->s->optimizer.average > 0)
        pare_optimizer_average(t->optimizer, w->values, w->values);
}

PareStatus pare_train(const PareTrainSetup *setup, PareTrainResult *out, PareError *err) {
    PareTrainSetup own = *setup;
    PareTrainer t = {.s = &own, .result = out, .err = err};
    *out = (PareTrainResult){.last_loss = NAN};
    PareStatus st = prepare(&t);
    own.schedule.total = t.total;
    if (!st)
        st = pare_schedule_check(&own.schedule, err);
    if (!st)
        st = pare_trainer_resume(&t);
    if (!st)
        pare_trainer_tell_plan(&t);
    if (!st && own.progress && pare_ranks_rank() == 0)
        t.progress = own.progress("training", t.total);
    pare_progress_update(t.progress, t.at.step, NULL); /* what is left is reckoned from here */
    if (!st)
        st = loop(&t);
    if (!st)
        keep(&t);
    out->steps = t.at.step;
    out->has_best = t.at.has_best;
    out->best = t.at.best;
    out->best_step = t.at.best_step;
    free_all(&t);
    return st;
}
