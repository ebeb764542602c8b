/* Choosing the tokens that stay: counting, specials, closing, filling up to a size. */
#include "prune/vocabulary.h"

#include <stdlib.h>
#include <string.h>

#include "core/file.h"
#include "prune/vocabulary_impl.h"
#include "text/tokenizer_subset.h"

/* The rows of a token table, or of two that are numbered alike. */
typedef struct {
    uint32_t rows;
    uint64_t *counts; /* [rows]: how often the data have a token */
    bool *seen;       /* [rows]: whether they do, or a text passes through it */
    bool *keep;       /* [rows] */
} Table;

typedef struct {
    const PareModel *model;
    const PareDescription *d;
    const PareVocabularyOptions *o;
    PareTokenizer *tokenizer; /* NULL: none */
    Table tables[PARE_STACKS];
    size_t table_count;
    Table *of[PARE_STACKS]; /* by stack; NULL: no such stack */
    PareIds ids;
    PareBuffer text;
    PareVocabularyFacts facts;
    PareArena *arena;
    PareError *err;
} Choice;

static const char *path_of(const Choice *c) {
    return pare_file_path(pare_model_file(c->model));
}

static bool is_pair(const PareDescription *d) {
    return d->stacks[PARE_ENCODER].present && d->stacks[PARE_DECODER].present;
}

static PareStackIndex first_of(const PareDescription *d) {
    return d->stacks[PARE_ENCODER].present ? PARE_ENCODER : PARE_DECODER;
}

bool pare_vocabulary_is_cut(const ParePrunePlan *plan, const PareDescription *d) {
    for (int s = 0; s < PARE_STACKS; s++)
        if (d->stacks[s].present && !plan->stacks[s].vocabulary.all)
            return true;
    return false;
}

PareStatus pare_vocabulary_tokenizer(const PareModel *m, PareTokenizer **out, PareError *err) {
    const PareDescription *d = pare_model_description(m);
    const char *path = pare_file_path(pare_model_file(m));
    const void *bytes;
    size_t size;
    *out = NULL;
    if (!pare_file_section(pare_model_file(m), PARE_SECTION_TOKENIZER, &bytes, &size))
        return PARE_OK;
    PareStatus st = pare_tokenizer_from_bytes(bytes, size, path, out, err);
    for (int s = 0; s < PARE_STACKS && !st; s++)
        if (d->stacks[s].present && pare_tokenizer_size(*out) > d->stacks[s].vocabulary)
            st = pare_error_set(err, PARE_E_FORMAT,
                                "%s: the tokenizer has %zu ids but a token table only %u rows",
                                path, pare_tokenizer_size(*out), d->stacks[s].vocabulary);
    if (st) {
        pare_tokenizer_free(*out);
        *out = NULL;
    }
    return st;
}

static PareStatus make_tables(Choice *c) {
    const PareStack *s = c->d->stacks;
    uint32_t encoder = s[PARE_ENCODER].present ? s[PARE_ENCODER].vocabulary : 0;
    uint32_t decoder = s[PARE_DECODER].present ? s[PARE_DECODER].vocabulary : 0;
    bool apart = is_pair(c->d) && !c->tokenizer && encoder != decoder;
    c->table_count = apart ? 2 : 1;
    c->tables[0].rows = apart || encoder > decoder ? encoder : decoder;
    c->tables[1].rows = apart ? decoder : 0;
    for (size_t i = 0; i < c->table_count; i++) {
        Table *t = &c->tables[i];
        t->counts = pare_arena_alloc(c->arena, t->rows, sizeof *t->counts);
        t->seen = pare_arena_alloc(c->arena, t->rows, sizeof *t->seen);
        t->keep = pare_arena_alloc(c->arena, t->rows, sizeof *t->keep);
        if (!t->counts || !t->seen || !t->keep)
            return pare_memory_error(c->err, "the vocabulary");
    }
    c->of[PARE_ENCODER] = encoder ? &c->tables[0] : NULL;
    c->of[PARE_DECODER] = decoder ? &c->tables[apart] : NULL;
    return PARE_OK;
}

/* -- what the data use -- */

