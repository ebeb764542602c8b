/* Sharded checkpoints: an index (*.index.json) whose weight_map says in which file of the same
 * folder each tensor lies.
 *
 * The shards are checkpoints of their own, of whatever container. All are opened once, to compare
 * their tensors with the index, and closed; a few stay open while tensors are read, so that neither
 * descriptors nor memory grow with the number of shards. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/buffer.h"
#include "core/json.h"
#include "formats/checkpoint_reader.h"
#include "formats/tf_names.h"

enum { OPEN_MAX = 4, INDEX_BYTES_MAX = 256 << 20 };

typedef struct {
    const char *name; /* of the tensor, as the index has it */
    uint32_t shard;
} Key;

/* Where a tensor of the sharded checkpoint lies. */
typedef struct {
    uint32_t shard, index;
} Place;

typedef struct {
    const char **names, **paths; /* of the shards, by name, in the arena */
    size_t count;
    Place *places;    /* by number of tensor, in the arena */
    const char *root; /* in the arena */
    struct {
        PareCheckpoint *shard; /* NULL: free */
        size_t number;
        uint64_t used;
    } open[OPEN_MAX];
    uint64_t clock;
} Sharded;

/* What is needed only while the index is read. */
typedef struct {
    PareCheckpoint *c;
    Sharded *s;
    Key *keys;     /* sorted by shard */
    size_t *begin; /* shard i has keys begin[i] to begin[i + 1] - 1 */
    size_t count;
    PareNameIndex key_names, shard_names;
    PareBuffer warnings;
    const char *format;        /* that of all shards so far */
    uint64_t bytes, own_bytes; /* of all tensors, and without those that are another's view */
    bool countable;            /* no dtype is foreign */
    PareError *err;
} Index;

static void sharded_close(PareCheckpoint *c) {
    Sharded *s = c->self;
    c->part = NULL;
    for (size_t i = 0; i < OPEN_MAX; i++)
        pare_checkpoint_close(s->open[i].shard);
}

/* ---- The shards ---- */

/* The shard, opened if it is not; it stays open until OPEN_MAX others were asked for. */
static PareStatus get_shard(PareCheckpoint *c, size_t number, PareCheckpoint **out,
                            PareError *err) {
    Sharded *s = c->self;
    size_t oldest = 0;
    for (size_t i = 0; i < OPEN_MAX; i++) {
        if (s->open[i].shard != NULL && s->open[i].number == number) {
            s->open[i].used = ++s->clock;
            *out = s->open[i].shard;
            return PARE_OK;
        }
        if (s->open[i].used < s->open[oldest].used)
            oldest = i;
    }
    if (c->part == s->open[oldest].shard)
        c->part = NULL;
    pare_checkpoint_close(s->open[oldest].shard);
    s->open[oldest].shard = NULL;
    s->open[oldest].used = 0;
    PareStatus status =
        pare_checkpoint_open_shard(s->paths[number], s->root, &s->open[oldest].shard, err);
    if (status != PARE_OK)
        return status;
    s->open[oldest].number = number;
    s->open[oldest].used = ++s->clock;
    *out = s->open[oldest].shard;
    return PARE_OK;
}

/* A shard that was opened again must be what it was. */
static PareStatus sharded_view(PareCheckpoint *c, size_t index, PareTensorView *out,
                               PareError *err) {
    const Sharded *s = c->self;
    const Place *p = &s->places[index];
    const PareCheckpointTensor *mine = &c->tensors[index];
    PareCheckpoint *shard;
    PareStatus status = get_shard(c, p->shard, &shard, err);
    if (status != PARE_OK)
        return status;
    const PareCheckpointTensor *its = pare_checkpoint_tensor(shard, p->index);
    if (its == NULL || strcmp(its->name, mine->name) != 0 || its->type.dtype != mine->type.dtype ||
        !pare_tensor_same_shape(&its->type, &mine->type))
        return pare_error_set(err, PARE_E_FORMAT, "%s: changed while it was read", shard->path);
    c->part = shard;
    return shard->reader->view(shard, p->index, out, err);
}

static void sharded_release(PareCheckpoint *c, size_t index) {
    const Sharded *s = c->self;
    PareCheckpoint *shard;
    if (get_shard(c, s->places[index].shard, &shard, NULL) == PARE_OK &&
        shard->reader->release != NULL)
        shard->reader->release(shard, s->places[index].index);
}

