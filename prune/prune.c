/* The stage: open, plan, write. */
#include "prune/prune.h"

#include <string.h>

#include "core/file.h"
#include "core/json.h"
#include "formats/pare_file.h"
#include "prune/prune_impl.h"
#include "runtime/metadata.h"

/* -- what is refused before any work -- */

typedef struct {
    bool wrong;
    const char *message;
} Rule;

static bool cuts_by_importance(const ParePruneOptions *o) {
    return o->selection.heads > 0 || o->selection.units > 0 || o->selection.width > 0 ||
           o->keep_layers || o->cut;
}

static PareStatus check_options(const ParePruneOptions *o, PareError *err) {
    const PareSelection *s = &o->selection;
    bool lists = o->heads || o->units || o->layers || o->sublayers || o->kv_heads || o->positions;
    bool cuts = lists || cuts_by_importance(o) || o->vocabulary || o->plan;
    bool measures = !o->importance && (cuts_by_importance(o) || o->importance_out);
    const Rule rules[] = {
        {o->output && !cuts && !o->plan_out && !o->importance_out,
         "nothing is to be cut, and the output would be a copy: expected a list, a share above 0%, "
         "a target or a plan"},
        {o->plan && (lists || cuts_by_importance(o) || o->vocabulary || o->importance_out),
         "--plan says all that is cut; give no other list, share, target or vocabulary with it, "
         "and "
         "no --importance-out"},
        {s->heads >= 1 || s->units >= 1 || s->width >= 1 || s->min_kept >= 1,
         "--heads, --ffn and --width must leave something, and --min-kept let something go: "
         "expected less than 100%"},
        {measures && pare_criterion_needs_data(o->criterion) && !o->data,
         "this criterion needs labelled data: give --data FILE, or --criterion magnitude"},
        {o->repair == PARE_REPAIR_YES && !o->data && !o->calibration,
         "--repair needs data to look at: give --calibration FILE or --data FILE"},
        {o->importance && o->iterations > 1,
         "--iterations measures again what is left; --importance is only of the whole model"}};
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++)
        if (rules[i].wrong)
            return pare_error_set(err, PARE_E_USAGE, "%s", rules[i].message);
    return PARE_OK;
}

/* An output that is an input, or stands in the way. */
static PareStatus check_path(const ParePruneOptions *o, const char *path, PareError *err) {
    const char *const inputs[] = {o->input, o->plan,        o->importance,
                                  o->data,  o->calibration, o->vocabulary};
    if (!path || !pare_file_exists(path))
        return PARE_OK;
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++)
        if (inputs[i] && pare_file_same(inputs[i], path))
            return pare_error_set(err, PARE_E_USAGE, "%s: the output is the input", path);
    return o->force
               ? PARE_OK
               : pare_error_set(err, PARE_E_IO, "%s: exists already; --force replaces it", path);
}

static PareStatus check_paths(const ParePruneOptions *o, PareError *err) {
    const char *const outputs[] = {o->output, o->plan_out, o->importance_out};
    PareStatus st = PARE_OK;
    for (int i = 0; i < 3 && !st; i++) {
        st = check_path(o, outputs[i], err);
        for (int k = 0; k < i && !st; k++)
            if (outputs[i] && outputs[k] && strcmp(outputs[i], outputs[k]) == 0)
                st = pare_error_set(err, PARE_E_USAGE, "%s: is named as output twice", outputs[i]);
    }
    return st;
}

/* -- the plan -- */

static PareStatus read_plan(ParePrune *p) {
    const ParePruneOptions *o = &p->o;
    PareJsonDoc *doc = NULL;
    PareStatus st = pare_json_read(o->plan, &doc, p->err);
    const char *made_for = NULL;
    if (!st)
        st = pare_json_get_string(pare_json_root(doc), "model_sha256", &made_for, o->plan, p->err);
    if (!st && made_for && strcmp(made_for, p->sha256) != 0)
        st = pare_error_set(p->err, PARE_E_USAGE,
                            "%s: the plan is for another model than %s (their SHA-256 differ); a "
                            "plan is applied once, to the model that it was made for",
                            o->plan, o->input);
    if (!st)
        st = pare_prune_plan_read(pare_json_root(doc), o->plan, pare_model_description(p->model),
                                  p->arena, &p->plan, p->err);
    pare_json_free(doc);
    return st;
}

