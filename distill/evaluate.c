/* Scores on held-out data. */
#include "distill/evaluate.h"

#include <math.h>
#include <string.h>

#include "core/file.h"
#include "runtime/blas.h"
#include "runtime/session.h"
#include "text/f1.h"
#include "text/metrics.h"
#include "text/rouge.h"

enum { GENERATE_BATCH = 64 };

static const struct {
    const char *name;
    bool falls;
} SCORES[PARE_SCORE_COUNT] = {
    [PARE_SCORE_LOSS] = {"loss", true},          [PARE_SCORE_PERPLEXITY] = {"perplexity", true},
    [PARE_SCORE_ACCURACY] = {"accuracy", false}, [PARE_SCORE_F1] = {"f1", false},
    [PARE_SCORE_MATTHEWS] = {"matthews", false}, [PARE_SCORE_PEARSON] = {"pearson", false},
    [PARE_SCORE_SPEARMAN] = {"spearman", false}, [PARE_SCORE_BLEU] = {"bleu", false},
    [PARE_SCORE_ROUGE1] = {"rouge1", false},     [PARE_SCORE_ROUGE2] = {"rouge2", false},
    [PARE_SCORE_ROUGEL] = {"rougeL", false},
};

const char *pare_score_name(PareScoreKind kind) {
    return SCORES[kind].name;
}

bool pare_score_parse(const char *name, PareScoreKind *out) {
    for (int i = 0; i < PARE_SCORE_COUNT; i++)
        if (strcmp(SCORES[i].name, name) == 0) {
            *out = (PareScoreKind)i;
            return true;
        }
    return false;
}

bool pare_score_falls(PareScoreKind kind) {
    return SCORES[kind].falls;
}

bool pare_score_applies(PareScoreKind kind, PareExamplesTask task, bool texts) {
    bool labels = task == PARE_EXAMPLES_CLASSIFICATION || task == PARE_EXAMPLES_TOKENS;
    bool values = task == PARE_EXAMPLES_REGRESSION;
    switch (kind) {
    case PARE_SCORE_LOSS:
        return true;
    case PARE_SCORE_PERPLEXITY:
        return !labels && !values;
    case PARE_SCORE_ACCURACY:
        return !values;
    case PARE_SCORE_F1:
    case PARE_SCORE_MATTHEWS:
        return labels;
    case PARE_SCORE_PEARSON:
    case PARE_SCORE_SPEARMAN:
        return values;
    default: /* of texts */
        return task == PARE_EXAMPLES_SEQ2SEQ && texts;
    }
}

/* -- references -- */

static PareStatus keep_text(PareReferences *r, size_t *capacity, const char *text, PareError *err) {
    if (r->count == *capacity) {
        size_t larger = *capacity ? 2 * *capacity : 1024;
        char **texts = pare_realloc(r->texts, larger, sizeof *texts);
        if (!texts)
            return pare_memory_error(err, "the references");
        r->texts = texts;
        *capacity = larger;
    }
    r->texts[r->count] = pare_strdup(text);
    return r->texts[r->count++] ? PARE_OK : pare_memory_error(err, "the references");
}

PareStatus pare_references_read(const char *path, const PareDataOptions *data, uint64_t limit,
                                PareReferences *out, PareError *err) {
    PareDataset *d = NULL;
    const PareDataRow *row = NULL;
    size_t capacity = 0;
    *out = (PareReferences){0};
    PareStatus st = pare_dataset_open(path, data, &d, err);
    while (!st && (limit == 0 || out->count < limit)) {
        st = pare_dataset_next(d, &row, err);
        if (st || !row || !row->target)
            break;
        st = keep_text(out, &capacity, row->target, err);
    }
    if (st || (row && !row->target)) /* ids only, in this row at least */
        pare_references_free(out);
    pare_dataset_close(d);
    return st;
}

void pare_references_free(PareReferences *r) {
    for (size_t i = 0; i < r->count; i++)
        pare_free(r->texts[i]);
    pare_free(r->texts);
    *r = (PareReferences){0};
}

/* -- losses, labels and values -- */

typedef struct {
    const PareEvaluation *e;
    PareObjective objective;
    PareConfusion *labels;
    double *wanted, *given; /* of regression */
    size_t values;
    double loss; /* sum over counted rows */
    size_t counted, hits;
    PareStatus status; /* of the observer */
    PareError *err;
} Judge;

static void see(void *context, double wanted, double given) {
    Judge *j = context;
    if (j->labels && !j->status)
        j->status = pare_confusion_add(j->labels, (int64_t)wanted, (int64_t)given, j->err);
    if (j->wanted) {
        j->wanted[j->values] = wanted;
        j->given[j->values++] = given;
    }
}

