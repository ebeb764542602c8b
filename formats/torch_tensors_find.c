/* Where a checkpoint keeps its tensors. A state dict may be all there is, or stand under a usual
 * name
 * ("state_dict", "model") in what a training program saved; --root says where when that does not
 * decide. Nothing is chosen silently among several places. */
#include <stdio.h>
#include <string.h>

#include "core/buffer.h"
#include "formats/torch_tensors_impl.h"

enum {
    DEPTH_MAX = 5, /* nested dicts around the tensors */
    INSIDE_MAX = 16,
    KEYS_SHOWN = 12,
    PLACES_SHOWN = 6,
    PATH_SIZE = 512
};

static const char *const usual[] = {"state_dict", "model_state_dict", "model",  "module",
                                    "net",        "network",          "weights"};

typedef struct {
    const PareCheckpoint *c;
    size_t steps;
    char path[PATH_SIZE]; /* of the dict that is looked at, from the outermost one */
    PareBuffer places;    /* those that hold tensors, for the message */
    size_t place_count;
    const ParePickle *place; /* the first */
    PareError *err;
} Search;

const ParePickle *pare_torch_script_attributes(const ParePickle *v) {
    return pare_torch_is_call(v, PARE_TORCH_SCRIPT) && v->size == 3 &&
                   v->items[2]->kind == PARE_PICKLE_DICT
               ? v->items[2]
               : NULL;
}

/* The dict of a value: itself, or a TorchScript module's attributes. */
static const ParePickle *dict_of(const ParePickle *v) {
    return v->kind == PARE_PICKLE_DICT ? v : pare_torch_script_attributes(v);
}

static bool holds_tensor(const ParePickle *v, size_t *steps, int depth) {
    if (pare_torch_is_tensor(v))
        return true;
    if (v->kind < PARE_PICKLE_TUPLE || v->kind == PARE_PICKLE_GLOBAL ||
        v->kind == PARE_PICKLE_PERSISTENT || depth == INSIDE_MAX)
        return false;
    for (uint32_t i = 0; i<v->size && * steps> 0; i++) {
        --*steps;
        if (holds_tensor(v->items[i], steps, depth + 1))
            return true;
    }
    return false;
}

bool pare_torch_holds_tensor(const ParePickle *v, size_t *steps) {
    return holds_tensor(v, steps, 0);
}

/* ---- Keys ---- */

/* The last one counts, as in Python. */
static const ParePickle *dict_get(const ParePickle *dict, const char *key, size_t size) {
    for (uint32_t i = dict->size; i >= 2; i -= 2) {
        const ParePickle *k = dict->items[i - 2];
        if (k->kind == PARE_PICKLE_TEXT && k->size == size && memcmp(k->text, key, size) == 0)
            return dict->items[i - 1];
    }
    return NULL;
}

/* "a, b, c and 4 more". */
static void put_keys(const ParePickle *dict, PareBuffer *out) {
    char shown[48];
    size_t count = 0;
    for (uint32_t i = 0; i + 1 < dict->size; i += 2, count++) {
        const ParePickle *k = dict->items[i];
        if (count >= KEYS_SHOWN)
            continue;
        pare_buffer_puts(out, count > 0 ? ", " : "");
        if (k->kind == PARE_PICKLE_TEXT)
            pare_buffer_puts(out, pare_name_show(k->text, k->size, shown, sizeof shown));
        else if (k->kind == PARE_PICKLE_INT)
            pare_buffer_printf(out, "%lld", (long long)k->integer);
        else
            pare_buffer_puts(out, pare_pickle_kind_name(k));
    }
    if (count > KEYS_SHOWN)
        pare_buffer_printf(out, " and %zu more", count - KEYS_SHOWN);
    if (count == 0)
        pare_buffer_puts(out, "none");
}

/* ---- By --root ---- */

/* The value under the longest key that `path` begins with, for keys may hold a '/' themselves. */
static const ParePickle *step_into(const ParePickle *dict, const char **path) {
    for (size_t size = strlen(*path); size > 0; size--) {
        if ((*path)[size] != '\0' && (*path)[size] != '/')
            continue;
        const ParePickle *v = dict_get(dict, *path, size);
        if (v != NULL) {
            *path += size + ((*path)[size] == '/');
            return v;
        }
    }
    return NULL;
}