static const PareCheckpointReader sharded = {"sharded", sharded_view, sharded_release,
                                             sharded_close};

/* ---- Reading the index ---- */

static PareStatus fault(const Index *x, const char *what, const char *name, const char *rest) {
    char shown[300];
    return pare_error_set(x->err, PARE_E_FORMAT, "%s: %s '%s' %s", x->c->path, what,
                          pare_name_show(name, strlen(name), shown, sizeof shown), rest);
}

/* NULL when `name` is a file's plain name; otherwise what is wrong with it. */
static const char *shard_name_fault(const Index *x, const char *name) {
    const char *bad = pare_name_fault(name, strlen(name));
    if (bad != NULL)
        return bad;
    if (strchr(name, '/') != NULL || strcmp(name, "..") == 0 || strcmp(name, ".") == 0)
        return "is not the plain name of a file in the same folder";
    if (strcmp(name, pare_file_basename(x->c->path)) == 0)
        return "is the index itself";
    return NULL;
}

static PareStatus read_key(Index *x, const PareJson *entry) {
    Key *k = &x->keys[x->count];
    size_t number;
    const char *bad = pare_name_fault(pare_json_key(entry), strlen(pare_json_key(entry)));
    if (bad != NULL)
        return fault(x, "tensor", pare_json_key(entry), bad);
    if (!pare_json_is_string(entry))
        return fault(x, "tensor", pare_json_key(entry), "is not mapped to the name of a shard");
    const char *shard = pare_json_string(entry);
    bad = shard_name_fault(x, shard);
    if (bad != NULL)
        return fault(x, "the shard", shard, bad);
    if (!pare_name_index_find(&x->shard_names, shard, &number)) {
        const char *copy = pare_arena_strdup(x->c->arena, shard);
        if (copy == NULL)
            return pare_memory_error(x->err, x->c->path);
        number = x->shard_names.count;
        PareStatus status = pare_name_index_add(&x->shard_names, copy, x->err);
        if (status != PARE_OK)
            return pare_error_prefix(x->err, "%s", x->c->path);
    }
    k->name = pare_arena_strdup(x->c->arena, pare_json_key(entry));
    k->shard = (uint32_t)number;
    if (k->name == NULL)
        return pare_memory_error(x->err, x->c->path);
    x->count++;
    return PARE_OK;
}

