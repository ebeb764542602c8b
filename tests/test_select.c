/* Selection with made-up scores: which units go, of equal ones too, in layers and over all of them;
 * alignment, tied lists, fewer key/value heads, layers, targets, and scores of what is left. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/memory.h"
#include "prune/select.h"

enum { LAYERS = 3, HEADS = 4, UNITS = 10, WIDTH = 16 };

/* An encoder-decoder of three layers each, its scores, ties and plan. */
typedef struct {
    PareArena *arena;
    PareDescription d;
    PareLayerShape shapes[PARE_STACKS][LAYERS];
    PareImportance scores;
    PareLayerScores layers[PARE_STACKS][LAYERS];
    double heads[PARE_STACKS][LAYERS][2][HEADS], units[PARE_STACKS][LAYERS][UNITS];
    double layer[PARE_STACKS][LAYERS], width[PARE_STACKS][WIDTH];
    PareTies ties;
    ParePrunePlan plan;
    PareSelectKept kept;
} World;

static void ok(PareStatus st, const PareError *err) {
    if (st)
        fail_msg("%s", err->message);
}

/* Scores rise with the numbers of stack, layer and unit. */
static void fill_scores(World *w, int s, int l) {
    for (int b = 0; b < 2; b++)
        for (int h = 0; h < HEADS; h++)
            w->heads[s][l][b][h] = 100 * s + 10 * l + h + 1;
    for (int u = 0; u < UNITS; u++)
        w->units[s][l][u] = 100 * s + 10 * l + u + 1;
    w->layer[s][l] = l + 1;
    w->layers[s][l].heads[0] = w->heads[s][l][0];
    w->layers[s][l].heads[1] = s == PARE_DECODER ? w->heads[s][l][1] : NULL;
    w->layers[s][l].ffn = w->units[s][l];
}

static World *begin(void) {
    PareError err;
    World *w = calloc(1, sizeof *w);
    w->arena = pare_arena_create(0);
    for (int s = 0; s < PARE_STACKS; s++) {
        w->d.stacks[s] = (PareStack){.present = true,
                                     .width = WIDTH,
                                     .vocabulary = 7,
                                     .layer_count = LAYERS,
                                     .layers = w->shapes[s]};
        for (int l = 0; l < LAYERS; l++) {
            PareAttentionShape a = {.heads = HEADS, .kv_heads = HEADS, .head_size = 4};
            w->shapes[s][l] = (PareLayerShape){.self = a, .ffn = UNITS};
            if (s == PARE_DECODER)
                w->shapes[s][l].cross = a;
            fill_scores(w, s, l);
        }
        for (int k = 0; k < WIDTH; k++)
            w->width[s][k] = k;
        w->scores.stacks[s] = (PareStackScores){w->layers[s], w->layer[s], w->width[s]};
    }
    ok(pare_ties_none(&w->d, w->arena, &w->ties, &err), &err);
    ok(pare_prune_plan_whole(&w->d, w->arena, &w->plan, &err), &err);
    return w;
}

static void end(World *w) {
    pare_arena_destroy(w->arena);
    free(w);
}

static void cut(World *w, PareSelection s) {
    PareError err;
    ok(pare_select(&w->d, &w->ties, &w->scores, &s, &w->plan, &w->kept, &err), &err);
    ok(pare_prune_plan_check(&w->plan, &w->d, &err), &err);
}

/* The kept units as text, "0 2"; "all". */
static const char *text(const PareKeep *keep) {
    static char out[256];
    size_t used = 0;
    if (keep->all)
        return "all";
    out[0] = 0;
    for (uint32_t i = 0; i < keep->count; i++)
        used +=
            (size_t)snprintf(out + used, sizeof out - used, "%s%u", i ? " " : "", keep->units[i]);
    return out;
}

static const char *self(const World *w, int s, int l) {
    return text(&w->plan.stacks[s].layers[l].heads[PARE_BLOCK_SELF]);
}

static const char *cross(const World *w, int l) {
    return text(&w->plan.stacks[PARE_DECODER].layers[l].heads[PARE_BLOCK_CROSS]);
}