static PareStatus choose_vocabulary(ParePrune *p) {
    PareVocabularyOptions o = {.path = p->o.vocabulary,
                               .format = p->o.reading.format,
                               .limit = p->o.reading.limit,
                               .max_size = p->o.vocabulary_size};
    if (!o.path)
        return PARE_OK;
    double begin = pare_prune_clock();
    o.progress = p->o.progress ? p->o.progress("vocabulary", 0) : NULL;
    PareStatus st = pare_vocabulary_choose(p->model, &o, &p->plan, &p->vocabulary, p->err);
    pare_progress_finish(o.progress);
    if (!st)
        pare_prune_say_step(p, "vocabulary of", o.path, begin);
    return st;
}

/* How large the tokenizer will be; a plan that leaves too little for it is refused. */
static PareStatus size_tokenizer(ParePrune *p) {
    PareBuffer metadata = {0}, rewritten = {0}, tokenizer = {0};
    const void *bytes;
    size_t size = 0;
    PareStatus st = PARE_OK;
    if (pare_vocabulary_is_cut(&p->plan, pare_model_description(p->model))) {
        if (pare_file_section(pare_model_file(p->model), PARE_SECTION_METADATA, &bytes, &size))
            pare_buffer_append(&metadata, bytes, size);
        st = pare_buffer_ok(&metadata, "metadata", p->err);
        if (!st)
            st = pare_vocabulary_rewrite(p->model, &p->plan, &metadata, &rewritten, &tokenizer,
                                         p->err);
        p->tokenizer_bytes = tokenizer.size;
    } else if (pare_file_section(pare_model_file(p->model), PARE_SECTION_TOKENIZER, &bytes,
                                 &size)) {
        p->tokenizer_bytes = size;
    }
    pare_buffer_free(&metadata);
    pare_buffer_free(&rewritten);
    pare_buffer_free(&tokenizer);
    return st;
}

/* What cannot be cut at all is refused before anything is measured. */
static PareStatus try_slices(ParePrune *p) {
    PareSlices *s = NULL;
    PareStatus st = pare_slices_create(p->model, &p->plan, &s, p->err);
    pare_slices_destroy(s);
    return st;
}

static PareStatus measure_cost(ParePrune *p) {
    const PareDescription *d = pare_model_description(p->model);
    double begin = pare_prune_clock();
    PareProgress *progress = p->o.progress ? p->o.progress("timing", pare_cost_steps(d)) : NULL;
    PareStatus st = pare_cost_measure(d, p->o.format, p->o.threads, progress, &p->cost, p->err);
    pare_progress_finish(progress);
    if (!st)
        pare_prune_say_step(p, "timing", NULL, begin);
    return st;
}

/* A target of speed has measured it before. */
static PareStatus predict(ParePrune *p) {
    const PareDescription *d = pare_model_description(p->model);
    bool wanted = p->o.predict == PARE_PREDICT_CUT ? !pare_prune_plan_is_whole(&p->plan, d)
                                                   : p->o.predict == PARE_PREDICT_YES;
    return wanted && !p->cost ? measure_cost(p) : PARE_OK;
}

static PareStatus make_plan(ParePrune *p) {
    const PareDescription *d = pare_model_description(p->model);
    PareStatus st = pare_prune_plan_whole(d, p->arena, &p->plan, p->err);
    if (!st && p->o.kv_heads)
        st = pare_stack_counts_parse("--kv-heads", p->o.kv_heads, d, true,
                                     &p->o.selection.head_multiple, p->err);
    if (!st)
        st = pare_prune_read_lists(&p->o, d, &p->plan, p->err);
    if (!st)
        st = try_slices(p);
    if (!st)
        st = choose_vocabulary(p);
    if (!st)
        st = size_tokenizer(p);
    if (!st)
        st = pare_ties_read(p->model, p->arena, &p->ties, p->err);
    if (!st && p->o.target_speedup > 0)
        st = measure_cost(p);
    if (!st)
        st = pare_prune_cut(p);
    if (!st)
        st = pare_prune_read_rest(&p->o, d, &p->plan, p->err);
    return st ? st : pare_prune_tell_how(p);
}

