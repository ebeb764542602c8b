/* Opening, looping over batches, closing. */
#include "programs/run_runner.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/log.h"

/* A batch ends when it has this many tokens: more at once is no faster and takes more memory. */
enum { BATCH_TOKENS = 4096, WHERE_SIZE = 512 };

/* -- opening -- */

static PareStatus open_model(PareRunner *r, const PareRunAction *action, PareError *err) {
    PareStatus st = pare_model_open(r->options->model, &r->model, err);
    if (st)
        return st;
    r->description = pare_model_description(r->model);
    r->generation = *pare_model_generation(r->model);
    st = pare_run_options_generation(r->options, r->description, r->arena, &r->generation, err);
    if (!st && action->check)
        st = action->check(r, err);
    if (!st)
        st = pare_cli_model_tokenizer(r->model, !r->options->ids, &r->tokenizer, err);
    if (!st && action->session)
        st = pare_session_create(r->model, (size_t)r->options->common.threads, &r->session, err);
    return st;
}

static PareStatus open_inputs(PareRunner *r, const PareRunAction *action, PareError *err) {
    static const PareDataFormat FORMATS[] = {
        [PARE_RUN_FORMAT_TEXT] = PARE_DATA_TEXT,
        [PARE_RUN_FORMAT_TSV] = PARE_DATA_TSV,
        [PARE_RUN_FORMAT_JSONL] = PARE_DATA_JSONL,
        [PARE_RUN_FORMAT_AUTO] = PARE_DATA_AUTO,
    };
    const PareRunOptions *o = r->options;
    PareInputOptions options = {
        .path = o->input,
        .ids = o->ids,
        .truncate = o->truncate,
        .data = {.format = FORMATS[o->format], .columns = o->columns, .keep_blanks = true},
        .want = action->want};
    pare_cli_model_limits(r->description, &r->generation, o->command == PARE_RUN_GENERATE,
                          &options);
    return pare_inputs_open(&options, r->model, r->tokenizer, &r->inputs, err);
}

static PareStatus open_output(PareRunner *r, PareError *err) {
    const PareRunOptions *o = r->options;
    bool file = strcmp(o->input, "-") != 0;
    if (o->output &&
        (pare_file_same(o->output, o->model) || (file && pare_file_same(o->output, o->input))))
        return pare_error_set(err, PARE_E_USAGE,
                              "--output %s: this is an input, which stays as "
                              "it is",
                              o->output);
    return pare_run_output_open(&r->output, o->output, o->force, err);
}

static PareStatus open_all(PareRunner *r, const PareRunAction *action, PareError *err) {
    const PareRunOptions *o = r->options;
    bool person = strcmp(o->input, "-") == 0 && isatty(STDIN_FILENO);
    r->capacity = person ? 1 : (size_t)o->batch_size; /* who types a line waits for its answer */
    r->arena = pare_arena_create(0);
    r->batch = pare_alloc(r->capacity, sizeof *r->batch);
    r->sequences = pare_alloc(r->capacity, sizeof *r->sequences);
    if (!r->arena || !r->batch || !r->sequences)
        return pare_memory_error(err, "the batch");
    PareStatus st = open_model(r, action, err);
    if (!st)
        st = open_inputs(r, action, err);
    return st ? st : open_output(r, err);
}

static void close_all(PareRunner *r) {
    for (size_t i = 0; r->batch && i < r->capacity; i++)
        pare_input_free(&r->batch[i]);
    pare_free(r->batch);
    pare_free(r->sequences);
    pare_inputs_close(r->inputs);
    pare_session_destroy(r->session);
    pare_tokenizer_free(r->tokenizer);
    pare_model_close(r->model);
    pare_arena_destroy(r->arena);
}

/* -- the loop -- */

static PareStatus check_input(const PareRunner *r, const PareRunAction *action, const PareInput *in,
                              PareError *err) {
    char where[WHERE_SIZE];
    uint32_t vocabulary = r->description->stacks[pare_description_top(r->description)].vocabulary;
    pare_inputs_where(r->inputs, in, where, sizeof where);
    for (size_t i = 0; in->has_targets && i < in->targets.count; i++)
        if (in->targets.data[i] >= 0 && (uint32_t)in->targets.data[i] >= vocabulary)
            return pare_error_set(err, PARE_E_FORMAT,
                                  "%s: label %d is outside the model's vocabulary of %u", where,
                                  in->targets.data[i], vocabulary);
    PareStatus st = PARE_OK;
    if (r->session)
        st = pare_session_check(r->session, &in->sequence, where, err);
    return !st && action->check_input ? action->check_input(r, in, where, err) : st;
}

/* Reads up to a batch of inputs; *end at the end of the input. What was read before an error is in
 * the batch all the same, so that results do not depend on where batches begin. */
