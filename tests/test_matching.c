/* Matching hidden states through a projection, which is no part of the student: quantization noise
 * must leave it alone. The other properties of matching are in test_objective.c. */
#include "learn/matching.h"
#include "tests/test_backward_common.h"

enum { ROWS = 3, NARROW = 20, WIDE = 24 };

/* The loss; gradients go to the block, which holds the student's hidden states, the teacher's and
 * the projection. */
static double match(Block *b, PareNoise *noise) {
    PareRun r = block_run(b, true);
    float *at[3];
    for (size_t t = 0; t < 3; t++)
        at[t] = b->values + b->ranges[t].offset;
    PareValue own = {.data = at[0], .rows = ROWS, .cols = NARROW};
    PareValue above = {.data = at[1], .rows = ROWS, .cols = WIDE};
    PareGrad grad = {.count = (size_t)ROWS * NARROW};
    own.grad = &grad;
    PareValue *hidden[] = {NULL, &own}, *wanted[] = {NULL, &above};
    PareLinear projection = {
        .weight = {
            .dtype = PARE_F32, .layout = PARE_LAYOUT_ROWS, .N = WIDE, .K = NARROW, .data = at[2]}};
    uint32_t supervisor = 0;
    PareMatching m = {
        .hidden = 1, .supervisors = {&supervisor}, .projections = {&projection, NULL}};
    PareTaps student = {.hidden = hidden}, teacher = {.hidden = wanted};
    PareStack stack = {.layer_count = 1};
    PareMatchedStack s = {.student = &stack,
                          .teacher = &stack,
                          .student_taps = &student,
                          .teacher_taps = &teacher,
                          .pairs = 1,
                          .batch_rows = ROWS};
    double loss = 0, attention = 0;
    r.noise = noise;
    pare_matching_run(&m, &r, &s, &loss, &attention);
    assert_true(r.noise == noise);
    no_error(r.status, &b->err);
    no_error(pare_tape_backward(&r), &b->err);
    assert_non_null(grad.data);
    memcpy(b->grads + b->ranges[0].offset, grad.data, grad.count * sizeof *grad.data);
    pare_grad_close(&r, &grad);
    return loss;
}

static void test_quantization_noise(void **state) {
    (void)state;
    Block b = {0};
    PareNoise noise = {.quantize = 1, .quantize_rows = true, .seed = 5};
    block_add(&b, "student", (size_t)ROWS * NARROW);
    block_add(&b, "teacher", (size_t)ROWS * WIDE);
    block_add(&b, "projection", (size_t)WIDE * NARROW);
    block_begin(&b, 1);
    double plain = match(&b, NULL);
    float *grads = block_copy(&b, b.grads);
    assert_true(plain > 0 && norm_of(grads + b.ranges[2].offset, b.ranges[2].count) > 0);
    block_zero(&b);
    double noisy = match(&b, &noise);
    assert_memory_equal(&plain, &noisy, sizeof plain);
    assert_bits("gradients", grads, b.grads, b.count);
    pare_free(grads);
    block_end(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_quantization_noise)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