static const char *ffn(const World *w, int s, int l) {
    return text(&w->plan.stacks[s].layers[l].ffn);
}

/* Every layer loses the same share, to the nearest unit; one unit stays whatever the share. */
static void uniform(void **state) {
    (void)state;
    World *w = begin();
    w->heads[0][1][0][0] = 9000;
    cut(w, (PareSelection){.heads = 0.25, .units = 0.35});
    assert_string_equal(self(w, 0, 0), "1 2 3");
    assert_string_equal(self(w, 0, 1), "0 2 3");
    assert_string_equal(cross(w, 2), "1 2 3");
    assert_string_equal(ffn(w, 1, 2), "4 5 6 7 8 9"); /* 3.5 of 10 */
    assert_string_equal(text(&w->plan.stacks[0].width), "all");
    cut(w, (PareSelection){.heads = 1, .units = 1, .min_kept = 0.15});
    assert_string_equal(self(w, 0, 0), "3");
    assert_string_equal(self(w, 0, 1), "0");
    assert_string_equal(ffn(w, 0, 0), "8 9");
    end(w);
}

/* Of equal scores the lower unit number stays, and the earlier layer. */
static void equal_scores(void **state) {
    (void)state;
    World *w = begin();
    for (int s = 0; s < PARE_STACKS; s++)
        for (int l = 0; l < LAYERS; l++)
            for (int u = 0; u < UNITS; u++)
                w->units[s][l][u] = 0.5;
    cut(w, (PareSelection){.units = 0.3});
    assert_string_equal(ffn(w, 0, 0), "0 1 2 3 4 5 6");
    cut(w, (PareSelection){.units = 0.35, .scope = PARE_SCOPE_GLOBAL});
    assert_string_equal(ffn(w, 0, 2), "0 1 2 3 4 5 6");
    assert_string_equal(ffn(w, 1, 1), "0 1 2 3 4 5 6");
    assert_string_equal(ffn(w, 1, 2), "0 1 2 3"); /* 21 of 60: three more */
    end(w);
}

/* What is gone already counts towards the share. */
static void lists_count(void **state) {
    (void)state;
    PareError err;
    World *w = begin();
    PareKeep *keep = &w->plan.stacks[0].layers[0].heads[0];
    ok(pare_prune_plan_drop(&w->plan, keep, 3, HEADS, "test", &err), &err);
    cut(w, (PareSelection){.heads = 0.25});
    assert_string_equal(self(w, 0, 0), "0 1 2");
    cut(w, (PareSelection){.heads = 0.5});
    assert_string_equal(self(w, 0, 0), "1 2");
    assert_string_equal(self(w, 0, 1), "2 3");
    end(w);
    w = begin();
    keep = &w->plan.stacks[0].layers[1].ffn;
    ok(pare_prune_plan_keep(&w->plan, keep, NULL, 0, UNITS, "test", &err), &err);
    cut(w, (PareSelection){.units = 0.5});
    assert_string_equal(ffn(w, 0, 1), ""); /* a sublayer that is gone stays gone */
    assert_string_equal(ffn(w, 0, 2), "5 6 7 8 9");
    end(w);
}

/* Over all layers: the lowest of all, or the lowest after each list was divided by its norm. */
static void ranked(void **state) {
    (void)state;
    World *w = begin();
    cut(w, (PareSelection){.heads = 0.25, .scope = PARE_SCOPE_GLOBAL}); /* 9 of 36 */
    assert_string_equal(self(w, 0, 0), "3");
    assert_string_equal(self(w, 0, 1), "3");
    assert_string_equal(self(w, 0, 2), "3");
    assert_string_equal(self(w, 1, 0), "all");
    assert_string_equal(cross(w, 0), "all");
    end(w);
    w = begin();
    for (int s = 0; s < PARE_STACKS; s++)
        for (int l = 0; l < LAYERS; l++)
            for (int b = 0; b < 2; b++)
                for (int h = 0; h < HEADS; h++)
                    w->heads[s][l][b][h] = (h + 1) * (s || l ? 1 : 1e-3);
    cut(w, (PareSelection){.heads = 0.25, .scope = PARE_SCOPE_GLOBAL, .normalize = true});
    assert_string_equal(self(w, 0, 0), "1 2 3");
    assert_string_equal(self(w, 1, 2), "1 2 3");
    assert_string_equal(cross(w, 1), "1 2 3");
    end(w);
    w = begin();
    cut(w, (PareSelection){.heads = 0.5, .scope = PARE_SCOPE_GLOBAL, .min_kept = 0.5});
    assert_string_equal(self(w, 0, 0), "2 3");
    assert_string_equal(cross(w, 2), "2 3");
    end(w);
}

