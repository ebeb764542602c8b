/* Writing results. */
#include "programs/run_output.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { MUCH = 1 << 20 };

PareStatus pare_run_output_open(PareRunOutput *o, const char *path, bool force, PareError *err) {
    *o = (PareRunOutput){0};
    return path ? pare_output_open(path, force, &o->file, err) : PARE_OK;
}

static PareStatus write_standard(const PareBuffer *text, PareError *err) {
    if (fwrite(text->data, 1, text->size, stdout) == text->size && fflush(stdout) == 0)
        return PARE_OK;
    return pare_error_set(err, PARE_E_IO, "cannot write to standard output: %s", strerror(errno));
}

PareStatus pare_run_output_flush(PareRunOutput *o, PareError *err) {
    PareStatus st = pare_buffer_ok(&o->text, "the output", err);
    if (!st && o->text.size)
        st = o->file ? pare_output_write(o->file, o->text.data, o->text.size, err)
                     : write_standard(&o->text, err);
    pare_buffer_clear(&o->text);
    return st;
}

PareStatus pare_run_output_drain(PareRunOutput *o, PareError *err) {
    return o->text.size < MUCH && !o->text.failed ? PARE_OK : pare_run_output_flush(o, err);
}

PareStatus pare_run_output_close(PareRunOutput *o, PareStatus status, PareError *err) {
    if (!status)
        status = pare_run_output_flush(o, err);
    if (o->file && !status)
        status = pare_output_commit(o->file, err);
    else
        pare_output_abort(o->file);
    pare_buffer_free(&o->text);
    *o = (PareRunOutput){0};
    return status;
}

void pare_run_put_floats(PareBuffer *out, const float *values, size_t n, const char *between) {
    for (size_t i = 0; i < n; i++) {
        if (i)
            pare_buffer_puts(out, between);
        pare_buffer_put_json_float(out, values[i]);
    }
}

void pare_run_put_ids(PareBuffer *out, const int32_t *ids, size_t n, const char *between) {
    for (size_t i = 0; i < n; i++)
        pare_buffer_printf(out, "%s%d", i ? between : "", ids[i]);
}
