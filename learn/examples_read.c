/* From the rows of a data set to examples: ids of texts, labels, and what a decoder reads and is to
 * say. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/buffer.h"
#include "core/file.h"
#include "learn/examples_impl.h"
#include "text/encode_input.h"

typedef struct {
    const PareExamplesOptions *o;
    PareExamples *x;
    PareIds ids, types, decoder, targets; /* of the example that is being made */
    bool has_types, cut;
    int32_t label;
    float value;
    size_t line;
    size_t positions;                  /* of the first stack; 0: any */
    size_t source_limit, target_limit; /* 0: none */
    const PareStack *first, *top;
    bool pair; /* an encoder and a decoder */
    PareBuffer text;
    size_t *cuts;
    PareError *err;
} Reader;

/* ---- Lists of ids ---------------------------------------------------------------------------- */

/* Copies a list without what `mask` (of as many; NULL: all) takes out. */
static PareStatus copy(Reader *r, const int32_t *list, size_t count, const int32_t *mask,
                       PareIds *out) {
    out->count = 0;
    for (size_t i = 0; i < count; i++)
        if ((!mask || mask[i]) && !pare_ids_push(out, list[i]))
            return pare_memory_error(r->err, "token ids");
    return PARE_OK;
}

/* Cuts a list of ids of an example to `limit`, or says that it is too long. */
static PareStatus limit_list(Reader *r, PareIds *list, size_t limit, const char *what) {
    if (!limit || list->count <= limit)
        return PARE_OK;
    if (!r->o->truncate)
        return pare_error_set(r->err, PARE_E_FORMAT,
                              "the %s has %zu tokens; expected at most %zu (--truncate cuts it)",
                              what, list->count, limit);
    list->count = limit;
    r->cut = true;
    return PARE_OK;
}

static PareStatus check_range(Reader *r, const PareIds *list, uint32_t below, bool ignored,
                              const char *what) {
    for (size_t i = 0; i < list->count; i++) {
        int32_t v = list->data[i];
        if (v < 0 ? !(ignored && v == PARE_IGNORED) : (uint32_t)v >= below)
            return pare_error_set(r->err, PARE_E_FORMAT, "%s[%zu] is %d; the model has %u", what, i,
                                  v, below);
    }
    return PARE_OK;
}

static size_t counted(const PareIds *targets) {
    size_t n = 0;
    for (size_t i = 0; i < targets->count; i++)
        n += targets->data[i] != PARE_IGNORED;
    return n;
}

/* ---- What the first stack reads -------------------------------------------------------------- */

static PareStatus needs_tokenizer(Reader *r) {
    return pare_error_set(r->err, PARE_E_UNSUPPORTED,
                          "the model has no tokenizer; expected JSON lines with input_ids");
}

/* Special tokens alone teach nothing. Of two texts one may be missing. */
static bool has_no_text(const Reader *r, const PareDataRow *row) {
    bool needed = !r->o->unlabelled || r->o->no_empty;
    return needed && row->text_size == 0 && row->text_b_size == 0;
}

static PareStatus encode_source(Reader *r, const PareDataRow *row) {
    PareText text = {row->text, row->text_size}, second = {row->text_b, row->text_b_size};
    size_t limit = r->o->truncate ? r->source_limit : 0;
    if (!row->text)
        return pare_error_set(r->err, PARE_E_FORMAT, "there is neither a text nor input_ids");
    if (has_no_text(r, row))
        return pare_error_set(r->err, PARE_E_FORMAT, "the text is empty");
    if (!r->o->tokenizer)
        return needs_tokenizer(r);
    if (!row->text_b)
        return pare_encode_text(r->o->tokenizer, PARE_SIDE_SOURCE, text, limit, &r->cut, &r->ids,
                                r->err);
    if (r->o->description->stacks[PARE_DECODER].present)
        return pare_error_set(r->err, PARE_E_UNSUPPORTED,
                              "there are two texts, but the model reads one");
    r->has_types = r->first->types > 0;
    return pare_encode_pair(r->o->tokenizer, text, second, limit, &r->cut, &r->ids, &r->types,
                            r->err);
}

static PareStatus take_source(Reader *r, const PareDataRow *row) {
    PareStatus status = copy(r, row->input_ids, row->input_count, NULL, &r->ids);
    if (!status && row->type_ids) {
        status = copy(r, row->type_ids, row->type_count, NULL, &r->types);
        r->has_types = r->first->types > 0;
        if (!status) /* a model without types has one: 0 */
            status = check_range(r, &r->types, r->has_types ? r->first->types : 1, false,
                                 "token_type_ids");
    }
    return status;
}