/* Examples from `at` on that make a batch. */
static size_t batch_end(const PareEvaluation *e, size_t at, size_t limit) {
    size_t count = pare_examples_count(e->examples), sum = 0, end = at;
    while (end < count && end - at < limit) {
        size_t source, target;
        pare_examples_lengths(e->examples, end, &source, &target);
        sum += source > target ? source : target;
        if (end > at && sum > e->batch_tokens)
            break;
        end++;
    }
    return end;
}

static PareStatus judge_batch(Judge *j, PareRun *r, size_t begin, size_t end) {
    PareExample *items = pare_arena_alloc_raw(r->arena, end - begin, sizeof *items);
    PareLossTerms terms = {0};
    if (!items)
        return pare_memory_error(r->err, "a batch");
    for (size_t i = begin; i < end; i++)
        items[i - begin] = pare_examples_get(j->e->examples, i);
    PareBatchSize size = pare_objective_size(&j->objective, items, end - begin);
    PareStatus st = pare_objective_run(&j->objective, r, items, end - begin, &size, &terms);
    j->loss += terms.label * (double)size.counted;
    j->counted += terms.counted;
    j->hits += terms.hits;
    return st ? st : j->status;
}

static PareStatus judge_all(Judge *j, ParePool *pool, PareArena *arena) {
    enum { BATCH_EXAMPLES = 256 };
    PareStatus st = PARE_OK;
    size_t count = pare_examples_count(j->e->examples);
    for (size_t at = 0; at < count && !st;) {
        PareRun r = {.kernels = pare_kernels(), .pool = pool, .arena = arena, .err = j->err};
        size_t end = batch_end(j->e, at, BATCH_EXAMPLES);
        pare_arena_release(arena, (PareArenaMark){0});
        st = judge_batch(j, &r, at, end);
        if (!st)
            st = pare_interrupt_check(j->err);
        pare_progress_update(j->e->progress, at = end, NULL);
    }
    return st;
}

static void put(PareScores *s, PareScoreKind kind, double value) {
    s->has[kind] = true;
    s->value[kind] = value;
}

static PareStatus score_labels(const Judge *j, PareScores *out) {
    PareLabelScores s = pare_confusion_scores(j->labels);
    put(out, PARE_SCORE_ACCURACY, s.accuracy);
    put(out, PARE_SCORE_F1, isnan(s.f1_binary) ? s.f1_macro : s.f1_binary);
    put(out, PARE_SCORE_MATTHEWS, s.matthews);
    return PARE_OK;
}

static PareStatus score_values(const Judge *j, PareScores *out, PareError *err) {
    double spearman = NAN;
    put(out, PARE_SCORE_PEARSON, pare_pearson(j->wanted, j->given, j->values));
    PareStatus st = pare_spearman(j->wanted, j->given, j->values, &spearman, err);
    put(out, PARE_SCORE_SPEARMAN, spearman);
    return st;
}

static PareStatus score_judged(const Judge *j, PareScores *out, PareError *err) {
    double loss = j->counted ? j->loss / (double)j->counted : NAN;
    put(out, PARE_SCORE_LOSS, loss);
    if (j->labels)
        return score_labels(j, out);
    if (j->wanted)
        return score_values(j, out, err);
    put(out, PARE_SCORE_PERPLEXITY, exp(loss));
    put(out, PARE_SCORE_ACCURACY, j->counted ? (double)j->hits / (double)j->counted : NAN);
    return PARE_OK;
}

static PareStatus prepare_judge(Judge *j) {
    const PareEvaluation *e = j->e;
    const PareDescription *d = pare_model_description(e->model);
    size_t count = pare_examples_count(e->examples);
    j->objective = (PareObjective){.d = d,
                                   .p = pare_model_params(e->model),
                                   .weights = {.label = 1, .temperature = 1},
                                   .regression = e->task == PARE_EXAMPLES_REGRESSION,
                                   .observe = see,
                                   .observer = j};
    bool failed = false;
    if (e->task == PARE_EXAMPLES_CLASSIFICATION || e->task == PARE_EXAMPLES_TOKENS)
        failed = !(j->labels = pare_confusion_create(d->head.labels));
    if (e->task == PARE_EXAMPLES_REGRESSION) {
        j->wanted = pare_alloc(count, sizeof *j->wanted);
        j->given = pare_alloc(count, sizeof *j->given);
        failed = !j->wanted || !j->given;
    }
    return failed ? pare_memory_error(j->err, "an evaluation") : PARE_OK;
}

