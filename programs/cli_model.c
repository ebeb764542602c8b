/* Questions to a model before it runs. */
#include "programs/cli_model.h"

PareStatus pare_cli_model_tokenizer(const PareModel *m, bool text, PareTokenizer **out,
                                    PareError *err) {
    const PareFile *file = pare_model_file(m);
    const void *bytes;
    size_t size;
    *out = NULL;
    if (pare_file_section(file, PARE_SECTION_TOKENIZER, &bytes, &size))
        return pare_tokenizer_from_bytes(bytes, size, pare_file_path(file), out, err);
    if (text)
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "%s: the file has no tokenizer, so it cannot read text; give token "
                              "ids with --ids",
                              pare_file_path(file));
    return PARE_OK;
}

const char *pare_cli_model_head(const PareDescription *d) {
    switch (d->head.kind) {
    case PARE_HEAD_NONE:
        break;
    case PARE_HEAD_LM:
        return "predicts tokens";
    case PARE_HEAD_SEQUENCE:
        return "labels whole inputs";
    case PARE_HEAD_TOKENS:
        return "labels tokens";
    case PARE_HEAD_SPAN:
        return "marks a span of the input";
    }
    return "has no output head";
}

bool pare_cli_model_generates(const PareDescription *d) {
    return d->head.kind == PARE_HEAD_LM && d->stacks[PARE_DECODER].present;
}

PareStatus pare_cli_model_check_generates(const PareModel *m, PareError *err) {
    const PareDescription *d = pare_model_description(m);
    if (pare_cli_model_generates(d))
        return PARE_OK;
    return pare_error_set(err, PARE_E_UNSUPPORTED,
                          "%s: generate needs a decoder that predicts tokens; this model %s",
                          pare_file_path(pare_model_file(m)),
                          d->head.kind == PARE_HEAD_LM ? "is an encoder" : pare_cli_model_head(d));
}

/* What a decoder alone may read when max_new_tokens are to follow. The last one is never read. */
static size_t prompt_limit(const PareDescription *d, const PareGeneration *g, size_t positions) {
    size_t more = g->max_new_tokens;
    bool prompt = !d->stacks[PARE_ENCODER].present && positions && more;
    return prompt && more <= positions ? positions + 1 - more : positions;
}

void pare_cli_model_limits(const PareDescription *d, const PareGeneration *g, bool generate,
                           PareInputOptions *o) {
    size_t first = pare_inputs_positions(d, pare_inputs_first_stack(d));
    o->first_limit = generate ? prompt_limit(d, g, first) : first;
    o->decoder_limit = pare_inputs_positions(d, PARE_DECODER);
    o->decoder_start = g->decoder_start >= 0 ? g->decoder_start : g->bos;
    o->pad = g->pad;
}

/* The last token is never read, so it needs no position. */
PareStatus pare_cli_model_check_prompt(const PareDescription *d, const PareGeneration *g,
                                       size_t tokens, const char *where, PareError *err) {
    size_t prompt = d->stacks[PARE_ENCODER].present ? 1 : tokens;
    size_t positions = pare_inputs_positions(d, PARE_DECODER);
    size_t limit = pare_generation_limit(g, prompt, positions);
    if (limit <= prompt)
        return pare_error_set(err, PARE_E_FORMAT,
                              "%s: the prompt has %zu tokens, so a max_length of %zu leaves none "
                              "to generate (--max-new-tokens counts without the prompt)",
                              where, prompt, limit);
    if (positions && limit > positions + 1)
        return pare_error_set(err, PARE_E_FORMAT,
                              "%s: up to %zu tokens are to be generated behind %zu, but the "
                              "decoder has positions for %zu",
                              where, limit - prompt, prompt, positions);
    return PARE_OK;
}
