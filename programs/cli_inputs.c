/* Inputs: rows one by one, their ids, and what an encoder-decoder's decoder reads and predicts. */
#include "programs/cli_inputs.h"

#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#include "programs/cli_ids.h"
#include "text/encode_input.h"

struct PareInputs {
    PareInputOptions options;
    const PareDescription *description;
    const PareTokenizer *tokenizer;
    PareDataset *data;      /* NULL for one that follows */
    PareInputs *leader;     /* itself, or whom it follows */
    const PareDataRow *row; /* the leader's latest; borrowed from its data set */
    const char *name;       /* borrowed: the path, in messages */
    size_t cut;
};

void pare_input_free(PareInput *in) {
    pare_ids_free(&in->ids);
    pare_ids_free(&in->types);
    pare_ids_free(&in->decoder);
    pare_ids_free(&in->targets);
}

PareStackIndex pare_inputs_first_stack(const PareDescription *d) {
    return d->stacks[PARE_ENCODER].present ? PARE_ENCODER : PARE_DECODER;
}

bool pare_inputs_is_pair_of_stacks(const PareDescription *d) {
    return d->stacks[PARE_ENCODER].present && d->stacks[PARE_DECODER].present;
}

size_t pare_inputs_positions(const PareDescription *d, PareStackIndex stack) {
    const PareStack *s = &d->stacks[stack];
    return s->position == PARE_POSITION_TABLE ? s->positions : 0;
}

static PareStatus create(const PareInputOptions *options, const PareModel *model,
                         const PareTokenizer *tokenizer, PareInputs **out, PareError *err) {
    PareInputs *p = *out = pare_alloc(1, sizeof *p);
    if (!p)
        return pare_memory_error(err, "the input");
    bool standard = options->path[0] == '-' && options->path[1] == '\0';
    p->options = *options;
    p->description = pare_model_description(model);
    p->tokenizer = tokenizer;
    p->leader = p;
    p->name = standard ? "standard input" : options->path;
    if (options->ids)
        p->options.data = (PareDataOptions){.format = PARE_DATA_TEXT};
    return PARE_OK;
}

PareStatus pare_inputs_open(const PareInputOptions *options, const PareModel *model,
                            const PareTokenizer *tokenizer, PareInputs **out, PareError *err) {
    PareStatus st = create(options, model, tokenizer, out, err);
    if (!st)
        st = pare_dataset_open(options->path, &(*out)->options.data, &(*out)->data, err);
    if (st) {
        pare_inputs_close(*out);
        *out = NULL;
    }
    return st;
}

PareStatus pare_inputs_follow(PareInputs *leader, const PareInputOptions *options,
                              const PareModel *model, const PareTokenizer *tokenizer,
                              PareInputs **out, PareError *err) {
    PareStatus st = create(options, model, tokenizer, out, err);
    if (!st)
        (*out)->leader = leader;
    return st;
}

void pare_inputs_close(PareInputs *p) {
    if (!p)
        return;
    pare_dataset_close(p->data);
    pare_free(p);
}

const char *pare_inputs_where(const PareInputs *p, const PareInput *in, char *out, size_t size) {
    snprintf(out, size, "%.400s: line %zu", p->name, in->line);
    return out;
}

size_t pare_inputs_take_number(PareError *err, size_t count) {
    size_t number = 0;
    int used = 0;
    if (sscanf(err->message, "input %zu: %n", &number, &used) < 1 || !used || number > count)
        return 0;
    memmove(err->message, err->message + used, strlen(err->message + used) + 1);
    return number;
}

size_t pare_inputs_cut(const PareInputs *p) {
    return p->cut;
}

/* -- one row -- */

static size_t limit_of(const PareInputs *p, size_t limit) {
    return p->options.truncate ? limit : 0;
}

/* Takes off the end what is beyond `limit` (0: none). */
static void shorten(PareIds *ids, size_t limit, bool *cut) {
    if (limit && ids->count > limit) {
        ids->count = limit;
        *cut = true;
    }
}

static PareStatus encode_row(const PareInputs *p, const PareDataRow *row, const char *where,
                             PareInput *in, bool *cut, PareError *err) {
    const PareTokenizer *t = p->tokenizer;
    PareText text = {row->text, row->text_size}, second = {row->text_b, row->text_b_size};
    PareText target = {row->target, row->target_size};
    size_t limit = limit_of(p, p->options.first_limit);
    bool cut_target = false;
    if (!row->text)
        return pare_error_set(err, PARE_E_FORMAT, "%s: there is no text%s", where,
                              row->input_ids ? "; --ids reads token ids" : "");
    if (row->text_b && p->description->stacks[PARE_DECODER].present)
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "%s: there are two texts, but the model reads one", where);
    PareStatus st;
    if (row->text_b) {
        st = pare_encode_pair(t, text, second, limit, cut, &in->ids, &in->types, err);
        in->has_types = true;
    } else {
        st = pare_encode_text(t, PARE_SIDE_SOURCE, text, limit, cut, &in->ids, err);
    }
    in->has_targets = row->target && p->options.want != PARE_WANT_IDS &&
                      pare_inputs_is_pair_of_stacks(p->description);
    if (!st && in->has_targets)
        st = pare_encode_text(t, PARE_SIDE_TARGET, target, limit_of(p, p->options.decoder_limit),
                              &cut_target, &in->targets, err);
    *cut = *cut || cut_target;
    return st ? pare_error_prefix(err, "%s", where) : PARE_OK;
}

