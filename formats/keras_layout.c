/* From the data sets and lists of names of an HDF5 file to tensors with PyTorch's names. */
#include "formats/keras_layout.h"

#include <stdio.h>
#include <string.h>

#include "core/buffer.h"

enum { PATH_BYTES = 2200 }; /* two paths of at most 1023 bytes, and what stands between */

typedef struct {
    PareCheckpoint *c;
    const PareKerasFile *f;
    PareNameIndex sets, lists, names; /* names: of the tensors so far */
    PareKerasPlace *places;
    size_t count, capacity; /* of tensors */
    uint8_t *used;          /* by number of data set */
    PareBuffer warnings;
    PareError *err;
} Layout;

static PareStatus fault(Layout *l, const char *what, const char *name, const char *rest) {
    char shown[300];
    return pare_error_set(l->err, PARE_E_FORMAT, "%s: %s '%s' %s", l->c->path, what,
                          pare_name_show(name, strlen(name), shown, sizeof shown), rest);
}

/* ---- Where the elements of a tensor are ---- */

void pare_keras_arrange(const PareTensorType *stored, PareTfLayout layout, PareTensorType *type,
                        uint64_t strides[PARE_MAX_DIMS]) {
    static const uint8_t as_is[PARE_MAX_DIMS] = {0, 1, 2, 3, 4, 5, 6, 7};
    static const uint8_t orders[][PARE_MAX_DIMS] = {[PARE_TF_TRANSPOSED] = {1, 0},
                                                    [PARE_TF_FLAT] = {1},
                                                    [PARE_TF_CONV1D] = {2, 1, 0},
                                                    [PARE_TF_CONV2D] = {3, 2, 0, 1}};
    const uint8_t *order = layout == PARE_TF_AS_IS ? as_is : orders[layout];
    PareTensorView rows = {0};
    pare_view_set_contiguous(&rows, stored);
    *type = *stored;
    if (layout == PARE_TF_FLAT) {
        type->dims = 1;
        type->shape[1] = 0;
    }
    for (uint32_t d = 0; d < type->dims; d++) {
        type->shape[d] = stored->shape[order[d]];
        strides[d] = rows.strides[order[d]];
    }
}

/* ---- Adding tensors ---- */

static PareStatus grow(Layout *l) {
    size_t capacity = l->capacity == 0 ? 256 : 2 * l->capacity;
    PareCheckpointTensor *tensors = pare_arena_alloc(l->c->arena, capacity, sizeof *l->c->tensors);
    PareKerasPlace *places = pare_arena_alloc(l->c->arena, capacity, sizeof *places);
    if (tensors == NULL || places == NULL)
        return pare_memory_error(l->err, l->c->path);
    if (l->count > 0) {
        memcpy(tensors, l->c->tensors, l->count * sizeof *tensors);
        memcpy(places, l->places, l->count * sizeof *places);
    }
    l->c->tensors = tensors;
    l->places = places;
    l->capacity = capacity;
    return PARE_OK;
}

/* Keras writes a variable that two layers share (a tied token table) with each of them. */
static PareStatus meet_again(Layout *l, size_t number, const PareKerasSet *s, PareTfLayout layout) {
    const PareKerasPlace *before = &l->places[number];
    const PareKerasSet *first = &l->f->sets[before->set];
    const char *name = l->c->tensors[number].name;
    size_t bytes = 0;
    if (layout != before->layout || s->type.dtype != first->type.dtype ||
        !pare_tensor_same_shape(&s->type, &first->type))
        return fault(l, "tensor", name, "is stored twice, with different shapes");
    if (s->address == first->address || s->type.dtype == PARE_DTYPE_COUNT)
        return PARE_OK;
    if (!s->direct || !first->direct) {
        pare_buffer_printf(&l->warnings,
                           "%s: tensor '%s' is stored twice, with compression; the first is read\n",
                           l->c->path, name);
        return PARE_OK;
    }
    if (pare_tensor_bytes(&s->type, &bytes) &&
        memcmp(l->f->image + s->offset, l->f->image + first->offset, bytes) != 0)
        return fault(l, "tensor", name, "is stored twice, with different values");
    return PARE_OK;
}

static PareStatus add(Layout *l, size_t set, const char *name, PareTfLayout layout) {
    const PareKerasSet *s = &l->f->sets[set];
    const char *bad = pare_name_fault(name, strlen(name));
    size_t number;
    l->used[set] = 1;
    if (layout == PARE_TF_FLAT && s->type.shape[0] != 1)
        layout = PARE_TF_AS_IS;
    if (bad != NULL)
        return fault(l, "the name of tensor", name, bad);
    if (pare_name_index_find(&l->names, name, &number))
        return meet_again(l, number, s, layout);
    if (l->count == l->capacity && grow(l) != PARE_OK)
        return l->err->code;
    PareCheckpointTensor *t = &l->c->tensors[l->count];
    uint64_t strides[PARE_MAX_DIMS];
    t->name = pare_arena_strdup(l->c->arena, name);
    if (t->name == NULL)
        return pare_memory_error(l->err, l->c->path);
    pare_keras_arrange(&s->type, layout, &t->type, strides);
    t->foreign_dtype = s->foreign;
    t->view_id =
        (s->address + 1) * 8 + (uint64_t)layout; /* for now: pare_checkpoint_number_views */
    l->places[l->count++] = (PareKerasPlace){(uint32_t)set, layout};
    return pare_name_index_add(&l->names, t->name, l->err);
}

