/* Hidden states and attention of student and teacher. */
#include "learn/matching.h"

#include "learn/loss.h"

enum { LANES = 16 };

PareStatus pare_matching_check(const PareMatching *m, const PareDescription *student,
                               const PareDescription *teacher, PareError *err) {
    for (int s = 0; s < PARE_STACKS; s++) {
        const PareStack *a = &student->stacks[s], *b = &teacher->stacks[s];
        if (!m->supervisors[s] || m->attention == 0)
            continue;
        if (a->position == PARE_POSITION_RELATIVE || b->position == PARE_POSITION_RELATIVE)
            return pare_error_set(err, PARE_E_UNSUPPORTED,
                                  "attention cannot be matched in models with relative positions; "
                                  "match hidden states instead");
        for (uint32_t l = 0; l < a->layer_count; l++) {
            if (a->layers[l].self.window)
                return pare_error_set(err, PARE_E_UNSUPPORTED,
                                      "attention cannot be matched where it sees a window only");
            uint32_t heads = b->layers[m->supervisors[s][l]].self.heads;
            if (a->layers[l].self.heads != heads)
                return pare_error_set(err, PARE_E_UNSUPPORTED,
                                      "attention cannot be matched: layer %u of the student has %u "
                                      "heads, layer %u of the teacher %u",
                                      l, a->layers[l].self.heads, m->supervisors[s][l], heads);
        }
    }
    return PARE_OK;
}

PareTaps *pare_matching_taps(const PareMatching *m, const PareStack *stack, PareRun *r) {
    PareTaps *t = pare_arena_alloc(r->arena, 1, sizeof *t);
    bool failed = !t;
    if (t && m->hidden > 0) {
        t->hidden = pare_arena_alloc(r->arena, stack->layer_count + 1, sizeof *t->hidden);
        failed = !t->hidden;
    }
    if (t && m->attention > 0) {
        t->query = pare_arena_alloc(r->arena, stack->layer_count, sizeof *t->query);
        t->key = pare_arena_alloc(r->arena, stack->layer_count, sizeof *t->key);
        failed = failed || !t->query || !t->key;
    }
    if (failed && !r->status)
        r->status = pare_memory_error(r->err, "hidden states");
    return t;
}

/* -- hidden states -- */

/* Without simulated quantization: a projection is no part of the model that will be quantized. */
static PareValue *project(PareRun *r, PareValue *x, const PareLinear *projection) {
    PareNoise *noise = r->noise;
    r->noise = NULL;
    PareValue *y = pare_op_linear(r, x, projection);
    r->noise = noise;
    return y;
}

static void match_hidden(const PareMatching *m, PareRun *r, const PareMatchedStack *s,
                         uint32_t layer, double *loss) {
    PareValue *x = s->student_taps->hidden[layer + 1];
    const PareValue *y = s->teacher_taps->hidden[m->supervisors[s->index][layer] + 1];
    if (m->projections[s->index])
        x = project(r, x, &m->projections[s->index][layer]);
    if (!x || !y)
        return;
    double share = (double)x->rows / (double)s->batch_rows / (double)s->pairs;
    float *dx = r->tape ? pare_grad_open(r, x->grad, NULL) : NULL;
    *loss += pare_loss_squared(x->data, y->data, dx, x->rows, x->cols, m->hidden * share);
}

/* -- attention -- */

/* One layer of one model: rows of queries and keys, and how they meet. */
typedef struct {
    const PareAttentionShape *shape;
    const float *q, *k;
    float *dq, *dk;
} Side;

typedef struct {
    const PareKernels *kernels;
    const PareRows *rows;
    Side student, teacher;
    bool causal;
    size_t longest;
    double weight;
    float *scratch; /* per thread: 4 * longest */
    double *losses; /* [sequences, heads] */
} AttentionJob;

/* In sixteen lanes, which compilers make vectors of. */
static float dot(const float *a, const float *b, size_t n) {
    float lanes[LANES] = {0}, sum = 0;
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (size_t l = 0; l < LANES; l++)
            lanes[l] += a[i + l] * b[i + l];
    for (; i < n; i++)
        lanes[i % LANES] += a[i] * b[i];
    for (size_t l = 0; l < LANES; l++)
        sum += lanes[l];
    return sum;
}

static const float *query_row(const Side *s, size_t row, size_t head) {
    return s->q + (row * s->shape->heads + head) * s->shape->head_size;
}

static size_t key_offset(const Side *s, size_t row, size_t head) {
    size_t kv = head * s->shape->kv_heads / s->shape->heads;
    return (row * s->shape->kv_heads + kv) * s->shape->head_size;
}

/* Scores of one query row; returns log(sum exp). */
static double score_row(const AttentionJob *j, const Side *s, size_t begin, size_t row, size_t keys,
                        size_t head, float *out) {
    float max, log;
    for (size_t k = 0; k < keys; k++)
        out[k] = s->shape->scale * dot(query_row(s, begin + row, head),
                                       s->k + key_offset(s, begin + k, head), s->shape->head_size);
    j->kernels->log_sum_exp(out, keys, &max, &log);
    return (double)max + log;
}

