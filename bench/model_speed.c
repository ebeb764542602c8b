/* Whole-model speed on random weights of real sizes: encoders in sequences a second, decoders in
 * tokens a second, for F32, F16 and INT8 files.
 *
 *     bench/model [SHAPE [TYPE [THREADS]]]
 *
 * SHAPE: bert-base, small, gpt2, marian; TYPE: f32, fp16, int8; default: all shapes, f32 and int8,
 * two threads. The best of several runs is printed. bench/pytorch.py measures PyTorch alike. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "core/memory.h"
#include "core/random.h"
#include "quantize/quantize.h"
#include "runtime/session.h"

enum { RUNS = 5, ENCODER_TOKENS = 128, PROMPT = 512, NEW_TOKENS = 64, TRANSLATION = 32 };

typedef struct {
    const char *name;
    uint32_t encoder, decoder, width, heads, ffn, vocabulary, positions;
} Shape;

static const Shape SHAPES[] = {
    {"bert-base", 12, 0, 768, 12, 3072, 30522, 512},
    {"small", 4, 0, 312, 12, 1200, 30522, 512},
    {"gpt2", 0, 12, 768, 12, 3072, 50257, 1024},
    {"marian", 6, 6, 512, 8, 2048, 58101, 512},
};

static void die(PareStatus st, const PareError *err) {
    if (!st)
        return;
    fprintf(stderr, "bench: %s\n", err->message);
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* -- a random model -- */

static void fill_stack(PareDescription *d, PareStackIndex s, const Shape *shape, uint32_t layers,
                       bool cross) {
    PareError err = {0};
    uint32_t size = shape->width / shape->heads;
    PareAttentionShape a = {shape->heads, shape->heads, size, 1.0F / sqrtf((float)size), 0};
    PareStack *k = &d->stacks[s];
    *k = (PareStack){.present = true,
                     .width = shape->width,
                     .embedding_width = shape->width,
                     .vocabulary = shape->vocabulary,
                     .position = PARE_POSITION_TABLE,
                     .positions = shape->positions,
                     .embedding_scale = 1.0F,
                     .norm_eps = 1e-5F,
                     .activation = PARE_ACT_GELU,
                     .attention_bias = true,
                     .ffn_bias = true,
                     .cross = cross,
                     .embedding_norm = true};
    PareLayerShape l = {.self = a, .ffn = shape->ffn};
    if (cross)
        l.cross = a;
    die(pare_stack_set_layers(d, s, layers, l, &err), &err);
}

static void describe(const Shape *shape, PareDescription *d) {
    bool both = shape->encoder && shape->decoder;
    if (shape->encoder)
        fill_stack(d, PARE_ENCODER, shape, shape->encoder, false);
    if (shape->decoder)
        fill_stack(d, PARE_DECODER, shape, shape->decoder, both);
    d->head = (PareOutputHead){.kind = PARE_HEAD_LM, .scale = 1.0F};
    if (!shape->decoder)
        d->head = (PareOutputHead){.kind = PARE_HEAD_SEQUENCE,
                                   .labels = 2,
                                   .pool = PARE_POOL_FIRST,
                                   .pool_dense = true,
                                   .pool_activation = PARE_ACT_TANH,
                                   .bias = true,
                                   .scale = 1.0F};
}

/* Where a slot's values stand when they are another slot's: tied embeddings. */
static const char *tied_to(const Shape *shape, const char *name) {
    bool both = shape->encoder && shape->decoder;
    if (strcmp(name, "decoder.embed.tokens") == 0 && both)
        return "encoder.embed.tokens";
    if (strcmp(name, "head.output.weight") == 0 && shape->decoder)
        return both ? "encoder.embed.tokens" : "decoder.embed.tokens";
    return NULL;
}

static void write_slot(PareFileWriter *w, const Shape *shape, const PareSlot *s, uint64_t stream) {
    PareError err = {0};
    PareFileTensor t = {.name = s->name, .dtype = PARE_F32, .dims = s->dims};
    size_t count = 1;
    for (uint32_t i = 0; i < s->dims; i++) {
        t.shape[i] = s->shape[i];
        t.axes[i] = s->axes[i];
        count *= (size_t)s->shape[i];
    }
    const char *target = tied_to(shape, s->name);
    if (target) {
        die(pare_file_writer_alias(w, &t, target, &err), &err);
        return;
    }
    float *x = pare_alloc(count, sizeof *x);
    float spread = s->role == PARE_ROLE_NORM ? 0.0F : 0.08F;
    float middle = s->role == PARE_ROLE_NORM && !strstr(s->name, "bias") ? 1.0F : 0.0F;
    for (size_t i = 0; i < count; i += 4) {
        uint32_t words[4];
        pare_random_block(1, stream, i, words);
        for (size_t k = 0; k < 4 && i + k < count; k++)
            x[i + k] = middle + spread * ((float)(words[k] >> 8) * 0x1p-24F - 0.5F);
    }
    t.bytes = count * sizeof *x;
    die(pare_file_writer_tensor(w, &t, x, &err), &err);
    pare_free(x);
}

