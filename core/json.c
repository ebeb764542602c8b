/* Doorkeeper of cJSON. */
#include "core/json.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <string.h>

#include "core/file.h"
#include "core/json_check.h"
#include "core/memory.h"

enum { MAX_FILE = 1 << 28 };

struct PareJsonDoc {
    cJSON *root;
};

static void *allocate(size_t size) {
    return pare_realloc(NULL, size, 1);
}

PareStatus pare_json_parse(const char *text, size_t size, const char *name, PareJsonDoc **out,
                           PareError *err) {
    cJSON_Hooks hooks = {allocate, pare_free};
    *out = NULL;
    PareStatus st = pare_json_check(text, size, name, err);
    if (st)
        return st;
    PareJsonDoc *doc = pare_alloc(1, sizeof *doc);
    if (!doc)
        return pare_memory_error(err, name);
    cJSON_InitHooks(&hooks);
    doc->root = cJSON_ParseWithLength(text, size);
    if (!doc->root) { /* the text is valid, so only memory can be missing */
        pare_free(doc);
        return pare_memory_error(err, name);
    }
    *out = doc;
    return PARE_OK;
}

PareStatus pare_json_read(const char *path, PareJsonDoc **out, PareError *err) {
    char *text;
    size_t size;
    *out = NULL;
    PareStatus st = pare_file_read(path, MAX_FILE, &text, &size, err);
    if (st)
        return st;
    st = pare_json_parse(text, size, path, out, err);
    pare_free(text);
    return st;
}

void pare_json_free(PareJsonDoc *doc) {
    if (!doc)
        return;
    cJSON_Delete(doc->root);
    pare_free(doc);
}

const PareJson *pare_json_root(const PareJsonDoc *doc) {
    return doc->root;
}

bool pare_json_is_object(const PareJson *n) {
    return cJSON_IsObject(n);
}

bool pare_json_is_array(const PareJson *n) {
    return cJSON_IsArray(n);
}

bool pare_json_is_string(const PareJson *n) {
    return cJSON_IsString(n);
}

bool pare_json_is_number(const PareJson *n) {
    return cJSON_IsNumber(n);
}

bool pare_json_is_integer(const PareJson *n) {
    return cJSON_IsNumber(n) && n->valuedouble == floor(n->valuedouble) &&
           fabs(n->valuedouble) <= 0x1p53;
}

bool pare_json_is_bool(const PareJson *n) {
    return cJSON_IsBool(n);
}

bool pare_json_is_null(const PareJson *n) {
    return cJSON_IsNull(n);
}

const char *pare_json_string(const PareJson *n) {
    return n->valuestring;
}

double pare_json_number(const PareJson *n) {
    return n->valuedouble;
}

int64_t pare_json_integer(const PareJson *n) {
    return (int64_t)n->valuedouble;
}

bool pare_json_true(const PareJson *n) {
    return cJSON_IsTrue(n);
}

size_t pare_json_size(const PareJson *n) {
    size_t count = 0;
    for (const PareJson *c = pare_json_first(n); c; c = c->next)
        count++;
    return count;
}

const PareJson *pare_json_first(const PareJson *n) {
    return n ? n->child : NULL;
}

const PareJson *pare_json_next(const PareJson *n) {
    return n ? n->next : NULL;
}

const char *pare_json_key(const PareJson *n) {
    return n->string;
}

const PareJson *pare_json_at(const PareJson *array, size_t index) {
    const PareJson *n = pare_json_first(array);
    while (n && index-- > 0)
        n = n->next;
    return n;
}

const PareJson *pare_json_get(const PareJson *object, const char *key) {
    if (!cJSON_IsObject(object))
        return NULL;
    for (const PareJson *n = object->child; n; n = n->next)
        if (strcmp(n->string, key) == 0)
            return n;
    return NULL;
}

const PareJson *pare_json_get_set(const PareJson *object, const char *key) {
    const PareJson *n = pare_json_get(object, key);
    return cJSON_IsNull(n) ? NULL : n;
}

static PareStatus wrong(const char *where, const char *key, const char *expected, PareError *err) {
    return pare_error_set(err, PARE_E_FORMAT, "%s: \"%s\" must be %s", where, key, expected);
}

PareStatus pare_json_get_int(const PareJson *object, const char *key, int64_t min, int64_t max,
                             int64_t *out, const char *where, PareError *err) {
    const PareJson *n = pare_json_get_set(object, key);
    if (!n)
        return PARE_OK;
    if (!pare_json_is_integer(n))
        return wrong(where, key, "an integer", err);
    int64_t v = pare_json_integer(n);
    if (v < min || v > max)
        return pare_error_set(err, PARE_E_FORMAT, "%s: \"%s\" is %lld; expected %lld to %lld",
                              where, key, (long long)v, (long long)min, (long long)max);
    *out = v;
    return PARE_OK;
}

PareStatus pare_json_get_float(const PareJson *object, const char *key, double *out,
                               const char *where, PareError *err) {
    const PareJson *n = pare_json_get_set(object, key);
    if (!n)
        return PARE_OK;
    if (!pare_json_is_number(n) || !isfinite(n->valuedouble))
        return wrong(where, key, "a finite number", err);
    *out = n->valuedouble;
    return PARE_OK;
}

PareStatus pare_json_get_bool(const PareJson *object, const char *key, bool *out, const char *where,
                              PareError *err) {
    const PareJson *n = pare_json_get_set(object, key);
    if (!n)
        return PARE_OK;
    if (!pare_json_is_bool(n))
        return wrong(where, key, "true or false", err);
    *out = pare_json_true(n);
    return PARE_OK;
}

PareStatus pare_json_get_string(const PareJson *object, const char *key, const char **out,
                                const char *where, PareError *err) {
    const PareJson *n = pare_json_get_set(object, key);
    if (!n)
        return PARE_OK;
    if (!pare_json_is_string(n))
        return wrong(where, key, "a string", err);
    *out = n->valuestring;
    return PARE_OK;
}

char *pare_json_print(const PareJson *n) {
    return cJSON_PrintUnformatted(n);
}