static PareStatus refuse_root(const Search *s, const ParePickle *at, const char *rest) {
    char where[PATH_SIZE], shown[80];
    size_t done = strlen(s->c->root) - strlen(rest);
    PareBuffer keys = {0};
    pare_name_show(s->c->root, done > 0 ? done - 1 : 0, where, sizeof where);
    pare_name_show(rest, strcspn(rest, "/"), shown, sizeof shown);
    if (dict_of(at) == NULL)
        return pare_error_set(s->err, PARE_E_USAGE,
                              "%s: --root %s: '%s' is %s; a dictionary of tensors was expected",
                              s->c->path, s->c->root, where, pare_pickle_kind_name(at));
    put_keys(dict_of(at), &keys);
    PareStatus status = pare_buffer_ok(&keys, s->c->path, s->err);
    if (status == PARE_OK)
        status = pare_error_set(s->err, PARE_E_USAGE,
                                "%s: --root %s: there is no '%s' in %s%s%s; "
                                "its keys are %s",
                                s->c->path, s->c->root, shown,
                                done > 0 ? "'" : "the outermost dictionary", done > 0 ? where : "",
                                done > 0 ? "'" : "", keys.data);
    pare_buffer_free(&keys);
    return status;
}

/* "." is the outermost dictionary itself. */
static PareStatus follow_root(const Search *s, const ParePickle *root, const ParePickle **out) {
    const char *rest = strcmp(s->c->root, ".") == 0 ? "" : s->c->root;
    const ParePickle *at = root;
    while (*rest != '\0') {
        const ParePickle *dict = dict_of(at), *next = dict == NULL ? NULL : step_into(dict, &rest);
        if (next == NULL)
            return refuse_root(s, at, rest);
        at = next;
    }
    if (dict_of(at) == NULL)
        return refuse_root(s, at, rest);
    *out = at;
    return PARE_OK;
}

/* ---- By the usual names ---- */

static bool is_step(Search *s) {
    if (s->steps > 0)
        s->steps--;
    return s->steps > 0;
}

/* Optimizers and the like have tensors of their own, which are no weights. */
static bool is_beside(const ParePickle *key) {
    static const char *const words[] = {"optim", "sched", "scaler", "rng", "_extra_state"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (memmem(key->text, key->size, words[i], strlen(words[i])) != NULL)
            return true;
    return false;
}

static bool has_own_tensors(Search *s, const ParePickle *dict) {
    for (uint32_t i = 0; i + 1 < dict->size && is_step(s); i += 2)
        if (dict->items[i]->kind == PARE_PICKLE_TEXT && pare_torch_is_tensor(dict->items[i + 1]))
            return true;
    return false;
}

static void add_place(Search *s, const ParePickle *dict) {
    char shown[PATH_SIZE];
    const char *path = s->path[0] == '\0' ? "." : s->path;
    if (s->place_count++ == 0)
        s->place = dict;
    if (s->place_count > PLACES_SHOWN)
        return;
    pare_buffer_printf(&s->places, "%s'%s'", s->place_count > 1 ? ", " : "",
                       pare_name_show(path, strlen(path), shown, sizeof shown));
}

/* Appends a key to the path; what does not fit is not looked into. */
static bool enter(Search *s, const ParePickle *key, size_t *before) {
    *before = strlen(s->path);
    size_t slash = *before > 0;
    if (key->kind != PARE_PICKLE_TEXT || *before + slash + key->size >= sizeof s->path ||
        memchr(key->text, 0, key->size) != NULL)
        return false;
    if (slash)
        s->path[*before] = '/';
    memcpy(s->path + *before + slash, key->text, key->size);
    s->path[*before + slash + key->size] = '\0';
    return true;
}

/* Every dict that holds tensors itself, from `v` inwards. */
static void find_places(Search *s, const ParePickle *v, int depth) {
    size_t before;
    if (v->kind != PARE_PICKLE_DICT || depth == DEPTH_MAX)
        return;
    if (has_own_tensors(s, v))
        add_place(s, v);
    for (uint32_t i = 0; i + 1 < v->size && is_step(s); i += 2) {
        const ParePickle *key = v->items[i], *value = v->items[i + 1];
        if (value->kind != PARE_PICKLE_DICT || key->kind != PARE_PICKLE_TEXT || is_beside(key) ||
            !enter(s, key, &before))
            continue;
        find_places(s, value, depth + 1);
        s->path[before] = '\0';
    }
}

static bool has_places(Search *s, const ParePickle *v, int depth) {
    size_t count = s->place_count, size = s->places.size;
    const ParePickle *place = s->place;
    find_places(s, v, depth);
    bool found = s->place_count > count;
    s->place_count = count;
    s->place = place;
    s->places.size = size;
    return found;
}

static PareStatus refuse_places(Search *s) {
    PareStatus status = pare_buffer_ok(&s->places, s->c->path, s->err);
    if (status != PARE_OK)
        return status;
    return pare_error_set(s->err, PARE_E_USAGE,
                          "%s: holds tensors in %zu places: %s%s; say with --root which of them",
                          s->c->path, s->place_count, s->places.data,
                          s->place_count > PLACES_SHOWN ? " and others" : "");
}

/* The one entry with a usual name that holds tensors; NULL: none. Two are refused. */
static PareStatus find_usual(Search *s, const ParePickle *dict, int depth, const ParePickle **out) {
    const ParePickle *found = NULL;
    size_t before = strlen(s->path), kept = 0;
    bool several = false;
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
        const ParePickle key = {
            .kind = PARE_PICKLE_TEXT, .size = (uint32_t)strlen(usual[i]), .text = usual[i]};
        const ParePickle *v = dict_get(dict, usual[i], key.size);
        size_t ignored;
        if (v == NULL || v == found || !has_places(s, v, depth + 1) || !enter(s, &key, &ignored))
            continue;
        several = found != NULL;
        add_place(s, v);
        if (!several) {
            found = v;
            kept = i;
        }
        s->path[before] = '\0';
        if (several)
            return refuse_places(s);
    }
    s->place_count = 0;
    s->places.size = 0;
    if (found != NULL)
        snprintf(s->path + before, sizeof s->path - before, "%s%s", before > 0 ? "/" : "",
                 usual[kept]);
    *out = found;
    return PARE_OK;
}

