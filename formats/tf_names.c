/* TensorFlow's names of tensors and PyTorch's, both ways, by the rules of transformers'
 * modeling_tf_pytorch_utils.py. */
#include "formats/tf_names.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { LEVELS_MAX = 64, VARIABLE_MAX = 1024 };

#define FIRST_SCOPE "tf_model" /* readers drop the first scope, whatever it is */

/* ---- To PyTorch ---- */

typedef struct {
    const char *at;
    size_t size;
} Level;

typedef struct {
    Level levels[LEVELS_MAX];
    size_t count;
} Path;

static bool level_is(const Level *l, const char *text) {
    return l->size == strlen(text) && memcmp(l->at, text, l->size) == 0;
}

static const char *find_text(const char *at, size_t size, const char *text) {
    size_t length = strlen(text);
    for (; size >= length; at++, size--)
        if (memcmp(at, text, length) == 0)
            return at;
    return NULL;
}

/* "a___b" is b: what is before the last three underscores tells layers apart that PyTorch does not.
 */
static void cut_alias(Level *l) {
    const char *found;
    while ((found = find_text(l->at, l->size, "___")) != NULL) {
        l->size -= (size_t)(found + 3 - l->at);
        l->at = found + 3;
    }
}

static bool add_level(Path *p, const char *at, size_t size) {
    if (size == 0)
        return true;
    if (p->count == LEVELS_MAX)
        return false;
    p->levels[p->count++] = (Level){at, size};
    return true;
}

/* Levels end with '/' and with "_._", which separates a list from a number; empty ones vanish. */
static bool split(const char *variable, size_t size, Path *p) {
    const char *at = variable, *end = variable + size;
    p->count = 0;
    while (at < end) {
        const char *slash = memchr(at, '/', (size_t)(end - at)), *dot;
        Level l = {at, (size_t)((slash != NULL ? slash : end) - at)};
        if (at != variable && slash != NULL)
            cut_alias(&l);
        while ((dot = find_text(l.at, l.size, "_._")) != NULL) {
            if (!add_level(p, l.at, (size_t)(dot - l.at)))
                return false;
            l.size -= (size_t)(dot + 3 - l.at);
            l.at = dot + 3;
        }
        if (!add_level(p, l.at, l.size))
            return false;
        at = slash != NULL ? slash + 1 : end;
    }
    return p->count > 0;
}

/* Last levels that have another name in PyTorch. */
static const struct {
    const char *theirs, *ours;
} endings[] = {
    {"kernel", "weight"}, {"embeddings", "weight"},        {"gamma", "weight"},
    {"beta", "bias"},     {"moving_mean", "running_mean"}, {"moving_variance", "running_var"}};

static Level translate(Level last) {
    for (size_t i = 0; i < sizeof endings / sizeof *endings; i++)
        if (level_is(&last, endings[i].theirs))
            return (Level){endings[i].ours, strlen(endings[i].ours)};
    return last;
}

static PareTfLayout layout_of(const Path *p, uint32_t dims) {
    const Level *last = &p->levels[p->count - 1];
    bool kernel = level_is(last, "kernel"), swapped = kernel;
    for (size_t i = 0; i < p->count; i++)
        swapped =
            swapped || level_is(&p->levels[i], "emb_projs") || level_is(&p->levels[i], "out_projs");
    if (kernel && dims == 3)
        return PARE_TF_CONV1D;
    if (kernel && dims == 4)
        return PARE_TF_CONV2D;
    if (dims != 2)
        return PARE_TF_AS_IS;
    if (swapped)
        return PARE_TF_TRANSPOSED;
    /* A bias of two dimensions is that of a projection [1, n]. final_logits_bias, which has them in
     * PyTorch too, is no "bias" by its last level. */
    return level_is(last, "bias") ? PARE_TF_FLAT : PARE_TF_AS_IS;
}

/* Puts the levels from number `first` on, separated by dots. */
static bool join(const Path *p, size_t first, char *out, size_t size) {
    size_t used = 0;
    for (size_t i = first; i < p->count; i++) {
        Level l = i + 1 == p->count ? translate(p->levels[i]) : p->levels[i];
        size_t dot = i > first;
        if (l.size + dot >= size - used)
            return false;
        if (dot)
            out[used++] = '.';
        memcpy(out + used, l.at, l.size);
        used += l.size;
    }
    out[used] = '\0';
    return used > 0;
}