static PareStatus read_batch(PareRunner *r, const PareRunAction *action, size_t *left, bool *end,
                             PareError *err) {
    size_t tokens = 0;
    PareStatus st = PARE_OK;
    for (r->count = 0; r->count < r->capacity && tokens < BATCH_TOKENS; r->count++) {
        PareInput *in = &r->batch[r->count];
        *end = *left == 0;
        if (*end)
            return PARE_OK;
        st = pare_inputs_next(r->inputs, in, end, err);
        if (!st && !*end)
            st = check_input(r, action, in, err);
        if (st || *end)
            return st;
        r->sequences[r->count] = in->sequence;
        tokens += in->sequence.count + in->sequence.decoder_count;
        --*left;
    }
    return PARE_OK;
}

static PareStatus name_line(const PareRunner *r, PareError *err) {
    char where[WHERE_SIZE];
    size_t number = pare_inputs_take_number(err, r->count);
    if (!number)
        return err->code;
    return pare_error_prefix(err, "%s", pare_runner_where(r, number - 1, where, sizeof where));
}

static PareStatus run_batch(PareRunner *r, const PareRunAction *action, PareError *err) {
    PareArenaMark mark = pare_arena_mark(r->arena);
    if (r->count == 0)
        return PARE_OK;
    PareStatus st = action->run(r, err);
    pare_arena_release(r->arena, mark);
    return st ? name_line(r, err) : pare_run_output_flush(&r->output, err);
}

static PareStatus loop(PareRunner *r, const PareRunAction *action, PareProgress *progress,
                       PareError *err) {
    size_t left = r->options->limit ? (size_t)r->options->limit : SIZE_MAX, done = 0;
    bool end = false;
    PareStatus st = PARE_OK;
    while (!st && !end) {
        PareError read_error = {0};
        PareStatus read = read_batch(r, action, &left, &end, &read_error);
        st = run_batch(r, action, err);
        done += r->count;
        pare_progress_update(progress, done, NULL);
        if (!st && read) {
            *err = read_error;
            st = read;
        }
        if (!st)
            st = pare_interrupt_check(err);
    }
    return st;
}

static const PareRunAction *find_action(PareRunCommand command) {
    switch (command) {
    case PARE_RUN_CLASSIFY:
        return &PARE_RUN_ACTION_CLASSIFY;
    case PARE_RUN_GENERATE:
        return &PARE_RUN_ACTION_GENERATE;
    case PARE_RUN_SCORE:
        return &PARE_RUN_ACTION_SCORE;
    case PARE_RUN_LOGITS:
        return &PARE_RUN_ACTION_LOGITS;
    case PARE_RUN_TOKENIZE:
    case PARE_RUN_SELF_TEST:
        break;
    }
    return &PARE_RUN_ACTION_TOKENIZE;
}

PareStatus pare_runner_run(const PareRunOptions *options, PareError *err) {
    PareRunner r = {.options = options};
    const PareRunAction *action = find_action(options->command);
    PareProgress *progress = NULL;
    PareStatus st = open_all(&r, action, err);
    if (!st && strcmp(options->input, "-") != 0 && (options->output || !isatty(STDOUT_FILENO)))
        progress = pare_progress_start("running", 0);
    if (!st)
        st = loop(&r, action, progress, err);
    pare_progress_finish(progress);
    st = pare_run_output_close(&r.output, st, err);
    if (!st && pare_inputs_cut(r.inputs))
        pare_log_warn("inputs that were longer than the model's positions and have been cut: %zu",
                      pare_inputs_cut(r.inputs));
    close_all(&r);
    return st;
}

/* -- for the actions -- */

const char *pare_runner_where(const PareRunner *r, size_t i, char *out, size_t size) {
    return pare_inputs_where(r->inputs, &r->batch[i], out, size);
}

const char *pare_runner_piece(const PareRunner *r, int32_t id, char digits[16]) {
    bool known = r->tokenizer && id >= 0 && (size_t)id < pare_tokenizer_size(r->tokenizer);
    const char *piece = known ? pare_tokenizer_piece(r->tokenizer, id) : "";
    if (*piece)
        return piece;
    snprintf(digits, 16, "%d", id);
    return digits;
}

void pare_runner_put_pieces(PareRunner *r, const int32_t *ids, size_t count) {
    PareBuffer *out = &r->output.text;
    pare_buffer_putc(out, '[');
    for (size_t i = 0; i < count; i++) {
        char digits[16];
        const char *piece = pare_runner_piece(r, ids[i], digits);
        if (i)
            pare_buffer_putc(out, ',');
        pare_buffer_put_json_string(out, piece, strlen(piece));
    }
    pare_buffer_putc(out, ']');
}

PareStatus pare_runner_decode(PareRunner *r, const int32_t *ids, size_t count, PareBuffer *out,
                              PareError *err) {
    PareSide side =
        pare_inputs_is_pair_of_stacks(r->description) ? PARE_SIDE_TARGET : PARE_SIDE_SOURCE;
    size_t known = 0, size = pare_tokenizer_size(r->tokenizer);
    int32_t *kept = pare_arena_alloc(r->arena, count, sizeof *kept);
    if (!kept)
        return pare_memory_error(err, "token ids");
    for (size_t i = 0; i < count; i++)
        if (ids[i] >= 0 && (size_t)ids[i] < size)
            kept[known++] = ids[i];
    return pare_tokenizer_decode(r->tokenizer, side, kept, known, true, out, err);
}