static PareStatus read_source(Reader *r, const PareDataRow *row) {
    PareStatus status = row->input_ids ? take_source(r, row) : encode_source(r, row);
    if (!status)
        status = limit_list(r, &r->ids, r->source_limit, "input");
    if (!status && r->ids.count == 0)
        status = pare_error_set(r->err, PARE_E_FORMAT, "the input has no tokens");
    if (!status)
        status = check_range(r, &r->ids, r->first->vocabulary, false, "input_ids");
    if (r->types.count > r->ids.count)
        r->types.count = r->ids.count;
    return status;
}

/* ---- Labels ---------------------------------------------------------------------------------- */

/* A row that need have no label may be one of another task. */
static PareStatus without_label(Reader *r, const PareDataRow *row) {
    if (row->target || row->label_ids)
        return pare_error_set(r->err, PARE_E_FORMAT,
                              "there is %s; expected one label of the whole input%s",
                              row->target ? "a target text" : "a list of labels",
                              r->o->unlabelled ? ", or none" : "");
    return r->o->unlabelled ? PARE_OK : pare_error_set(r->err, PARE_E_FORMAT, "there is no label");
}

static PareStatus read_label(Reader *r, const PareDataRow *row) {
    uint32_t labels = r->o->description->head.labels;
    if (!row->label_text)
        return without_label(r, row);
    for (uint32_t i = 0; i < labels && r->o->labels; i++)
        if (r->o->labels[i] && strcmp(r->o->labels[i], row->label_text) == 0) {
            r->label = (int32_t)i;
            return PARE_OK;
        }
    if (row->has_label && row->label >= 0 && row->label < labels &&
        floor(row->label) == row->label) {
        r->label = (int32_t)row->label;
        return PARE_OK;
    }
    return pare_error_set(
        r->err, PARE_E_FORMAT, "the label is \"%.80s\"; expected %sa number from 0 to %u",
        row->label_text, r->o->labels ? "the name of a label of the model, or " : "", labels - 1);
}

static PareStatus read_value(Reader *r, const PareDataRow *row) {
    if (!row->label_text)
        return without_label(r, row);
    r->value = row->has_label ? (float)row->label : NAN;
    if (!isfinite(r->value))
        return pare_error_set(r->err, PARE_E_FORMAT,
                              "the label is \"%.80s\"; expected a finite number", row->label_text);
    return PARE_OK;
}

/* Labels beside the ids: as many as those were before the mask took some away. */
static PareStatus labels_beside_ids(Reader *r, const PareDataRow *row) {
    size_t expected = row->mask ? row->mask_count : row->input_count;
    if (row->label_count != expected || !row->input_ids)
        return pare_error_set(r->err, PARE_E_FORMAT,
                              "labels has %zu numbers; expected %zu, as many as input_ids",
                              row->label_count, row->input_ids ? expected : 0);
    PareStatus status = copy(r, row->label_ids, row->label_count, row->mask, &r->targets);
    if (!status && r->targets.count > r->ids.count)
        r->targets.count = r->ids.count; /* truncated, as the ids were */
    return status;
}

static PareStatus nothing_counts(Reader *r) {
    return pare_error_set(r->err, PARE_E_FORMAT, "nothing is to be learned: %s",
                          r->targets.count ? "every label is -100" : "there are no labels");
}

static PareStatus read_tokens(Reader *r, const PareDataRow *row) {
    if (!row->label_ids && r->o->unlabelled)
        return PARE_OK;
    if (!row->label_ids)
        return pare_error_set(r->err, PARE_E_FORMAT,
                              "there are no labels; expected a list, one for each of input_ids");
    PareStatus status = labels_beside_ids(r, row);
    if (!status)
        status = check_range(r, &r->targets, r->o->description->head.labels, true, "labels");
    return status || counted(&r->targets) ? status : nothing_counts(r);
}

/* ---- Language models ------------------------------------------------------------------------- */

/* Each position is to say the next id; what follows the last one is not known. */
static void shift_left(PareIds *targets) {
    if (targets->count == 0)
        return;
    memmove(targets->data, targets->data + 1, (targets->count - 1) * sizeof *targets->data);
    targets->data[targets->count - 1] = PARE_IGNORED;
}

static bool is_causal(const Reader *r) {
    return r->o->description->stacks[PARE_DECODER].present;
}

