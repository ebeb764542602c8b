/* Conversion: the golden checkpoints, names in both directions, settings honoured or refused, ties,
 * tensors that are missing, left over, mis-shaped or not finite. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "convert/convert_impl.h"
#include "convert/info.h"
#include "core/file.h"
#include "formats/pare_file.h"

#define GOLDENS "tests/data/goldens/"

static char folder[256], output[300];

static const char *const NAMES[] = {
    "bert-cls",   "bert-mlm",  "bert-model", "bert-qa",   "bert-token-cls", "gpt2-lm",
    "bart",       "marian",    "t5",         "t5-v1_1",   "v5-bart",        "v5-bert-cls",
    "v5-gpt2-lm", "v5-marian", "v5-t5",      "v5-t5-v1_1"};
enum { GOLDEN_COUNT = sizeof NAMES / sizeof *NAMES };

/* -- a folder of our own -- */

static char *read_text(const char *path, size_t *size) {
    char *text;
    PareError err;
    if (pare_file_read(path, 1 << 26, &text, size, &err))
        fail_msg("%s", err.message);
    return text;
}

static void write_file(const char *name, const void *bytes, size_t size) {
    char path[600];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    fclose(f);
}

static void copy_file(const char *golden, const char *name) {
    char path[600];
    size_t size;
    snprintf(path, sizeof path, GOLDENS "%s/%s", golden, name);
    if (access(path, R_OK) != 0)
        return;
    char *text = read_text(path, &size);
    write_file(name, text, size);
    pare_free(text);
}

static void copy_golden(const char *golden) {
    static const char *const FILES[] = {"config.json", "generation_config.json",
                                        "pytorch_model.bin", "model.safetensors"};
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        char path[600];
        snprintf(path, sizeof path, "%s/%s", folder, FILES[i]);
        unlink(path);
        copy_file(golden, FILES[i]);
    }
    unlink(output);
}

/* Sets a field of the folder's config.json to `value` (JSON), or takes it out (NULL). */
static void set_field(const char *key, const char *value) {
    char path[600];
    size_t size;
    snprintf(path, sizeof path, "%s/config.json", folder);
    char *text = read_text(path, &size);
    PareJsonDoc *doc;
    PareError err;
    assert_int_equal(pare_json_parse(text, size, path, &doc, &err), PARE_OK);
    PareBuffer out = {0};
    const char *comma = "{";
    for (const PareJson *n = pare_json_first(pare_json_root(doc)); n; n = pare_json_next(n)) {
        if (strcmp(pare_json_key(n), key) == 0)
            continue;
        char *node = pare_json_print(n);
        pare_buffer_printf(&out, "%s\"%s\":%s", comma, pare_json_key(n), node);
        pare_free(node);
        comma = ",";
    }
    if (value)
        pare_buffer_printf(&out, ",\"%s\":%s", key, value);
    pare_buffer_puts(&out, "}");
    write_file("config.json", out.data, out.size);
    pare_buffer_free(&out);
    pare_json_free(doc);
    pare_free(text);
}

static PareConvertOptions plain(void) {
    return (PareConvertOptions){.folder = folder, .no_tokenizer = true};
}

static PareConvert *open_convert(PareConvertOptions options) {
    PareConvert *c;
    PareError err;
    if (pare_convert_open(&options, &c, &err))
        fail_msg("%s", err.message);
    return c;
}

static PareConvert *convert(PareConvertOptions options) {
    PareConvert *c = open_convert(options);
    PareError err;
    if (pare_convert_write(c, output, true, NULL, &err))
        fail_msg("%s", err.message);
    return c;
}

static void assert_contains(const char *text, const char *part) {
    if (!strstr(text, part))
        fail_msg("expected \"%s\" in: %s", part, text);
}

static void assert_refused(PareConvertOptions options, const char *part) {
    PareConvert *c;
    PareError err;
    PareStatus st = pare_convert_open(&options, &c, &err);
    if (!st) {
        st = pare_convert_write(c, output, true, NULL, &err);
        pare_convert_close(c);
    }
    if (!st)
        fail_msg("accepted; expected a refusal with \"%s\"", part);
    assert_contains(err.message, part);
    assert_int_not_equal(access(output, F_OK), 0);
}

/* -- names -- */

