/* Token embeddings: rows of tables, and their gradients. */
#include "runtime/ops_impl.h"

/* Elements below which waking other threads costs more than it brings. */
enum { SMALL = 1 << 14 };

typedef struct {
    const PareKernels *kernels;
    const PareStackParams *p;
    const PareTokens *tokens;
    float *y;
    float scale;
    size_t offset;
    const PareSimulation *simulation; /* NULL: none */
} Embed;

/* A row of the token table as the model sees it. */
static void token_row(const Embed *j, size_t id, float *y) {
    const PareWeight *w = &j->p->tokens;
    if (j->simulation)
        pare_simulate_row(j->simulation, (const float *)w->data + id * w->K, id, w->K, y);
    else
        pare_weight_row(w, id, y);
}

static void embed_rows(void *context, size_t begin, size_t end, size_t thread) {
    const Embed *j = context;
    size_t K = j->p->tokens.K;
    (void)thread;
    for (size_t i = begin; i < end; i++) {
        float *y = j->y + i * K;
        token_row(j, (size_t)j->tokens->ids[i], y);
        if (j->scale != 1.0F)
            j->kernels->scale(y, y, j->scale, K);
        if (j->p->types) {
            size_t type = j->tokens->types ? (size_t)j->tokens->types[i] : 0;
            j->kernels->add(y, y, j->p->types + type * K, K);
        }
        if (j->p->positions)
            j->kernels->add(y, y, j->p->positions + (j->offset + j->tokens->positions[i]) * K, K);
    }
}

/* -- backward -- */

typedef struct {
    PareNode node;
    PareTokens tokens;
    float scale;
    size_t offset, cols;
    int32_t padding;                      /* the token whose row learns nothing here; -1: none */
    float *dtokens, *dtypes, *dpositions; /* of the tables; NULL when frozen */
    PareGrad *dy;
    const PareKernels *kernels;
} EmbedNode;

/* Every thread goes over all rows in order and adds its columns of them. */
static void scatter_columns(void *context, size_t begin, size_t end, size_t thread) {
    const EmbedNode *n = context;
    size_t K = n->cols, count = end - begin;
    const PareTokens *t = &n->tokens;
    (void)thread;
    for (size_t i = 0; i < t->count; i++) {
        const float *dy = n->dy->data + i * K + begin;
        if (n->dtokens && t->ids[i] != n->padding)
            n->kernels->add_scaled(n->dtokens + (size_t)t->ids[i] * K + begin, dy, n->scale, count);
        if (n->dtypes) {
            float *to = n->dtypes + (t->types ? (size_t)t->types[i] : 0) * K + begin;
            n->kernels->add(to, to, dy, count);
        }
        if (n->dpositions) {
            float *to = n->dpositions + (n->offset + t->positions[i]) * K + begin;
            n->kernels->add(to, to, dy, count);
        }
    }
}

static void embed_backward(PareRun *r, PareNode *node) {
    EmbedNode *n = (EmbedNode *)node;
    if (!n->dy->data)
        return;
    bool small = n->tokens.count * n->cols < SMALL;
    pare_pool_for(small ? NULL : r->pool, n->cols, 64, scatter_columns, n);
    pare_grad_close(r, n->dy);
}

static void record_embed(PareRun *r, const Embed *job, PareValue *y) {
    float *dtokens = pare_tape_param(r, job->p->tokens.data);
    float *dtypes = pare_tape_param(r, job->p->types);
    float *dpositions = pare_tape_param(r, job->p->positions);
    EmbedNode *n =
        dtokens || dtypes || dpositions ? pare_tape_record(r, sizeof *n, embed_backward) : NULL;
    if (!n)
        return;
    n->tokens = *job->tokens;
    n->scale = job->scale;
    n->offset = job->offset;
    n->cols = y->cols;
    n->padding = pare_tape_padding(r);
    n->dtokens = dtokens;
    n->dtypes = dtypes;
    n->dpositions = dpositions;
    n->kernels = r->kernels;
    n->dy = y->grad = pare_tape_grad(r, y->rows * y->cols);
}

PareValue *pare_op_embed(PareRun *r, const PareStackParams *p, float scale, size_t position_offset,
                         const PareTokens *tokens) {
    PareSimulation simulation;
    PareValue *y = pare_op_new(r, tokens->count, p->tokens.K);
    if (!y)
        return NULL;
    Embed job = {.kernels = r->kernels,
                 .p = p,
                 .tokens = tokens,
                 .y = y->data,
                 .scale = scale,
                 .offset = position_offset};
    if (r->noise && r->noise->quantize > 0 && p->tokens.dtype == PARE_F32) {
        simulation = pare_noise_simulation(r->noise, r->noise->quantize);
        job.simulation = &simulation;
    }
    bool small = y->rows * y->cols < SMALL;
    pare_pool_for(small ? NULL : r->pool, y->rows, 8, embed_rows, &job);
    record_embed(r, &job, y);
    return y;
}