static PareStatus read_window(Reader *r, const PareDataRow *row) {
    PareStatus status;
    if (row->label_ids)
        status = labels_beside_ids(r, row);
    else if (is_causal(r))
        status = copy(r, r->ids.data, r->ids.count, NULL, &r->targets);
    else
        return pare_error_set(r->err, PARE_E_FORMAT,
                              "there are no labels; a model that sees all positions needs a list, "
                              "one for each of input_ids, -100 where nothing is hidden");
    if (status)
        return status;
    if (is_causal(r))
        shift_left(&r->targets);
    if ((status = check_range(r, &r->targets, r->top->vocabulary, true, "labels")))
        return status;
    return counted(&r->targets) ? PARE_OK : nothing_counts(r);
}

/* ---- Encoder-decoders ------------------------------------------------------------------------ */

static PareStatus read_target(Reader *r, const PareDataRow *row) {
    size_t limit = r->o->truncate ? r->target_limit : 0;
    PareText text = {row->target, row->target_size};
    if (row->label_ids && row->decoder_ids) {
        size_t expected = row->decoder_mask ? row->decoder_mask_count : row->decoder_count;
        if (row->label_count != expected)
            return pare_error_set(
                r->err, PARE_E_FORMAT,
                "labels has %zu numbers; expected %zu, as many as decoder_input_ids",
                row->label_count, expected);
    }
    if (row->label_ids)
        return copy(r, row->label_ids, row->label_count, row->decoder_mask, &r->targets);
    if (row->decoder_ids) {
        PareStatus status = copy(r, row->decoder_ids, row->decoder_count, NULL, &r->targets);
        shift_left(&r->targets);
        return status;
    }
    if (text.size == 0 && !r->o->unlabelled) /* the end token alone */
        return pare_error_set(r->err, PARE_E_FORMAT, "the target is empty");
    if (!r->o->tokenizer)
        return needs_tokenizer(r);
    return pare_encode_text(r->o->tokenizer, PARE_SIDE_TARGET, text, limit, &r->cut, &r->targets,
                            r->err);
}

/* What the decoder reads to say the targets: its start, then all but the last of them. */
static PareStatus shift_right(Reader *r) {
    if (r->o->decoder_start < 0)
        return pare_error_set(r->err, PARE_E_UNSUPPORTED,
                              "the model has no decoder_start_token_id; expected "
                              "decoder_input_ids");
    bool pushed = pare_ids_push(&r->decoder, r->o->decoder_start);
    for (size_t i = 0; i + 1 < r->targets.count && pushed; i++) {
        int32_t id = r->targets.data[i];
        if (id < 0 && r->o->pad < 0)
            return pare_error_set(r->err, PARE_E_UNSUPPORTED,
                                  "labels[%zu] is -100, and the model has no pad_token_id to stand "
                                  "there; expected decoder_input_ids",
                                  i);
        pushed = pare_ids_push(&r->decoder, id < 0 ? r->o->pad : id);
    }
    return pushed ? PARE_OK : pare_memory_error(r->err, "token ids");
}

/* The padding behind the last label that counts: no position before it sees it. */
static void drop_padding(PareIds *targets) {
    while (targets->count && targets->data[targets->count - 1] == PARE_IGNORED)
        targets->count--;
}

static PareStatus read_pair(Reader *r, const PareDataRow *row) {
    if (!row->label_ids && !row->decoder_ids && !row->target)
        return r->o->unlabelled
                   ? PARE_OK
                   : pare_error_set(r->err, PARE_E_FORMAT,
                                    "there is no target; expected a column or member \"target\", "
                                    "or labels or decoder_input_ids beside input_ids");
    PareStatus status = read_target(r, row);
    if (!status)
        status = limit_list(r, &r->targets, r->target_limit, "target");
    if (status)
        return status;
    if (counted(&r->targets) == 0)
        return nothing_counts(r);
    drop_padding(&r->targets);
    if (row->decoder_ids)
        status = copy(r, row->decoder_ids, row->decoder_count, NULL, &r->decoder);
    else
        status = shift_right(r);
    if (!status && r->decoder.count > r->targets.count)
        r->decoder.count = r->targets.count;
    if (!status)
        status = check_range(r, &r->decoder, r->top->vocabulary, false, "decoder_input_ids");
    return status ? status : check_range(r, &r->targets, r->top->vocabulary, true, "labels");
}

