/* Saving checkpoints: what is checked before a container is written, and fetching tensors. */
#include "formats/checkpoint_writer.h"

#include <string.h>

#include "core/file.h"
#include "core/memory.h"
#include "formats/tensor_names.h"

static PareStatus check_tensor(const PareSaveJob *job, size_t i, PareNameIndex *names,
                               PareError *err) {
    const PareSavedTensor *t = &job->tensors[i];
    const char *fault = pare_name_fault(t->name, strlen(t->name));
    size_t bytes;
    if (fault)
        return pare_error_set(err, PARE_E_FORMAT, "the name of tensor %zu %s", i, fault);
    if (!pare_tensor_bytes(&t->type, &bytes))
        return pare_error_set(err, PARE_E_FORMAT, "tensor '%s' is larger than memory can be",
                              t->name);
    if (t->same_as != SIZE_MAX) {
        const PareSavedTensor *other = t->same_as < i ? &job->tensors[t->same_as] : NULL;
        if (!other || other->same_as != SIZE_MAX || other->type.dtype != t->type.dtype ||
            !pare_tensor_same_shape(&other->type, &t->type))
            return pare_error_set(err, PARE_E_FORMAT,
                                  "tensor '%s' does not share an earlier one of its type", t->name);
    }
    return pare_name_index_add(names, t->name, err);
}

static PareStatus check_job(const PareSaveJob *job, PareError *err) {
    PareNameIndex names = {0};
    PareStatus st = PARE_OK;
    for (size_t i = 0; i < job->count && !st; i++)
        st = check_tensor(job, i, &names, err);
    pare_name_index_free(&names);
    return st ? pare_error_prefix(err, "%s", job->path) : PARE_OK;
}

PareStatus pare_save_fetch(const PareSaveJob *job, size_t index, PareSaveRoom *room,
                           PareError *err) {
    const PareSavedTensor *t = &job->tensors[index];
    if (!pare_tensor_bytes(&t->type, &room->bytes))
        return pare_memory_error(err, t->name);
    if (!room->data || room->bytes > room->capacity) {
        pare_free(room->data);
        room->capacity = room->bytes;
        room->data = pare_alloc(room->bytes, 1);
        if (!room->data)
            return pare_memory_error(err, t->name);
    }
    PareStatus st = job->source(job->context, index, room->data, err);
    room->done += room->bytes;
    pare_progress_update(job->progress, room->done, t->name);
    return st ? st : pare_interrupt_check(err);
}

void pare_save_room_free(PareSaveRoom *room) {
    pare_free(room->data);
    *room = (PareSaveRoom){0};
}

PareStatus pare_checkpoint_save(PareSaveFormat format, const char *path, bool force,
                                const PareSavedTensor *tensors, size_t count,
                                PareTensorSource source, void *context, PareProgress *progress,
                                PareError *err) {
    PareSaveJob job = {path, force, tensors, count, source, context, progress};
    PareError own = {0};
    err = err ? err : &own; /* prefixes need the message */
    PareStatus st = check_job(&job, err);
    if (st)
        return st;
    switch (format) {
    case PARE_SAVE_SAFETENSORS:
        return pare_safetensors_save(&job, err);
    case PARE_SAVE_PYTORCH:
        return pare_pytorch_save(&job, err);
    case PARE_SAVE_HDF5:
        return pare_hdf5_save(&job, err);
    }
    return pare_error_set(err, PARE_E_USAGE, "%s: unknown format %d", path, (int)format);
}
