/* pare-run generate: writes on, or translates. And tokenize, which runs nothing. */
#include "programs/run_runner.h"

static PareStatus check_generate(PareRunner *r, PareError *err) {
    return pare_cli_model_check_generates(r->model, err);
}

static PareStatus check_prompt(const PareRunner *r, const PareInput *in, const char *where,
                               PareError *err) {
    return pare_cli_model_check_prompt(r->description, &r->generation, in->ids.count, where, err);
}

static PareStatus put_generated(PareRunner *r, const PareGenerated *g, PareError *err) {
    PareBuffer *out = &r->output.text, text = {0};
    PareStatus st = r->tokenizer ? pare_runner_decode(r, g->ids, g->count, &text, err) : PARE_OK;
    if (!st && r->options->json) {
        pare_buffer_puts(out, "{\"text\":");
        if (r->tokenizer)
            pare_buffer_put_json_string(out, text.size ? text.data : "", text.size);
        else
            pare_buffer_puts(out, "null");
        pare_buffer_puts(out, ",\"ids\":[");
        pare_run_put_ids(out, g->ids, g->count, ",");
        pare_buffer_puts(out, "],\"score\":");
        pare_buffer_put_json_float(out, (float)g->score);
        pare_buffer_putc(out, '}');
    } else if (!st && r->tokenizer) {
        pare_buffer_append(out, text.data, text.size);
    } else if (!st) {
        pare_run_put_ids(out, g->ids, g->count, " ");
    }
    pare_buffer_putc(out, '\n');
    pare_buffer_free(&text);
    return st;
}

static PareStatus run_generate(PareRunner *r, PareError *err) {
    PareGenerated *results = pare_arena_alloc(r->arena, r->count, sizeof *results);
    if (!results)
        return pare_memory_error(err, "the results");
    PareStatus st =
        pare_session_generate(r->session, r->sequences, r->count, &r->generation, results, err);
    for (size_t i = 0; i < r->count && !st; i++)
        st = put_generated(r, &results[i], err);
    return st;
}

const PareRunAction PARE_RUN_ACTION_GENERATE = {.want = PARE_WANT_IDS,
                                                .session = true,
                                                .check = check_generate,
                                                .check_input = check_prompt,
                                                .run = run_generate};

/* -- tokenize -- */

static PareStatus run_tokenize(PareRunner *r, PareError *err) {
    PareBuffer *out = &r->output.text;
    if (!r->tokenizer)
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "%s: the file has no tokenizer, which tokenize needs",
                              r->options->model);
    for (size_t i = 0; i < r->count; i++) {
        const PareIds *ids = &r->batch[i].ids;
        pare_buffer_puts(out, r->options->json ? "{\"ids\":[" : "");
        pare_run_put_ids(out, ids->data, ids->count, r->options->json ? "," : " ");
        if (r->options->json) {
            pare_buffer_puts(out, "],\"tokens\":");
            pare_runner_put_pieces(r, ids->data, ids->count);
            pare_buffer_putc(out, '}');
        }
        pare_buffer_putc(out, '\n');
    }
    return PARE_OK;
}

const PareRunAction PARE_RUN_ACTION_TOKENIZE = {.want = PARE_WANT_IDS, .run = run_tokenize};
