/* What the stage writes: settings that identify a run, and the student. */
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/hash.h"
#include "distill/distill_impl.h"
#include "distill/ranks.h"
#include "formats/pare_file.h"

/* -- settings -- */

static void put_number(PareBuffer *b, const char *name, double value) {
    pare_buffer_printf(b, ",\"%s\":", name);
    pare_buffer_put_json_double(b, value);
}

static void put_count(PareBuffer *b, const char *name, uint64_t value) {
    pare_buffer_printf(b, ",\"%s\":%llu", name, (unsigned long long)value);
}

static void put_flag(PareBuffer *b, const char *name, bool value) {
    pare_buffer_printf(b, ",\"%s\":%s", name, value ? "true" : "false");
}

static void put_list(PareBuffer *b, const char *name, const PareStringList *list) {
    pare_buffer_printf(b, ",\"%s\":[", name);
    for (size_t i = 0; i < list->count; i++) {
        pare_buffer_puts(b, i ? "," : "");
        pare_buffer_put_json_string(b, list->items[i], strlen(list->items[i]));
    }
    pare_buffer_puts(b, "]");
}

static void put_methods(PareBuffer *b, unsigned methods) {
    static const char *const NAMES[] = {"finetune", "sft", "kd", "pseudo"};
    const char *comma = "";
    pare_buffer_puts(b, "{\"method\":\"");
    for (unsigned i = 0; i < 4; i++)
        if (methods & (1U << i)) {
            pare_buffer_printf(b, "%s%s", comma, NAMES[i]);
            comma = ",";
        }
    pare_buffer_puts(b, "\"");
}

static PareStatus put_file(PareDistill *j, PareBuffer *b, const char *name, const char *path) {
    char hash[PARE_SHA256_HEX_SIZE];
    uint64_t bytes;
    if (!path)
        return PARE_OK;
    PareStatus st = pare_file_sha256(path, &bytes, hash, j->err);
    pare_buffer_printf(b, ",\"%s\":{\"file\":", name);
    const char *base = pare_file_basename(path);
    pare_buffer_put_json_string(b, base, strlen(base));
    pare_buffer_printf(b, ",\"sha256\":\"%s\"}", st ? "" : hash);
    return st;
}

static void put_optimizer(const PareDistillOptions *o, PareBuffer *b) {
    static const char *const OPTIMIZERS[] = {"adamw", "adafactor", "sgd"};
    static const char *const SCHEDULES[] = {"constant", "linear", "cosine"};
    const PareOptimizerOptions *a = &o->optimizer;
    pare_buffer_put_json_member(b, "optimizer", OPTIMIZERS[a->kind]);
    put_number(b, "lr", o->rate);
    put_number(b, "weight_decay", a->weight_decay);
    put_number(b, "beta1", a->beta1);
    put_number(b, "beta2", a->beta2);
    put_number(b, "eps", a->eps);
    put_number(b, "momentum", a->momentum);
    put_flag(b, "nesterov", a->nesterov);
    put_flag(b, "relative_step", a->relative_step);
    put_flag(b, "scale_parameter", a->scale_parameter);
    put_number(b, "average", a->average);
    put_number(b, "clip", o->clip);
    pare_buffer_put_json_member(b, "schedule", SCHEDULES[o->schedule.kind]);
    put_count(b, "warmup_steps", o->schedule.warmup_steps);
    put_number(b, "warmup", o->schedule.warmup_share);
    put_number(b, "min_lr", o->schedule.min_ratio);
    put_list(b, "freeze", &o->freeze);
    put_list(b, "lr_factor", &o->lr_factor);
    put_list(b, "no_decay", &o->no_decay);
    put_flag(b, "train_encoder", o->train_encoder);
}

static void put_batches(const PareDistillOptions *o, PareBuffer *b) {
    put_count(b, "steps", o->steps);
    put_count(b, "epochs", o->steps ? 0 : o->epochs);
    put_count(b, "accumulate", o->accumulate);
    put_count(b, "batch_size", o->batches.batch_size);
    put_count(b, "batch_tokens", o->batches.batch_tokens);
    put_flag(b, "shuffle", o->batches.shuffle);
    put_flag(b, "buckets", o->batches.buckets);
    put_flag(b, "drop_last", o->batches.drop_last);
    put_count(b, "seed", o->batches.seed);
    put_count(b, "ranks", pare_ranks_count());
}

static void put_noise(const PareDistillOptions *o, const PareLossWeights *w, PareBuffer *b) {
    const PareNoise *n = &o->noise;
    put_number(b, "dropout", (double)n->dropout);
    put_number(b, "attention_dropout", (double)n->attention);
    put_number(b, "activation_dropout", (double)n->activation);
    put_number(b, "layer_drop", (double)n->layer_drop);
    put_number(b, "quant_noise", (double)n->quantize);
    put_flag(b, "quant_activations", n->quantize_rows);
    put_number(b, "label_weight", (double)w->label);
    put_number(b, "soft_weight", (double)w->soft);
    put_number(b, "temperature", (double)w->temperature);
    put_number(b, "label_smoothing", (double)w->smoothing);
    put_number(b, "hidden_weight", o->hidden);
    put_number(b, "attention_weight", o->attention);
}

static PareStatus put_evaluation(PareDistill *j, PareBuffer *b) {
    const PareDistillOptions *o = j->o;
    if (!j->validation)
        return PARE_OK;
    PareStatus st = put_file(j, b, "validation", o->validation);
    pare_buffer_printf(b, ",\"validation_examples\":\"%016llx\"",
                       (unsigned long long)pare_examples_digest(j->validation));
    pare_buffer_put_json_member(b, "metric", pare_score_name(j->setup.metric));
    put_count(b, "evaluate_every", o->evaluate_every);
    put_count(b, "patience", o->patience);
    put_flag(b, "keep_last", o->keep_last);
    return st;
}