static PareStatus judge(const PareEvaluation *e, PareScores *out, PareError *err) {
    Judge j = {.e = e, .err = err};
    ParePool *pool = NULL;
    PareArena *arena = pare_arena_create(0);
    pare_blas_init();
    PareStatus st = arena ? prepare_judge(&j) : pare_memory_error(err, "an evaluation");
    if (!st)
        st = pare_pool_create(e->threads, &pool, err);
    if (!st)
        st = judge_all(&j, pool, arena);
    if (!st)
        st = score_judged(&j, out, err);
    pare_confusion_destroy(j.labels);
    pare_free(j.wanted);
    pare_free(j.given);
    pare_pool_destroy(pool);
    pare_arena_destroy(arena);
    return st;
}

/* -- texts -- */

typedef struct {
    const PareEvaluation *e;
    PareSession *session;
    PareBleuStats *bleu;
    PareRouge *rouge;
    PareBuffer text;
} Writer;

static PareStatus compare_text(Writer *w, const PareGenerated *g, const char *reference,
                               PareError *err) {
    size_t start = g->count > 0; /* the decoder's start is no text */
    pare_buffer_clear(&w->text);
    PareStatus st = pare_tokenizer_decode(w->e->tokenizer, PARE_SIDE_TARGET, g->ids + start,
                                          g->count - start, true, &w->text, err);
    const char *text = w->text.data ? w->text.data : "";
    if (!st)
        st = pare_buffer_ok(&w->text, "a text", err);
    if (!st)
        st = pare_bleu_add(w->bleu, text, reference, err);
    return st ? st : pare_rouge_add(w->rouge, text, reference, NULL, err);
}

static PareStatus write_batch(Writer *w, size_t begin, size_t end, PareError *err) {
    PareSequence sequences[GENERATE_BATCH] = {{0}};
    PareGenerated generated[GENERATE_BATCH];
    for (size_t i = begin; i < end; i++)
        sequences[i - begin] = pare_examples_get(w->e->examples, i).sequence;
    PareStatus st =
        pare_session_generate(w->session, sequences, end - begin, w->e->generation, generated, err);
    for (size_t i = begin; i < end && !st; i++)
        st = compare_text(w, &generated[i - begin], w->e->references->texts[i], err);
    return st;
}

static PareStatus write_all(Writer *w, PareScores *out, PareError *err) {
    PareStatus st = PARE_OK;
    size_t count = pare_examples_count(w->e->examples);
    for (size_t at = 0; at < count && !st;) {
        size_t end = batch_end(w->e, at, GENERATE_BATCH);
        st = write_batch(w, at, end, err);
        pare_progress_update(w->e->progress, at = end, NULL);
    }
    if (st)
        return st;
    put(out, PARE_SCORE_BLEU, pare_bleu_score(w->bleu).score);
    put(out, PARE_SCORE_ROUGE1, 100 * pare_rouge_mean(w->rouge, PARE_ROUGE_1).f1);
    put(out, PARE_SCORE_ROUGE2, 100 * pare_rouge_mean(w->rouge, PARE_ROUGE_2).f1);
    put(out, PARE_SCORE_ROUGEL, 100 * pare_rouge_mean(w->rouge, PARE_ROUGE_L).f1);
    return PARE_OK;
}

static PareStatus write_texts(const PareEvaluation *e, PareScores *out, PareError *err) {
    Writer w = {.e = e, .bleu = pare_bleu_create(), .rouge = pare_rouge_create(false)};
    PareStatus st = w.bleu && w.rouge ? PARE_OK : pare_memory_error(err, "an evaluation");
    if (!st)
        st = pare_session_create(e->model, e->threads, &w.session, err);
    if (!st)
        st = write_all(&w, out, err);
    pare_session_destroy(w.session);
    pare_bleu_destroy(w.bleu);
    pare_rouge_destroy(w.rouge);
    pare_buffer_free(&w.text);
    return st;
}

/* -- all of it -- */

static bool has_texts(const PareEvaluation *e) {
    return e->generate && e->task == PARE_EXAMPLES_SEQ2SEQ && e->references &&
           e->references->count == pare_examples_count(e->examples) && e->tokenizer;
}

PareStatus pare_evaluate_check(const PareEvaluation *e, const PareDescription *d, PareError *err) {
    if (!e->examples || !has_texts(e))
        return PARE_OK;
    return pare_session_check_generation(d, e->generation, GENERATE_BATCH, err);
}

PareStatus pare_evaluate(const PareEvaluation *e, PareScores *out, PareError *err) {
    *out = (PareScores){0};
    PareStatus st = judge(e, out, err);
    return st || !has_texts(e) ? st : write_texts(e, out, err);
}