static PareStatus save_plan(const ParePrune *p) {
    PareBuffer text = {0};
    pare_prune_plan_write(&p->plan, pare_model_description(p->model), &text);
    PareStatus st = pare_buffer_ok(&text, "the plan", p->err);
    if (!st)
        st = pare_output_save(p->o.plan_out, p->o.force, text.data, text.size, p->err);
    pare_buffer_free(&text);
    return st;
}

/* Layers or stacks that had the same tensors may have been cut apart by a list. */
static void warn_unshared(ParePrune *p) {
    uint64_t bytes = pare_prune_unshared(p->slices);
    PareBuffer text = {0};
    pare_buffer_puts(&text, "tensors that shared their values are cut differently and no longer "
                            "do: the file is ");
    pare_buffer_put_size(&text, bytes);
    pare_buffer_puts(&text, " larger for it");
    if (bytes && !text.failed && p->o.warn)
        p->o.warn(text.data);
    pare_buffer_free(&text);
}

/* A share may round to nothing, a target be met already, and all tokens be used. */
static void warn_whole(const ParePrune *p) {
    if (p->o.output && p->o.warn &&
        pare_prune_plan_is_whole(&p->plan, pare_model_description(p->model)))
        p->o.warn("nothing is cut: the output holds all that the input does");
}

static void warn(ParePrune *p) {
    warn_unshared(p);
    warn_whole(p);
    pare_prune_warn_lengths(p);
}

static PareStatus prepare(ParePrune *p) {
    uint64_t bytes;
    PareStatus st = pare_model_open(p->o.input, &p->model, p->err);
    if (!st)
        st = pare_file_sha256(p->o.input, &bytes, p->sha256, p->err);
    if (!st && p->o.plan)
        st = read_plan(p);
    if (!st && p->o.plan)
        st = size_tokenizer(p);
    if (!st && !p->o.plan)
        st = make_plan(p);
    if (!st)
        st = predict(p);
    memcpy(p->plan.model_sha256, p->sha256, sizeof p->sha256);
    if (!st)
        st = pare_slices_create(p->model, &p->plan, &p->slices, p->err);
    if (!st)
        warn(p);
    return st || !p->o.plan_out ? st : save_plan(p);
}

PareStatus pare_prune_open(const ParePruneOptions *o, ParePrune **out, PareError *err) {
    *out = NULL;
    PareStatus st = check_options(o, err);
    if (!st)
        st = check_paths(o, err);
    if (st)
        return st;
    ParePrune *p = pare_alloc(1, sizeof *p);
    if (!p || !(p->arena = pare_arena_create(0))) {
        pare_prune_close(p);
        return pare_memory_error(err, "pruning");
    }
    p->o = *o;
    p->err = err;
    p->selects = cuts_by_importance(o) || o->importance_out;
    st = prepare(p);
    if (st)
        pare_prune_close(p);
    else
        *out = p;
    return st;
}

void pare_prune_close(ParePrune *p) {
    if (!p)
        return;
    pare_cost_destroy(p->cost);
    pare_repair_destroy(p->repair);
    pare_weights_destroy(p->original);
    pare_prune_data_close(&p->data);
    pare_prune_data_close(&p->calibration);
    pare_slices_destroy(p->slices);
    pare_model_close(p->model);
    pare_arena_destroy(p->arena);
    pare_free(p);
}

/* -- writing -- */

