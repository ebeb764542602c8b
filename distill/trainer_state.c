/* The trainer's checkpoints. */
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "distill/ranks.h"
#include "distill/state.h"
#include "distill/trainer_impl.h"

enum { ARRAYS_MAX = PARE_OPTIMIZER_STATES + 2 };

/* The parameters, what the optimizer keeps, and the best parameters so far. */
static size_t list_arrays(PareTrainer *t, PareStateArray out[ARRAYS_MAX]) {
    const PareWeights *w = t->s->weights;
    PareOptimizerState states[PARE_OPTIMIZER_STATES];
    size_t count = 0, n = pare_optimizer_states(t->optimizer, states);
    out[count++] = (PareStateArray){"weights", w->values, w->count};
    for (size_t i = 0; i < n; i++)
        out[count++] = (PareStateArray){states[i].name, states[i].values, states[i].count};
    if (t->best)
        out[count++] = (PareStateArray){"best", t->best, w->count};
    return count;
}

static void put_count(PareBuffer *out, const char *name, uint64_t value) {
    pare_buffer_printf(out, "\"%s\":%llu,", name, (unsigned long long)value);
}

PareStatus pare_trainer_save(PareTrainer *t) {
    PareStateArray arrays[ARRAYS_MAX];
    const PareTrainProgress *p = &t->at;
    PareBuffer text = {0};
    if (!t->s->state || pare_ranks_rank() != 0)
        return PARE_OK;
    pare_buffer_puts(&text, "{");
    put_count(&text, "step", p->step);
    put_count(&text, "epoch", p->position.epoch);
    put_count(&text, "batch", p->position.batch);
    put_count(&text, "best_step", p->best_step);
    put_count(&text, "since_best", p->since_best);
    pare_buffer_printf(&text, "\"pending\":%s,\"best\":", p->pending ? "true" : "false");
    if (p->has_best)
        pare_buffer_put_json_double(&text, p->best);
    else
        pare_buffer_puts(&text, "null");
    pare_buffer_puts(&text, "}");
    PareStatus st = pare_buffer_ok(&text, "a checkpoint", t->err);
    size_t count = list_arrays(t, arrays);
    if (!st)
        st = pare_state_save(t->s->state, t->s->settings, text.data, arrays, count, t->err);
    pare_buffer_free(&text);
    return st;
}

static PareStatus read_progress(PareTrainer *t, const PareJson *object) {
    static const char where[] = "the checkpoint";
    const int64_t most = INT64_C(1) << 53;
    PareTrainProgress *p = &t->at;
    int64_t step = 0, epoch = 0, batch = 0, best_step = 0, since = 0;
    const PareJson *best = pare_json_get_set(object, "best");
    PareStatus st = pare_json_get_int(object, "step", 0, most, &step, where, t->err);
    if (!st)
        st = pare_json_get_int(object, "epoch", 0, most, &epoch, where, t->err);
    if (!st)
        st = pare_json_get_int(object, "batch", 0, most, &batch, where, t->err);
    if (!st)
        st = pare_json_get_int(object, "best_step", 0, most, &best_step, where, t->err);
    if (!st)
        st = pare_json_get_int(object, "since_best", 0, most, &since, where, t->err);
    if (!st)
        st = pare_json_get_bool(object, "pending", &p->pending, where, t->err);
    p->step = (uint64_t)step;
    p->position = (PareBatchPosition){(uint64_t)epoch, (size_t)batch};
    p->best_step = (uint64_t)best_step;
    p->since_best = (uint64_t)since;
    p->has_best = pare_json_is_number(best);
    p->best = p->has_best ? pare_json_number(best) : 0;
    return st;
}

PareStatus pare_trainer_resume(PareTrainer *t) {
    PareStateArray arrays[ARRAYS_MAX];
    PareState *state = NULL;
    if (!t->s->resume || !t->s->state || !pare_file_exists(t->s->state))
        return PARE_OK;
    PareStatus st = pare_state_open(t->s->state, &state, t->err);
    if (st)
        return st;
    st = pare_state_compare(state, t->s->settings, t->err);
    if (!st)
        st = pare_state_read(state, arrays, list_arrays(t, arrays), t->err);
    if (!st)
        st = read_progress(t, pare_state_progress(state));
    if (!st)
        pare_optimizer_set_steps(t->optimizer, t->at.step);
    pare_state_close(state);
    return st;
}
