/* One step: batches, their gradient, clipping and the update. */
#include <math.h>
#include <string.h>

#include "distill/ranks.h"
#include "distill/trainer_impl.h"

/* The examples of the batch at the trainer's position, all ranks' shares, into t->items. */
static PareStatus load_batch(PareTrainer *t, const uint32_t **indices, size_t *count) {
    PareStatus st = pare_batches_at(t->batches, t->at.position, indices, count, t->err);
    if (st)
        return st;
    if (*count > t->item_capacity) {
        PareExample *items = pare_realloc(t->items, *count, sizeof *items);
        if (!items)
            return pare_memory_error(t->err, "a batch");
        t->items = items;
        t->item_capacity = *count;
    }
    for (size_t i = 0; i < *count; i++)
        t->items[i] = pare_examples_get(t->s->examples, (*indices)[i]);
    return PARE_OK;
}

static void add_size(PareBatchSize *sum, const PareBatchSize *part) {
    sum->counted += part->counted;
    for (int s = 0; s < PARE_STACKS; s++)
        sum->rows[s] += part->rows[s];
}

/* Whether another batch belongs to the run, which may end within a step. */
static bool more(const PareTrainer *t) {
    return t->s->epochs == 0 || t->at.position.epoch < t->s->epochs;
}

/* The size of all batches of the step: gradients are those of their mean. */
static PareStatus measure(PareTrainer *t, PareBatchSize *whole) {
    PareBatchPosition begin = t->at.position;
    PareStatus st = PARE_OK;
    for (uint64_t i = 0; i < t->s->accumulate && more(t) && !st; i++) {
        const uint32_t *indices;
        size_t count;
        st = load_batch(t, &indices, &count);
        if (st)
            break;
        PareBatchSize size = pare_objective_size(&t->objective, t->items, count);
        add_size(whole, &size);
        st = pare_batches_advance(t->batches, &t->at.position, t->err);
    }
    t->at.position = begin;
    if (!st && whole->counted == 0)
        st =
            pare_error_set(t->err, PARE_E_FORMAT, "step %llu: no example of the batch has a target",
                           (unsigned long long)t->at.step + 1);
    return st;
}

/* This rank's share of one batch; `before` is the size of what came before in this step. */
static PareStatus run_share(PareTrainer *t, const uint32_t *indices, size_t count,
                            const PareBatchSize *whole, const PareBatchSize *before,
                            size_t sequences, PareLossTerms *terms) {
    PareNoise noise = t->s->noise;
    PareBatchShare share =
        pare_batches_share(t->batches, indices, count, pare_ranks_rank(), pare_ranks_count());
    PareBatchSize others = pare_objective_size(&t->objective, t->items, share.begin);
    PareRun r = {.kernels = pare_kernels(),
                 .pool = t->pool,
                 .arena = t->arena,
                 .tape = t->tape,
                 .noise = &noise,
                 .err = t->err};
    noise.step = t->at.step;
    noise.sequence_base = sequences + share.begin;
    for (int s = 0; s < PARE_STACKS; s++)
        noise.row_base[s] = before->rows[s] + others.rows[s];
    pare_arena_release(t->arena, (PareArenaMark){0});
    if (share.begin == share.end)
        return PARE_OK;
    PareStatus st = pare_objective_run(&t->objective, &r, t->items + share.begin,
                                       share.end - share.begin, whole, terms);
    return st ? st : pare_tape_backward(&r);
}

static PareStatus run_batches(PareTrainer *t, PareLossTerms *terms) {
    PareBatchSize whole = {0}, before = {0};
    size_t sequences = 0;
    PareStatus st = measure(t, &whole);
    for (uint64_t i = 0; i < t->s->accumulate && more(t) && !st; i++) {
        const uint32_t *indices;
        size_t count;
        st = load_batch(t, &indices, &count);
        if (!st)
            st = run_share(t, indices, count, &whole, &before, sequences, terms);
        PareBatchSize size =
            st ? (PareBatchSize){0} : pare_objective_size(&t->objective, t->items, count);
        add_size(&before, &size);
        sequences += count;
        if (!st)
            st = pare_batches_advance(t->batches, &t->at.position, t->err);
    }
    return st;
}

static PareStatus sum_over_ranks(PareTrainer *t, PareLossTerms *l) {
    double sums[] = {l->total,     l->label,           l->soft,         l->hidden,
                     l->attention, (double)l->counted, (double)l->hits, (double)l->tokens};
    if (pare_ranks_count() == 1)
        return PARE_OK;
    PareStatus st = pare_ranks_sum(t->grads, t->s->weights->count, t->err);
    if (!st)
        st = pare_ranks_sum_double(sums, sizeof sums / sizeof *sums, t->err);
    *l = (PareLossTerms){.total = sums[0],
                         .label = sums[1],
                         .soft = sums[2],
                         .hidden = sums[3],
                         .attention = sums[4],
                         .counted = (size_t)sums[5],
                         .hits = (size_t)sums[6],
                         .tokens = (size_t)sums[7]};
    return st;
}

/* The loss, or the first gradient that went wrong. */
static PareStatus not_finite(PareTrainer *t, const PareLossTerms *l) {
    const char *name = pare_optimizer_nonfinite(t->optimizer, t->grads);
    return pare_error_set(t->err, PARE_E_FORMAT,
                          "step %llu: the loss is %g%s%s%s; a lower learning rate, a warm-up or "
                          "clipping may help",
                          (unsigned long long)t->at.step + 1, l->total,
                          name ? ", and the gradient of '" : "", name ? name : "",
                          name ? "' is not finite" : "");
}

/* What the log tells: the schedule's rate, or what the optimizer takes in its place. */
static double rate_of(const PareTrainer *t) {
    const PareOptimizerOptions *o = &t->s->optimizer;
    if (o->kind == PARE_OPTIMIZER_ADAFACTOR && o->relative_step)
        return fmin(1e-2, 1 / sqrt((double)t->at.step + 1));
    return t->s->rate * pare_schedule_factor(&t->s->schedule, t->at.step);
}

PareStatus pare_trainer_step(PareTrainer *t, PareStepReport *out) {
    const PareTrainSetup *s = t->s;
    double begin = pare_trainer_clock();
    *out = (PareStepReport){.epoch = t->at.position.epoch};
    memset(t->grads, 0, s->weights->count * sizeof *t->grads);
    PareStatus st = run_batches(t, &out->terms);
    if (!st)
        st = sum_over_ranks(t, &out->terms);
    if (st)
        return st;
    out->grad_norm = pare_optimizer_norm(t->optimizer, t->grads, t->pool);
    if (!isfinite(out->grad_norm) || !isfinite(out->terms.total))
        return not_finite(t, &out->terms);
    out->rate = rate_of(t);
    pare_optimizer_step(t->optimizer, s->weights->values, t->grads,
                        pare_optimizer_clip(out->grad_norm, s->clip), out->rate, t->pool);
    t->at.step++;
    out->seconds = pare_trainer_clock() - begin;
    return PARE_OK;
}