static void aligned(void **state) {
    (void)state;
    World *w = begin();
    cut(w, (PareSelection){.heads = 0.5, .units = 0.3, .width = 0.3, .align = 4});
    assert_string_equal(self(w, 0, 0), "2 3");            /* 2 heads of 4 are 8 */
    assert_string_equal(ffn(w, 0, 0), "2 3 4 5 6 7 8 9"); /* 7 become 8 */
    assert_string_equal(text(&w->plan.stacks[0].width), "4 5 6 7 8 9 10 11 12 13 14 15");
    assert_int_equal(w->kept.heads, 0);
    assert_int_equal(w->kept.units, 6);
    assert_int_equal(w->kept.width, 2);
    end(w);
    w = begin();
    cut(w, (PareSelection){.heads = 0.25, .align = 8}); /* 3 of 4 heads are 12 */
    assert_string_equal(self(w, 0, 0), "all");
    assert_int_equal(w->kept.heads, 9);
    end(w);
    w = begin();
    cut(w, (PareSelection){.heads = 0.75, .head_multiple = {{2, 2}}});
    assert_string_equal(self(w, 0, 0), "2 3");
    end(w);
}

/* Tied lists: the sum decides, all members lose the same, and what a list took of one goes of all.
 */
static void tied(void **state) {
    (void)state;
    PareError err;
    World *w = begin();
    for (uint32_t i = 0; i < w->ties.count; i++)
        assert_int_equal(pare_plan_list_number(&w->d, pare_plan_list_at(&w->d, i)), i);
    uint32_t a = pare_plan_list_number(
        &w->d, (ParePlanList){.kind = PARE_PLAN_SELF, .stack = PARE_ENCODER, .layer = 1});
    uint32_t b = pare_plan_list_number(
        &w->d, (ParePlanList){.kind = PARE_PLAN_SELF, .stack = PARE_DECODER, .layer = 1});
    pare_ties_join(&w->ties, b, a);
    const double first[HEADS] = {1, 2, 3, 4}, second[HEADS] = {9, 5, 2, 1};
    memcpy(w->heads[0][1][0], first, sizeof first);
    memcpy(w->heads[1][1][0], second, sizeof second);
    cut(w, (PareSelection){.heads = 0.5}); /* sums: 10 7 5 5 */
    assert_string_equal(self(w, 0, 1), "0 1");
    assert_string_equal(self(w, 1, 1), "0 1");
    assert_string_equal(self(w, 1, 0), "2 3");
    end(w);
    w = begin();
    pare_ties_join(&w->ties, a, b);
    PareKeep *keep = &w->plan.stacks[1].layers[1].heads[0];
    ok(pare_prune_plan_drop(&w->plan, keep, 2, HEADS, "test", &err), &err);
    cut(w, (PareSelection){.heads = 0.25});
    assert_string_equal(self(w, 0, 1), "0 1 3");
    assert_string_equal(self(w, 1, 1), "0 1 3");
    end(w);
    w = begin();
    pare_ties_join(&w->ties, a, b); /* two heads at once: 1 of 36 is less than half of that */
    for (int h = 0; h < HEADS; h++)
        w->heads[0][1][0][h] = w->heads[1][1][0][h] = 0.25 + h;
    cut(w, (PareSelection){.heads = 2.0 / 36, .scope = PARE_SCOPE_GLOBAL});
    assert_string_equal(self(w, 0, 1), "1 2 3");
    assert_string_equal(self(w, 1, 1), "1 2 3");
    assert_string_equal(self(w, 0, 0), "all");
    end(w);
}