static void rewrites_patterns(void **state) {
    (void)state;
    char out[64];
    assert_true(pare_pattern_rewrite("a.%.q.*", "b.*.%", "a.12.q.weight", out, sizeof out));
    assert_string_equal(out, "b.weight.12");
    assert_true(pare_pattern_rewrite("a", "b.%", "a", out, sizeof out) == false);
    assert_false(pare_pattern_rewrite("a.%.q", "b", "a.01.q", out, sizeof out));
    assert_false(pare_pattern_rewrite("a.%.q", "b", "a.x.q", out, sizeof out));
    assert_false(pare_pattern_rewrite("a.%.q", "b", "a.123456.q", out, sizeof out));
    assert_false(pare_pattern_rewrite("a.*", "b", "a.gamma", out, sizeof out));
    assert_false(pare_pattern_rewrite("a.*", "b", "a.weight.x", out, sizeof out));
    assert_false(pare_pattern_rewrite("a.*", "b.*", "a.weight", out, 8));
    assert_true(pare_pattern_rewrite("a.*", "b.*", "a.weight", out, 9));
}

/* Each tensor that a slot came from is the slot's name by the rule, and leads back to the slot. */
static void check_names(const PareConvert *c) {
    const PareFamily *f = c->model.family;
    char name[256], back[256];
    for (size_t i = 0; i < c->plan.count; i++) {
        const ParePlanItem *item = &c->plan.items[i];
        if (item->kind != PARE_FROM_TENSOR)
            continue;
        bool prefixed = c->model.description.head.kind != PARE_HEAD_NONE;
        assert_true(
            pare_rule_tensor_name(f, item->rule, item->slot->name, prefixed, name, sizeof name));
        assert_string_equal(name, item->tensor->name);
        size_t prefix = strncmp(name, f->prefix, strlen(f->prefix)) == 0 ? strlen(f->prefix) : 0;
        const char *tail = item->rule->flags & PARE_RULE_OUTER ? name : name + prefix;
        assert_true(
            pare_pattern_rewrite(item->rule->tensor, item->rule->slot, tail, back, sizeof back));
        assert_string_equal(back, item->slot->name);
    }
}

static void check_file(const PareConvert *c) {
    PareFile *file;
    PareError err;
    if (pare_file_open(output, &file, &err) || pare_file_verify(file, &err))
        fail_msg("%s", err.message);
    assert_int_equal(pare_file_count(file), c->plan.count);
    for (size_t i = 0; i < c->plan.count; i++) {
        const PareSlot *s = c->plan.items[i].slot;
        const PareFileTensor *t = pare_file_tensor(file, i);
        assert_string_equal(t->name, s->name);
        assert_int_equal(t->dims, s->dims);
        assert_int_equal(t->shape[0], s->shape[0]);
        assert_int_equal(t->shape[1], s->dims == 2 ? s->shape[1] : 0);
        assert_true(pare_axis_equal(t->axes[0], s->axes[0]));
        assert_int_equal(t->alias_of != NULL, c->plan.items[i].kind == PARE_FROM_ALIAS);
    }
    pare_file_close(file);
}

static void converts_goldens(void **state) {
    (void)state;
    for (size_t i = 0; i < GOLDEN_COUNT; i++) {
        char path[300];
        snprintf(path, sizeof path, GOLDENS "%s", NAMES[i]);
        PareConvertOptions options = {.folder = path, .no_tokenizer = true};
        PareConvert *c = convert(options);
        print_message("%s: %zu tensors, %zu shared\n", NAMES[i], c->summary.tensors,
                      c->summary.shared);
        assert_string_equal(pare_convert_summary(c)->warnings, "");
        check_names(c);
        check_file(c);
        pare_convert_close(c);
    }
}

/* However many threads there are. */
static void repeats_bytes(void **state) {
    (void)state;
    size_t first_size = 0, size;
    char *first = NULL;
    copy_golden("t5");
    for (size_t threads = 0; threads < 6; threads++) {
        PareConvertOptions options = plain();
        options.threads = threads;
        pare_convert_close(convert(options));
        char *bytes = read_text(output, &size);
        first_size = first ? first_size : size;
        first = first ? first : bytes;
        assert_int_equal(size, first_size);
        assert_memory_equal(bytes, first, size);
        if (bytes != first)
            pare_free(bytes);
    }
    assert_null(strstr(first, folder)); /* no path of the machine */
    pare_free(first);
}

