/* Opening a .pare file as a model. */
#include "runtime/model.h"

#include <string.h>

#include "runtime/session_impl.h"

struct PareModel {
    PareFile *file;
    PareArena *arena;
    PareJsonDoc *metadata;
    PareDescription description;
    PareSlots slots;
    PareGeneration generation;
    PareParams params;
    const char **labels;
    size_t label_count;
};

static PareStatus read_metadata(PareModel *m, const char *path, PareError *err) {
    const void *bytes;
    size_t size;
    if (!pare_file_section(m->file, PARE_SECTION_METADATA, &bytes, &size))
        return pare_error_set(err, PARE_E_FORMAT, "%s: has no metadata section", path);
    PareStatus st = pare_json_parse(bytes, size, path, &m->metadata, err);
    if (!st && !pare_json_is_object(pare_json_root(m->metadata)))
        st = pare_error_set(err, PARE_E_FORMAT, "%s: the metadata is not a JSON object", path);
    return st;
}

static PareStatus read_labels(PareModel *m, const char *path, PareError *err) {
    const PareJson *list = pare_json_get_set(pare_json_root(m->metadata), "labels");
    if (!list || (pare_json_is_array(list) && !pare_json_first(list)))
        return PARE_OK;
    if (!pare_json_is_array(list) || pare_json_size(list) != m->description.head.labels)
        return pare_error_set(err, PARE_E_FORMAT, "%s: \"labels\" must list %u names", path,
                              m->description.head.labels);
    m->labels = pare_arena_alloc(m->arena, pare_json_size(list), sizeof *m->labels);
    if (!m->labels)
        return pare_memory_error(err, "label names");
    for (const PareJson *n = pare_json_first(list); n; n = pare_json_next(n)) {
        if (!pare_json_is_string(n))
            return pare_error_set(err, PARE_E_FORMAT, "%s: \"labels\" must hold strings", path);
        m->labels[m->label_count++] = pare_json_string(n);
    }
    return PARE_OK;
}

static PareStatus load(PareModel *m, const char *path, PareError *err) {
    PareStatus st = pare_file_open(path, &m->file, err);
    if (!st)
        st = read_metadata(m, path, err);
    if (st)
        return st;
    const PareJson *root = pare_json_root(m->metadata);
    st = pare_description_read(pare_json_get(root, "description"), path, m->arena, &m->description,
                               err);
    if (!st)
        st = read_labels(m, path, err);
    m->generation = pare_generation_defaults();
    const PareJson *generation = pare_json_get_set(root, "generation");
    if (!st && generation)
        st = pare_generation_read(&m->generation, generation, path, m->arena, err);
    if (!st)
        st = pare_slots_list(&m->description, m->arena, &m->slots, err);
    if (!st)
        st = pare_params_bind(&m->description, m->file, m->arena, &m->params, err);
    return st;
}

PareStatus pare_model_open(const char *path, PareModel **out, PareError *err) {
    *out = NULL;
    PareModel *m = pare_alloc(1, sizeof *m);
    if (!m || !(m->arena = pare_arena_create(0))) {
        pare_model_close(m);
        return pare_memory_error(err, "a model");
    }
    PareStatus st = load(m, path, err);
    if (st) {
        pare_model_close(m);
        return st;
    }
    *out = m;
    return PARE_OK;
}

PareStatus pare_model_create(const PareModel *like, const PareDescription *d,
                             const PareSlots *slots, float *const *data, PareModel **out,
                             PareError *err) {
    *out = NULL;
    PareModel *m = pare_alloc(1, sizeof *m);
    if (!m || !(m->arena = pare_arena_create(0))) {
        pare_model_close(m);
        return pare_memory_error(err, "a model");
    }
    m->metadata = like->metadata;
    m->description = *d;
    m->slots = *slots;
    m->generation = like->generation;
    m->labels = like->labels;
    m->label_count = like->label_count;
    PareStatus st = pare_params_bind_memory(d, slots, data, m->arena, &m->params, err);
    if (st)
        pare_model_close(m);
    else
        *out = m;
    return st;
}

void pare_model_close(PareModel *m) {
    if (!m)
        return;
    if (m->file) /* otherwise it is another model's */
        pare_json_free(m->metadata);
    pare_arena_destroy(m->arena);
    pare_file_close(m->file);
    pare_free(m);
}

const PareDescription *pare_model_description(const PareModel *m) {
    return &m->description;
}

const PareSlots *pare_model_slots(const PareModel *m) {
    return &m->slots;
}

const PareFile *pare_model_file(const PareModel *m) {
    return m->file;
}

const PareJson *pare_model_metadata(const PareModel *m) {
    return pare_json_root(m->metadata);
}

const PareGeneration *pare_model_generation(const PareModel *m) {
    return &m->generation;
}

const PareParams *pare_model_params(const PareModel *m) {
    return &m->params;
}

const char *pare_model_label(const PareModel *m, uint32_t index) {
    return index < m->label_count ? m->labels[index] : NULL;
}

const char *pare_model_precision(const PareModel *m) {
    const char *found = NULL;
    for (size_t i = 0; m->file && i < m->slots.count; i++) {
        const PareSlot *s = &m->slots.items[i];
        if (s->role != PARE_ROLE_MATRIX && s->role != PARE_ROLE_EMBEDDING)
            continue;
        PareDtype t = pare_file_find(m->file, s->name)->dtype;
        const char *name = t == PARE_I8 ? "INT8" : pare_dtype_name(t);
        if (found && strcmp(found, name) != 0)
            return "mixed";
        found = name;
    }
    return found ? found : "F32";
}