/* Adds the gradient of one row's scores to queries and keys. */
static void add_row_gradient(const AttentionJob *j, size_t begin, size_t row, size_t keys,
                             size_t head, const float *ds) {
    const Side *s = &j->student;
    size_t D = s->shape->head_size;
    size_t q = (size_t)(query_row(s, begin + row, head) - s->q);
    for (size_t k = 0; k < keys; k++) {
        size_t key = key_offset(s, begin + k, head);
        if (s->dq)
            j->kernels->add_scaled(s->dq + q, s->k + key, ds[k] * s->shape->scale, D);
        if (s->dk)
            j->kernels->add_scaled(s->dk + key, s->q + q, ds[k] * s->shape->scale, D);
    }
}

static double match_row(const AttentionJob *j, size_t begin, size_t row, size_t keys, size_t head,
                        float *scratch) {
    float *a = scratch, *b = a + j->longest, *q = b + j->longest, *p = q + j->longest;
    double student = score_row(j, &j->student, begin, row, keys, head, a);
    double teacher = score_row(j, &j->teacher, begin, row, keys, head, b), loss = 0;
    j->kernels->softmax(q, a, keys);
    j->kernels->softmax(p, b, keys);
    for (size_t k = 0; k < keys; k++) {
        loss += p[k] * ((b[k] - teacher) - (a[k] - student));
        a[k] = (float)(j->weight * ((double)q[k] - p[k]));
    }
    if (j->student.dq || j->student.dk)
        add_row_gradient(j, begin, row, keys, head, a);
    return loss;
}

/* Every (sequence, key/value head) is one piece, so that each gradient has one writer. */
static void match_pieces(void *context, size_t begin, size_t end, size_t thread) {
    const AttentionJob *j = context;
    const PareAttentionShape *shape = j->student.shape;
    size_t group = shape->heads / shape->kv_heads;
    float *scratch = j->scratch + thread * 4 * j->longest;
    for (size_t i = begin; i < end; i++) {
        const PareRows *rows = &j->rows[i / shape->kv_heads];
        size_t first = i % shape->kv_heads * group;
        for (size_t head = first; head < first + group; head++) {
            double loss = 0;
            for (size_t row = 0; row < rows->count; row++)
                loss += match_row(j, rows->begin, row, j->causal ? row + 1 : rows->count, head,
                                  scratch);
            j->losses[i / shape->kv_heads * shape->heads + head] = loss;
        }
    }
}

static void match_attention(const PareMatching *m, PareRun *r, const PareMatchedStack *s,
                            uint32_t layer, double *loss) {
    uint32_t above = m->supervisors[s->index][layer];
    PareValue *q = s->student_taps->query[layer], *k = s->student_taps->key[layer];
    PareValue *tq = s->teacher_taps->query[above], *tk = s->teacher_taps->key[above];
    if (!q || !k || !tq || !tk)
        return;
    const PareAttentionShape *shape = &s->student->layers[layer].self;
    PareArenaMark mark = pare_arena_mark(r->arena);
    double rows = (double)s->batch_rows * shape->heads;
    AttentionJob job = {
        .kernels = r->kernels,
        .rows = s->rows,
        .student = {.shape = shape, .q = q->data, .k = k->data},
        .teacher = {.shape = &s->teacher->layers[above].self, .q = tq->data, .k = tk->data},
        .causal = s->index == PARE_DECODER,
        .longest = 1,
        .weight = m->attention / rows / (double)s->pairs};
    for (size_t i = 0; i < s->sequences; i++)
        job.longest = s->rows[i].count > job.longest ? s->rows[i].count : job.longest;
    job.student.dq = r->tape ? pare_grad_open(r, q->grad, NULL) : NULL;
    job.student.dk = r->tape ? pare_grad_open(r, k->grad, NULL) : NULL;
    job.scratch =
        pare_arena_alloc_raw(r->arena, 4 * job.longest * pare_pool_threads(r->pool), sizeof(float));
    job.losses = pare_arena_alloc(r->arena, s->sequences * shape->heads, sizeof *job.losses);
    if (!job.scratch || !job.losses)
        r->status = r->status ? r->status : pare_memory_error(r->err, "attention");
    if (!r->status)
        pare_pool_for(r->pool, s->sequences * shape->kv_heads, 1, match_pieces, &job);
    for (size_t i = 0; !r->status && i < s->sequences * shape->heads; i++)
        *loss += job.losses[i] * job.weight;
    pare_arena_release(r->arena, mark);
}

void pare_matching_run(const PareMatching *m, PareRun *r, const PareMatchedStack *s, double *hidden,
                       double *attention) {
    for (uint32_t l = 0; l < s->student->layer_count && !r->status; l++) {
        if (m->hidden > 0)
            match_hidden(m, r, s, l, hidden);
        if (m->attention > 0)
            match_attention(m, r, s, l, attention);
    }
}