/* Where a student's values come from that are not a model's that was opened. */
static PareStatus put_start(PareDistill *j, PareBuffer *b) {
    static const char *const SHARES[] = {"none", "embeddings", "layers"};
    const PareDistillOptions *o = j->o;
    PareStatus st = put_file(j, b, "student_config", o->student_config);
    if (!st)
        st = put_file(j, b, "encoder", o->encoder);
    if (!st)
        st = put_file(j, b, "decoder", o->decoder);
    if (o->encoder) {
        pare_buffer_put_json_member(b, "share", SHARES[o->share]);
        put_number(b, "decoder_start", (double)j->own.decoder_start);
        put_number(b, "eos", (double)j->own.eos.ids[0]);
        put_number(b, "pad", (double)j->own.pad);
    }
    if (o->encoder || o->fresh)
        put_flag(b, "fresh", o->fresh);
    if (o->fresh || o->student_config)
        put_flag(b, "copy_embeddings", o->copy_embeddings);
    return st;
}

PareStatus pare_distill_settings(PareDistill *j) {
    const PareDistillOptions *o = j->o;
    PareBuffer *b = &j->settings;
    put_methods(b, o->methods);
    PareStatus st = put_file(j, b, "teacher", o->teacher);
    if (!st)
        st = put_file(j, b, "student", o->student);
    if (!st)
        st = put_file(j, b, "data", o->data);
    pare_buffer_put_json_member(b, "layers", o->layers);
    if (!st)
        st = put_start(j, b);
    pare_buffer_printf(b, ",\"examples\":\"%016llx\"",
                       (unsigned long long)pare_examples_digest(j->examples));
    put_batches(o, b);
    put_optimizer(o, b);
    put_noise(o, &j->setup.objective.weights, b);
    if (!st)
        st = put_evaluation(j, b);
    if (o->methods & PARE_METHOD_PSEUDO) {
        put_flag(b, "mix", o->pseudo.mix);
        pare_buffer_puts(b, ",\"pseudo_generation\":");
        pare_generation_write(&j->writing, b);
    }
    if (j->setup.evaluation.generate) {
        pare_buffer_puts(b, ",\"validation_generation\":");
        pare_generation_write(&j->generation, b);
    }
    pare_buffer_puts(b, "}");
    if (!st)
        st = pare_buffer_ok(b, "the settings", j->err);
    if (st)
        return st;
    j->setup.settings = b->data;
    j->setup.state = j->state;
    return PARE_OK;
}

/* -- the student -- */

static PareStatus write_slot(PareDistill *j, PareFileWriter *w, size_t i) {
    const PareWeights *weights = j->weights;
    const PareSlot *s = &weights->slots.items[i];
    const PareWeightTensor *tensor = &weights->tensors[weights->tensor_of[i]];
    PareFileTensor t = {.name = s->name,
                        .dtype = PARE_F32,
                        .layout = PARE_LAYOUT_ROWS,
                        .dims = s->dims,
                        .shape = {s->shape[0], s->shape[1]},
                        .axes = {s->axes[0], s->axes[1]}};
    if (tensor->slot != i)
        return pare_file_writer_alias(w, &t, tensor->name, j->err);
    return pare_file_writer_tensor(w, &t, weights->data[i], j->err);
}

static PareStatus write_sections(PareDistill *j, PareFileWriter *w) {
    const void *bytes;
    size_t size;
    PareBuffer metadata = {0};
    PareStatus st = pare_distill_metadata(j, &metadata);
    if (!st)
        st = pare_file_writer_section(w, PARE_SECTION_METADATA, metadata.data, metadata.size,
                                      j->err);
    if (!st && pare_file_section(pare_model_file(j->like), PARE_SECTION_TOKENIZER, &bytes, &size))
        st = pare_file_writer_section(w, PARE_SECTION_TOKENIZER, bytes, size, j->err);
    pare_buffer_free(&metadata);
    return st;
}

static uint64_t count_parameters(const PareModel *m) {
    const PareFile *f = pare_model_file(m);
    uint64_t sum = 0;
    for (size_t i = 0; i < pare_file_count(f); i++) {
        const PareFileTensor *t = pare_file_tensor(f, i);
        if (!t->alias_of)
            sum += t->shape[0] * (t->dims == 2 ? t->shape[1] : 1);
    }
    return sum;
}

PareStatus pare_distill_write(PareDistill *j, PareDistillResult *out) {
    PareFileWriter *w = NULL;
    for (size_t i = 0; i < j->weights->tensor_count; i++)
        out->parameters +=
            j->weights->tensors[i].slot == SIZE_MAX ? 0 : j->weights->tensors[i].count;
    out->random = j->weights->filled;
    out->teacher_parameters = j->teacher ? count_parameters(j->teacher) : 0;
    if (pare_ranks_rank() != 0)
        return PARE_OK;
    PareStatus st = pare_file_writer_open(j->o->output, j->o->force, &w, j->err);
    for (size_t i = 0; i < j->weights->slots.count && !st; i++)
        st = write_slot(j, w, i);
    if (!st)
        st = write_sections(j, w);
    if (st) {
        pare_file_writer_abort(w);
        return st;
    }
    st = pare_file_writer_commit(w, j->err);
    if (!st)
        unlink(j->state); /* nothing is left to go on with */
    return st;
}