/* An input that is gone when its checksum is taken: it is named, whichever thread noticed first. */
static void blames_what_failed(void **state) {
    (void)state;
    char path[600];
    snprintf(path, sizeof path, "%s/config.json", folder);
    for (size_t threads = 1; threads < 4; threads++) {
        PareError err = {0};
        copy_golden("t5");
        PareConvertOptions options = plain();
        options.threads = threads;
        PareConvert *c = open_convert(options);
        unlink(path);
        assert_int_equal(pare_convert_write(c, output, true, NULL, &err), PARE_E_IO);
        assert_contains(err.message, "config.json: cannot open");
        assert_int_equal(pare_convert_write(c, output, true, NULL, NULL), PARE_E_IO);
        pare_convert_close(c);
        assert_int_not_equal(access(output, F_OK), 0);
    }
}

/* The stored values of one slot. */
static float *slot_values(const PareFile *file, const char *name, size_t *count) {
    const PareFileTensor *t = pare_file_find(file, name);
    assert_non_null(t);
    *count = (size_t)(t->shape[0] * (t->dims == 2 ? t->shape[1] : 1));
    float *v = pare_alloc(*count, sizeof *v);
    pare_file_read_f32(t, v);
    return v;
}

static float *tensor_values(PareConvert *c, const char *name, size_t *count) {
    PareError err;
    const PareCheckpointTensor *t = pare_checkpoint_find(c->checkpoint, name);
    assert_non_null(t);
    assert_true(pare_tensor_elements(&t->type, count));
    float *v = pare_alloc(*count, sizeof *v);
    assert_int_equal(pare_checkpoint_read_f32(c->checkpoint, t, v, &err), PARE_OK);
    return v;
}

static PareFile *open_output(void) {
    PareFile *file;
    PareError err;
    if (pare_file_open(output, &file, &err))
        fail_msg("%s", err.message);
    return file;
}

/* c_attn [32, 96] holds query, key and value side by side, each transposed. */
static void turns_and_splits(void **state) {
    static const char *const PARTS[] = {"query", "key", "value"};
    enum { W = 32 };
    (void)state;
    copy_golden("gpt2-lm");
    PareConvert *c = convert(plain());
    PareFile *file = open_output();
    size_t count, fused_count, bias_count;
    float *fused = tensor_values(c, "transformer.h.1.attn.c_attn.weight", &fused_count);
    float *bias = tensor_values(c, "transformer.h.1.attn.c_attn.bias", &bias_count);
    for (size_t p = 0; p < 3; p++) {
        char name[64];
        snprintf(name, sizeof name, "decoder.layers.1.self.%s.weight", PARTS[p]);
        float *w = slot_values(file, name, &count);
        assert_int_equal(count, W * W);
        for (size_t r = 0; r < W; r++)
            for (size_t k = 0; k < W; k++)
                assert_memory_equal(&w[r * W + k], &fused[k * 3 * W + p * W + r], sizeof *w);
        pare_free(w);
        snprintf(name, sizeof name, "decoder.layers.1.self.%s.bias", PARTS[p]);
        w = slot_values(file, name, &count);
        assert_int_equal(count, W);
        assert_memory_equal(w, bias + p * W, W * sizeof *w);
        pare_free(w);
    }
    pare_free(fused);
    pare_free(bias);
    pare_file_close(file);
    pare_convert_close(c);
}

/* -- settings -- */

typedef struct {
    const char *golden, *key, *value, *refusal;
} Refusal;