static PareStatus refuse_none(const Search *s, const ParePickle *root) {
    PareBuffer keys = {0};
    if (root->kind != PARE_PICKLE_DICT)
        return pare_error_set(s->err, PARE_E_FORMAT,
                              "%s: holds %s; a state dict (model.state_dict()) was expected",
                              s->c->path, pare_pickle_kind_name(root));
    put_keys(root, &keys);
    PareStatus status = pare_buffer_ok(&keys, s->c->path, s->err);
    if (status == PARE_OK)
        status = pare_error_set(s->err, PARE_E_FORMAT,
                                "%s: holds no tensors where a state dict would have them; the keys "
                                "of the outermost dictionary are %s",
                                s->c->path, keys.data);
    pare_buffer_free(&keys);
    return status;
}

static PareStatus search(Search *s, const ParePickle *root, const ParePickle **out) {
    const ParePickle *at = root, *inner = root;
    for (int depth = 0; depth < DEPTH_MAX && inner != NULL && at->kind == PARE_PICKLE_DICT;
         depth++) {
        PareStatus status = find_usual(s, at, depth, &inner);
        if (status != PARE_OK)
            return status;
        at = inner != NULL ? inner : at;
    }
    if (at != root && has_own_tensors(s, at)) { /* the usual names decided */
        *out = at;
        return PARE_OK;
    }
    find_places(s, at, 0);
    if (s->steps == 0)
        return pare_error_set(s->err, PARE_E_FORMAT,
                              "%s: its dictionaries are nested as no checkpoint's are", s->c->path);
    if (s->place_count == 0)
        return refuse_none(s, root);
    if (s->place_count > 1)
        return refuse_places(s);
    *out = s->place;
    return PARE_OK;
}

PareStatus pare_torch_find_root(const PareCheckpoint *c, const ParePickle *root,
                                const ParePickle **out, bool *is_lightning, PareError *err) {
    static const char version[] = "pytorch-lightning_version";
    PareStatus status;
    Search s = {.c = c, .steps = PARE_TORCH_STEPS, .err = err};
    *is_lightning =
        root->kind == PARE_PICKLE_DICT && dict_get(root, version, sizeof version - 1) != NULL;
    if (c->root != NULL)
        return follow_root(&s, root, out);
    if (pare_torch_script_attributes(root) != NULL) {
        *out = root;
        return PARE_OK;
    }
    status = search(&s, root, out);
    pare_buffer_free(&s.places);
    return status;
}