static void count(Choice *c, Table *t, int32_t id) {
    t->seen[id] = true;
    t->counts[id]++;
    c->facts.tokens++;
}

static PareStatus count_ids(Choice *c, int stack, const int32_t *ids, size_t n, bool ignored,
                            const char *what) {
    enum { IGNORED = -100 }; /* a label that does not count */
    uint32_t rows = c->d->stacks[stack].vocabulary;
    for (size_t i = 0; i < n; i++) {
        if (ignored && ids[i] == IGNORED)
            continue;
        if (ids[i] < 0 || (uint32_t)ids[i] >= rows)
            return pare_error_set(c->err, PARE_E_FORMAT, "%s[%zu] is %d; the model has %u", what, i,
                                  ids[i], rows);
        count(c, c->of[stack], ids[i]);
    }
    return PARE_OK;
}

/* One tokenizer has one table. A text that is not counted is to be cut as before all the same. */
static PareStatus count_text(Choice *c, PareSide side, const char *text, size_t size,
                             bool counted) {
    if (!c->tokenizer)
        return pare_error_set(c->err, PARE_E_UNSUPPORTED,
                              "the model has no tokenizer; expected JSON lines with input_ids");
    c->ids.count = 0;
    PareStatus st = pare_tokenizer_trace(c->tokenizer, side, text, size, &c->ids, c->err);
    for (size_t i = 0; i < c->ids.count && !st; i++)
        c->tables[0].seen[c->ids.data[i]] = true;
    c->ids.count = 0;
    if (!st && counted)
        st = pare_tokenizer_encode(c->tokenizer, side, text, size, false, &c->ids, c->err);
    for (size_t i = 0; i < c->ids.count && !st; i++)
        count(c, &c->tables[0], c->ids.data[i]);
    return st;
}

/* A causal language model reads lines with their newline when it is trained and measured, and texts
 * without when it goes on with them. */
static PareStatus count_source(Choice *c, const PareDataRow *row) {
    bool line = c->d->head.kind == PARE_HEAD_LM && first_of(c->d) == PARE_DECODER;
    PareStatus st = count_text(c, PARE_SIDE_SOURCE, row->text, row->text_size, !line);
    if (!st && line) {
        pare_buffer_clear(&c->text);
        pare_buffer_append(&c->text, row->text, row->text_size);
        pare_buffer_putc(&c->text, '\n');
        st = pare_buffer_ok(&c->text, "a line", c->err);
        if (!st)
            st = count_text(c, PARE_SIDE_SOURCE, c->text.data, c->text.size, true);
    }
    if (!st && row->text_b)
        st = count_text(c, PARE_SIDE_SOURCE, row->text_b, row->text_b_size, true);
    return st;
}

static PareStatus count_row(Choice *c, const PareDataRow *row) {
    int top = (int)pare_description_top(c->d);
    PareStatus st;
    if (row->input_ids)
        st =
            count_ids(c, (int)first_of(c->d), row->input_ids, row->input_count, false, "input_ids");
    else if (row->text)
        st = count_source(c, row);
    else
        st = pare_error_set(c->err, PARE_E_FORMAT, "there is neither a text nor input_ids");
    if (!st && row->target)
        st = count_text(c, PARE_SIDE_TARGET, row->target, row->target_size, true);
    if (!st && row->decoder_ids)
        st = count_ids(c, top, row->decoder_ids, row->decoder_count, false, "decoder_input_ids");
    if (!st && row->label_ids && c->d->head.kind == PARE_HEAD_LM)
        st = count_ids(c, top, row->label_ids, row->label_count, true, "labels");
    return st;
}

static PareStatus count_rows(Choice *c, PareDataset *data) {
    const PareVocabularyOptions *o = c->o;
    const PareDataRow *row = NULL;
    while (!o->limit || c->facts.rows < o->limit) {
        PareStatus st = pare_interrupt_check(c->err);
        if (!st)
            st = pare_dataset_next(data, &row, c->err);
        if (st)
            return st;
        if (!row)
            break;
        if ((st = count_row(c, row)))
            return pare_error_prefix(c->err, "%s: line %zu", o->path, row->line);
        pare_progress_update(o->progress, ++c->facts.rows, NULL);
    }
    if (c->facts.rows == 0)
        return pare_error_set(c->err, PARE_E_FORMAT, "%s: there is not a single row", o->path);
    return PARE_OK;
}