static PareStatus write_slot(const ParePrune *p, PareFileWriter *w, size_t i) {
    const PareSlots *slots = pare_slices_slots(p->slices);
    const PareSlot *s = &slots->items[i];
    size_t shared = pare_slices_shared(p->slices, i);
    PareFileTensor t = {.name = s->name,
                        .dtype = PARE_F32,
                        .layout = PARE_LAYOUT_ROWS,
                        .dims = s->dims,
                        .shape = {s->shape[0], s->shape[1]},
                        .axes = {s->axes[0], s->axes[1]}};
    if (shared != i)
        return pare_file_writer_alias(w, &t, slots->items[shared].name, p->err);
    const float *repaired = p->repair ? pare_repair_values(p->repair, i) : NULL;
    if (repaired)
        return pare_file_writer_tensor(w, &t, repaired, p->err);
    float *values =
        pare_alloc((size_t)(s->shape[0] * (s->dims == 2 ? s->shape[1] : 1)), sizeof *values);
    if (!values)
        return pare_memory_error(p->err, s->name);
    PareStatus st = pare_slices_read(p->slices, i, values, p->err);
    if (!st)
        st = pare_file_writer_tensor(w, &t, values, p->err);
    pare_free(values);
    return st;
}

/* The metadata, and the tokenizer as it was or as a smaller vocabulary needs it. */
static PareStatus make_sections(const ParePrune *p, PareBuffer *metadata, PareBuffer *tokenizer) {
    PareBuffer how = {0}, appended = {0};
    const void *bytes;
    size_t size;
    PareStatus st = pare_prune_provenance(p, &how, p->err);
    if (!st)
        st = pare_metadata_append(p->model, "prune", how.data, pare_slices_description(p->slices),
                                  &appended, p->err);
    if (!st && pare_vocabulary_is_cut(&p->plan, pare_model_description(p->model))) {
        st = pare_vocabulary_rewrite(p->model, &p->plan, &appended, metadata, tokenizer, p->err);
    } else if (!st) {
        pare_buffer_append(metadata, appended.data, appended.size);
        if (pare_file_section(pare_model_file(p->model), PARE_SECTION_TOKENIZER, &bytes, &size))
            pare_buffer_append(tokenizer, bytes, size);
    }
    pare_buffer_free(&how);
    pare_buffer_free(&appended);
    if (!st)
        st = pare_buffer_ok(metadata, "metadata", p->err);
    if (!st)
        st = pare_prune_lower_lengths(p, metadata, p->err);
    return st ? st : pare_buffer_ok(tokenizer, "the tokenizer", p->err);
}

static PareStatus write_sections(const ParePrune *p, PareFileWriter *w) {
    PareBuffer metadata = {0}, tokenizer = {0};
    PareStatus st = make_sections(p, &metadata, &tokenizer);
    if (!st)
        st = pare_file_writer_section(w, PARE_SECTION_METADATA, metadata.data, metadata.size,
                                      p->err);
    if (!st && tokenizer.size)
        st = pare_file_writer_section(w, PARE_SECTION_TOKENIZER, tokenizer.data, tokenizer.size,
                                      p->err);
    pare_buffer_free(&metadata);
    pare_buffer_free(&tokenizer);
    return st;
}

static PareStatus write_model(ParePrune *p) {
    PareFileWriter *w = NULL;
    size_t count = pare_slices_slots(p->slices)->count;
    PareStatus st = pare_file_writer_open(p->o.output, p->o.force, &w, p->err);
    PareProgress *progress = !st && p->o.progress ? p->o.progress("pruning", count) : NULL;
    for (size_t i = 0; i < count && !st; i++) {
        st = write_slot(p, w, i);
        pare_progress_update(progress, i + 1, NULL);
        if (!st)
            st = pare_interrupt_check(p->err);
    }
    pare_progress_finish(progress);
    if (!st)
        st = write_sections(p, w);
    if (st) {
        pare_file_writer_abort(w);
        return st;
    }
    return pare_file_writer_commit(w, p->err);
}

PareStatus pare_prune_apply(ParePrune *p, PareError *err) {
    p->err = err;
    PareStatus st = pare_prune_repairs(p) ? pare_prune_repair(p, &p->plan, &p->repair) : PARE_OK;
    pare_weights_destroy(p->original);
    p->original = NULL;
    double begin = pare_prune_clock();
    if (!st)
        st = write_model(p);
    if (!st)
        pare_prune_say_step(p, "writing", NULL, begin);
    return st;
}
