/* PyTorch's checkpoints from before version 1.6 (and later with
 * _use_new_zipfile_serialization=False): a stream of five pickles (magic number, protocol, the
 * machine's properties, the object, the keys of its storages), then each storage in the order of
 * the keys, a count of elements in front. Storages lie at any alignment and are used in place.
 *
 * The stream does not say how large an element is; the persistent ids of the object do. */
#include <string.h>

#include "formats/checkpoint_reader.h"
#include "formats/torch_tensors_impl.h"

enum { PROTOCOL = 1001, COUNT_BYTES = 8, KEY_SIZE = 64 };

/* 0x1950a86a20f9469cfc6c: as two's complement, and as the text of protocols 0 and 1. */
static const char magic_bytes[] = "\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";
static const char magic_text[] = "119547037146038801333356";

typedef struct {
    uint64_t element_size, elements; /* as the object's persistent ids declare it */
    bool present;
    const uint8_t *data;
} Storage;

typedef struct {
    Storage *storages;
    PareNameIndex keys; /* of the storages, by number */
    PareTorchTensors tensors;
} Stream;

/* What is needed while the stream is read. */
typedef struct {
    PareCheckpoint *c;
    Stream *s;
    size_t at; /* bytes of the file that were read */
    ParePickleList persistent;
    PareError *err;
} Reader;

static PareStatus fault(const Reader *r, const char *what) {
    return pare_error_set(r->err, PARE_E_FORMAT, "%s: %s", r->c->path, what);
}

static void stream_close(PareCheckpoint *c) {
    Stream *s = c->self;
    pare_name_index_free(&s->keys);
    pare_torch_tensors_free(&s->tensors);
}

static bool find_storage(void *container, const char *key, uint32_t *record, uint64_t *bytes) {
    const Stream *s = container;
    size_t number;
    if (!pare_name_index_find(&s->keys, key, &number) || !s->storages[number].present)
        return false;
    *record = (uint32_t)number;
    *bytes = s->storages[number].elements * s->storages[number].element_size;
    return true;
}

static PareStatus stream_fetch(PareCheckpoint *c, uint32_t record, const uint8_t **bytes,
                               PareError *err) {
    const Stream *s = c->self;
    (void)err;
    *bytes = s->storages[record].data;
    return PARE_OK;
}

static PareStatus stream_view(PareCheckpoint *c, size_t index, PareTensorView *out,
                              PareError *err) {
    Stream *s = c->self;
    return pare_torch_tensors_view(c, &s->tensors, index, out, err);
}

static void stream_release(PareCheckpoint *c, size_t index) {
    const Stream *s = c->self;
    const Storage *t = &s->storages[s->tensors.views[index].record];
    pare_checkpoint_drop(c, t->data, (size_t)(t->elements * t->element_size));
}

static const PareCheckpointReader pytorch_legacy = {"PyTorch legacy", stream_view, stream_release,
                                                    stream_close};

/* ---- The pickles ---- */

/* The next pickle; `what` it is, for messages. */
static PareStatus next_pickle(Reader *r, const char *what, bool is_object, const ParePickle **out) {
    size_t used = 0;
    char *where = pare_arena_printf(r->c->arena, "%s: %s", r->c->path, what);
    if (where == NULL)
        return pare_memory_error(r->err, r->c->path);
    PareStatus status = pare_pickle_load_tracked(r->c->map.data + r->at, r->c->map.size - r->at,
                                                 where, &pare_torch_allow_list, r->c->arena, out,
                                                 &used, is_object ? &r->persistent : NULL, r->err);
    r->at += used;
    return status;
}

static PareStatus check_magic(Reader *r) {
    const ParePickle *v;
    PareStatus status = next_pickle(r, "the magic number", false, &v);
    if (status != PARE_OK)
        return status;
    if (v->kind != PARE_PICKLE_BIG_INT ||
        !((v->size == sizeof magic_bytes - 1 && memcmp(v->text, magic_bytes, v->size) == 0) ||
          (v->size == sizeof magic_text - 1 && memcmp(v->text, magic_text, v->size) == 0)))
        return fault(r, "does not begin with PyTorch's magic number");
    status = next_pickle(r, "the protocol", false, &v);
    if (status != PARE_OK || (v->kind == PARE_PICKLE_INT && v->integer == PROTOCOL))
        return status;
    return pare_error_set(r->err, PARE_E_UNSUPPORTED,
                          "%s: its protocol is %lld; PyTorch has written only %d", r->c->path,
                          v->kind == PARE_PICKLE_INT ? (long long)v->integer : -1, PROTOCOL);
}

