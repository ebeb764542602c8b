/* Batches: an order, cut where a batch is full, and an order of the batches. */
#include "learn/batches.h"

#include <stdlib.h>

#include "core/memory.h"
#include "core/random.h"

enum { WINDOW = 4096 };

/* Streams of random numbers that nothing else of a training run draws from. */
static const uint64_t order_stream = UINT64_C(0x6F72646572) << 24;
static const uint64_t turns_stream = UINT64_C(0x7475726E73) << 24;

typedef struct {
    size_t source, target;
    uint32_t index, place;
} Item;

struct PareBatches {
    PareBatchesOptions options;
    const PareExamples *examples;
    size_t examples_count;
    bool planned; /* for `epoch`: */
    uint64_t epoch;
    uint32_t *order;  /* [examples_count] */
    uint32_t *starts; /* [count + 1]: where batches begin in the order */
    uint32_t *turns;  /* [count]: the n-th batch is the turns[n]-th of those */
    size_t count, capacity;
    Item *items; /* [window] */
    size_t window;
};

static size_t larger(size_t a, size_t b) {
    return a > b ? a : b;
}

/* ---- The order ------------------------------------------------------------------------------- */

static int compare_items(const void *a, const void *b) {
    const Item *x = a, *y = b;
    if (x->source != y->source)
        return x->source < y->source ? -1 : 1;
    if (x->target != y->target)
        return x->target < y->target ? -1 : 1;
    return (x->place > y->place) - (x->place < y->place);
}

/* Sorts each window by length, every second one downwards, so that windows meet at like lengths. */
static void sort_windows(PareBatches *b) {
    bool down = false;
    for (size_t at = 0, size; at < b->examples_count; at += size, down = !down) {
        size_t left = b->examples_count - at;
        size = left < b->window ? left : b->window;
        for (size_t i = 0; i < size; i++) {
            Item *item = &b->items[i];
            *item = (Item){.index = b->order[at + i], .place = (uint32_t)i};
            pare_examples_lengths(b->examples, item->index, &item->source, &item->target);
        }
        qsort(b->items, size, sizeof *b->items, compare_items);
        for (size_t i = 0; i < size; i++)
            b->order[at + i] = b->items[down ? size - 1 - i : i].index;
    }
}

/* ---- Cutting --------------------------------------------------------------------------------- */

/* The examples and tokens that are in a batch. */
typedef struct {
    size_t examples, source, target;
} Load;

static Load with(const PareBatches *b, Load l, uint32_t index) {
    size_t source, target;
    pare_examples_lengths(b->examples, index, &source, &target);
    return (Load){l.examples + 1, l.source + source, l.target + target};
}

static bool is_within(const PareBatchesOptions *o, Load l) {
    return (!o->batch_size || l.examples <= o->batch_size) &&
           (!o->batch_tokens || larger(l.source, l.target) <= o->batch_tokens);
}

/* Whether nothing could be added. */
static bool is_full(const PareBatchesOptions *o, Load l) {
    if (!o->batch_size && !o->batch_tokens)
        return true;
    return (o->batch_size && l.examples >= o->batch_size) ||
           (o->batch_tokens && larger(l.source, l.target) >= o->batch_tokens);
}

static PareStatus add_start(PareBatches *b, size_t at, PareError *err) {
    if (b->count + 1 >= b->capacity) {
        size_t wanted = 2 * b->capacity + 64;
        uint32_t *starts = pare_realloc(b->starts, wanted, sizeof *starts);
        b->starts = starts ? starts : b->starts;
        uint32_t *turns = starts ? pare_realloc(b->turns, wanted, sizeof *turns) : NULL;
        b->turns = turns ? turns : b->turns;
        if (!turns)
            return pare_memory_error(err, "the order of training");
        b->capacity = wanted;
    }
    b->starts[b->count++] = (uint32_t)at;
    return PARE_OK;
}

static PareStatus cut(PareBatches *b, PareError *err) {
    const PareBatchesOptions *o = &b->options;
    Load load = {0};
    PareStatus status = PARE_OK;
    b->count = 0;
    for (size_t i = 0; i < b->examples_count && !status; i++) {
        Load more = with(b, load, b->order[i]);
        bool begins = i == 0 || !is_within(o, more);
        if (begins)
            status = add_start(b, i, err);
        load = begins ? with(b, (Load){0}, b->order[i]) : more;
    }
    if (status)
        return status;
    b->starts[b->count] = (uint32_t)b->examples_count;
    if (o->drop_last && !is_full(o, load))
        b->count--; /* what follows the last start that is left is not used */
    return PARE_OK;
}

static PareStatus plan(PareBatches *b, uint64_t epoch, PareError *err) {
    const PareBatchesOptions *o = &b->options;
    if (b->planned && b->epoch == epoch)
        return PARE_OK;
    b->planned = false;
    if (o->shuffle)
        pare_random_permutation(o->seed, order_stream + epoch, b->order, b->examples_count);
    else
        for (size_t i = 0; i < b->examples_count; i++)
            b->order[i] = (uint32_t)i;
    if (o->buckets)
        sort_windows(b);
    PareStatus status = cut(b, err);
    if (status)
        return status;
    if (o->shuffle && o->buckets)
        pare_random_permutation(o->seed, turns_stream + epoch, b->turns, b->count);
    else
        for (size_t i = 0; i < b->count; i++)
            b->turns[i] = (uint32_t)i;
    b->epoch = epoch;
    b->planned = true;
    return PARE_OK;
}

