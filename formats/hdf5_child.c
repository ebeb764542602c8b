/* The sandboxed process: walks an HDF5 file for the parent, and reads its datasets. */
#include "formats/hdf5_child.h"

#include <string.h>

#include "core/buffer.h"
#include "formats/hdf5_library.h"
#include "formats/hdf5_process.h"

enum { REQUEST_MAX = 2048 };

typedef struct {
    PareBuffer message;
    bool refused; /* and said so */
} Teller;

static bool image_read(void *context, uint64_t at, size_t size, void *out) {
    const PareHdf5Image *image = context;
    if (at > image->size || size > image->size - at)
        return false;
    memcpy(out, image->data + at, size);
    return true;
}

/* ---- Messages ---- */

static void begin(Teller *t, uint8_t kind) {
    pare_buffer_clear(&t->message);
    pare_buffer_put_u8(&t->message, kind);
}

static void put_bytes(Teller *t, const char *bytes, size_t size) {
    pare_buffer_put_u32(&t->message, (uint32_t)size);
    pare_buffer_append(&t->message, bytes, size);
}

static void put_text(Teller *t, const char *text) {
    put_bytes(t, text, strlen(text));
}

static bool send_message(const Teller *t) {
    return !t->message.failed && pare_child_reply(t->message.data, t->message.size);
}

static bool tell_dataset(void *context, const PareHdf5Dataset *d) {
    Teller *t = context;
    begin(t, PARE_H5_DATASET);
    put_text(t, d->path);
    put_text(t, d->foreign != NULL ? d->foreign : "");
    pare_buffer_put_u8(&t->message, (uint8_t)d->dtype);
    pare_buffer_put_u8(&t->message, (uint8_t)d->type.dims);
    for (uint32_t i = 0; i < d->type.dims; i++)
        pare_buffer_put_u64(&t->message, d->type.shape[i]);
    pare_buffer_put_u8(&t->message, d->direct);
    pare_buffer_put_u8(&t->message, d->deflated);
    pare_buffer_put_u64(&t->message, d->offset);
    pare_buffer_put_u64(&t->message, d->stored);
    pare_buffer_put_u64(&t->message, d->address);
    return send_message(t);
}

static bool tell_list(void *context, const char *group, const char *name) {
    Teller *t = context;
    begin(t, PARE_H5_LIST);
    put_text(t, group);
    put_text(t, name);
    return send_message(t);
}

static bool tell_text(void *context, const char *bytes, size_t size) {
    Teller *t = context;
    begin(t, PARE_H5_TEXT);
    put_bytes(t, bytes, size);
    return send_message(t);
}

static bool tell_progress(void *context) {
    Teller *t = context;
    begin(t, PARE_H5_PROGRESS);
    return send_message(t);
}

static void tell_refusal(void *context, const char *path, const char *why) {
    Teller *t = context;
    begin(t, PARE_H5_REFUSED);
    put_text(t, path);
    put_text(t, why);
    t->refused = true;
    send_message(t);
}

static bool tell_done(Teller *t) {
    begin(t, PARE_H5_DONE);
    return send_message(t);
}

/* ---- Work ---- */

static bool walk(PareHdf5 *h, Teller *t) {
    const PareHdf5Visitor visitor = {t,         tell_dataset,  tell_list,
                                     tell_text, tell_progress, tell_refusal};
    if (pare_hdf5_walk(h, &visitor))
        return tell_done(t);
    if (!t->refused)
        tell_refusal(t, "", "cannot be read to its end");
    return false;
}

static bool read_dataset(PareHdf5 *h, Teller *t, const uint8_t *request, size_t size) {
    PareCursor c = pare_cursor(request, size);
    PareDtype dtype = (PareDtype)pare_cursor_u8(&c);
    uint64_t bytes = pare_cursor_u64(&c);
    const char *path = (const char *)pare_cursor_take(&c, pare_cursor_u32(&c));
    if (c.bad || path == NULL || pare_cursor_u8(&c) != 0) /* the path's NUL */
        return false;
    uint8_t *memory = pare_child_map((size_t)bytes);
    if (memory == NULL) {
        tell_refusal(t, path, "needs more memory than there is");
        return true;
    }
    bool good = pare_hdf5_read(h, path, dtype, memory, (size_t)bytes, tell_progress, t);
    if (!good)
        tell_refusal(t, path, pare_hdf5_complaint());
    pare_child_unmap(memory, (size_t)bytes);
    return good ? tell_done(t) : true;
}

bool pare_hdf5_child_prepare(void *image) {
    (void)image;
    return pare_hdf5_start();
}

void pare_hdf5_child_serve(void *image) {
    Teller t = {0};
    uint8_t request[REQUEST_MAX];
    const PareHdf5Io io = {
        .context = image, .size = ((PareHdf5Image *)image)->size, .read = image_read};
    PareHdf5 *h = pare_hdf5_open_image(&io);
    if (h == NULL) {
        tell_refusal(&t, "", pare_hdf5_complaint());
        return;
    }
    if (!walk(h, &t))
        return;
    for (;;) {
        long size = pare_child_request(request, sizeof request);
        if (size < 0 || !read_dataset(h, &t, request, (size_t)size))
            return;
    }
}