static void refuses_settings(void **state) {
    static const Refusal CASES[] = {
        {"bert-cls", "model_type", "\"xlnet\"", "known ones are bert, gpt2, bart, marian, t5"},
        {"bert-cls", "model_type", NULL, "there is no \"model_type\""},
        {"bert-cls", "architectures", "[\"BertLMHeadModel\"]", "known are BertForSequence"},
        {"bert-cls", "architectures", "[]", "must name one class"},
        {"bert-cls", "hidden_act", "\"mish\"", "\"hidden_act\" names the activation \"mish\""},
        {"bert-cls", "hidden_size", "\"32\"", "hidden_size"},
        {"bert-cls", "hidden_size", "33", "is not a multiple"},
        {"bert-cls", "num_attention_heads", "0", "is not a multiple"},
        {"bert-cls", "vocab_size", "95", "has the shape [96, 32]; expected [95, 32]"},
        {"bert-cls", "intermediate_size", "65", "has the shape [64, 32]; expected [65, 32]"},
        {"bert-cls", "max_position_embeddings", "63", "position_embeddings"},
        {"bert-cls", "position_embedding_type", "\"relative_key\"", "\"position_embedding_type\""},
        {"bert-cls", "is_decoder", "true", "\"is_decoder\" is true"},
        {"bert-cls", "add_cross_attention", "true", "\"add_cross_attention\" is true"},
        {"bert-cls", "quantization_config", "{\"bits\": 4}", "\"quantization_config\""},
        {"bert-cls", "id2label", "{\"0\": \"a\", \"2\": \"b\"}", "\"id2label\" has the key \"2\""},
        {"bert-cls", "id2label", "{\"0\": \"a\", \"1\": \"b\"}", "expected [2, 32]"},
        {"bert-cls", "num_hidden_layers", "4", "encoder.layer.3"},
        {"bert-cls", "num_hidden_layers", "2", "16 tensors have no place"},
        {"bert-cls", "pruned_heads", "{\"0\": [0, 1, 2, 3]}", "leaves layer 0 no head"},
        {"bert-cls", "pruned_heads", "{\"0\": [0, 0]}", "must hold different heads"},
        {"bert-cls", "pruned_heads", "{\"3\": [0]}", "names layer \"3\" of 3"},
        {"bert-cls", "pruned_heads", "{\"1\": [2]}", "expected [24, 32]"},
        {"bert-qa", "num_labels", "3", "expected 2 (start and end)"},
        {"bert-cls", "architectures", "[\"BertForMaskedLM\"]", "are missing"},
        {"gpt2-lm", "add_cross_attention", "true", "\"add_cross_attention\" is true"},
        {"gpt2-lm", "activation_function", "\"x\"", "\"activation_function\""},
        {"gpt2-lm", "hidden_size", "64", "\"n_embd\" is 32 but \"hidden_size\""},
        {"gpt2-lm", "n_inner", "100", "has the shape [32, 128]; expected [32, 100]"},
        {"gpt2-lm", "do_sample", "true", "\"do_sample\""},
        {"bart", "normalize_before", "true", "\"normalize_before\" is true"},
        {"bart", "add_final_layer_norm", "true", "\"add_final_layer_norm\" is true"},
        {"bart", "static_position_embeddings", "true", "\"static_position_embeddings\""},
        {"bart", "extra_pos_embeddings", "0", "\"extra_pos_embeddings\" is 0"},
        {"bart", "decoder_ffn_dim", "32", "decoder.layers.0.fc1"},
        {"marian", "static_position_embeddings", "false", "\"static_position_embeddings\""},
        {"marian", "normalize_embedding", "true", "\"normalize_embedding\" is true"},
        {"t5", "feed_forward_proj", "\"gated-gelu-x\"", "\"feed_forward_proj\""},
        {"t5", "is_gated_act", "true", "are missing"},
        {"t5", "d_kv", "8", "expected [32, 32]"},
        {"t5-v1_1", "dense_act_fn", "\"none\"", "\"dense_act_fn\" names"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        const Refusal *r = &CASES[i];
        copy_golden(r->golden);
        set_field(r->key, r->value);
        assert_refused(plain(), r->refusal);
    }
}

static PareConvert *with_field(const char *golden, const char *key, const char *value) {
    copy_golden(golden);
    set_field(key, value);
    return open_convert(plain());
}

static void honours_scales(void **state) {
    (void)state;
    PareConvert *c = with_field("gpt2-lm", "scale_attn_by_inverse_layer_idx", "true");
    const PareStack *s = &c->model.description.stacks[PARE_DECODER];
    double base = 0.35355339059327373; /* 1 / sqrt(8) */
    for (uint32_t i = 0; i < s->layer_count; i++)
        assert_float_equal(s->layers[i].self.scale, (float)(base / (double)(i + 1)), 1e-7F);
    pare_convert_close(c);
    c = with_field("gpt2-lm", "scale_attn_weights", "false");
    assert_float_equal(c->model.description.stacks[PARE_DECODER].layers[1].self.scale, 1, 0);
    pare_convert_close(c);
    c = with_field("bart", "scale_embedding", "true");
    assert_float_equal(c->model.description.stacks[PARE_DECODER].embedding_scale, 5.656854, 1e-5);
    pare_convert_close(c);
    c = with_field("t5", "scale_decoder_outputs", "false");
    assert_float_equal(c->model.description.head.scale, 1, 0);
    pare_convert_close(c);
    c = with_field("t5", "vocab_size", "96");
    assert_float_equal(c->model.description.head.scale, 0.17677669, 1e-7);
    pare_convert_close(c);
}

static void honours_activations(void **state) {
    static const struct {
        const char *golden, *key, *value;
        PareActivation act;
        bool gated;
    } CASES[] = {{"bert-cls", "hidden_act", "\"gelu_pytorch_tanh\"", PARE_ACT_GELU_TANH, false},
                 {"bert-cls", "hidden_act", "\"quick_gelu\"", PARE_ACT_GELU_QUICK, false},
                 {"bert-cls", "hidden_act", NULL, PARE_ACT_GELU, false},
                 {"gpt2-lm", "activation_function", NULL, PARE_ACT_GELU_TANH, false},
                 {"marian", "activation_function", "\"silu\"", PARE_ACT_SILU, false},
                 {"t5", "dense_act_fn", NULL, PARE_ACT_RELU, false},
                 {"t5-v1_1", "dense_act_fn", NULL, PARE_ACT_GELU_TANH, true},
                 {"t5-v1_1", "dense_act_fn", "\"silu\"", PARE_ACT_SILU, true}};
    (void)state;
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++) {
        PareConvert *c = with_field(CASES[i].golden, CASES[i].key, CASES[i].value);
        const PareDescription *d = &c->model.description;
        assert_int_equal(d->stacks[pare_description_top(d)].activation, CASES[i].act);
        assert_int_equal(d->stacks[pare_description_top(d)].gated, CASES[i].gated);
        pare_convert_close(c);
    }
}

