/* Importance, repair, and what is cut by importance: in one round or several. */
#include <math.h>
#include <string.h>

#include "core/file.h"
#include "prune/prune_impl.h"

/* -- data -- */

bool pare_prune_repairs(const ParePrune *p) {
    return p->o.repair != PARE_REPAIR_NO && (p->o.data || p->o.calibration);
}

static bool measures_data(const ParePrune *p) {
    return p->selects && !p->o.importance && pare_criterion_needs_data(p->o.criterion);
}

static bool wants_labels(const ParePrune *p) {
    return measures_data(p) && !p->o.own_outputs && pare_criterion_has_loss(p->o.criterion);
}

/* What --truncate cut must not go unnoticed. */
static void tell_cut(const ParePrune *p, const char *path, const PareExamples *x) {
    size_t cut = pare_examples_cut(x);
    char *text = NULL;
    if (cut && p->o.warn)
        text = pare_arena_printf(p->arena, "%s: %zu of %zu examples were too long and cut", path,
                                 cut, pare_examples_count(x));
    if (text)
        p->o.warn(text);
}

static PareStatus open_one(ParePrune *p, const char *path, bool unlabelled, ParePruneData *out) {
    ParePruneDataOptions o = p->o.reading;
    if (!path || out->examples)
        return PARE_OK;
    o.path = path;
    o.unlabelled = unlabelled;
    double begin = pare_prune_clock();
    o.progress = p->o.progress ? p->o.progress("reading", 0) : NULL;
    PareStatus st = pare_prune_data_open(p->model, &o, out, p->err);
    pare_progress_finish(o.progress);
    if (!st)
        pare_prune_say_step(p, "reading", path, begin);
    if (!st)
        tell_cut(p, path, out->examples);
    return st;
}

PareStatus pare_prune_open_data(ParePrune *p) {
    PareStatus st = open_one(p, p->o.data, !wants_labels(p), &p->data);
    return st ? st : open_one(p, p->o.calibration, true, &p->calibration);
}

/* -- weights of a plan's model -- */

typedef struct {
    const PareModel *model;
    const PareSlices *slices;
    const PareRepair *repair;
    PareStatus status;
    PareError *err;
} CutModel;

static size_t slot_index(const CutModel *c, const char *name) {
    const PareSlots *slots = pare_slices_slots(c->slices);
    return (size_t)(pare_slots_find(slots, name) - slots->items);
}

/* Only token tables and output matrices share their values in memory: they are large. Scores do
 * not depend on who shares what. */
static const PareModel *cut_source(void *context, const PareSlot *slot, char *name, size_t size) {
    const CutModel *c = context;
    if (slot->axes[0].kind != PARE_AXIS_VOCABULARY || slot->dims != 2)
        return NULL;
    const char *from = pare_slices_source(c->slices, slot_index(c, slot->name))->name;
    size_t length = strlen(from) < size ? strlen(from) : size - 1;
    memcpy(name, from, length);
    name[length] = 0;
    return c->model;
}

static bool is_cut(void *context, const PareSlot *slot) {
    (void)context;
    (void)slot;
    return true;
}

static void cut_values(void *context, const char *name, uint64_t rows, uint64_t cols,
                       float *values) {
    CutModel *c = context;
    size_t i = slot_index(c, name);
    const float *repaired = c->repair ? pare_repair_values(c->repair, i) : NULL;
    if (repaired)
        memcpy(values, repaired, (size_t)(rows * cols) * sizeof *values);
    else if (!c->status)
        c->status = pare_slices_read(c->slices, i, values, c->err);
}

static PareStatus load_original(ParePrune *p) {
    return p->original ? PARE_OK : pare_weights_create(p->model, NULL, NULL, &p->original, p->err);
}

/* What data are read with: the same ids as the original reads. */
static PareStatus whole_vocabulary(const ParePrunePlan *plan, PareArena *arena, ParePrunePlan *out,
                                   PareError *err) {
    PareStatus st = pare_select_copy(plan, arena, out, err);
    for (int s = 0; s < PARE_STACKS; s++)
        out->stacks[s].vocabulary = (PareKeep){.all = true};
    return st;
}

static PareStatus solve(ParePrune *p, const PareSlices *s, PareRepair **out) {
    PareRepairOptions o = {.data = p->o.calibration ? &p->calibration : &p->data,
                           .rows = p->o.repair_rows,
                           .ridge = p->o.ridge,
                           .threads = p->o.threads,
                           .progress = p->o.progress};
    double begin = pare_prune_clock();
    PareStatus st = load_original(p);
    if (!st)
        st = pare_repair_solve(p->original, s, &o, out, p->err);
    if (!st)
        pare_prune_say_step(p, "repairing", NULL, begin);
    if (!st)
        pare_prune_say_repair(p, *out);
    return st;
}

