/* JSON documents: the doorkeeper of cJSON. */
#include "core/json.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <pthread.h>
#include <string.h>

#include "core/buffer.h"
#include "core/file.h"
#include "core/json_check.h"
#include "core/memory.h"

enum { MAX_FILE = 256 << 20, FOUND_SHOWN = 40 };

static const double max_integer = 0x1p53;

struct PareJsonDoc {
    cJSON *root;
};

/* ---- Reading ------------------------------------------------------------------------------- */

static void *allocate(size_t size) {
    return pare_realloc(NULL, size, 1); /* a tree has many small nodes: no alignment, no zeros */
}

static void install_hooks(void) {
    cJSON_Hooks hooks = {.malloc_fn = allocate, .free_fn = pare_free};
    cJSON_InitHooks(&hooks);
}

PareStatus pare_json_parse(const char *text, size_t size, const char *name, PareJsonDoc **out,
                           PareError *err) {
    static pthread_once_t once = PTHREAD_ONCE_INIT; /* the hooks are cJSON's globals */
    *out = NULL;
    PareStatus status = pare_json_check(text, size, name, err);
    if (status)
        return status;
    pthread_once(&once, install_hooks);
    PareJsonDoc *doc = pare_alloc(1, sizeof *doc);
    if (doc)
        doc->root = cJSON_ParseWithLength(text, size);
    if (!doc || !doc->root) { /* the text is valid: only memory can have been missing */
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
    PareStatus status = pare_file_read(path, MAX_FILE, &text, &size, err);
    if (status)
        return status;
    status = pare_json_parse(text, size, path, out, err);
    pare_free(text);
    return status;
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

/* ---- Kinds and values ---------------------------------------------------------------------- */

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
    return cJSON_IsNumber(n) && fabs(n->valuedouble) <= max_integer &&
           n->valuedouble == floor(n->valuedouble);
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

/* Beyond 2^53 a number is no integer to us; a caller that did not ask still gets a defined value.
 */
int64_t pare_json_integer(const PareJson *n) {
    double v = n->valuedouble;
    return v >= 0x1p63 ? INT64_MAX : v < -0x1p63 ? INT64_MIN : (int64_t)v;
}

bool pare_json_true(const PareJson *n) {
    return cJSON_IsTrue(n);
}

/* ---- Children ------------------------------------------------------------------------------ */

size_t pare_json_size(const PareJson *n) {
    size_t count = 0;
    for (const PareJson *child = pare_json_first(n); child; child = child->next)
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
    const PareJson *n = object->child;
    while (n && strcmp(n->string, key) != 0)
        n = n->next;
    return n;
}

const PareJson *pare_json_get_set(const PareJson *object, const char *key) {
    const PareJson *n = pare_json_get(object, key);
    return cJSON_IsNull(n) ? NULL : n;
}

/* ---- Typed members ------------------------------------------------------------------------- */

static PareStatus wrong(const PareJson *n, const char *key, const char *expected, const char *where,
                        PareError *err) {
    char *found = pare_json_print(n);
    if (!found)
        return pare_memory_error(err, where);
    size_t length = strlen(found), shown = length;
    if (length > FOUND_SHOWN) {
        shown = FOUND_SHOWN;
        while (((unsigned char)found[shown] & 0xC0) == 0x80) /* not half of a character */
            shown--;
    }
    pare_error_set(err, PARE_E_FORMAT, "%s: \"%s\" is %.*s%s, expected %s", where, key, (int)shown,
                   found, shown < length ? "..." : "", expected);
    pare_free(found);
    return PARE_E_FORMAT;
}

PareStatus pare_json_get_int(const PareJson *object, const char *key, int64_t min, int64_t max,
                             int64_t *out, const char *where, PareError *err) {
    const PareJson *n = pare_json_get_set(object, key);
    if (!n)
        return PARE_OK;
    int64_t value = pare_json_is_integer(n) ? pare_json_integer(n) : 0;
    if (!pare_json_is_integer(n) || value < min || value > max) {
        PareBuffer expected = {0};
        pare_buffer_puts(&expected, "an integer");
        if (min > -(INT64_C(1) << 53))
            pare_buffer_printf(&expected, " from %lld", (long long)min);
        if (max < INT64_C(1) << 53)
            pare_buffer_printf(&expected, "%s %lld", min > -(INT64_C(1) << 53) ? " to" : " up to",
                               (long long)max);
        PareStatus status = pare_buffer_ok(&expected, where, err);
        if (!status)
            status = wrong(n, key, expected.data, where, err);
        pare_buffer_free(&expected);
        return status;
    }
    *out = value;
    return PARE_OK;
}

PareStatus pare_json_get_float(const PareJson *object, const char *key, double *out,
                               const char *where, PareError *err) {
    const PareJson *n = pare_json_get_set(object, key);
    if (n && !pare_json_is_number(n))
        return wrong(n, key, "a number", where, err);
    if (n)
        *out = pare_json_number(n);
    return PARE_OK;
}

PareStatus pare_json_get_bool(const PareJson *object, const char *key, bool *out, const char *where,
                              PareError *err) {
    const PareJson *n = pare_json_get_set(object, key);
    if (n && !pare_json_is_bool(n))
        return wrong(n, key, "true or false", where, err);
    if (n)
        *out = pare_json_true(n);
    return PARE_OK;
}

PareStatus pare_json_get_string(const PareJson *object, const char *key, const char **out,
                                const char *where, PareError *err) {
    const PareJson *n = pare_json_get_set(object, key);
    if (n && !pare_json_is_string(n))
        return wrong(n, key, "a string", where, err);
    if (n)
        *out = pare_json_string(n);
    return PARE_OK;
}

/* ---- Printing ------------------------------------------------------------------------------ */

static void print_number(PareBuffer *b, const PareJson *n) {
    bool negative_zero = n->valuedouble == 0 && signbit(n->valuedouble);
    if (pare_json_is_integer(n) && !negative_zero)
        pare_buffer_printf(b, "%lld", (long long)pare_json_integer(n));
    else if (fabs(n->valuedouble) < 1e40 && n->valuedouble == floor(n->valuedouble))
        pare_buffer_printf(b, "%.0f", n->valuedouble); /* an exact large integer stays one */
    else
        pare_buffer_put_json_double(b, n->valuedouble);
}

/* Recursive: the depth was limited when the text was read. */
static void print_node(PareBuffer *b, const PareJson *n) {
    bool object = cJSON_IsObject(n);
    if (cJSON_IsString(n)) {
        pare_buffer_put_json_string(b, n->valuestring, strlen(n->valuestring));
    } else if (cJSON_IsNumber(n)) {
        print_number(b, n);
    } else if (object || cJSON_IsArray(n)) {
        pare_buffer_putc(b, object ? '{' : '[');
        for (const PareJson *child = n->child; child; child = child->next) {
            if (object) {
                pare_buffer_put_json_string(b, child->string, strlen(child->string));
                pare_buffer_putc(b, ':');
            }
            print_node(b, child);
            if (child->next)
                pare_buffer_putc(b, ',');
        }
        pare_buffer_putc(b, object ? '}' : ']');
    } else {
        pare_buffer_puts(b, cJSON_IsTrue(n) ? "true" : cJSON_IsFalse(n) ? "false" : "null");
    }
}

/* By our own printer: numbers look as everywhere else, whatever the locale is. */
char *pare_json_print(const PareJson *n) {
    PareBuffer b = {0};
    print_node(&b, n);
    return pare_buffer_steal(&b, NULL);
}
