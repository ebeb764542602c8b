/* Metadata with one more stage in its provenance. */
#include "runtime/metadata.h"

#include <string.h>

#include "core/file.h"
#include "core/hash.h"
#include "core/json_text.h"
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

/* The metadata's members, as nodes, which know their keys, and as text, which is kept as it was. */
typedef struct {
    const PareJson *node;
    PareJsonText rest;
} Members;

static Members members_of(const PareModel *m) {
    const void *bytes = "";
    size_t size = 0;
    pare_file_section(pare_model_file(m), PARE_SECTION_METADATA, &bytes, &size);
    return (Members){pare_json_first(pare_model_metadata(m)), {bytes, (const char *)bytes + size}};
}

static bool next_member(Members *at, const char **key, PareJsonText *value) {
    PareJsonText written;
    if (!at->node || !pare_json_text_next(&at->rest, &written, value))
        return false;
    *key = pare_json_key(at->node);
    at->node = pare_json_next(at->node);
    return true;
}

/* The stages without the brackets around them, and a comma behind. */
static void put_stages(PareJsonText list, PareBuffer *out) {
    const char *begin = list.at + 1, *end = list.end - 1;
    if (*list.at != '[')
        return;
    while (begin < end && strchr(" \t\r\n", *begin))
        begin++;
    if (begin < end) {
        pare_buffer_append(out, begin, (size_t)(end - begin));
        pare_buffer_putc(out, ',');
    }
}

PareStatus pare_metadata_provenance(const PareModel *const *models, size_t count, const char *stage,
                                    const char *options, PareBuffer *out, PareError *err) {
    PareStatus st = PARE_OK;
    pare_buffer_put_json_key(out, "provenance");
    pare_buffer_putc(out, '[');
    for (size_t i = 0; i < count; i++) {
        Members at = members_of(models[i]);
        const char *key;
        PareJsonText value;
        while (next_member(&at, &key, &value))
            if (strcmp(key, "provenance") == 0)
                put_stages(value, out);
    }
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
    Members at = members_of(m);
    const char *key;
    PareJsonText value;
    pare_buffer_putc(out, '{');
    while (next_member(&at, &key, &value)) {
        if (strcmp(key, "provenance") == 0)
            continue;
        pare_buffer_put_json_key(out, key);
        if (description && strcmp(key, "description") == 0)
            pare_description_write(description, out);
        else
            pare_buffer_append(out, value.at, (size_t)(value.end - value.at));
    }
    PareStatus st = pare_metadata_provenance(&m, 1, stage, options, out, err);
    if (st)
        return st;
    pare_buffer_putc(out, '}');
    return pare_buffer_ok(out, "metadata", err);
}
