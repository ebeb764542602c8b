/* Opening the models of pare-bench, and the task that all of them can do. */
#include "programs/bench_models.h"

#include "core/memory.h"
#include "programs/cli_model.h"
#include "programs/cli_table.h"
#include "programs/run_options.h"

enum { RANDOM_NEW_TOKENS = 32 };

/* -- the task -- */

static bool any_generates(const PareBench *b) {
    bool any = false;
    for (size_t i = 0; i < b->model_count; i++)
        any = any || pare_cli_model_generates(b->models[i].description);
    return any;
}

/* Everything that runs can do forward, but where one model is there to generate, one that cannot is
 * a mistake unless --task says otherwise. */
static PareStatus find_task(PareBench *b, PareError *err) {
    PareStatus st = PARE_OK;
    b->task = (PareBenchTask)b->options->task;
    if (b->task == PARE_BENCH_AUTO)
        b->task = any_generates(b) ? PARE_BENCH_GENERATE : PARE_BENCH_FORWARD;
    for (size_t i = 0; i < b->model_count && !st && b->task == PARE_BENCH_GENERATE; i++)
        st = pare_cli_model_check_generates(b->models[i].model, err);
    return st;
}

static PareStatus check_task(const PareBench *b, PareError *err) {
    const PareBenchOptions *o = b->options;
    bool generate = b->task == PARE_BENCH_GENERATE;
    const PareCliRule rules[] = {
        {o->given.num_beams && !generate, "--num-beams is for the task generate; this is forward"},
        {(o->given.max_length || o->given.max_new_tokens) && !generate,
         "--max-length and --max-new-tokens are for the task generate; this is forward"},
    };
    return CHECK(rules);
}

/* The options mean what they mean to pare-run. What follows random ids is noise, too: where it
 * happened to end, two models would do different amounts of work, so that nothing ends it. */
static PareStatus set_generation(const PareBench *b, PareBenchModel *m, PareError *err) {
    const PareBenchOptions *o = b->options;
    bool length = o->given.max_length || o->given.max_new_tokens;
    PareRunOptions run = {.num_beams = o->num_beams,
                          .max_length = o->max_length,
                          .max_new_tokens = o->max_new_tokens};
    run.given.num_beams = o->given.num_beams;
    run.given.max_length = o->given.max_length;
    run.given.max_new_tokens = o->given.max_new_tokens;
    m->generation = *pare_model_generation(m->model);
    if (!o->data)
        m->generation.eos = (PareIdList){0};
    if (!o->data && !length) {
        run.max_new_tokens = RANDOM_NEW_TOKENS;
        run.given.max_new_tokens = true;
    }
    return pare_run_options_generation(&run, m->description, NULL, &m->generation, err);
}

/* -- opening -- */

static PareStatus open_model(const PareBench *b, PareBenchModel *m, PareError *err) {
    const PareBenchOptions *o = b->options;
    PareStatus st = pare_model_open(m->path, &m->model, err);
    if (st)
        return st;
    m->description = pare_model_description(m->model);
    m->results = pare_alloc((size_t)o->batch_size, sizeof *m->results);
    m->runs = pare_alloc((size_t)o->runs, sizeof *m->runs);
    if (!m->results || !m->runs)
        return pare_memory_error(err, "the results");
    st = set_generation(b, m, err);
    if (!st && o->data && !o->ids)
        st = pare_cli_model_tokenizer(m->model, true, &m->tokenizer, err);
    if (!st)
        st = pare_session_create(m->model, (size_t)o->common.threads, &m->session, err);
    return st;
}

PareStatus pare_bench_open(PareBench *b, const PareBenchOptions *options, PareStringList paths,
                           PareError *err) {
    *b = (PareBench){.options = options};
    b->models = pare_alloc(paths.count, sizeof *b->models);
    if (!b->models)
        return pare_memory_error(err, "the models");
    PareStatus st = PARE_OK;
    for (; b->model_count < paths.count && !st; b->model_count++) {
        b->models[b->model_count].path = paths.items[b->model_count];
        st = open_model(b, &b->models[b->model_count], err);
    }
    if (!st)
        st = find_task(b, err);
    if (!st)
        st = check_task(b, err);
    return st ? st : pare_bench_read_inputs(b, err);
}

static void close_model(PareBenchModel *m) {
    for (size_t i = 0; i < m->capacity; i++)
        pare_input_free(&m->inputs[i]);
    pare_free(m->inputs);
    pare_free(m->sequences);
    pare_free(m->results);
    pare_free(m->runs);
    pare_inputs_close(m->reader);
    pare_session_destroy(m->session);
    pare_tokenizer_free(m->tokenizer);
    pare_model_close(m->model);
}

void pare_bench_close(PareBench *b) {
    for (size_t i = 0; i < b->model_count; i++)
        close_model(&b->models[i]);
    pare_free(b->models);
    *b = (PareBench){0};
}