static PareStatus count_data(Choice *c) {
    PareDataOptions format = c->o->format;
    PareDataset *data = NULL;
    if (c->d->head.kind == PARE_HEAD_LM && !is_pair(c->d))
        format.keep_blanks = true; /* they are part of the text */
    PareStatus st = pare_dataset_open(c->o->path, &format, &data, c->err);
    if (!st)
        st = count_rows(c, data);
    pare_dataset_close(data);
    return st;
}

/* -- what stays whatever the data use -- */

static void keep_id(Table *t, int64_t id) {
    if (t && id >= 0 && id < t->rows)
        t->keep[id] = true;
}

static void keep_config(Choice *c, const PareJson *object, int stack) {
    for (const PareJson *n = pare_json_first(object); n; n = pare_json_next(n)) {
        int nested = pare_vocabulary_nested(n);
        if (nested >= 0)
            keep_config(c, n, nested);
        if (!pare_vocabulary_is_id(pare_json_key(n)))
            continue;
        if (pare_json_is_integer(n))
            keep_id(c->of[stack], pare_json_integer(n));
        for (const PareJson *i = pare_json_is_array(n) ? pare_json_first(n) : NULL; i;
             i = pare_json_next(i))
            keep_id(c->of[stack], pare_json_is_integer(i) ? pare_json_integer(i) : -1);
    }
}

/* Words that must not be generated need no tokens: without them they cannot be. */
static PareStatus keep_specials(Choice *c) {
    const PareGeneration *g = pare_model_generation(c->model);
    const PareJson *source = pare_json_get(pare_model_metadata(c->model), "source");
    int top = (int)pare_description_top(c->d);
    const int32_t ids[] = {g->bos, g->pad, g->decoder_start, g->forced_bos, g->forced_eos};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        keep_id(c->of[top], ids[i]);
    for (uint32_t i = 0; i < g->eos.count; i++)
        keep_id(c->of[top], g->eos.ids[i]);
    if (pare_json_is_object(pare_json_get(source, "config")))
        keep_config(c, pare_json_get(source, "config"), top);
    if (pare_json_is_object(pare_json_get(source, "generation_config")))
        keep_config(c, pare_json_get(source, "generation_config"), top);
    if (!c->tokenizer)
        return PARE_OK;
    return pare_tokenizer_close_subset(c->tokenizer, c->tables[0].keep, c->tables[0].rows, c->err);
}

/* -- choosing -- */

static uint32_t kept(const Table *t) {
    uint32_t n = 0;
    for (uint32_t i = 0; i < t->rows; i++)
        n += t->keep[i];
    return n;
}

typedef struct {
    uint64_t count;
    uint32_t id;
} Candidate;

