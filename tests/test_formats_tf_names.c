/* TensorFlow's names of variables: the rules one by one, and the way there and back for every
 * tensor of the fixtures. */
#include "tests/test_formats_common.h"

#include "formats/checkpoint.h"
#include "formats/tf_names.h"

static void expect(const char *variable, uint32_t dims, const char *wanted, PareTfLayout layout) {
    char name[256];
    PareTfLayout got;
    assert_true(pare_tf_name_to_torch(variable, dims, name, sizeof name, &got));
    if (strcmp(name, wanted) != 0)
        fail_msg("%s became %s, not %s", variable, name, wanted);
    if (got != layout)
        fail_msg("%s has layout %d, not %d", variable, (int)got, (int)layout);
}

static void test_to_torch(void **state) {
    (void)state;
    expect("tf_bert_for_masked_lm/bert/encoder/layer_._11/attention/self/query/kernel:0", 2,
           "bert.encoder.layer.11.attention.self.query.weight", PARE_TF_TRANSPOSED);
    expect("tf_bert_for_masked_lm/bert/encoder/layer_._11/attention/self/query/bias:0", 1,
           "bert.encoder.layer.11.attention.self.query.bias", PARE_TF_AS_IS);
    expect("tf_bert_for_masked_lm/bert/embeddings/LayerNorm/gamma:0", 1,
           "bert.embeddings.LayerNorm.weight", PARE_TF_AS_IS);
    expect("tf_bert_for_masked_lm/bert/embeddings/LayerNorm/beta:0", 1,
           "bert.embeddings.LayerNorm.bias", PARE_TF_AS_IS);
    expect("tf_bert_for_masked_lm/bert/embeddings/word_embeddings/weight:0", 2,
           "bert.embeddings.word_embeddings.weight", PARE_TF_AS_IS);
    expect("tf_bert_for_masked_lm/bert/embeddings/position_embeddings/embeddings:0", 2,
           "bert.embeddings.position_embeddings.weight", PARE_TF_AS_IS);
    expect("tf_bert_for_masked_lm/mlm___cls/predictions/transform/dense/kernel:0", 2,
           "cls.predictions.transform.dense.weight", PARE_TF_TRANSPOSED);
    expect("tf_bert_for_pre_training/nsp___cls/seq_relationship/kernel:0", 2,
           "cls.seq_relationship.weight", PARE_TF_TRANSPOSED);
    expect("model.shared/model.shared/embeddings:0", 2, "model.shared.weight", PARE_TF_AS_IS);
    expect("shared/shared/weight:0", 2, "shared.weight", PARE_TF_AS_IS);
    expect("tf_bart/model/decoder/layers.3/encoder_attn/k_proj/kernel:0", 2,
           "model.decoder.layers.3.encoder_attn.k_proj.weight", PARE_TF_TRANSPOSED);
    expect("tft5/decoder/block_._0/layer_._1/EncDecAttention/o/kernel:0", 2,
           "decoder.block.0.layer.1.EncDecAttention.o.weight", PARE_TF_TRANSPOSED);
    expect("tfgpt2lm/transformer/h_._5/attn/c_attn/weight:0", 2,
           "transformer.h.5.attn.c_attn.weight", PARE_TF_AS_IS);
    expect("tfgpt2lm/transformer/h_._5/attn/c_attn/bias:0", 2, "transformer.h.5.attn.c_attn.bias",
           PARE_TF_FLAT);
    expect("final_logits_bias:0", 2, "final_logits_bias", PARE_TF_AS_IS);
    expect("m/bn/moving_mean:0", 1, "bn.running_mean", PARE_TF_AS_IS);
    expect("m/bn/moving_variance:0", 1, "bn.running_var", PARE_TF_AS_IS);
    expect("m/emb_projs_._0:0", 2, "emb_projs.0", PARE_TF_TRANSPOSED);
    expect("m/conv/kernel:0", 3, "conv.weight", PARE_TF_CONV1D);
    expect("m/conv/kernel:0", 4, "conv.weight", PARE_TF_CONV2D);
    expect("m//a///b", 1, "a.b", PARE_TF_AS_IS);
    expect("m/x___y___z/w", 1, "z.w", PARE_TF_AS_IS);
    expect("m/a/b___c", 1, "a.b___c", PARE_TF_AS_IS); /* only where a level follows */
}

static void test_limits(void **state) {
    char variable[2000], name[256], group[16];
    PareTfLayout layout;
    (void)state;
    assert_false(pare_tf_name_to_torch("", 1, name, sizeof name, &layout));
    assert_false(pare_tf_name_to_torch("//", 1, name, sizeof name, &layout));
    assert_false(pare_tf_name_to_torch(":0", 1, name, 0, &layout));
    assert_true(pare_tf_name_to_torch("m/abc", 1, name, 4, &layout));
    assert_false(pare_tf_name_to_torch("m/abc", 1, name, 3, &layout));
    memset(variable, 'a', sizeof variable - 1);
    variable[sizeof variable - 1] = '\0';
    assert_false(pare_tf_name_to_torch(variable, 1, name, sizeof name, &layout));
    for (size_t i = 1; i < 400; i += 2) /* too many levels */
        variable[i] = '/';
    variable[400] = '\0';
    assert_false(pare_tf_name_to_torch(variable, 1, name, sizeof name, &layout));
    assert_false(pare_tf_name_from_torch("a..b", PARE_TF_BIAS, group, sizeof group, name,
                                         sizeof name, &layout));
    assert_false(
        pare_tf_name_from_torch("", PARE_TF_BIAS, group, sizeof group, name, sizeof name, &layout));
    assert_true(
        pare_tf_name_from_torch("abc.d", PARE_TF_BIAS, group, 4, name, sizeof name, &layout));
    assert_false(
        pare_tf_name_from_torch("abc.d", PARE_TF_BIAS, group, 3, name, sizeof name, &layout));
    assert_false(pare_tf_name_from_torch("abc.d", PARE_TF_BIAS, group, 4, name, 10, &layout));
}