/* An encoder-decoder that does something else than to say a text. */
static PareStatus read_decoder(Reader *r, const PareDataRow *row) {
    if (!r->pair)
        return PARE_OK;
    if (!row->decoder_ids || row->decoder_count == 0)
        return pare_error_set(
            r->err, PARE_E_FORMAT,
            "there are no decoder_input_ids, which an encoder-decoder needs here");
    PareStatus status = copy(r, row->decoder_ids, row->decoder_count, NULL, &r->decoder);
    if (!status)
        status = limit_list(r, &r->decoder, r->target_limit, "decoder's input");
    return status ? status
                  : check_range(r, &r->decoder, r->top->vocabulary, false, "decoder_input_ids");
}

/* ---- Rows ------------------------------------------------------------------------------------ */

static void forget(Reader *r) {
    r->ids.count = r->types.count = r->decoder.count = r->targets.count = 0;
    r->has_types = r->cut = false;
    r->label = PARE_IGNORED;
    r->value = NAN;
}

static PareStatus append(Reader *r) {
    PareExample e = {.line = r->line,
                     .sequence = {.ids = r->ids.data,
                                  .count = r->ids.count,
                                  .types = r->has_types ? r->types.data : NULL,
                                  .decoder_ids = r->decoder.data,
                                  .decoder_count = r->decoder.count},
                     .targets = r->targets.data,
                     .target_count = r->targets.count,
                     .label = r->label,
                     .value = r->value};
    *r->cuts += r->cut;
    return pare_examples_append(r->x, &e, r->err);
}

static PareStatus read_row(Reader *r, const PareDataRow *row) {
    forget(r);
    r->line = row->line;
    PareStatus status = read_source(r, row);
    if (status)
        return status;
    switch (r->o->task) {
    case PARE_EXAMPLES_CLASSIFICATION:
        if (!(status = read_label(r, row)))
            status = read_decoder(r, row);
        break;
    case PARE_EXAMPLES_REGRESSION:
        if (!(status = read_value(r, row)))
            status = read_decoder(r, row);
        break;
    case PARE_EXAMPLES_TOKENS:
        status = read_tokens(r, row);
        break;
    case PARE_EXAMPLES_LM:
        status = read_window(r, row);
        break;
    case PARE_EXAMPLES_SEQ2SEQ:
        status = read_pair(r, row);
        break;
    }
    return status ? status : append(r);
}

/* ---- Text for language models ---------------------------------------------------------------- */

/* Appends ids[begin, begin + count) of the text as one example. */
static PareStatus append_window(Reader *r, const PareIds *text, size_t begin, size_t count) {
    forget(r);
    PareStatus status = copy(r, text->data + begin, count, NULL, &r->ids);
    if (!status)
        status = check_range(r, &r->ids, r->first->vocabulary, false, "the tokenizer's ids");
    if (!status)
        status = copy(r, text->data + begin, count, NULL, &r->targets);
    shift_left(&r->targets);
    return status ? status : append(r);
}

/* Every line with its newline is tokenized by itself, as when a model is verified; the ids are put
 * in a row. The last window is what is left, unless that is one id, which predicts nothing. */
static PareStatus read_text(Reader *r, const PareDataRow *row, PareIds *text) {
    size_t block = r->source_limit, begin = 0;
    PareStatus status = PARE_OK;
    if (row) {
        if (text->count == 0)
            r->line = row->line;
        if (!row->text)
            return pare_error_set(r->err, PARE_E_FORMAT, "there is no text");
        pare_buffer_clear(&r->text);
        pare_buffer_append(&r->text, row->text, row->text_size);
        pare_buffer_putc(&r->text, '\n');
        if (!(status = pare_buffer_ok(&r->text, "a line", r->err)))
            status = pare_tokenizer_encode(r->o->tokenizer, PARE_SIDE_SOURCE, r->text.data,
                                           r->text.size, false, text, r->err);
    }
    size_t least = row ? block : 2;
    for (; !status && text->count - begin >= least; r->line = row ? row->line : r->line) {
        size_t count = text->count - begin < block ? text->count - begin : block;
        status = append_window(r, text, begin, count);
        begin += count;
    }
    if (begin)
        memmove(text->data, text->data + begin, (text->count - begin) * sizeof *text->data);
    text->count -= begin;
    return status;
}

/* ---- The file -------------------------------------------------------------------------------- */

static size_t smaller(size_t a, size_t b) {
    return a && (!b || a < b) ? a : b;
}

static size_t positions_of(const PareStack *s) {
    return s->position == PARE_POSITION_TABLE ? s->positions : 0;
}