bool pare_tf_name_to_torch(const char *variable, uint32_t dims, char *out, size_t size,
                           PareTfLayout *layout) {
    Path p;
    size_t length = strlen(variable);
    if (size == 0 || length > VARIABLE_MAX)
        return false;
    if (length > 2 && strcmp(variable + length - 2, ":0") == 0)
        length -= 2;
    if (!split(variable, length, &p))
        return false;
    *layout = layout_of(&p, dims);
    /* The first scope is the model; a single level has none. */
    return join(&p, p.count > 1 ? 1 : 0, out, size);
}

/* ---- From PyTorch ---- */

typedef struct {
    char *at;
    size_t left;
    bool short_of_room;
} Text;

__attribute__((format(printf, 2, 3))) static void put(Text *t, const char *format, ...) {
    va_list args;
    va_start(args, format);
    int length = vsnprintf(t->at, t->left, format, args);
    va_end(args);
    if (length < 0 || (size_t)length >= t->left) {
        t->short_of_room = true;
        return;
    }
    t->at += length;
    t->left -= (size_t)length;
}

static bool is_number(const Level *l) {
    for (size_t i = 0; i < l->size; i++)
        if (l->at[i] < '0' || l->at[i] > '9')
            return false;
    return l->size > 0;
}

static bool split_dots(const char *name, Path *p) {
    p->count = 0;
    for (;;) {
        size_t length = strcspn(name, ".");
        if (length == 0 || !add_level(p, name, length))
            return false;
        if (name[length] == '\0')
            return true;
        name += length + 1;
    }
}

/* What TensorFlow calls the last level. */
static const char *ending_of(const Level *last, PareTfRole role) {
    bool weight = level_is(last, "weight");
    if (weight && role == PARE_TF_MATRIX)
        return "kernel";
    if (weight && role == PARE_TF_TABLE)
        return "embeddings";
    if (role == PARE_TF_NORM && (weight || level_is(last, "bias")))
        return weight ? "gamma" : "beta";
    return NULL;
}

/* Two heads stand below one name in PyTorch; TensorFlow needs a layer for each. */
static const char *alias_of(const Path *p) {
    if (p->count < 3 || !level_is(&p->levels[0], "cls"))
        return "";
    if (level_is(&p->levels[1], "predictions"))
        return "mlm___";
    return level_is(&p->levels[1], "seq_relationship") ? "nsp___" : "";
}

/* Between two levels: numbers belong to the name in front of them. "layers.3" is one name there,
 * other lists have the mark of modules: "layer_._3", "h_._3". */
static const char *separator(const Level *before, const Level *level) {
    if (!is_number(level))
        return "/";
    return level_is(before, "layers") ? "." : "_._";
}

/* The token table that encoder and decoder share stands in a scope of its own, twice named after
 * its place in the model: "model.shared/model.shared/weight". */
static bool put_shared(Text *t, const char *name, const Path *p, PareTfRole role) {
    const Level *last = &p->levels[p->count - 1];
    if (role != PARE_TF_TOKENS || p->count < 2 || !level_is(&p->levels[p->count - 2], "shared"))
        return false;
    int length = (int)(last->at - name) - 1;
    put(t, "%.*s/%.*s/%.*s:0", length, name, length, name, (int)last->size, last->at);
    return true;
}

bool pare_tf_name_from_torch(const char *name, PareTfRole role, char *group, size_t group_size,
                             char *out, size_t size, PareTfLayout *layout) {
    Path p;
    Text g = {group, group_size, false}, v = {out, size, false};
    if (strlen(name) > VARIABLE_MAX || !split_dots(name, &p))
        return false;
    const Level *first = &p.levels[0], *last = &p.levels[p.count - 1];
    const char *alias = alias_of(&p), *ending = ending_of(last, role);
    *layout =
        role == PARE_TF_MATRIX && level_is(last, "weight") ? PARE_TF_TRANSPOSED : PARE_TF_AS_IS;
    put(&g, "%s%.*s", alias, (int)first->size, first->at);
    if (!put_shared(&v, name, &p, role)) {
        if (p.count > 1)
            put(&v, FIRST_SCOPE "/");
        put(&v, "%s%.*s", alias, (int)first->size, first->at);
        for (size_t i = 1; i < p.count; i++) {
            const Level *l = &p.levels[i];
            bool replaced = i + 1 == p.count && ending != NULL;
            put(&v, "%s%.*s", separator(l - 1, l), replaced ? (int)strlen(ending) : (int)l->size,
                replaced ? ending : l->at);
        }
        put(&v, ":0");
    }
    return !g.short_of_room && !v.short_of_room;
}