PareStatus pare_prune_repair(ParePrune *p, const ParePrunePlan *plan, PareRepair **out) {
    ParePrunePlan *whole = pare_arena_alloc(p->arena, 1, sizeof *whole);
    if (!whole)
        return pare_memory_error(p->err, "a plan");
    PareSlices *s = NULL;
    PareStatus st = pare_prune_open_data(p);
    if (!st)
        st = whole_vocabulary(plan, p->arena, whole, p->err);
    if (!st)
        st = pare_slices_create(p->model, whole, &s, p->err);
    if (!st)
        st = solve(p, s, out);
    pare_slices_destroy(s);
    return st;
}

/* -- measuring -- */

static PareStatus measure(ParePrune *p, const PareWeights *w, PareImportance *out) {
    bool data = pare_criterion_needs_data(p->o.criterion);
    PareImportanceOptions o = {.criterion = p->o.criterion,
                               .data = data ? &p->data : NULL,
                               .own_outputs = p->o.own_outputs,
                               .batch_size = p->o.batch_size,
                               .limit_batches = p->o.limit_batches,
                               .seed = p->o.seed,
                               .rows = p->o.repair_rows,
                               .ridge = p->o.ridge,
                               .threads = p->o.threads};
    if (p->o.criterion == PARE_CRITERION_RECONSTRUCT)
        o.start = p->o.progress;
    else if (data && p->o.progress)
        o.progress = p->o.progress("importance", pare_examples_count(p->data.examples));
    double begin = pare_prune_clock();
    PareStatus st = pare_importance_measure(w, &o, p->arena, out, p->err);
    pare_progress_finish(o.progress);
    if (!st)
        pare_prune_say_step(p, "importance", NULL, begin);
    return st;
}

/* What p->plan has left, repaired where that is wanted. */
static PareStatus measure_rest(ParePrune *p, PareImportance *out) {
    ParePrunePlan whole;
    PareImportance scores;
    PareSlices *s = NULL;
    PareRepair *repair = NULL;
    PareWeights *w = NULL;
    PareStatus st = whole_vocabulary(&p->plan, p->arena, &whole, p->err);
    if (!st)
        st = pare_slices_create(p->model, &whole, &s, p->err);
    if (!st && pare_prune_repairs(p))
        st = solve(p, s, &repair);
    CutModel c = {.model = p->model, .slices = s, .repair = repair, .err = p->err};
    PareWeightsFrom from = {
        .source = cut_source, .fresh = is_cut, .fill = cut_values, .context = &c};
    if (!st)
        st = pare_weights_create(p->model, pare_slices_description(s), &from, &w, p->err);
    if (!st)
        st = c.status ? c.status : measure(p, w, &scores);
    if (!st)
        st = pare_select_map(&scores, &p->plan, pare_model_description(p->model), p->arena, out,
                             p->err);
    pare_weights_destroy(w);
    pare_repair_destroy(repair);
    pare_slices_destroy(s);
    return st;
}

/* -- files of scores -- */

static PareStatus save_scores(const ParePrune *p) {
    PareBuffer text = {0};
    pare_importance_write(&p->scores, pare_model_description(p->model), &text);
    PareStatus st = pare_buffer_ok(&text, "importance", p->err);
    if (!st)
        st = pare_output_save(p->o.importance_out, p->o.force, text.data, text.size, p->err);
    pare_buffer_free(&text);
    return st;
}

static PareStatus load_scores(ParePrune *p) {
    PareJsonDoc *doc = NULL;
    const char *path = p->o.importance, *made_of = NULL;
    PareStatus st = pare_json_read(path, &doc, p->err);
    if (!st)
        st = pare_json_get_string(pare_json_root(doc), "model_sha256", &made_of, path, p->err);
    if (!st && made_of && strcmp(made_of, p->sha256) != 0)
        st = pare_error_set(p->err, PARE_E_USAGE,
                            "%s: the importance is that of another model than %s (their SHA-256 "
                            "differ)",
                            path, p->o.input);
    if (!st)
        st = pare_importance_read(pare_json_root(doc), path, pare_model_description(p->model),
                                  p->arena, &p->scores, p->err);
    pare_json_free(doc);
    p->from_file = !st;
    return st;
}

/* By reconstruction, layers and the width have no scores. */
static PareStatus check_scored(const ParePrune *p, PareCriterion c) {
    bool width = p->o.selection.width > 0 || (p->o.cut & PARE_CUT_WIDTH);
    if (c != PARE_CRITERION_RECONSTRUCT || (!width && !p->o.keep_layers))
        return PARE_OK;
    return pare_error_set(p->err, PARE_E_USAGE,
                          "the criterion reconstruct scores heads and units; %s needs another one",
                          width ? "a share of the width" : "--keep-layers");
}

static PareStatus first_scores(ParePrune *p) {
    PareStatus st = p->o.importance ? load_scores(p) : PARE_OK;
    if (!st)
        st = check_scored(p, p->o.importance ? p->scores.criterion : p->o.criterion);
    if (st || p->o.importance)
        return st;
    st = pare_importance_check_head(p->o.criterion, pare_model_description(p->model)->head.kind,
                                    p->err);
    if (!st && measures_data(p))
        st = pare_prune_open_data(p);
    if (!st)
        st = load_original(p);
    if (!st)
        st = measure(p, p->original, &p->scores);
    memcpy(p->scores.model_sha256, p->sha256, sizeof p->sha256);
    return st || !p->o.importance_out ? st : save_scores(p);
}