/* ---- Keras 2 ---- */

/* The name of a variable, as PyTorch has it. A plain Keras model has no scope of its own in front:
 * its variables begin with the layer ("dense_1/kernel"), which must stay. */
static PareStatus add_variable(Layout *l, size_t set, const char *layer, const char *variable,
                               bool scoped) {
    char whole[PATH_BYTES], name[PATH_BYTES];
    PareTfLayout layout;
    size_t length = strlen(layer);
    bool is_layer = strncmp(variable, layer, length) == 0 && variable[length] == '/' &&
                    !(strncmp(variable + length + 1, layer, length) == 0 &&
                      variable[length + 1 + length] == '/');
    snprintf(whole, sizeof whole, "%s%s", scoped && !is_layer ? "" : "model/", variable);
    if (!pare_tf_name_to_torch(whole, l->f->sets[set].type.dims, name, sizeof name, &layout))
        return fault(l, "the variable", variable, "has no name that PyTorch could have");
    return add(l, set, name, layout);
}

static const PareKerasList *find_list(const Layout *l, const char *group, const char *name) {
    char path[PATH_BYTES];
    size_t number;
    snprintf(path, sizeof path, "%s%s%s", group, *group == '\0' ? "" : "/", name);
    return pare_name_index_find(&l->lists, path, &number) ? &l->f->lists[number] : NULL;
}

static PareStatus add_layer(Layout *l, const char *group, const char *layer) {
    const PareKerasList *weights = find_list(l, group, "weight_names");
    if (weights == NULL)
        return fault(l, "the layer", layer,
                     "is listed in layer_names, but the file has neither its weight_names nor a "
                     "data set of that name");
    for (size_t i = 0; i < weights->count; i++) {
        char path[2 * PATH_BYTES];
        size_t set;
        const char *weight = l->f->texts[weights->first + i];
        snprintf(path, sizeof path, "%s/%s", group, weight);
        if (!pare_name_index_find(&l->sets, path, &set))
            return fault(l, "the weight", weight,
                         "is listed in weight_names, but the file has no such data set");
        PareStatus status = add_variable(l, set, layer, weight, true);
        if (status != PARE_OK)
            return status;
    }
    return PARE_OK;
}

/* In a shard the first scope is gone already, unless "model." is somewhere in the name: that is
 * how transformers decides. */
static PareStatus add_shard_variable(Layout *l, size_t set, const char *variable) {
    bool scoped = strstr(variable, "model.") != NULL || strchr(variable, '/') == NULL;
    return add_variable(l, set, "", variable, scoped);
}

/* `folder` is "" or "model_weights". */
static PareStatus read_layers(Layout *l, const char *folder, const PareKerasList *layers) {
    l->c->format = "TensorFlow HDF5 (Keras 2)";
    for (size_t i = 0; i < layers->count; i++) {
        char path[PATH_BYTES];
        size_t set;
        const char *layer = l->f->texts[layers->first + i];
        snprintf(path, sizeof path, "%s%s%s", folder, *folder == '\0' ? "" : "/", layer);
        PareStatus status = pare_name_index_find(&l->sets, path, &set)
                                ? add_shard_variable(l, set, layer)
                                : add_layer(l, path, layer);
        if (status != PARE_OK)
            return status;
    }
    return PARE_OK;
}

/* ---- Keras 3 ---- */

/* Where "vars/NUMBER" begins at the end of a path; NULL when it does not. */
static const char *find_vars(const char *path) {
    const char *slash = strrchr(path, '/');
    if (slash == NULL || slash[1] == '\0' || slash[1 + strspn(slash + 1, "0123456789")] != '\0')
        return NULL;
    if (slash - path < 4 || memcmp(slash - 4, "vars", 4) != 0)
        return NULL;
    const char *vars = slash - 4;
    return vars == path || vars[-1] == '/' ? vars : NULL;
}