static void reads_labels(void **state) {
    (void)state;
    PareConvert *c = with_field("bert-token-cls", "id2label",
                                "{\"2\": \"two\", \"0\": \"zero\", \"1\": \"one\"}");
    assert_int_equal(c->model.description.head.labels, 3);
    assert_string_equal(c->model.labels[2], "two");
    pare_convert_close(c);
    copy_golden("bert-cls");
    set_field("id2label", NULL); /* two by default: the classifier has three */
    assert_refused(plain(), "expected [2, 32]");
}

static void warns_of_unknown_fields(void **state) {
    (void)state;
    PareConvert *c = with_field("bart", "sparse_window", "7");
    assert_contains(pare_convert_summary(c)->warnings, "\"sparse_window\" is not known");
    pare_convert_close(c);
    copy_golden("gpt2-lm");
    char path[600];
    snprintf(path, sizeof path, "%s/generation_config.json", folder);
    unlink(path);
    set_field("eos_token_id", "50256");
    c = open_convert(plain());
    assert_contains(pare_convert_summary(c)->warnings, "\"eos_token_id\" is 50256");
    assert_int_equal(c->model.generation.eos.count, 0);
    pare_convert_close(c);
}

static void reads_generation(void **state) {
    static const char FILE_TEXT[] = "{\"eos_token_id\": [2, 3], \"num_beams\": 3}";
    (void)state;
    copy_golden("bart");
    char path[600];
    snprintf(path, sizeof path, "%s/generation_config.json", folder);
    unlink(path);
    set_field("forced_eos_token_id", NULL); /* the family's default: 2 */
    set_field("num_beams", "5");
    set_field("force_bos_token_to_be_generated", "true");
    PareConvert *c = open_convert(plain());
    assert_int_equal(c->model.generation.num_beams, 5);
    assert_int_equal(c->model.generation.forced_eos, 2);
    assert_int_equal(c->model.generation.forced_bos, 0);
    assert_int_equal(c->model.generation.decoder_start, 2);
    pare_convert_close(c);
    write_file("generation_config.json", FILE_TEXT, sizeof FILE_TEXT - 1);
    c = open_convert(plain()); /* it decides alone, but for special tokens it leaves out */
    assert_int_equal(c->model.generation.num_beams, 3);
    assert_int_equal(c->model.generation.forced_eos, -1);
    assert_int_equal(c->model.generation.eos.count, 2);
    assert_int_equal(c->model.generation.pad, 1);
    pare_convert_close(c);
    unlink(path);
}

