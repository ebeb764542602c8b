/* One table of relative biases for a whole stack.
 *
 * The framework keeps the table of the first layer and uses it in all of them: column h is that of
 * head h everywhere. After pruning, layers have kept different heads, each with the columns of its
 * own. Here every column becomes one of the framework's, equal ones the same, and each layer's
 * heads move to where their columns are. The order of heads changes nothing in what is computed. */
#include <stdio.h>
#include <string.h>

#include "convert/export_impl.h"

typedef struct {
    PareExport *e;
    int stack;
    uint32_t buckets;
} Merge;

void pare_export_bias_name(unsigned stack, uint32_t layer, char *out, size_t size) {
    static const char *const NAMES[PARE_STACKS] = {"encoder", "decoder"};
    snprintf(out, size, "%s.layers.%u.self.relative", NAMES[stack % PARE_STACKS], layer);
}

static const float *table_of(const PareExport *e, int stack, uint32_t layer) {
    char name[96];
    pare_export_bias_name((unsigned)stack, layer, name, sizeof name);
    const PareFileTensor *t = pare_file_find(pare_model_file(e->model), name);
    return t ? t->data : NULL;
}

static bool same_column(const Merge *m, PareBiasColumn a, PareBiasColumn b) {
    const PareLayerShape *layers = m->e->held.stacks[m->stack].layers;
    const float *x = table_of(m->e, m->stack, a.layer), *y = table_of(m->e, m->stack, b.layer);
    size_t nx = layers[a.layer].self.heads, ny = layers[b.layer].self.heads;
    for (size_t i = 0; i < m->buckets; i++)
        if (memcmp(&x[i * nx + a.head], &y[i * ny + b.head], sizeof *x) != 0)
            return false;
    return true;
}

/* Heads of one layer never share a column: each needs a head of the framework's for itself. */
static void place_head(Merge *m, PareHeadPlaces *p, PareBiasColumn head) {
    PareBiasColumn *columns = m->e->columns[m->stack];
    uint32_t *count = &m->e->column_count[m->stack], at = 0;
    while (at < *count && (p->from[at] >= 0 || !same_column(m, columns[at], head)))
        at++;
    if (at == *count)
        columns[(*count)++] = head;
    p->from[at] = (int32_t)head.head;
}

static PareStatus merge_stack(Merge *m, PareError *err) {
    PareExport *e = m->e;
    const PareStack *k = &e->held.stacks[m->stack];
    size_t most = 0;
    for (uint32_t i = 0; i < k->layer_count; i++)
        most += k->layers[i].self.heads;
    e->columns[m->stack] = pare_arena_alloc(e->arena, most, sizeof *e->columns[0]);
    e->places[m->stack] = pare_arena_alloc(e->arena, k->layer_count, sizeof *e->places[0]);
    if (!e->columns[m->stack] || !e->places[m->stack])
        return pare_memory_error(err, "the relative biases");
    for (uint32_t i = 0; i < k->layer_count; i++) {
        PareHeadPlaces *p = &e->places[m->stack][i];
        p->count = e->column_count[m->stack] + k->layers[i].self.heads;
        p->from = pare_arena_alloc(e->arena, p->count, sizeof *p->from);
        if (!p->from)
            return pare_memory_error(err, "the relative biases");
        for (uint32_t u = 0; u < p->count; u++)
            p->from[u] = -1;
        for (uint32_t h = 0; h < k->layers[i].self.heads; h++)
            place_head(m, p, (PareBiasColumn){i, h});
    }
    return PARE_OK;
}

PareStatus pare_export_places(PareExport *e, PareError *err) {
    PareStatus st = PARE_OK;
    for (int s = 0; s < PARE_STACKS && !st; s++) {
        const PareStack *k = &e->held.stacks[s];
        Merge m = {e, s, k->relative_buckets};
        if (k->present && k->position == PARE_POSITION_RELATIVE)
            st = merge_stack(&m, err);
    }
    return st;
}
