/* The student: a model that was opened, a teacher's layers, one of a teacher's kind with random
 * values, or an encoder and a decoder put together. */
#include <string.h>

#include "distill/distill_impl.h"
#include "distill/fresh.h"
#include "distill/student.h"
#include "runtime/metadata.h"

/* Whose settings, labels and tokenizer the output has. */
static PareStatus find_like(PareDistill *j) {
    const PareModel *like = NULL;
    if (!j->o->encoder) {
        j->like = j->origin ? j->origin : j->teacher;
        return PARE_OK;
    }
    PareStatus st = pare_warm_tokenizer(&j->warm, &like, j->err);
    j->like = like ? like : j->decoder;
    return st;
}

PareStatus pare_distill_open_models(PareDistill *j) {
    const PareDistillOptions *o = j->o;
    struct {
        const char *path;
        PareModel **model;
    } models[] = {{o->teacher, &j->teacher},
                  {o->student, &j->origin},
                  {o->encoder, &j->encoder},
                  {o->decoder, &j->decoder}};
    PareStatus st = PARE_OK;
    for (size_t i = 0; i < sizeof models / sizeof *models && !st; i++)
        if (models[i].path)
            st = pare_model_open(models[i].path, models[i].model, j->err);
    j->warm = (PareWarmStart){.encoder = j->encoder,
                              .decoder = j->decoder,
                              .share = o->share,
                              .fresh = o->fresh,
                              .seed = o->batches.seed,
                              .extras = &j->from};
    return st ? st : find_like(j);
}

static PareStatus plan_layers(PareDistill *j) {
    PareStudentLayers layers;
    const PareDescription *teacher = pare_model_description(j->teacher);
    PareStatus st = pare_student_layers_parse(j->o->layers, teacher, j->arena, &layers, j->err);
    return st ? st : pare_student_describe(teacher, &layers, j->arena, &j->planned, j->err);
}

PareStatus pare_distill_plan_student(PareDistill *j) {
    const PareDistillOptions *o = j->o;
    if (j->origin) {
        j->planned = *pare_model_description(j->origin);
        return PARE_OK;
    }
    if (o->encoder)
        return pare_warm_describe(&j->warm, j->arena, &j->planned, j->err);
    if (o->student_config)
        return pare_fresh_describe(o->student_config, pare_model_description(j->teacher), j->arena,
                                   &j->planned, j->err);
    return plan_layers(j);
}

bool pare_distill_copies_teacher(const PareDistill *j) {
    const PareDistillOptions *o = j->o;
    return !j->origin && !o->encoder && !o->student_config && !o->fresh;
}

PareStatus pare_distill_make_student(PareDistill *j) {
    const PareDistillOptions *o = j->o;
    PareStudentLayers layers;
    if (j->origin)
        return pare_weights_create(j->origin, NULL, &j->from, &j->weights, j->err);
    if (o->encoder)
        return pare_warm_create(&j->warm, &j->planned, &j->weights, j->err);
    if (!pare_distill_copies_teacher(j)) {
        PareFreshStudent s = {.teacher = j->teacher,
                              .d = &j->planned,
                              .layers = o->layers,
                              .seed = o->batches.seed,
                              .copy_embeddings = o->copy_embeddings,
                              .extras = &j->from};
        return pare_fresh_create(&s, &j->weights, j->err);
    }
    PareStatus st = pare_student_layers_parse(o->layers, pare_model_description(j->teacher),
                                              j->arena, &layers, j->err);
    return st ? st : pare_student_create(j->teacher, &layers, &j->from, &j->weights, j->err);
}

bool pare_distill_is_fixed(const PareDistill *j, const char *name) {
    const PareSlot *slot = pare_slots_find(&j->weights->slots, name);
    const PareJson *list = pare_json_get_set(pare_model_metadata(j->like), "fixed");
    if (j->o->encoder)
        return slot && pare_warm_is_fixed(&j->warm, slot);
    for (const PareJson *n = pare_json_first(list); n; n = pare_json_next(n))
        if (pare_json_is_string(n) && strcmp(pare_json_string(n), name) == 0)
            return true;
    return false;
}

/* Models put together of two have no such fact. */
int32_t pare_distill_padding(const PareDistill *j) {
    const PareJson *fixed = pare_json_get_set(pare_model_metadata(j->like), "fixed_padding");
    bool is_fixed = !j->o->encoder && pare_json_is_bool(fixed) && pare_json_true(fixed);
    return is_fixed ? j->own.pad : -1;
}

PareStatus pare_distill_set_generation(PareDistill *j) {
    j->own = *pare_model_generation(j->like);
    return j->o->encoder ? pare_warm_generation(&j->warm, j->tokenizer, &j->o->special, j->arena,
                                                &j->own, j->err)
                         : PARE_OK;
}

PareStatus pare_distill_metadata(const PareDistill *j, PareBuffer *out) {
    return j->o->encoder ? pare_warm_metadata(&j->warm, j->weights, &j->own, j->tokenizer,
                                              j->settings.data, out, j->err)
                         : pare_metadata_append(j->like, "distill", j->settings.data,
                                                &j->weights->description, out, j->err);
}