/* The most frequent first, of the same count the lowest id. */
static int compare(const void *a, const void *b) {
    const Candidate *x = a, *y = b;
    if (x->count != y->count)
        return x->count > y->count ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

/* Keeps a token and its parts if there is room for all of them. */
static PareStatus add(Choice *c, Table *t, uint32_t id, uint32_t *room) {
    uint32_t needed = 0;
    c->ids.count = 0;
    if (!pare_ids_push(&c->ids, (int32_t)id))
        return pare_memory_error(c->err, "the vocabulary");
    if (c->tokenizer && id < pare_tokenizer_size(c->tokenizer)) {
        PareStatus st = pare_tokenizer_parts(c->tokenizer, (int32_t)id, &c->ids, c->err);
        if (st)
            return st;
    }
    /* A part may be listed twice: the new ones are marked, and unmarked if they are too many. */
    for (size_t i = 0; i < c->ids.count; i++) {
        int32_t part = c->ids.data[i];
        if (!t->keep[part]) {
            t->keep[part] = true;
            c->ids.data[needed++] = part;
        }
    }
    for (uint32_t i = 0; i < needed && needed > *room; i++)
        t->keep[c->ids.data[i]] = false;
    *room -= needed > *room ? 0 : needed;
    return PARE_OK;
}

static PareStatus fill(Choice *c, Table *t) {
    uint32_t n = 0, room = c->o->max_size - kept(t);
    Candidate *list = pare_arena_alloc(c->arena, t->rows, sizeof *list);
    PareStatus st = PARE_OK;
    if (!list)
        return pare_memory_error(c->err, "the vocabulary");
    for (uint32_t id = 0; id < t->rows; id++)
        if (t->seen[id])
            list[n++] = (Candidate){t->counts[id], id};
    qsort(list, n, sizeof *list, compare);
    for (uint32_t i = 0; i < n && room && !st; i++)
        if (!t->keep[list[i].id])
            st = add(c, t, list[i].id, &room);
    return st;
}

static PareStatus keep_all_seen(Choice *c, Table *t) {
    for (uint32_t id = 0; id < t->rows; id++)
        t->keep[id] = t->keep[id] || t->seen[id];
    return c->tokenizer ? pare_tokenizer_close_subset(c->tokenizer, t->keep, t->rows, c->err)
                        : PARE_OK;
}

static PareStatus choose(Choice *c) {
    PareStatus st = keep_specials(c);
    for (size_t i = 0; i < c->table_count && !st; i++) {
        uint32_t least = kept(&c->tables[i]);
        c->facts.least = least > c->facts.least ? least : c->facts.least;
    }
    if (!st && c->o->max_size && c->o->max_size < c->facts.least)
        st = pare_error_set(c->err, PARE_E_USAGE,
                            "a vocabulary of %u tokens is too small for %s: its special tokens and "
                            "its alphabet alone are %u; expected at least as many",
                            c->o->max_size, path_of(c), c->facts.least);
    for (size_t i = 0; i < c->table_count && !st; i++)
        st = c->o->max_size ? fill(c, &c->tables[i]) : keep_all_seen(c, &c->tables[i]);
    return st;
}

static void gather_facts(Choice *c) {
    for (size_t i = 0; i < c->table_count; i++)
        for (uint32_t id = 0; id < c->tables[i].rows; id++) {
            c->facts.used += c->tables[i].counts[id] > 0;
            c->facts.outside += c->tables[i].keep[id] ? 0 : c->tables[i].counts[id];
        }
}

static PareStatus write_plan(Choice *c, ParePrunePlan *plan) {
    PareStatus st = PARE_OK;
    for (int s = 0; s < PARE_STACKS && !st; s++) {
        const Table *t = c->of[s];
        uint32_t rows = c->d->stacks[s].vocabulary, n = 0;
        uint32_t *units = t ? pare_arena_alloc(c->arena, rows, sizeof *units) : NULL;
        PareKeep *keep = &plan->stacks[s].vocabulary;
        if (!t)
            continue;
        if (!units)
            return pare_memory_error(c->err, "the vocabulary");
        for (uint32_t id = 0; id < rows; id++)
            if (t->keep[id])
                units[n++] = id;
        *keep = (PareKeep){.all = true};
        if (n < rows)
            st = pare_prune_plan_keep(plan, keep, units, n, rows, "the vocabulary", c->err);
    }
    return st;
}

PareStatus pare_vocabulary_choose(const PareModel *m, const PareVocabularyOptions *o,
                                  ParePrunePlan *plan, PareVocabularyFacts *facts, PareError *err) {
    Choice c = {.model = m,
                .d = pare_model_description(m),
                .o = o,
                .arena = pare_arena_create(0),
                .err = err};
    PareStatus st = c.arena ? pare_vocabulary_tokenizer(m, &c.tokenizer, err)
                            : pare_memory_error(err, "the vocabulary");
    if (!st)
        st = make_tables(&c);
    if (!st)
        st = count_data(&c);
    if (!st)
        st = choose(&c);
    if (!st)
        st = write_plan(&c, plan);
    if (!st)
        gather_facts(&c);
    if (!st && facts)
        *facts = c.facts;
    pare_ids_free(&c.ids);
    pare_buffer_free(&c.text);
    pare_tokenizer_free(c.tokenizer);
    pare_arena_destroy(c.arena);
    return st;
}