/* Fewer key/value heads than heads. */
static void grouped(void **state) {
    (void)state;
    World *w = begin();
    const double scores[HEADS] = {4, 1, 2, 3};
    for (int l = 0; l < LAYERS; l++) {
        w->shapes[0][l].self.kv_heads = 2; /* heads 0 1 and 2 3 */
        memcpy(w->heads[0][l][0], scores, sizeof scores);
    }
    cut(w, (PareSelection){.heads = 0.5}); /* the lowest of both groups */
    assert_string_equal(self(w, 0, 0), "0 3");
    assert_string_equal(text(&w->plan.stacks[0].layers[0].kv[0]), "all");
    end(w);
    w = begin();
    w->shapes[0][0].self.kv_heads = 2;
    const double equal[HEADS] = {1, 1, 1, 2};
    memcpy(w->heads[0][0][0], equal, sizeof equal);
    cut(w, (PareSelection){.heads = 0.5}); /* of equal ones the lower stays */
    assert_string_equal(self(w, 0, 0), "0 3");
    end(w);
    w = begin();
    w->shapes[0][0].self.heads = 8; /* of 4 key/value heads: 0 1, 2 3, 4 5, 6 7 */
    double eight[] = {9, 9, 1, 2, 3, 1, 9, 9};
    w->layers[0][0].heads[0] = eight;
    PareError err;
    PareKeep *keep = &w->plan.stacks[0].layers[0].heads[0];
    const uint32_t left[] = {0, 2, 5, 7};
    ok(pare_prune_plan_keep(&w->plan, keep, left, 4, 8, "test", &err), &err);
    cut(w, (PareSelection){.heads = 0.75}); /* one of each group is left: whole groups go */
    assert_string_equal(self(w, 0, 0), "0 7");
    assert_string_equal(text(&w->plan.stacks[0].layers[0].kv[0]), "0 3");
    end(w);
}