/* {protocol_version, little_endian, type_sizes}. The sizes are those of C's types where the file
 * was saved; storages have their own. */
static PareStatus check_machine(Reader *r) {
    const ParePickle *v, *little = NULL;
    PareStatus status = next_pickle(r, "the machine's properties", false, &v);
    if (status != PARE_OK)
        return status;
    for (uint32_t i = 0; v->kind == PARE_PICKLE_DICT && i + 1 < v->size; i += 2)
        if (pare_pickle_text_is(v->items[i], "little_endian"))
            little = v->items[i + 1];
    if (little == NULL || little->kind != PARE_PICKLE_BOOL)
        return fault(r, "does not say in which byte order it was saved (little_endian)");
    if (little->integer == 0)
        return pare_error_set(r->err, PARE_E_UNSUPPORTED,
                              "%s: was saved on a machine whose byte order is big-endian; load and "
                              "save it with PyTorch on an ordinary machine",
                              r->c->path);
    return PARE_OK;
}

/* ---- The storages ---- */

/* Terminated, as the index of names wants it. */
static PareStatus read_key(const Reader *r, const ParePickle *v, char out[KEY_SIZE]) {
    if (v->kind != PARE_PICKLE_TEXT || v->size == 0 || v->size >= KEY_SIZE ||
        memchr(v->text, 0, v->size) != NULL)
        return fault(r, "has a storage whose key is no short text");
    memcpy(out, v->text, v->size);
    out[v->size] = '\0';
    return PARE_OK;
}

/* ('storage', class, key, location, elements[, view]): the first of a key says what it is, and the
 * others must agree. */
static PareStatus declare_storage(Reader *r, const ParePickle *id) {
    char key[KEY_SIZE], shown[80];
    size_t number;
    if (id->kind != PARE_PICKLE_TUPLE || id->size < 5 || id->size > 6 ||
        !pare_pickle_text_is(id->items[0], "storage") || id->items[4]->kind != PARE_PICKLE_INT ||
        id->items[4]->integer < 0)
        return fault(r,
                     "has a persistent id that is no storage of the kind that torch.save writes");
    const PareTorchDtype *dtype = pare_torch_dtype(id->items[1], PARE_TORCH_STORAGE);
    if (dtype == NULL && !pare_torch_is_global(id->items[1], PARE_TORCH_UNTYPED))
        return fault(r, "has a storage of an unknown type");
    PareStatus status = read_key(r, id->items[2], key);
    if (status != PARE_OK)
        return status;
    Storage declared = {.element_size = dtype == NULL ? 1 : dtype->size,
                        .elements = (uint64_t)id->items[4]->integer};
    if (pare_name_index_find(&r->s->keys, key, &number)) {
        const Storage *first = &r->s->storages[number];
        if (first->element_size == declared.element_size && first->elements == declared.elements)
            return PARE_OK;
        return pare_error_set(
            r->err, PARE_E_FORMAT,
            "%s: the storage '%s' is declared with %llu elements of %llu bytes and with %llu of "
            "%llu",
            r->c->path, pare_name_show(key, strlen(key), shown, sizeof shown),
            (unsigned long long)first->elements, (unsigned long long)first->element_size,
            (unsigned long long)declared.elements, (unsigned long long)declared.element_size);
    }
    r->s->storages[r->s->keys.count] = declared;
    char *name = pare_arena_strdup(r->c->arena, key);
    if (name == NULL)
        return pare_memory_error(r->err, r->c->path);
    status = pare_name_index_add(&r->s->keys, name, r->err);
    return status == PARE_OK ? status : pare_error_prefix(r->err, "%s", r->c->path);
}