static void write_model(const Shape *shape, const char *path) {
    PareError err = {0};
    PareArena *arena = pare_arena_create(0);
    PareDescription d = {.arena = arena};
    PareSlots slots;
    PareFileWriter *w;
    PareBuffer metadata = {0};
    describe(shape, &d);
    die(pare_slots_list(&d, arena, &slots, &err), &err);
    die(pare_file_writer_open(path, true, &w, &err), &err);
    for (size_t i = 0; i < slots.count; i++)
        write_slot(w, shape, &slots.items[i], i);
    pare_buffer_puts(&metadata, "{\"description\":");
    pare_description_write(&d, &metadata);
    pare_buffer_puts(&metadata, "}");
    die(pare_file_writer_section(w, PARE_SECTION_METADATA, metadata.data, metadata.size, &err),
        &err);
    die(pare_file_writer_commit(w, &err), &err);
    pare_buffer_free(&metadata);
    pare_arena_destroy(arena);
}

/* -- measuring -- */

typedef struct {
    PareSession *s;
    const Shape *shape;
    int32_t ids[1024];
} Bench;

static PareStatus ignore(void *context, size_t sequence, size_t row, const float *values, size_t n,
                         PareError *err) {
    (void)context, (void)sequence, (void)row, (void)values, (void)n, (void)err;
    return PARE_OK;
}

static double time_encoder(Bench *b, size_t batch) {
    PareSequence q[64];
    PareError err = {0};
    double best = 1e30;
    for (size_t i = 0; i < batch; i++)
        q[i] = (PareSequence){.ids = b->ids, .count = ENCODER_TOKENS};
    for (int run = 0; run <= RUNS; run++) {
        double start = now();
        die(pare_session_run(b->s, q, batch, PARE_ROWS_LOGITS, ignore, NULL, &err), &err);
        best = fmin(best, now() - start);
    }
    return best;
}

static double time_generate(Bench *b, size_t batch, uint32_t beams, size_t prompt,
                            uint32_t tokens) {
    PareSequence q[64];
    PareGenerated out[64];
    PareError err = {0};
    PareGeneration g = pare_generation_defaults();
    double best = 1e30;
    g.num_beams = beams;
    g.max_new_tokens = tokens;
    g.decoder_start = 0;
    for (size_t i = 0; i < batch; i++)
        q[i] = (PareSequence){.ids = b->ids, .count = prompt};
    for (int run = 0; run <= RUNS / 2; run++) {
        double start = now();
        die(pare_session_generate(b->s, q, batch, &g, out, &err), &err);
        best = fmin(best, now() - start);
    }
    return best;
}

static void measure(Bench *b) {
    const Shape *s = b->shape;
    if (!s->decoder) {
        for (size_t batch = 1; batch <= 8; batch *= 8)
            printf("  %d tokens, batch %zu: %.1f sequences/s\n", ENCODER_TOKENS, batch,
                   (double)batch / time_encoder(b, batch));
    } else if (!s->encoder) {
        double first = time_generate(b, 1, 1, PROMPT, 1);
        double few = time_generate(b, 1, 1, 16, 1), many = time_generate(b, 1, 1, 16, NEW_TOKENS);
        printf("  prompt of %d: %.0f tokens/s; decode: %.1f tokens/s\n", PROMPT, PROMPT / first,
               (NEW_TOKENS - 1) / (many - few));
    } else {
        for (uint32_t beams = 1; beams <= 4; beams *= 4)
            for (size_t batch = 1; batch <= 16; batch *= 16)
                printf("  %d -> %d tokens, beams %u, batch %zu: %.0f tokens/s\n", TRANSLATION,
                       TRANSLATION, beams, batch,
                       (double)(batch * TRANSLATION) /
                           time_generate(b, batch, beams, TRANSLATION, TRANSLATION));
    }
    fflush(stdout);
}

static void bench_file(const Shape *shape, const char *type, const char *path, size_t threads) {
    PareError err = {0};
    PareModel *m;
    Bench b = {.shape = shape};
    for (size_t i = 0; i < 1024; i++)
        b.ids[i] = (int32_t)pare_random_below(2, 0, i, shape->vocabulary);
    die(pare_model_open(path, &m, &err), &err);
    die(pare_session_create(m, threads, &b.s, &err), &err);
    printf("%s %s, %zu threads, %s\n", shape->name, type, threads, pare_kernels()->name);
    measure(&b);
    pare_session_destroy(b.s);
    pare_model_close(m);
}

static void bench_shape(const Shape *shape, const char *only, size_t threads) {
    static const char *const TYPES[] = {"f32", "int8", "fp16"};
    const char *tmp = getenv("TMPDIR");
    char f32[256], other[256];
    snprintf(f32, sizeof f32, "%s/pare-bench-%ld.f32", tmp ? tmp : "/tmp", (long)getpid());
    snprintf(other, sizeof other, "%s/pare-bench-%ld.q", tmp ? tmp : "/tmp", (long)getpid());
    write_model(shape, f32);
    for (size_t i = 0; i < 3; i++) {
        PareError err = {0};
        PareQuantizeTotals totals;
        PareQuantizeOptions o = {.input = f32, .output = other, .force = true};
        if (only ? strcmp(only, TYPES[i]) != 0 : i == 2)
            continue;
        if (i > 0) {
            pare_quantize_parse_type(TYPES[i], &o.to);
            die(pare_quantize(&o, &totals, &err), &err);
        }
        bench_file(shape, TYPES[i], i ? other : f32, threads);
    }
    unlink(f32);
    unlink(other);
}

int main(int argc, char **argv) {
    size_t threads = argc > 3 ? (size_t)strtoul(argv[3], NULL, 10) : 2;
    for (size_t i = 0; i < sizeof SHAPES / sizeof *SHAPES; i++)
        if (argc < 2 || strcmp(argv[1], SHAPES[i].name) == 0)
            bench_shape(&SHAPES[i], argc > 2 ? argv[2] : NULL, threads);
    return 0;
}