/* -- tensors -- */

/* A safetensors file with float32 tensors; `values` repeats over all elements. */
typedef struct {
    const char *name;
    size_t rows, cols; /* cols 0: a vector */
    float value;
} Made;

static void write_safetensors(const Made *made, size_t count) {
    PareBuffer head = {0}, file = {0}, data = {0};
    for (size_t i = 0; i < count; i++) {
        size_t elements = made[i].rows * (made[i].cols ? made[i].cols : 1), from = data.size;
        for (size_t e = 0; e < elements; e++)
            pare_buffer_put_f32(&data, made[i].value);
        pare_buffer_printf(&head, "%s\"%s\":{\"dtype\":\"F32\",\"shape\":[%zu", i ? "," : "{",
                           made[i].name, made[i].rows);
        if (made[i].cols)
            pare_buffer_printf(&head, ",%zu", made[i].cols);
        pare_buffer_printf(&head, "],\"data_offsets\":[%zu,%zu]}", from, data.size);
    }
    pare_buffer_puts(&head, "}");
    while (head.size % 8)
        pare_buffer_putc(&head, ' ');
    pare_buffer_put_u64(&file, head.size);
    pare_buffer_append(&file, head.data, head.size);
    pare_buffer_append(&file, data.data, data.size);
    write_file("model.safetensors", file.data, file.size);
    pare_buffer_free(&head);
    pare_buffer_free(&file);
    pare_buffer_free(&data);
}

/* A decoder without layers: only embeddings, the last norm and the output. */
static const Made TINY[] = {{"transformer.wte.weight", 5, 4, 0.5F},
                            {"transformer.wpe.weight", 3, 4, 0.25F},
                            {"transformer.ln_f.weight", 4, 0, 1.0F},
                            {"transformer.ln_f.bias", 4, 0, 0.0F},
                            {"lm_head.weight", 5, 4, 0.75F}};

static void make_tiny(size_t from, size_t to, float output_value, const char *tie) {
    static const char FORMAT[] =
        "{\"model_type\":\"gpt2\",\"architectures\":[\"GPT2LMHeadModel\"],\"n_layer\":0,"
        "\"n_embd\":4,\"n_head\":1,\"vocab_size\":5,\"n_positions\":3,\"bos_token_id\":1,"
        "\"eos_token_id\":1%s}";
    char config[512];
    Made made[5];
    copy_golden("v5-gpt2-lm");
    int size = snprintf(config, sizeof config, FORMAT, tie);
    write_file("config.json", config, (size_t)size);
    memcpy(made, TINY, sizeof made);
    made[4].value = output_value;
    write_safetensors(made + from, to - from);
    snprintf(config, sizeof config, "%s/generation_config.json", folder);
    unlink(config);
}

static size_t shared_count(const char *warning) {
    PareConvert *c = convert(plain());
    size_t shared = c->summary.shared;
    if (*warning)
        assert_contains(pare_convert_summary(c)->warnings, warning);
    else
        assert_string_equal(pare_convert_summary(c)->warnings, "");
    pare_convert_close(c);
    return shared;
}

static void ties_as_the_reference(void **state) {
    (void)state;
    make_tiny(0, 4, 0, ""); /* no output layer: tied */
    assert_int_equal(shared_count(""), 1);
    make_tiny(0, 5, 0.5F, ""); /* the same values: tied */
    assert_int_equal(shared_count(""), 1);
    make_tiny(0, 5, 0.75F, ""); /* others: both are kept */
    assert_int_equal(shared_count("both are kept"), 0);
    make_tiny(0, 5, 0.75F, ",\"tie_word_embeddings\":false");
    assert_int_equal(shared_count(""), 0);
    make_tiny(0, 5, 0.5F, ",\"tie_word_embeddings\":false");
    assert_int_equal(shared_count(""), 0);
    make_tiny(1, 5, 0.75F, ""); /* only the output layer: the embedding is tied to it */
    assert_int_equal(shared_count(""), 1);
    make_tiny(0, 4, 0, ",\"tie_word_embeddings\":false");
    assert_refused(plain(), "1 tensor of GPT2LMHeadModel missing: lm_head.weight");
}