static PareStatus declare_storages(Reader *r) {
    size_t count = r->persistent.count;
    PareStatus status = PARE_OK;
    r->s->storages = pare_arena_alloc(r->c->arena, count, sizeof *r->s->storages);
    if (r->s->storages == NULL)
        return pare_memory_error(r->err, r->c->path);
    for (size_t i = 0; i < count && status == PARE_OK; i++)
        status = declare_storage(r, r->persistent.items[i]->items[0]);
    return status;
}

/* One storage: int64 elements, then these. */
static PareStatus place_storage(Reader *r, const ParePickle *key_node) {
    char key[KEY_SIZE], shown[80];
    size_t number;
    uint64_t found;
    PareCheckpoint *c = r->c;
    PareStatus status = read_key(r, key_node, key);
    if (status != PARE_OK)
        return status;
    pare_name_show(key, strlen(key), shown, sizeof shown);
    if (!pare_name_index_find(&r->s->keys, key, &number))
        return pare_error_set(r->err, PARE_E_FORMAT,
                              "%s: lists a storage '%s' that nothing refers to", c->path, shown);
    Storage *s = &r->s->storages[number];
    if (s->present)
        return pare_error_set(r->err, PARE_E_FORMAT, "%s: lists the storage '%s' twice", c->path,
                              shown);
    if (c->map.size - r->at < COUNT_BYTES)
        return pare_error_set(r->err, PARE_E_FORMAT,
                              "%s: ends before the storage '%s'; the download may be incomplete",
                              c->path, shown);
    memcpy(&found, c->map.data + r->at, COUNT_BYTES);
    r->at += COUNT_BYTES;
    if (found != s->elements)
        return pare_error_set(r->err, PARE_E_FORMAT,
                              "%s: the storage '%s' has %lld elements; %llu were expected", c->path,
                              shown, (long long)found, (unsigned long long)s->elements);
    if (s->elements > (c->map.size - r->at) / s->element_size)
        return pare_error_set(r->err, PARE_E_FORMAT,
                              "%s: the storage '%s' has %llu elements of %llu bytes, but only %zu "
                              "bytes are left; the download may be incomplete",
                              c->path, shown, (unsigned long long)s->elements,
                              (unsigned long long)s->element_size, c->map.size - r->at);
    s->data = c->map.data + r->at;
    s->present = true;
    r->at += (size_t)(s->elements * s->element_size);
    return PARE_OK;
}

static PareStatus place_storages(Reader *r) {
    const ParePickle *keys;
    PareStatus status = next_pickle(r, "the keys of the storages", false, &keys);
    if (status != PARE_OK)
        return status;
    if (keys->kind != PARE_PICKLE_LIST)
        return fault(r, "has no list of its storages behind the object");
    for (uint32_t i = 0; i < keys->size && status == PARE_OK; i++)
        status = place_storage(r, keys->items[i]);
    if (status == PARE_OK && r->at != r->c->map.size)
        return pare_error_set(r->err, PARE_E_FORMAT,
                              "%s: %zu bytes follow the last storage; the file is damaged, or "
                              "several were written into one",
                              r->c->path, r->c->map.size - r->at);
    return status;
}

PareStatus pare_pytorch_legacy_open(PareCheckpoint *c, PareError *err) {
    const ParePickle *root = NULL;
    Reader r = {.c = c, .err = err};
    Stream *s = r.s = pare_arena_alloc(c->arena, 1, sizeof *s);
    if (s == NULL)
        return pare_memory_error(err, c->path);
    s->tensors.storages = (PareTorchStorages){s, find_storage, stream_fetch};
    c->self = s;
    c->reader = &pytorch_legacy;
    PareStatus status = check_magic(&r);
    if (status == PARE_OK)
        status = check_machine(&r);
    if (status == PARE_OK)
        status = next_pickle(&r, "the object", true, &root);
    if (status == PARE_OK)
        status = declare_storages(&r);
    if (status == PARE_OK)
        status = place_storages(&r);
    pare_free(r.persistent.items);
    return status == PARE_OK ? pare_torch_tensors_build(c, root, &s->tensors, err) : status;
}