static void layers(void **state) {
    (void)state;
    PareError err;
    PareStackCounts counts;
    World *w = begin();
    w->layer[0][1] = 0.5;
    w->layer[1][0] = w->layer[1][1] = w->layer[1][2] = 1;
    ok(pare_layer_counts_parse("dec=2,enc=2", &w->d, &counts, &err), &err);
    ok(pare_select_layers(&w->d, &w->scores, &counts, &w->plan, &err), &err);
    assert_int_equal(w->plan.stacks[0].layer_count, 2);
    assert_int_equal(w->plan.stacks[0].layers[1].layer, 2);
    assert_int_equal(w->plan.stacks[1].layers[1].layer, 1); /* of equal ones the last went */
    const char *const bad[] = {
        "2",    "enc=0",   "enc=4", "enc=2,enc=1", "enc=2,",
        "enc=", "enc=1+2", "",      "dec=1;",      "enc=99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_int_equal(pare_layer_counts_parse(bad[i], &w->d, &counts, &err), PARE_E_USAGE);
    counts = (PareStackCounts){{2, 3}};
    assert_int_equal(pare_select_layers(&w->d, &w->scores, &counts, &w->plan, &err), PARE_OK);
    w->plan.stacks[0].layer_count = 1;
    assert_int_equal(pare_select_layers(&w->d, &w->scores, &counts, &w->plan, &err), PARE_E_USAGE);
    w->d.stacks[PARE_DECODER].present = false;
    ok(pare_layer_counts_parse("2", &w->d, &counts, &err), &err);
    assert_int_equal(counts.count[0], 2);
    assert_int_equal(pare_layer_counts_parse("dec=2", &w->d, &counts, &err), PARE_E_USAGE);
    end(w);
}

/* A unit costs 1, a head 10. */
static PareStatus cost(void *context, ParePrunePlan *plan, double *out, PareError *err) {
    const PareDescription *d = context;
    PareDescription after;
    PareStatus st = pare_prune_plan_describe(plan, d, &after, err);
    *out = 0;
    for (int s = 0; s < PARE_STACKS && !st; s++)
        for (uint32_t l = 0; l < after.stacks[s].layer_count; l++) {
            const PareLayerShape *shape = &after.stacks[s].layers[l];
            *out += 10 * (shape->self.heads + shape->cross.heads) + shape->ffn;
        }
    return st;
}

static PareTargetResult search(World *w, unsigned kinds, double limit) {
    PareError err;
    PareTargetResult r;
    PareTarget t = {.cut = kinds, .limit = limit, .measure = cost, .context = &w->d};
    ok(pare_select_target(&w->d, &w->ties, &w->scores, &t, &w->plan, &r, &err), &err);
    assert_string_equal(self(w, 0, 0), "all"); /* the plan is as it was */
    return r;
}

static void targets(void **state) {
    (void)state;
    World *w = begin(); /* 36 heads, 60 units: 420 */
    PareTargetResult r = search(w, PARE_CUT_HEADS | PARE_CUT_UNITS, 420);
    assert_true(r.found && r.share == 0 && r.reached == 420);
    r = search(w, PARE_CUT_HEADS | PARE_CUT_UNITS, 300); /* 2 heads and 4 units of every list */
    assert_true(r.found && r.reached == 9 * 20 + 6 * 6);
    assert_true(r.share > 0.3749 && r.share < 0.3751);
    r = search(w, PARE_CUT_UNITS, 400);
    assert_true(r.found && r.reached == 396);
    r = search(w, PARE_CUT_HEADS | PARE_CUT_UNITS, 95);
    assert_true(!r.found && r.least == 96);
    r = search(w, PARE_CUT_HEADS | PARE_CUT_UNITS, 96);
    assert_true(r.found && r.reached == 96);
    end(w);
}

/* Scores of the pruned model stand at the original's numbers. */
static void mapped(void **state) {
    (void)state;
    PareError err;
    World *w = begin();
    cut(w, (PareSelection){.heads = 0.5, .units = 0.8, .width = 0.5});
    w->plan.stacks[0].layers[1] = w->plan.stacks[0].layers[2]; /* without layer 1 */
    w->plan.stacks[0].layer_count = 2;
    PareImportance out;
    ok(pare_select_map(&w->scores, &w->plan, &w->d, w->arena, &out, &err), &err);
    const PareStackScores *e = &out.stacks[0];
    assert_true(e->layer[0] == 1 && e->layer[1] == 0 && e->layer[2] == 2);
    assert_true(e->layers[2].heads[0][1] == 0 && e->layers[2].heads[0][3] == w->heads[0][1][0][1]);
    assert_true(e->layers[0].ffn[8] == w->units[0][0][0] && e->layers[0].ffn[0] == 0);
    assert_true(e->layers[1].ffn[9] == 0 && e->width[8] == 0 && e->width[9] == 1);
    assert_null(e->layers[0].heads[1]);
    end(w);
}

static void without_memory(void **state) {
    (void)state;
    PareError err;
    for (uint64_t n = 1; n < 24; n++) {
        World *w = begin();
        PareSelection s = {.heads = 0.5, .units = 0.5};
        pare_memory_fail_after(n);
        PareStatus st = pare_select(&w->d, &w->ties, &w->scores, &s, &w->plan, &w->kept, &err);
        pare_memory_fail_after(0);
        assert_true(st == PARE_OK || st == PARE_E_MEMORY);
        end(w);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uniform), cmocka_unit_test(equal_scores),   cmocka_unit_test(lists_count),
        cmocka_unit_test(ranked),  cmocka_unit_test(aligned),        cmocka_unit_test(tied),
        cmocka_unit_test(grouped), cmocka_unit_test(layers),         cmocka_unit_test(targets),
        cmocka_unit_test(mapped),  cmocka_unit_test(without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