static PareStatus parse_row(const PareInputs *p, const PareDataRow *row, const char *where,
                            PareInput *in, bool *cut, PareError *err) {
    bool both = pare_inputs_is_pair_of_stacks(p->description);
    PareStatus st = pare_ids_parse(row->text, row->text_size, !both, where, in, err);
    if (st || !p->options.truncate)
        return st;
    shorten(&in->ids, p->options.first_limit, cut);
    shorten(&in->types, p->options.first_limit, cut);
    shorten(&in->decoder, p->options.decoder_limit, cut);
    shorten(&in->targets, both ? p->options.decoder_limit : p->options.first_limit, cut);
    return PARE_OK;
}

/* What the decoder reads when it is to predict the targets: its start, then they, but the last. */
static PareStatus shift_targets(const PareInputs *p, const char *where, PareInput *in,
                                PareError *err) {
    int32_t start = p->options.decoder_start, pad = p->options.pad;
    if (in->targets.count == 0)
        return pare_error_set(err, PARE_E_FORMAT, "%s: the target has no tokens", where);
    if (start < 0)
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "%s: the model has no decoder_start_token_id; give "
                              "--decoder-start-token-id or decoder_input_ids",
                              where);
    bool pushed = pare_ids_push(&in->decoder, start);
    for (size_t i = 0; i + 1 < in->targets.count && pushed; i++) {
        int32_t id = in->targets.data[i];
        if (id < 0 && pad < 0)
            return pare_error_set(err, PARE_E_UNSUPPORTED,
                                  "%s: a label is -100, and the model has no pad_token_id to "
                                  "stand there; give --pad-token-id or decoder_input_ids",
                                  where);
        pushed = pare_ids_push(&in->decoder, id < 0 ? pad : id);
    }
    in->has_decoder = true;
    return pushed ? PARE_OK : pare_memory_error(err, "token ids");
}

static PareStatus find_decoder_ids(const PareInputs *p, const char *where, PareInput *in,
                                   PareError *err) {
    bool targets = p->options.want == PARE_WANT_TARGETS;
    if (in->has_targets && !in->has_decoder)
        return shift_targets(p, where, in, err);
    if (targets ? in->has_targets : in->has_decoder)
        return PARE_OK;
    if (p->options.ids)
        return pare_error_set(err, PARE_E_FORMAT,
                              "%s: there are no labels%s, which an "
                              "encoder-decoder needs here",
                              where, targets ? "" : " and no decoder_input_ids");
    return pare_error_set(err, PARE_E_FORMAT,
                          "%s: there is no target, which an encoder-decoder needs here (a column "
                          "\"target\" with --format tsv or jsonl)",
                          where);
}

/* A decoder alone predicts each id from those before it; "labels" may leave some out. */
static PareStatus find_next_ids(PareInput *in, PareError *err) {
    if (!in->has_targets)
        for (size_t i = 0; i < in->ids.count; i++)
            if (!pare_ids_push(&in->targets, in->ids.data[i]))
                return pare_memory_error(err, "token ids");
    for (size_t i = 1; i < in->targets.count; i++)
        in->targets.data[i - 1] = in->targets.data[i];
    if (in->targets.count)
        in->targets.data[in->targets.count - 1] = -1;
    in->has_targets = true;
    return PARE_OK;
}

static PareStatus finish_row(const PareInputs *p, const char *where, PareInput *in,
                             PareError *err) {
    const PareDescription *d = p->description;
    PareStatus st = PARE_OK;
    if (p->options.want != PARE_WANT_IDS && pare_inputs_is_pair_of_stacks(d))
        st = find_decoder_ids(p, where, in, err);
    else if (p->options.want == PARE_WANT_TARGETS)
        st = find_next_ids(in, err);
    if (!st && !p->options.ids && d->stacks[pare_inputs_first_stack(d)].types == 0)
        in->has_types = false; /* the model has no token types: the pair's are for people only */
    in->sequence = (PareSequence){.ids = in->ids.data,
                                  .count = in->ids.count,
                                  .types = in->has_types ? in->types.data : NULL,
                                  .decoder_ids = in->has_decoder ? in->decoder.data : NULL,
                                  .decoder_count = in->has_decoder ? in->decoder.count : 0};
    return st;
}

PareStatus pare_inputs_step(PareInputs *leader, bool *end, PareError *err) {
    PareInputs *p = leader;
    PareStatus st;
    do
        st = pare_dataset_next(p->data, &p->row, err);
    while (!st && p->row && p->options.ids && p->row->text_size == 0); /* as in JSON lines */
    *end = !p->row;
    return st;
}

PareStatus pare_inputs_encode(PareInputs *p, PareInput *in, PareError *err) {
    const PareDataRow *row = p->leader->row;
    bool cut = false;
    char where[512];
    in->line = row->line;
    in->ids.count = in->types.count = in->decoder.count = in->targets.count = 0;
    in->has_types = in->has_decoder = in->has_targets = false;
    pare_inputs_where(p, in, where, sizeof where);
    PareStatus st = p->options.ids ? parse_row(p, row, where, in, &cut, err)
                                   : encode_row(p, row, where, in, &cut, err);
    if (!st)
        st = finish_row(p, where, in, err);
    p->cut += cut;
    return st;
}

PareStatus pare_inputs_next(PareInputs *p, PareInput *in, bool *end, PareError *err) {
    PareStatus st = pare_inputs_step(p, end, err);
    return st || *end ? st : pare_inputs_encode(p, in, err);
}
