/* The order of training: batches that depend on seed and epoch alone, their limits, and the shares
 * of several processes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "core/memory.h"
#include "learn/batches.h"

/* Examples of 1 to 30 ids, some of them with up to 16 for a decoder. */
static PareExamples *make(size_t count) {
    static const int32_t ids[32];
    PareExamples *x;
    PareError err;
    assert_int_equal(pare_examples_create(NULL, &x, &err), PARE_OK);
    for (size_t i = 0; i < count; i++) {
        PareSequence q = {.ids = ids, .count = 1 + i % 30, .decoder_ids = ids};
        q.decoder_count = i % 3 ? i % 17 : 0;
        PareExample e = {.line = i + 1, .sequence = q};
        assert_int_equal(pare_examples_append(x, &e, &err), PARE_OK);
    }
    assert_int_equal(pare_examples_finish(x, &err), PARE_OK);
    return x;
}

static PareBatches *batches(const PareBatchesOptions *o, const PareExamples *x) {
    PareBatches *b;
    PareError err;
    if (pare_batches_create(o, x, &b, &err))
        fail_msg("%s", err.message);
    return b;
}

static size_t count_of(PareBatches *b, uint64_t epoch) {
    size_t count;
    PareError err;
    assert_int_equal(pare_batches_in(b, epoch, &count, &err), PARE_OK);
    return count;
}

static const uint32_t *batch(PareBatches *b, uint64_t epoch, size_t at, size_t *count) {
    const uint32_t *indices;
    PareError err;
    PareBatchPosition p = {epoch, at};
    assert_int_equal(pare_batches_at(b, p, &indices, count, &err), PARE_OK);
    return indices;
}

/* The indices of an epoch in a row; checks that none comes twice. Returns how many there are. */
static size_t epoch_of(PareBatches *b, uint64_t epoch, size_t examples, uint32_t *out) {
    bool *seen = pare_alloc(examples, sizeof *seen);
    size_t total = 0, count;
    for (size_t at = 0; at < count_of(b, epoch); at++) {
        const uint32_t *indices = batch(b, epoch, at, &count);
        assert_true(count > 0);
        for (size_t i = 0; i < count; i++) {
            assert_true(indices[i] < examples && !seen[indices[i]]);
            seen[indices[i]] = true;
            out[total++] = indices[i];
        }
    }
    pare_free(seen);
    return total;
}

enum { EXAMPLES = 1000 };

static void test_order(void **state) {
    (void)state;
    PareExamples *x = make(EXAMPLES);
    uint32_t plain[EXAMPLES], a[EXAMPLES], c[EXAMPLES];
    PareBatchesOptions o = {.seed = 3, .batch_size = 7};
    PareBatches *b = batches(&o, x);
    assert_int_equal(count_of(b, 0), 143);
    assert_int_equal(epoch_of(b, 0, EXAMPLES, plain), EXAMPLES);
    for (uint32_t i = 0; i < EXAMPLES; i++)
        assert_int_equal(plain[i], i);
    pare_batches_destroy(b);
    o.shuffle = true;
    for (int buckets = 0; buckets < 2; buckets++) {
        o.buckets = buckets;
        b = batches(&o, x);
        assert_int_equal(epoch_of(b, 5, EXAMPLES, a), EXAMPLES);
        assert_true(memcmp(a, plain, sizeof a) != 0);
        assert_int_equal(epoch_of(b, 4, EXAMPLES, c), EXAMPLES);
        assert_true(memcmp(a, c, sizeof a) != 0);
        pare_batches_destroy(b);
        b = batches(&o, x); /* begun anew in the middle of epoch 5, it goes on as before */
        size_t count;
        const uint32_t *indices = batch(b, 5, 142, &count);
        assert_memory_equal(indices, a + EXAMPLES - count, count * sizeof *a);
        assert_int_equal(epoch_of(b, 5, EXAMPLES, c), EXAMPLES);
        assert_memory_equal(a, c, sizeof a);
        pare_batches_destroy(b);
        o.seed++;
        b = batches(&o, x);
        epoch_of(b, 5, EXAMPLES, c);
        assert_true(memcmp(a, c, sizeof a) != 0);
        pare_batches_destroy(b);
    }
    pare_examples_close(x);
}

static void sums(const PareExamples *x, const uint32_t *indices, size_t count, size_t *source,
                 size_t *target) {
    *source = *target = 0;
    for (size_t i = 0; i < count; i++) {
        size_t s, t;
        pare_examples_lengths(x, indices[i], &s, &t);
        *source += s;
        *target += t;
    }
}

static void test_tokens_of_batches(void **state) {
    (void)state;
    PareExamples *x = make(EXAMPLES);
    PareBatchesOptions o = {.shuffle = true, .batch_tokens = 100};
    PareBatches *b = batches(&o, x);
    size_t count, source, target, s, t, full = 0;
    for (size_t at = 0; at < count_of(b, 1); at++) {
        const uint32_t *indices = batch(b, 1, at, &count);
        sums(x, indices, count, &source, &target);
        assert_true(source <= 100 && target <= 100);
        if (at + 1 == count_of(b, 1))
            break;
        /* Not shuffled again without buckets: the example behind a batch would have been too much.
         */
        pare_examples_lengths(x, indices[count], &s, &t);
        assert_true(source + s > 100 || target + t > 100);
        full++;
    }
    assert_true(full > 100);
    pare_batches_destroy(b);
    o.batch_tokens = 20; /* an example may be longer: it is a batch of its own */
    b = batches(&o, x);
    uint32_t all[EXAMPLES];
    assert_int_equal(epoch_of(b, 0, EXAMPLES, all), EXAMPLES);
    for (size_t at = 0; at < count_of(b, 0); at++) {
        const uint32_t *indices = batch(b, 0, at, &count);
        sums(x, indices, count, &source, &target);
        assert_true(source <= 20 || count == 1);
    }
    pare_batches_destroy(b);
    pare_examples_close(x);
}