/* The path with the layer's own name in place of the attribute's that holds it, if it is told. */
static const char *name_by_layer(const Layout *l, const char *path, char *out, size_t size) {
    char group[PATH_BYTES];
    const char *vars = find_vars(path);
    if (vars == NULL || vars == path)
        return path;
    snprintf(group, sizeof group, "%.*svars", (int)(vars - path), path);
    const PareKerasList *own = find_list(l, group, "name");
    if (own == NULL || own->count != 1)
        return path;
    const char *begin = vars - 1;
    while (begin > path && begin[-1] != '/')
        begin--;
    int length =
        snprintf(out, size, "%.*s%s/%s", (int)(begin - path), path, l->f->texts[own->first], vars);
    return length > 0 && (size_t)length < size ? out : path;
}

static PareStatus read_objects(Layout *l, bool by_layer) {
    for (size_t i = 0; i < l->f->set_count; i++) {
        char room[PATH_BYTES];
        const char *path = l->f->sets[i].path;
        const char *name = by_layer ? name_by_layer(l, path, room, sizeof room) : path;
        PareStatus status = add(l, i, name, PARE_TF_AS_IS);
        if (status != PARE_OK)
            return status;
    }
    return PARE_OK;
}

static bool layers_are_unique(const Layout *l) {
    PareNameIndex names = {0};
    bool unique = true;
    for (size_t i = 0; unique && i < l->f->set_count; i++) {
        char room[PATH_BYTES];
        size_t number;
        const char *name = name_by_layer(l, l->f->sets[i].path, room, sizeof room);
        unique = !pare_name_index_find(&names, name, &number);
        name = unique ? pare_arena_strdup(l->c->arena, name) : NULL;
        unique = name != NULL && pare_name_index_add(&names, name, NULL) == PARE_OK;
    }
    pare_name_index_free(&names);
    return unique;
}

static bool has_vars(const PareKerasFile *f) {
    for (size_t i = 0; i < f->set_count; i++)
        if (find_vars(f->sets[i].path) != NULL)
            return true;
    return false;
}

static PareStatus read_keras3(Layout *l) {
    l->c->format = "Keras 3 weights";
    pare_buffer_printf(&l->warnings,
                       "%s: Keras numbers the variables of a layer and does not name them: tensors "
                       "are listed by their place in the file, as they are stored\n",
                       l->c->path);
    return read_objects(l, layers_are_unique(l));
}

/* ---- All of it ---- */

static PareStatus index_paths(Layout *l) {
    for (size_t i = 0; i < l->f->set_count; i++)
        if (pare_name_index_add(&l->sets, l->f->sets[i].path, l->err) != PARE_OK)
            return pare_error_prefix(l->err, "%s", l->c->path);
    for (size_t i = 0; i < l->f->list_count; i++)
        if (pare_name_index_add(&l->lists, l->f->lists[i].path, l->err) != PARE_OK)
            return pare_error_prefix(l->err, "%s", l->c->path);
    return PARE_OK;
}

static PareStatus choose(Layout *l) {
    static const char *const folders[] = {"", "model_weights"};
    for (size_t i = 0; i < 2; i++) {
        const PareKerasList *layers = find_list(l, folders[i], "layer_names");
        if (layers != NULL)
            return read_layers(l, folders[i], layers);
    }
    if (has_vars(l->f))
        return read_keras3(l);
    return pare_error_set(l->err, PARE_E_FORMAT,
                          "%s: is an HDF5 file, but not one of Keras: it has neither layer_names "
                          "nor groups called vars",
                          l->c->path);
}

static PareStatus finish(Layout *l) {
    size_t left = 0, first = 0;
    for (size_t i = l->f->set_count; i-- > 0;)
        if (!l->used[i]) {
            left++;
            first = i;
        }
    if (left > 0)
        pare_buffer_printf(&l->warnings,
                           "%s: %zu data sets that no layer lists are left out, '%s' among them\n",
                           l->c->path, left, l->f->sets[first].path);
    if (l->count == 0)
        return pare_error_set(l->err, PARE_E_FORMAT, "%s: holds no weights", l->c->path);
    if (l->warnings.size > 0 && !l->warnings.failed) {
        l->c->warnings = pare_arena_strdup(l->c->arena, l->warnings.data);
        if (l->c->warnings == NULL)
            return pare_memory_error(l->err, l->c->path);
    }
    l->c->count = l->count;
    return pare_buffer_ok(&l->warnings, l->c->path, l->err);
}

PareStatus pare_keras_layout(PareCheckpoint *c, const PareKerasFile *f, PareKerasPlace **places,
                             PareError *err) {
    Layout l = {.c = c, .f = f, .err = err};
    l.used = pare_arena_alloc(c->arena, f->set_count, 1);
    PareStatus status = l.used == NULL ? pare_memory_error(err, c->path) : index_paths(&l);
    if (status == PARE_OK)
        status = choose(&l);
    if (status == PARE_OK)
        status = finish(&l);
    *places = l.places;
    pare_name_index_free(&l.sets);
    pare_name_index_free(&l.lists);
    pare_name_index_free(&l.names);
    pare_buffer_free(&l.warnings);
    return status;
}