static void names_missing_and_unused(void **state) {
    static const char *const GLOBS[] = {"*head*"};
    (void)state;
    make_tiny(2, 5, 0.5F, ",\"tie_word_embeddings\":false");
    assert_refused(plain(), "2 tensors of GPT2LMHeadModel missing: transformer.wte.weight, "
                            "transformer.wpe.weight");
    make_tiny(0, 5, 0.75F, "");
    set_field("architectures", "[\"GPT2Model\"]");
    assert_refused(plain(), "1 tensor has no place in GPT2Model: lm_head.weight; --allow-unused");
    PareConvertOptions options = plain();
    options.allow_unused = (PareStringList){(const char **)(size_t)GLOBS, 1};
    pare_convert_close(convert(options));
}

static void reads_old_names(void **state) {
    static const Made MADE[] = {{"embeddings.word_embeddings.weight", 3, 2, 1},
                                {"embeddings.position_embeddings.weight", 4, 2, 1},
                                {"embeddings.token_type_embeddings.weight", 2, 2, 1},
                                {"embeddings.LayerNorm.gamma", 2, 0, 1},
                                {"embeddings.LayerNorm.beta", 2, 0, 1}};
    static const char CONFIG[] =
        "{\"model_type\":\"bert\",\"architectures\":[\"BertModel\"],\"num_hidden_layers\":0,"
        "\"hidden_size\":2,\"num_attention_heads\":1,\"vocab_size\":3,"
        "\"max_position_embeddings\":4}";
    (void)state;
    copy_golden("v5-bert-cls");
    write_file("config.json", CONFIG, sizeof CONFIG - 1);
    write_safetensors(MADE, 5);
    PareConvert *c = convert(plain());
    assert_int_equal(c->model.description.head.pool, PARE_POOL_NONE); /* saved without */
    assert_int_equal(c->summary.tensors, 5);
    pare_convert_close(c);
}

static void counts_nonfinite(void **state) {
    (void)state;
    make_tiny(0, 5, (float)strtod("nan", NULL), "");
    assert_refused(plain(), "tensor \"lm_head.weight\" holds 20 NaN or infinite values");
    PareConvertOptions options = plain();
    options.allow_nonfinite = true;
    PareConvert *c = convert(options);
    assert_int_equal(c->summary.nonfinite, 20);
    assert_contains(pare_convert_summary(c)->warnings, "holds 20 NaN");
    pare_convert_close(c);
}

static void computes_positions(void **state) {
    (void)state;
    copy_golden("marian");
    pare_convert_close(convert(plain()));
    PareFile *file = open_output();
    size_t count;
    float *v = slot_values(file, "encoder.embed.positions", &count);
    assert_int_equal(count, 64 * 32);
    assert_float_equal(v[0], 0, 0);
    assert_float_equal(v[16], 1, 0);
    assert_float_equal(v[3 * 32 + 0], 0.14112001, 1e-7);   /* sin 3 */
    assert_float_equal(v[3 * 32 + 1], 0.99325317, 1e-7);   /* sin(3 / 10000^(1/16)) */
    assert_float_equal(v[3 * 32 + 16], -0.98999250, 1e-7); /* cos 3 */
    assert_float_equal(v[63 * 32 + 31], 0.99993724, 1e-6); /* cos(63 / 10000^(15/16)) */
    pare_free(v);
    pare_file_close(file);
}

/* -- files -- */

