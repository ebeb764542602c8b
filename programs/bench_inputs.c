/* The inputs of pare-bench: rows of the data, each model's by its own tokenizer, or random ids. */
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/log.h"
#include "core/memory.h"
#include "core/random.h"
#include "programs/bench_models.h"
#include "programs/cli_model.h"

enum { SEED = 1, WHERE_SIZE = 512 };

/* Room for input `index`, zeroed as pare_inputs_encode wants it. */
static PareInput *add_input(PareBenchModel *m, size_t index) {
    if (index >= m->capacity) {
        size_t more = m->capacity ? 2 * m->capacity : 64;
        PareInput *grown = pare_realloc(m->inputs, more, sizeof *grown);
        if (!grown)
            return NULL;
        memset(grown + m->capacity, 0, (more - m->capacity) * sizeof *grown);
        m->inputs = grown;
        m->capacity = more;
    }
    return &m->inputs[index];
}

/* -- data -- */

static PareStatus open_reader(const PareBench *b, PareBenchModel *m, PareError *err) {
    const PareBenchOptions *o = b->options;
    PareInputOptions options = {
        .path = o->data,
        .ids = o->ids,
        .truncate = o->truncate,
        .data = {.format = (PareDataFormat)o->format, .columns = o->columns, .keep_blanks = true},
        .want = b->task == PARE_BENCH_GENERATE ? PARE_WANT_IDS : PARE_WANT_DECODER};
    pare_cli_model_limits(m->description, &m->generation, b->task == PARE_BENCH_GENERATE, &options);
    if (m == b->models)
        return pare_inputs_open(&options, m->model, m->tokenizer, &m->reader, err);
    return pare_inputs_follow(b->models->reader, &options, m->model, m->tokenizer, &m->reader, err);
}

static PareStatus read_row(const PareBench *b, PareBenchModel *m, PareError *err) {
    char where[WHERE_SIZE];
    PareInput *in = add_input(m, b->input_count);
    if (!in)
        return pare_memory_error(err, "the inputs");
    PareStatus st = pare_inputs_encode(m->reader, in, err);
    pare_inputs_where(m->reader, in, where, sizeof where);
    if (!st)
        st = pare_session_check(m->session, &in->sequence, where, err);
    if (!st && b->task == PARE_BENCH_GENERATE)
        st = pare_cli_model_check_prompt(m->description, &m->generation, in->ids.count, where, err);
    return st ? pare_error_prefix(err, "%s", m->path) : PARE_OK;
}

static PareStatus read_rows(PareBench *b, PareError *err) {
    size_t limit = b->options->limit ? (size_t)b->options->limit : SIZE_MAX;
    bool end = false;
    PareStatus st = PARE_OK;
    while (!st && b->input_count < limit) {
        st = pare_inputs_step(b->models->reader, &end, err);
        if (st || end)
            break;
        for (size_t i = 0; i < b->model_count && !st; i++)
            st = read_row(b, &b->models[i], err);
        b->input_count++;
        if (!st)
            st = pare_interrupt_check(err);
    }
    if (!st && b->input_count == 0)
        st = pare_error_set(err, PARE_E_FORMAT, "%s: there are no inputs",
                            strcmp(b->options->data, "-") == 0 ? "standard input"
                                                               : b->options->data);
    return st;
}

static PareStatus read_data(PareBench *b, PareError *err) {
    PareStatus st = PARE_OK;
    for (size_t i = 0; i < b->model_count && !st; i++)
        st = open_reader(b, &b->models[i], err);
    if (!st)
        st = read_rows(b, err);
    for (size_t i = 0; i < b->model_count && !st; i++)
        if (pare_inputs_cut(b->models[i].reader))
            pare_log_warn("%s: inputs that were longer than the model's positions and have been "
                          "cut: %zu",
                          b->models[i].path, pare_inputs_cut(b->models[i].reader));
    return st;
}

/* -- random ids -- */

/* Ids below this are in the vocabularies of all models: all of them read the same. */
static uint64_t least_vocabulary(const PareBench *b, bool decoder) {
    uint64_t least = UINT32_MAX;
    for (size_t i = 0; i < b->model_count; i++) {
        const PareDescription *d = b->models[i].description;
        PareStackIndex s = decoder ? PARE_DECODER : pare_inputs_first_stack(d);
        if (d->stacks[s].present && d->stacks[s].vocabulary < least)
            least = d->stacks[s].vocabulary;
    }
    return least;
}

static bool draw(PareIds *ids, uint64_t stream, size_t input, size_t length, uint64_t vocabulary) {
    bool pushed = true;
    for (size_t i = 0; i < length && pushed; i++) {
        uint64_t id = pare_random_below(SEED, stream, input * length + i, vocabulary);
        pushed = pare_ids_push(ids, (int32_t)id);
    }
    return pushed;
}

static PareStatus check_length(const PareBench *b, const PareBenchModel *m, PareError *err) {
    const PareDescription *d = m->description;
    bool forced = b->task == PARE_BENCH_FORWARD && pare_inputs_is_pair_of_stacks(d);
    size_t length = (size_t)b->options->length;
    size_t positions = pare_inputs_positions(d, pare_inputs_first_stack(d));
    size_t decoder = forced ? pare_inputs_positions(d, PARE_DECODER) : 0;
    if (decoder && (!positions || decoder < positions))
        positions = decoder;
    if (positions && length > positions)
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "%s: --length is %zu, but the model has positions for %zu", m->path,
                              length, positions);
    if (b->task == PARE_BENCH_GENERATE)
        return pare_cli_model_check_prompt(d, &m->generation, length, m->path, err);
    return PARE_OK;
}

static PareStatus fill_random(const PareBench *b, PareBenchModel *m, PareError *err) {
    size_t length = (size_t)b->options->length;
    uint64_t first = least_vocabulary(b, false), top = least_vocabulary(b, true);
    bool forced = b->task == PARE_BENCH_FORWARD && pare_inputs_is_pair_of_stacks(m->description);
    PareStatus st = check_length(b, m, err);
    for (size_t i = 0; i < b->input_count && !st; i++) {
        PareInput *in = add_input(m, i);
        if (!in || !draw(&in->ids, 0, i, length, first) ||
            (forced && !draw(&in->decoder, 1, i, length, top)))
            return pare_memory_error(err, "the inputs");
        in->sequence = (PareSequence){.ids = in->ids.data,
                                      .count = in->ids.count,
                                      .decoder_ids = in->decoder.data,
                                      .decoder_count = in->decoder.count};
        st = pare_interrupt_check(err);
    }
    return st;
}

/* -- both -- */

static PareStatus gather(const PareBench *b, PareBenchModel *m, PareError *err) {
    m->sequences = pare_alloc(b->input_count, sizeof *m->sequences);
    if (!m->sequences)
        return pare_memory_error(err, "the inputs");
    for (size_t i = 0; i < b->input_count; i++) {
        m->sequences[i] = m->inputs[i].sequence;
        m->input_tokens += m->sequences[i].count;
        if (b->task == PARE_BENCH_FORWARD)
            m->input_tokens += m->sequences[i].decoder_count;
    }
    return PARE_OK;
}

PareStatus pare_bench_read_inputs(PareBench *b, PareError *err) {
    PareStatus st = PARE_OK;
    if (b->options->data)
        st = read_data(b, err);
    else
        b->input_count = (size_t)b->options->inputs;
    for (size_t i = 0; i < b->model_count && !st && !b->options->data; i++)
        st = fill_random(b, &b->models[i], err);
    for (size_t i = 0; i < b->model_count && !st; i++)
        st = gather(b, &b->models[i], err);
    return st;
}