/* -- targets -- */

static PareStatus measure_plan(void *context, ParePrunePlan *plan, double *out, PareError *err) {
    ParePrune *p = context;
    const PareDescription *d = pare_model_description(p->model);
    PareSlices *s = NULL;
    uint64_t bytes = 0;
    PareStatus st = pare_interrupt_check(err);
    if (!st)
        st = pare_prune_read_rest(&p->o, d, plan, err);
    if (!st)
        st = pare_slices_create(p->model, plan, &s, err);
    if (!st && p->o.target_bytes)
        st = pare_prune_size(p, s, p->o.format, &bytes, err);
    if (!st)
        *out = p->o.target_bytes ? (double)bytes
                                 : pare_cost_seconds(p->cost, pare_slices_description(s));
    pare_slices_destroy(s);
    return st;
}

static PareStatus refuse_target(const ParePrune *p, double whole) {
    if (p->o.target_bytes)
        return pare_error_set(p->err, PARE_E_USAGE,
                              "--target-size %llu: the smallest that these options allow is %.0f "
                              "bytes",
                              (unsigned long long)p->o.target_bytes, ceil(p->target.least));
    return pare_error_set(p->err, PARE_E_USAGE,
                          "--target-speedup %g: the most that these options allow is %.2fx",
                          p->o.target_speedup, whole / p->target.least);
}

/* The share at which the target is met, into `s`. */
static PareStatus find_share(ParePrune *p, const PareImportance *scores, PareSelection *s) {
    const PareDescription *d = pare_model_description(p->model);
    double whole = p->cost ? pare_cost_seconds(p->cost, d) : 0;
    PareTarget t = {.selection = *s, .cut = p->o.cut, .measure = measure_plan, .context = p};
    t.limit = p->o.target_bytes ? (double)p->o.target_bytes : whole / p->o.target_speedup;
    PareStatus st = pare_select_target(d, &p->ties, scores, &t, &p->plan, &p->target, p->err);
    if (!st && !p->target.found)
        st = refuse_target(p, whole);
    if (p->o.cut & PARE_CUT_HEADS)
        s->heads = p->target.share;
    if (p->o.cut & PARE_CUT_UNITS)
        s->units = p->target.share;
    if (p->o.cut & PARE_CUT_WIDTH)
        s->width = p->target.share;
    return st;
}

/* -- rounds -- */

/* The layers that are to have gone after a part of all rounds. */
static PareStatus cut_layers(ParePrune *p, const PareImportance *scores, double part) {
    const PareDescription *d = pare_model_description(p->model);
    PareStackCounts counts;
    if (!p->o.keep_layers)
        return PARE_OK;
    PareStatus st = pare_layer_counts_parse(p->o.keep_layers, d, &counts, p->err);
    for (int s = 0; s < PARE_STACKS && !st; s++) {
        uint32_t left = p->plan.stacks[s].layer_count;
        if (!d->stacks[s].present || left < counts.count[s])
            continue; /* the latter is refused below */
        uint32_t had = d->stacks[s].layer_count;
        uint32_t stay = had - (uint32_t)floor((had - counts.count[s]) * part + 1e-9);
        counts.count[s] = stay < left ? stay : left;
    }
    return st ? st : pare_select_layers(d, scores, &counts, &p->plan, p->err);
}

/* Shares grow to their whole in the last round. A target's share is known once the layers are. */
static PareStatus cut_round(ParePrune *p, const PareImportance *scores, uint32_t round,
                            uint32_t rounds) {
    double part = (double)round / rounds;
    PareSelection s = p->o.selection;
    PareStatus st = cut_layers(p, scores, p->o.cut ? 1 : part);
    if (!st && p->o.cut)
        st = find_share(p, scores, &s);
    if (round < rounds) {
        s.heads *= part;
        s.units *= part;
        s.width *= part;
        s.align = 0;
        s.head_multiple = (PareStackCounts){{0}};
    }
    if (!st)
        st = pare_select(pare_model_description(p->model), &p->ties, scores, &s, &p->plan,
                         &p->aligned, p->err);
    return st;
}

PareStatus pare_prune_cut(ParePrune *p) {
    uint32_t rounds = p->o.iterations ? p->o.iterations : 1;
    PareImportance again;
    PareStatus st = p->selects ? first_scores(p) : PARE_OK;
    if (p->selects && !st)
        pare_prune_say_scores(p);
    for (uint32_t round = 1; p->selects && round <= rounds && !st; round++) {
        if (round > 1)
            st = measure_rest(p, &again);
        if (!st)
            st = cut_round(p, round == 1 ? &p->scores : &again, round, rounds);
    }
    return st;
}