static void refuses_files(void **state) {
    char path[600];
    (void)state;
    copy_golden("bert-cls");
    snprintf(path, sizeof path, "%s/config.json", folder);
    unlink(path);
    assert_refused(plain(), "there is no config.json");
    copy_golden("bert-cls");
    PareConvertOptions options = plain();
    options.no_tokenizer = false;
    assert_refused(options, "looked for vocab.txt, tokenizer.json");
    options.folder = path;
    assert_refused(options, "expected the checkpoint's folder");
    options.folder = "nowhere";
    assert_refused(options, "no such folder");
    PareConvert *c = open_convert(plain());
    PareError err;
    assert_int_not_equal(pare_convert_write(c, path, true, NULL, &err), PARE_OK);
    assert_contains(err.message, "the output is an input");
    pare_convert_close(c);
    write_file("out.pare", "old", 3);
    c = open_convert(plain());
    assert_int_not_equal(pare_convert_write(c, output, false, NULL, &err), PARE_OK);
    pare_convert_close(c);
    size_t size;
    char *old = read_text(output, &size);
    assert_string_equal(old, "old");
    pare_free(old);
}

/* The checksums of a checkpoint's tensors and of the slots made of them agree. */
static void tells_checksums(void **state) {
    (void)state;
    make_tiny(0, 5, 0.75F, "");
    pare_convert_close(convert(plain()));
    PareInfo *info;
    PareError err;
    PareBuffer a = {0}, b = {0};
    assert_int_equal(pare_info_open(folder, NULL, &info, &err), PARE_OK);
    assert_int_equal(pare_info_tensor(info, 4, false, true, &a, &err), PARE_OK);
    pare_info_close(info);
    assert_int_equal(pare_info_open(output, NULL, &info, &err), PARE_OK);
    assert_int_equal(pare_info_verify(info, &err), PARE_OK);
    assert_int_equal(pare_info_tensor(info, 4, false, true, &b, &err), PARE_OK);
    pare_info_close(info);
    assert_contains(a.data, "lm_head.weight\t[5, 4]\tF32\t");
    assert_contains(b.data, "head.output.weight\t[5, 4]\tF32\t");
    assert_string_equal(strrchr(a.data, '\t'), strrchr(b.data, '\t'));
    pare_buffer_free(&a);
    pare_buffer_free(&b);
}

/* Whatever allocation fails: an error that says so, nothing leaked, no file. */
static void survives_lack_of_memory(void **state) {
    (void)state;
    PareStatus st = PARE_E_MEMORY;
    copy_golden("v5-marian");
    for (uint64_t n = 1; st; n += 1 + n / 16) {
        PareConvert *c = NULL;
        PareConvertOptions options = plain();
        PareError err = {0};
        pare_memory_fail_after(n);
        st = pare_convert_open(&options, &c, &err);
        if (!st)
            st = pare_convert_write(c, output, true, NULL, &err);
        pare_convert_close(c);
        pare_memory_fail_after(0);
        if (st && st != PARE_E_MEMORY)
            fail_msg("allocation %llu: %s", (unsigned long long)n, err.message);
        assert_int_equal(access(output, F_OK) == 0, st == PARE_OK);
    }
}

static int make_folder(void **state) {
    const char *root = getenv("TMPDIR");
    (void)state;
    snprintf(folder, sizeof folder, "%s/pare-convert-XXXXXX", root ? root : "/tmp");
    if (!mkdtemp(folder))
        return 1;
    snprintf(output, sizeof output, "%s/out.pare", folder);
    return 0;
}

static int remove_folder(void **state) {
    static const char *const FILES[] = {"config.json", "generation_config.json",
                                        "pytorch_model.bin", "model.safetensors", "out.pare"};
    (void)state;
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++) {
        char path[600];
        snprintf(path, sizeof path, "%s/%s", folder, FILES[i]);
        unlink(path);
    }
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rewrites_patterns),       cmocka_unit_test(converts_goldens),
        cmocka_unit_test(repeats_bytes),           cmocka_unit_test(turns_and_splits),
        cmocka_unit_test(refuses_settings),        cmocka_unit_test(honours_scales),
        cmocka_unit_test(honours_activations),     cmocka_unit_test(reads_labels),
        cmocka_unit_test(warns_of_unknown_fields), cmocka_unit_test(reads_generation),
        cmocka_unit_test(ties_as_the_reference),   cmocka_unit_test(names_missing_and_unused),
        cmocka_unit_test(reads_old_names),         cmocka_unit_test(counts_nonfinite),
        cmocka_unit_test(computes_positions),      cmocka_unit_test(refuses_files),
        cmocka_unit_test(tells_checksums),         cmocka_unit_test(survives_lack_of_memory),
        cmocka_unit_test(blames_what_failed),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