/* ---- Creating -------------------------------------------------------------------------------- */

/* With drop_last all examples together must fill a batch; then some batch is left in any order. */
static PareStatus check_amount(const PareBatches *b, PareError *err) {
    Load all = {0};
    if (b->examples_count == 0)
        return pare_error_set(err, PARE_E_USAGE, "there are no examples to train on");
    if (!b->options.drop_last)
        return PARE_OK;
    for (size_t i = 0; i < b->examples_count; i++)
        all = with(b, all, (uint32_t)i);
    if (is_full(&b->options, all))
        return PARE_OK;
    return pare_error_set(err, PARE_E_USAGE,
                          "the data (%zu examples, %zu tokens) are less than one batch, and "
                          "--drop-last leaves out what is less",
                          all.examples, larger(all.source, all.target));
}

PareStatus pare_batches_create(const PareBatchesOptions *options, const PareExamples *examples,
                               PareBatches **out, PareError *err) {
    *out = NULL;
    PareBatches *b = pare_alloc(1, sizeof *b);
    if (!b)
        return pare_memory_error(err, "the order of training");
    b->options = *options;
    b->examples = examples;
    b->examples_count = pare_examples_count(examples);
    b->window = options->bucket_window ? options->bucket_window : WINDOW;
    if (b->window > b->examples_count)
        b->window = b->examples_count;
    PareStatus status = check_amount(b, err);
    if (!status) {
        b->order = pare_alloc(b->examples_count, sizeof *b->order);
        b->items = pare_alloc(options->buckets ? b->window : 0, sizeof *b->items);
        if (!b->order || !b->items)
            status = pare_memory_error(err, "the order of training");
    }
    if (status)
        pare_batches_destroy(b);
    else
        *out = b;
    return status;
}

void pare_batches_destroy(PareBatches *b) {
    if (!b)
        return;
    pare_free(b->order);
    pare_free(b->starts);
    pare_free(b->turns);
    pare_free(b->items);
    pare_free(b);
}

/* ---- Batches --------------------------------------------------------------------------------- */

PareStatus pare_batches_in(PareBatches *b, uint64_t epoch, size_t *count, PareError *err) {
    PareStatus status = plan(b, epoch, err);
    *count = status ? 0 : b->count;
    return status;
}

PareStatus pare_batches_at(PareBatches *b, PareBatchPosition p, const uint32_t **indices,
                           size_t *count, PareError *err) {
    PareStatus status = plan(b, p.epoch, err);
    if (status)
        return status;
    if (p.batch >= b->count)
        return pare_error_set(err, PARE_E_USAGE, "batch %zu of epoch %llu, which has %zu", p.batch,
                              (unsigned long long)p.epoch, b->count);
    uint32_t turn = b->turns[p.batch];
    *indices = b->order + b->starts[turn];
    *count = b->starts[turn + 1] - b->starts[turn];
    return PARE_OK;
}

PareStatus pare_batches_advance(PareBatches *b, PareBatchPosition *p, PareError *err) {
    size_t count;
    PareStatus status = pare_batches_in(b, p->epoch, &count, err);
    if (status)
        return status;
    if (p->batch + 1 < count)
        p->batch++;
    else
        *p = (PareBatchPosition){.epoch = p->epoch + 1};
    return PARE_OK;
}

/* ---- Shares ---------------------------------------------------------------------------------- */

static size_t tokens_of(const PareBatches *b, uint32_t index) {
    size_t source, target;
    pare_examples_lengths(b->examples, index, &source, &target);
    return source + target;
}

/* A part ends at the example whose beginning is nearest to where its share of the tokens ends, but
 * has one at least, and leaves one for each part behind it, as long as there are enough. */
PareBatchShare pare_batches_share(const PareBatches *b, const uint32_t *indices, size_t count,
                                  size_t rank, size_t ranks) {
    PareBatchShare share = {0};
    double total = 0, before = 0; /* tokens of the batch, and in front of `end` */
    for (size_t i = 0; i < count; i++)
        total += (double)tokens_of(b, indices[i]);
    for (size_t r = 0; r <= rank; r++) {
        double ideal = total * (double)(r + 1) / (double)ranks;
        size_t behind = ranks - 1 - r, most = count > behind ? count - behind : 0;
        size_t least = share.end + 1;
        share.begin = share.end;
        most = most < least ? least : most; /* fewer examples than parts */
        while (share.end < count && share.end < most) {
            double size = (double)tokens_of(b, indices[share.end]);
            if (share.end >= least && before + size / 2 >= ideal)
                break;
            before += size;
            share.end++;
        }
        if (r + 1 == ranks)
            share.end = count;
    }
    return share;
}