static size_t spread(PareBatches *b, const PareExamples *x) {
    size_t total = 0, count, s, t;
    for (size_t at = 0; at < count_of(b, 2); at++) {
        const uint32_t *indices = batch(b, 2, at, &count);
        size_t least = SIZE_MAX, most = 0;
        for (size_t i = 0; i < count; i++) {
            pare_examples_lengths(x, indices[i], &s, &t);
            least = s < least ? s : least;
            most = s > most ? s : most;
        }
        total += most - least;
    }
    return total;
}

static void test_buckets(void **state) {
    (void)state;
    PareExamples *x = make(EXAMPLES);
    PareBatchesOptions o = {
        .shuffle = true, .batch_size = 8, .buckets = true, .bucket_window = 200};
    PareBatches *b = batches(&o, x);
    size_t alike = spread(b, x), count, s, t, rises = 0, before = 0;
    for (size_t at = 0; at < count_of(b, 2); at++) { /* batches are in no order of length */
        pare_examples_lengths(x, *batch(b, 2, at, &count), &s, &t);
        rises += s > before;
        before = s;
    }
    assert_in_range(rises, 30, 95);
    pare_batches_destroy(b);
    o.buckets = false;
    b = batches(&o, x);
    assert_true(alike * 5 < spread(b, x));
    pare_batches_destroy(b);
    pare_examples_close(x);
}

static void test_last_batch(void **state) {
    (void)state;
    PareExamples *x = make(20);
    uint32_t all[20];
    PareError err;
    PareBatchesOptions o = {.shuffle = true, .batch_size = 6, .drop_last = true};
    for (int buckets = 0; buckets < 2; buckets++) {
        o.buckets = buckets;
        PareBatches *b = batches(&o, x);
        assert_int_equal(count_of(b, 0), 3);
        assert_int_equal(epoch_of(b, 0, 20, all), 18);
        pare_batches_destroy(b);
    }
    o.batch_size = 20;
    PareBatches *b = batches(&o, x);
    assert_int_equal(count_of(b, 0), 1);
    PareBatchPosition p = {0};
    const uint32_t *indices;
    size_t count;
    assert_int_equal(pare_batches_advance(b, &p, &err), PARE_OK);
    assert_true(p.epoch == 1 && p.batch == 0);
    p.batch = 1;
    assert_int_equal(pare_batches_at(b, p, &indices, &count, &err), PARE_E_USAGE);
    pare_batches_destroy(b);
    o.batch_size = 21;
    assert_int_equal(pare_batches_create(&o, x, &b, &err), PARE_E_USAGE);
    assert_true(!b && strstr(err.message, "20 examples"));
    o.drop_last = false;
    b = batches(&o, x);
    assert_true(count_of(b, 0) == 1 && (batch(b, 0, 0, &count), count == 20));
    pare_batches_destroy(b);
    o = (PareBatchesOptions){.drop_last = true}; /* no limit: everything is one batch */
    b = batches(&o, x);
    assert_true(count_of(b, 0) == 1);
    pare_batches_destroy(b);
    pare_examples_close(x);
    x = make(0);
    assert_int_equal(pare_batches_create(&o, x, &b, &err), PARE_E_USAGE);
    pare_examples_close(x);
}

static void test_shares(void **state) {
    (void)state;
    PareExamples *x = make(EXAMPLES);
    PareBatchesOptions o = {.shuffle = true, .batch_size = 50};
    PareBatches *b = batches(&o, x);
    size_t count, source, target;
    const uint32_t *indices = batch(b, 0, 0, &count);
    sums(x, indices, count, &source, &target);
    for (size_t ranks = 1; ranks <= 60; ranks++) {
        size_t at = 0;
        for (size_t rank = 0; rank < ranks; rank++) {
            PareBatchShare s = pare_batches_share(b, indices, count, rank, ranks);
            size_t a, c;
            assert_true(s.begin == at && s.end >= s.begin && s.end <= count);
            assert_true(ranks > count || s.end > s.begin);
            sums(x, indices + s.begin, s.end - s.begin, &a, &c);
            if (ranks <= 5) /* no part is off by more than an example of 46 tokens at most */
                assert_in_range((a + c) * ranks, source + target - 46 * ranks,
                                source + target + 46 * ranks);
            at = s.end;
        }
        assert_int_equal(at, count);
    }
    pare_batches_destroy(b);
    pare_examples_close(x);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),   cmocka_unit_test(test_tokens_of_batches),
        cmocka_unit_test(test_buckets), cmocka_unit_test(test_last_batch),
        cmocka_unit_test(test_shares),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