static int compare_names(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Shards come to be numbered by name; qsort need not be stable, hence the names of the keys. */
static int compare_keys(const void *a, const void *b) {
    const Key *x = a, *y = b;
    if (x->shard != y->shard)
        return x->shard < y->shard ? -1 : 1;
    return strcmp(x->name, y->name);
}

/* The shards' names and paths, and the keys by shard. */
static PareStatus sort_shards(Index *x) {
    PareCheckpoint *c = x->c;
    Sharded *s = x->s;
    size_t folder = (size_t)(pare_file_basename(c->path) - c->path);
    s->count = x->shard_names.count;
    s->names = pare_arena_alloc(c->arena, s->count, sizeof *s->names);
    s->paths = pare_arena_alloc(c->arena, s->count, sizeof *s->paths);
    x->begin = pare_alloc(s->count + 1, sizeof *x->begin);
    uint32_t *rank = pare_alloc(s->count, sizeof *rank);
    if (s->names == NULL || s->paths == NULL || x->begin == NULL || rank == NULL) {
        pare_free(rank);
        return pare_memory_error(x->err, c->path);
    }
    memcpy(s->names, x->shard_names.names, s->count * sizeof *s->names);
    qsort(s->names, s->count, sizeof *s->names, compare_names);
    for (size_t i = 0; i < s->count; i++) {
        size_t number = 0;
        pare_name_index_find(&x->shard_names, s->names[i], &number);
        rank[number] = (uint32_t)i;
        s->paths[i] = pare_arena_printf(c->arena, "%.*s%s", (int)folder, c->path, s->names[i]);
    }
    for (size_t i = 0; i < x->count; i++) {
        x->keys[i].shard = rank[x->keys[i].shard];
        x->begin[x->keys[i].shard + 1]++;
    }
    for (size_t i = 0; i < s->count; i++)
        x->begin[i + 1] += x->begin[i];
    qsort(x->keys, x->count, sizeof *x->keys, compare_keys);
    pare_free(rank);
    for (size_t i = 0; i < s->count; i++)
        if (s->paths[i] == NULL)
            return pare_memory_error(x->err, c->path);
    return PARE_OK;
}

static PareStatus read_map(Index *x, const PareJson *map) {
    PareStatus status = PARE_OK;
    size_t count = pare_json_size(map);
    if (!pare_json_is_object(map) || count == 0)
        return pare_error_set(x->err, PARE_E_FORMAT,
                              "%s: weight_map is not a map from tensors to shards", x->c->path);
    if (count > PARE_TENSORS_MAX)
        return pare_error_set(x->err, PARE_E_FORMAT, "%s: more than %zu tensors", x->c->path,
                              PARE_TENSORS_MAX);
    x->keys = pare_alloc(count, sizeof *x->keys);
    if (x->keys == NULL)
        return pare_memory_error(x->err, x->c->path);
    for (const PareJson *n = pare_json_first(map); n != NULL && status == PARE_OK;
         n = pare_json_next(n))
        status = read_key(x, n);
    if (status == PARE_OK)
        status = sort_shards(x);
    for (size_t i = 0; i < x->count && status == PARE_OK; i++)
        if (pare_name_index_add(&x->key_names, x->keys[i].name, x->err) != PARE_OK)
            status = pare_error_prefix(x->err, "%s", x->c->path);
    return status;
}

/* Names every shard that is not there, or as many as a message holds. */
static PareStatus check_presence(const Index *x) {
    enum { NAMES_BYTES = 600 };
    const Sharded *s = x->s;
    char names[NAMES_BYTES] = "";
    size_t missing = 0, named = 0, used = 0;
    for (size_t i = 0; i < s->count; i++) {
        char shown[260];
        if (access(s->paths[i], F_OK) == 0)
            continue;
        missing++;
        pare_name_show(s->names[i], strlen(s->names[i]), shown, sizeof shown);
        if (named + 1 < missing || used + strlen(shown) + 3 > sizeof names)
            continue;
        used += (size_t)snprintf(names + used, sizeof names - used, "%s%s", named > 0 ? ", " : "",
                                 shown);
        named++;
    }
    if (missing == 0)
        return PARE_OK;
    char more[40] = "";
    if (named < missing)
        snprintf(more, sizeof more, " and %zu more", missing - named);
    return pare_error_set(x->err, PARE_E_IO, "%s: %zu of its %zu shards %s missing: %s%s",
                          x->c->path, missing, s->count, missing == 1 ? "is" : "are", names, more);
}

/* ---- Comparing shards and index ---- */

/* TensorFlow's index has the variables' names, of which the shards' leave out the first scope, and
 * the reader of the shard has made PyTorch's names of those. */
static const PareCheckpointTensor *find_variable(const PareCheckpoint *shard, const char *key) {
    const char *slash = strchr(key, '/');
    char name[PARE_NAME_MAX + 1], scoped[PARE_NAME_MAX + 3];
    const PareCheckpointTensor *t = NULL;
    PareTfLayout layout;
    snprintf(scoped, sizeof scoped, "x/%s", key); /* whose first scope is dropped instead */
    const char *const spellings[] = {key, scoped, slash == NULL ? key : slash + 1};
    for (size_t i = 0; t == NULL && i < 3; i++)
        if (pare_tf_name_to_torch(spellings[i], 1, name, sizeof name, &layout))
            t = pare_checkpoint_find(shard, name);
    return t;
}

/* The shard's tensor that the index means. Readers strip the "module." of parallel training. */
static const PareCheckpointTensor *find_tensor(const PareCheckpoint *shard, const char *key) {
    static const char prefix[] = "module.";
    const PareCheckpointTensor *t = pare_checkpoint_find(shard, key);
    if (t == NULL && strncmp(key, prefix, sizeof prefix - 1) == 0)
        t = pare_checkpoint_find(shard, key + sizeof prefix - 1);
    return t != NULL ? t : find_variable(shard, key);
}

/* Adds up what the shard's tensors, the last ones from `first` on, take. */
static PareStatus count_shard(Index *x, size_t first) {
    PareCheckpoint *c = x->c;
    PareStatus status = pare_checkpoint_number_views(c, first, x->err);
    if (status != PARE_OK)
        return status;
    for (size_t i = first; i < c->count; i++) {
        size_t bytes = 0;
        uint64_t id = c->tensors[i].view_id;
        x->countable = x->countable && pare_tensor_bytes(&c->tensors[i].type, &bytes);
        x->bytes += bytes;
        x->own_bytes += id == 0 || id == i + 1 ? bytes : 0;
    }
    return PARE_OK;
}

static PareStatus add_tensor(Index *x, size_t number, const PareCheckpoint *shard, size_t index) {
    PareCheckpoint *c = x->c;
    const PareCheckpointTensor *its = &shard->tensors[index];
    PareCheckpointTensor *t = &c->tensors[c->count];
    *t = *its;
    t->name = pare_arena_strdup(c->arena, its->name);
    if (its->foreign_dtype != NULL)
        t->foreign_dtype = pare_arena_strdup(c->arena, its->foreign_dtype);
    if (t->name == NULL || (its->foreign_dtype != NULL && t->foreign_dtype == NULL))
        return pare_memory_error(x->err, c->path);
    x->s->places[c->count++] = (Place){(uint32_t)number, (uint32_t)index};
    return PARE_OK;
}

/* A tensor of this shard for which the index has no place here: it is in another shard (too), or
 * not in the index at all. */
static PareStatus refuse_surplus(Index *x, size_t number, const char *name) {
    const Sharded *s = x->s;
    PareCheckpoint *other;
    char shown[80], tensor[300];
    size_t key;
    pare_name_show(name, strlen(name), tensor, sizeof tensor);
    pare_name_show(s->names[number], strlen(s->names[number]), shown, sizeof shown);
    if (!pare_name_index_find(&x->key_names, name, &key))
        return pare_error_set(x->err, PARE_E_FORMAT,
                              "%s: tensor '%s' is in the shard %s but not in the index", x->c->path,
                              tensor, shown);
    size_t wanted = x->keys[key].shard;
    char place[80];
    pare_name_show(s->names[wanted], strlen(s->names[wanted]), place, sizeof place);
    PareStatus status = get_shard(x->c, wanted, &other, x->err);
    if (status != PARE_OK)
        return status;
    return pare_error_set(x->err, PARE_E_FORMAT,
                          find_tensor(other, name) != NULL
                              ? "%s: tensor '%s' is in two shards, %s and %s"
                              : "%s: tensor '%s' is in the shard %s; the index says %s",
                          x->c->path, tensor, shown, place);
}

/* Every key of this shard has its tensor there, and every tensor its key. */
static PareStatus match_shard(Index *x, size_t number, const PareCheckpoint *shard, bool *taken) {
    for (size_t i = x->begin[number]; i < x->begin[number + 1]; i++) {
        const PareCheckpointTensor *t = find_tensor(shard, x->keys[i].name);
        char shown[80];
        if (t != NULL && !taken[t - shard->tensors]) {
            taken[t - shard->tensors] = true;
            continue;
        }
        if (t != NULL)
            return fault(x, "tensor", x->keys[i].name, "is another name of a tensor in the index");
        const char *name = x->s->names[number];
        return pare_error_set(x->err, PARE_E_FORMAT,
                              "%s: tensor '%s' is not in the shard %s, where the index places it",
                              x->c->path, x->keys[i].name,
                              pare_name_show(name, strlen(name), shown, sizeof shown));
    }
    for (size_t i = 0; i < shard->count; i++)
        if (!taken[i])
            return refuse_surplus(x, number, shard->tensors[i].name);
    return PARE_OK;
}

static PareStatus read_shard(Index *x, size_t number) {
    PareCheckpoint *shard, *c = x->c;
    size_t first = c->count;
    PareStatus status = get_shard(c, number, &shard, x->err);
    if (status != PARE_OK)
        return status;
    bool *taken = pare_alloc(shard->count, sizeof *taken);
    if (taken == NULL)
        return pare_memory_error(x->err, c->path);
    status = match_shard(x, number, shard, taken);
    pare_free(taken);
    for (size_t i = 0; status == PARE_OK && i < shard->count; i++)
        status = add_tensor(x, number, shard, i);
    if (status == PARE_OK)
        status = count_shard(x, first);
    if (status != PARE_OK)
        return status;
    pare_buffer_puts(&x->warnings, pare_checkpoint_warnings(shard));
    const char *format = pare_checkpoint_format(shard);
    if (x->format == NULL)
        x->format = pare_arena_strdup(c->arena, format);
    else if (strcmp(x->format, format) != 0)
        x->format = "several formats";
    return x->format == NULL ? pare_memory_error(x->err, c->path) : PARE_OK;
}

/* metadata.total_size is known to be wrong in the wild (other precision, sizes of files, tied
 * tensors counted or not) and nothing depends on it: a difference is told, not refused. */
static PareStatus check_total(Index *x, const PareJson *root) {
    const PareJson *size = pare_json_get_set(pare_json_get(root, "metadata"), "total_size");
    PareCheckpoint *c = x->c;
    if (size == NULL || !x->countable)
        return PARE_OK;
    double total = pare_json_is_number(size) ? pare_json_number(size) : -1;
    if (total == (double)x->bytes || total == (double)x->own_bytes)
        return PARE_OK;
    char *text = pare_json_print(size), shown[40];
    if (text == NULL)
        return pare_memory_error(x->err, c->path);
    pare_buffer_printf(
        &x->warnings,
        "%s: metadata.total_size is %s, but the tensors of the shards have %llu bytes\n",
        pare_file_basename(c->path), pare_name_show(text, strlen(text), shown, sizeof shown),
        (unsigned long long)x->bytes);
    pare_free(text);
    return PARE_OK;
}

/* In the arena, once all are known. */
static PareStatus keep_warnings(Index *x) {
    PareCheckpoint *c = x->c;
    PareStatus status = pare_buffer_ok(&x->warnings, c->path, x->err);
    if (status != PARE_OK || x->warnings.size == 0)
        return status;
    c->warnings = pare_arena_strdup(c->arena, x->warnings.data);
    return c->warnings == NULL ? pare_memory_error(x->err, c->path) : PARE_OK;
}

static PareStatus read_shards(Index *x) {
    PareCheckpoint *c = x->c;
    c->tensors = pare_arena_alloc(c->arena, x->count, sizeof *c->tensors);
    x->s->places = pare_arena_alloc(c->arena, x->count, sizeof *x->s->places);
    if (c->tensors == NULL || x->s->places == NULL)
        return pare_memory_error(x->err, c->path);
    PareStatus status = check_presence(x);
    for (size_t i = 0; i < x->s->count && status == PARE_OK; i++)
        status = read_shard(x, i);
    if (status != PARE_OK)
        return status;
    c->files = x->s->paths;
    c->file_count = x->s->count;
    c->format = pare_arena_printf(c->arena, "sharded %s", x->format);
    return c->format == NULL ? pare_memory_error(x->err, c->path) : PARE_OK;
}

PareStatus pare_sharded_open(PareCheckpoint *c, PareError *err) {
    PareJsonDoc *doc = NULL;
    Index x = {.c = c, .countable = true, .err = err};
    if (c->map.size > INDEX_BYTES_MAX)
        return pare_error_set(err, PARE_E_FORMAT, "%s: an index has at most 256 MiB", c->path);
    Sharded *s = x.s = pare_arena_alloc(c->arena, 1, sizeof *s);
    if (s == NULL)
        return pare_memory_error(err, c->path);
    c->self = s;
    c->reader = &sharded;
    s->root = c->root == NULL ? NULL : pare_arena_strdup(c->arena, c->root);
    if (c->root != NULL && s->root == NULL)
        return pare_memory_error(err, c->path);
    PareStatus status = pare_json_parse((const char *)c->map.data, c->map.size, c->path, &doc, err);
    if (status == PARE_OK)
        status = read_map(&x, pare_json_get(pare_json_root(doc), "weight_map"));
    if (status == PARE_OK)
        status = read_shards(&x);
    if (status == PARE_OK)
        status = check_total(&x, pare_json_root(doc));
    if (status == PARE_OK)
        status = keep_warnings(&x);
    pare_json_free(doc);
    pare_buffer_free(&x.warnings);
    pare_name_index_free(&x.key_names);
    pare_name_index_free(&x.shard_names);
    pare_free(x.keys);
    pare_free(x.begin);
    return status;
}