static PareStatus check_task(const Reader *r) {
    const PareOutputHead *h = &r->o->description->head;
    PareExamplesTask task = r->o->task;
    const char *why = NULL;
    if (task == PARE_EXAMPLES_SEQ2SEQ ? !r->pair : task == PARE_EXAMPLES_LM && r->pair)
        why = r->pair ? "a language model has one stack; this one has an encoder and a decoder"
                      : "pairs of texts need an encoder and a decoder";
    bool labels =
        task == PARE_EXAMPLES_CLASSIFICATION || (task == PARE_EXAMPLES_TOKENS && !r->o->unlabelled);
    if (labels && h->labels == 0)
        why = "the model has no labels";
    if (task == PARE_EXAMPLES_REGRESSION && h->labels != 1)
        why = "a value needs a model with one label";
    return why ? pare_error_set(r->err, PARE_E_USAGE, "%s: %s", r->o->path, why) : PARE_OK;
}

/* Whether rows of text are cut to windows, and into how long ones. */
static PareStatus set_block(Reader *r) {
    if (r->o->block)
        r->source_limit = r->o->block;
    if (!is_causal(r))
        return pare_error_set(r->err, PARE_E_UNSUPPORTED,
                              "a model that sees all positions learns from JSON lines with "
                              "input_ids and labels");
    if (!r->o->tokenizer)
        return needs_tokenizer(r);
    if (r->source_limit == 0)
        return pare_error_set(r->err, PARE_E_USAGE,
                              "the model has no limit of positions; expected the length of the "
                              "windows of text (--block)");
    if (r->source_limit < 2 || (r->positions && r->source_limit > r->positions))
        return pare_error_set(r->err, PARE_E_USAGE,
                              "windows of %zu ids: expected at least 2, and no more than there are "
                              "positions (%zu; 0: any)",
                              r->source_limit, r->positions);
    return PARE_OK;
}

static PareStatus setup(Reader *r) {
    const PareDescription *d = r->o->description;
    bool encoder = d->stacks[PARE_ENCODER].present, decoder = d->stacks[PARE_DECODER].present;
    r->pair = encoder && decoder;
    r->first = &d->stacks[encoder ? PARE_ENCODER : PARE_DECODER];
    r->top = &d->stacks[decoder ? PARE_DECODER : PARE_ENCODER];
    r->positions = smaller(positions_of(r->first), r->o->source_positions);
    r->source_limit = smaller(r->o->max_source, r->positions);
    r->target_limit = smaller(positions_of(r->top), r->o->target_positions);
    r->target_limit = smaller(r->o->max_target, r->target_limit);
    return check_task(r);
}

static PareStatus read_rows(Reader *r, PareDataset *data, PareIds *text) {
    bool lm = r->o->task == PARE_EXAMPLES_LM, in_text = false;
    const PareDataRow *row = NULL;
    PareStatus status = PARE_OK;
    for (uint64_t rows = 0; !r->o->limit || rows < r->o->limit; rows++) {
        if ((status = pare_interrupt_check(r->err)) ||
            (status = pare_dataset_next(data, &row, r->err)))
            return status;
        if (!row)
            break;
        bool of_text = lm && !row->input_ids;
        if (of_text && !in_text)
            status = set_block(r);
        in_text = in_text || of_text;
        if (!status)
            status = of_text ? read_text(r, row, text) : read_row(r, row);
        if (status)
            return pare_error_prefix(r->err, "%s: line %zu", r->o->path, row->line);
        pare_progress_update(r->o->progress, rows + 1, NULL);
    }
    if (in_text && (status = read_text(r, NULL, text)))
        return pare_error_prefix(r->err, "%s: line %zu", r->o->path, r->line);
    return PARE_OK;
}

PareStatus pare_examples_read(const PareExamplesOptions *options, PareExamples *x, size_t *cut,
                              PareError *err) {
    Reader r = {.o = options, .x = x, .cuts = cut, .err = err};
    PareDataOptions data_options = options->data;
    PareDataset *data = NULL;
    PareIds text = {0};
    PareStatus status = setup(&r);
    if (options->task == PARE_EXAMPLES_LM)
        data_options.keep_blanks = true; /* they are part of the text */
    if (!status)
        status = pare_dataset_open(options->path, &data_options, &data, err);
    if (!status)
        status = read_rows(&r, data, &text);
    pare_dataset_close(data);
    PareIds *all[] = {&r.ids, &r.types, &r.decoder, &r.targets, &text};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        pare_ids_free(all[i]);
    pare_buffer_free(&r.text);
    return status;
}