static void expect_back(const char *name, PareTfRole role, const char *group,
                        const char *variable) {
    char got_group[256], got[300];
    PareTfLayout layout;
    assert_true(
        pare_tf_name_from_torch(name, role, got_group, sizeof got_group, got, sizeof got, &layout));
    assert_string_equal(got_group, group);
    assert_string_equal(got, variable);
    assert_int_equal(layout, role == PARE_TF_MATRIX ? PARE_TF_TRANSPOSED : PARE_TF_AS_IS);
}

static void test_from_torch(void **state) {
    (void)state;
    expect_back("bert.encoder.layer.11.output.dense.weight", PARE_TF_MATRIX, "bert",
                "tf_model/bert/encoder/layer_._11/output/dense/kernel:0");
    expect_back("bert.embeddings.word_embeddings.weight", PARE_TF_TOKENS, "bert",
                "tf_model/bert/embeddings/word_embeddings/weight:0");
    expect_back("bert.embeddings.position_embeddings.weight", PARE_TF_TABLE, "bert",
                "tf_model/bert/embeddings/position_embeddings/embeddings:0");
    expect_back("bert.embeddings.LayerNorm.bias", PARE_TF_NORM, "bert",
                "tf_model/bert/embeddings/LayerNorm/beta:0");
    expect_back("cls.predictions.transform.LayerNorm.weight", PARE_TF_NORM, "mlm___cls",
                "tf_model/mlm___cls/predictions/transform/LayerNorm/gamma:0");
    expect_back("cls.seq_relationship.weight", PARE_TF_MATRIX, "nsp___cls",
                "tf_model/nsp___cls/seq_relationship/kernel:0");
    expect_back("model.shared.weight", PARE_TF_TOKENS, "model",
                "model.shared/model.shared/weight:0");
    expect_back("shared.weight", PARE_TF_TOKENS, "shared", "shared/shared/weight:0");
    expect_back("model.encoder.layers.3.fc1.weight", PARE_TF_MATRIX, "model",
                "tf_model/model/encoder/layers.3/fc1/kernel:0");
    expect_back("encoder.block.0.layer.1.layer_norm.weight", PARE_TF_RMS_NORM, "encoder",
                "tf_model/encoder/block_._0/layer_._1/layer_norm/weight:0");
    expect_back("transformer.h.2.attn.c_attn.weight", PARE_TF_PROJECTION, "transformer",
                "tf_model/transformer/h_._2/attn/c_attn/weight:0");
    expect_back("final_logits_bias", PARE_TF_BIAS, "final_logits_bias", "final_logits_bias:0");
}

/* What export knows from its plan. */
static PareTfRole role_of(const char *name, const PareTensorType *type) {
    bool norm = strstr(name, "LayerNorm") || strstr(name, "layer_norm") ||
                strstr(name, "layernorm") || strstr(name, "ln_");
    if (norm)
        return strstr(name, "block.") || strstr(name, "coder.final_layer") ? PARE_TF_RMS_NORM
                                                                           : PARE_TF_NORM;
    if (type->dims != 2)
        return PARE_TF_BIAS;
    if (strstr(name, "word_embeddings") || strstr(name, "wte") || strstr(name, "shared") ||
        strstr(name, "embed_tokens"))
        return PARE_TF_TOKENS;
    if (strstr(name, "_embeddings") || strstr(name, "wpe") || strstr(name, "embed_positions") ||
        strstr(name, "relative_attention_bias"))
        return PARE_TF_TABLE;
    return strstr(name, ".h.") ? PARE_TF_PROJECTION : PARE_TF_MATRIX;
}

static size_t go_there_and_back(const char *folder) {
    PareCheckpoint *c;
    PareError err;
    size_t seen = 0;
    if (pare_checkpoint_open(folder, NULL, &c, &err) != PARE_OK)
        fail_msg("%s", err.message);
    for (size_t i = 0; i < pare_checkpoint_count(c); i++) {
        const PareCheckpointTensor *t = pare_checkpoint_tensor(c, i);
        char group[256], variable[400], back[256];
        PareTfLayout there, here;
        PareTfRole role = role_of(t->name, &t->type);
        assert_true(pare_tf_name_from_torch(t->name, role, group, sizeof group, variable,
                                            sizeof variable, &there));
        assert_true(pare_tf_name_to_torch(variable, t->type.dims, back, sizeof back, &here));
        assert_string_equal(back, t->name);
        assert_int_equal(there, here);
        seen++;
    }
    pare_checkpoint_close(c);
    return seen;
}

static void test_fixtures(void **state) {
    static const char *const folders[] = {"bert-cls", "bert-mlm",       "bert-model", "bert-qa",
                                          "bart",     "bert-token-cls", "gpt2-lm",    "marian",
                                          "t5",       "t5-v1_1"};
    size_t seen = 0;
    (void)state;
    for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
        char path[128];
        snprintf(path, sizeof path, "tests/data/goldens/%s", folders[i]);
        seen += go_there_and_back(path);
    }
    assert_true(seen > 500);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_to_torch),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_from_torch),
        cmocka_unit_test(test_fixtures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
