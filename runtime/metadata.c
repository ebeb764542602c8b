/* Metadata with one more stage in its provenance. */
#include "runtime/metadata.h"

#include <string.h>

#include "core/file.h"
#include "core/hash.h"
#include "core/version.h"

static PareStatus put_input(const PareModel *m, PareBuffer *out, PareError *err) {
    const char *path = pare_file_path(pare_model_file(m)), *name = pare_file_basename(path);
    char hex[PARE_SHA256_HEX_SIZE];
    uint64_t bytes = 0;
    PareStatus st = pare_file_sha256(path, &bytes, hex, err);
    if (st)
        return st;
    pare_buffer_puts(out, "{\"file\":");
    pare_buffer_put_json_string(out, name, strlen(name));
    pare_buffer_printf(out, ",\"bytes\":%llu,\"sha256\":\"%s\"}", (unsigned long long)bytes, hex);
    return PARE_OK;
}

/* `"key":value,` for a member that is kept. */
static PareStatus put_member(const PareJson *n, PareBuffer *out, PareError *err) {
    char *text = pare_json_print(n);
    if (!text)
        return pare_memory_error(err, "metadata");
    pare_buffer_put_json_string(out, pare_json_key(n), strlen(pare_json_key(n)));
    pare_buffer_printf(out, ":%s,", text);
    pare_free(text);
    return PARE_OK;
}

static PareStatus put_stages(const PareJson *list, PareBuffer *out, PareError *err) {
    for (const PareJson *n = pare_json_first(list); n; n = pare_json_next(n)) {
        char *text = pare_json_print(n);
        if (!text)
            return pare_memory_error(err, "metadata");
        pare_buffer_printf(out, "%s,", text);
        pare_free(text);
    }
    return PARE_OK;
}

PareStatus pare_metadata_provenance(const PareModel *const *models, size_t count, const char *stage,
                                    const char *options, PareBuffer *out, PareError *err) {
    PareStatus st = PARE_OK;
    pare_buffer_puts(out, "\"provenance\":[");
    for (size_t i = 0; i < count && !st; i++)
        st = put_stages(pare_json_get(pare_model_metadata(models[i]), "provenance"), out, err);
    pare_buffer_printf(out,
                       "{\"stage\":\"%s\",\"program\":\"pare-%s\",\"version\":\"%s\","
                       "\"options\":%s,\"inputs\":[",
                       stage, stage, PARE_VERSION, options);
    for (size_t i = 0; i < count && !st; i++) {
        pare_buffer_puts(out, i ? "," : "");
        st = put_input(models[i], out, err);
    }
    pare_buffer_puts(out, "]}]");
    return st;
}

PareStatus pare_metadata_append(const PareModel *m, const char *stage, const char *options,
                                const PareDescription *description, PareBuffer *out,
                                PareError *err) {
    const PareJson *root = pare_model_metadata(m);
    PareStatus st = PARE_OK;
    pare_buffer_putc(out, '{');
    for (const PareJson *n = pare_json_first(root); n && !st; n = pare_json_next(n)) {
        const char *key = pare_json_key(n);
        if (strcmp(key, "provenance") == 0)
            continue;
        if (description && strcmp(key, "description") == 0) {
            pare_buffer_puts(out, "\"description\":");
            pare_description_write(description, out);
            pare_buffer_putc(out, ',');
        } else {
            st = put_member(n, out, err);
        }
    }
    if (!st)
        st = pare_metadata_provenance(&m, 1, stage, options, out, err);
    if (st)
        return st;
    pare_buffer_putc(out, '}');
    return pare_buffer_ok(out, "metadata", err);
}
