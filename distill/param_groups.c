/* Rules that name tensors by globs. A rule that names none is a mistake of the user's. */
#include "distill/param_groups.h"

#include <math.h>
#include <string.h>

#include "core/memory.h"
#include "core/options.h"

void pare_param_groups_reset(PareParamGroups *g) {
    for (size_t i = 0; i < g->count; i++) {
        PareParamTensor *t = &g->tensors[i];
        t->frozen = false;
        t->decay = t->dims >= 2;
        t->lr_factor = 1;
    }
}

/* Does the glob name the tensor, or a slot that shares its values? */
static bool is_named(const PareParamTensor *t, const char *glob) {
    bool found = pare_glob_match(glob, t->name);
    for (const char *const *name = t->aliases; name && *name && !found; name++)
        found = pare_glob_match(glob, *name);
    return found;
}

static PareStatus no_tensor(const char *option, const char *rule, PareError *err) {
    return pare_error_set(err, PARE_E_USAGE, "%s '%s': no tensor of the model has such a name",
                          option, rule);
}

PareStatus pare_param_groups_freeze(PareParamGroups *g, const char *glob, PareError *err) {
    bool found = false;
    for (size_t i = 0; i < g->count; i++)
        if (is_named(&g->tensors[i], glob))
            found = g->tensors[i].frozen = true;
    return found ? PARE_OK : no_tensor("--freeze", glob, err);
}

PareStatus pare_param_groups_no_decay(PareParamGroups *g, const char *glob, PareError *err) {
    bool found = false;
    for (size_t i = 0; i < g->count; i++)
        if (is_named(&g->tensors[i], glob)) {
            g->tensors[i].decay = false;
            found = true;
        }
    return found ? PARE_OK : no_tensor("--no-decay", glob, err);
}

PareStatus pare_param_groups_lr_factor(PareParamGroups *g, const char *rule, PareError *err) {
    const char *equals = strrchr(rule, '=');
    double factor;
    if (!equals || equals == rule || !pare_parse_float(equals + 1, &factor) || factor <= 0)
        return pare_error_set(err, PARE_E_USAGE,
                              "--lr-factor '%s': expected GLOB=NUMBER with a number above 0, as in "
                              "'head.*=10' (--freeze leaves tensors as they are)",
                              rule);
    char *glob = pare_strdup(rule);
    if (!glob)
        return pare_memory_error(err, "--lr-factor");
    glob[equals - rule] = '\0';
    bool found = false;
    for (size_t i = 0; i < g->count; i++)
        if (is_named(&g->tensors[i], glob)) {
            g->tensors[i].lr_factor = factor;
            found = true;
        }
    pare_free(glob);
    return found ? PARE_OK : no_tensor("--lr-factor", rule, err);
}

size_t pare_param_groups_trained(const PareParamGroups *g) {
    size_t count = 0;
    for (size_t i = 0; i < g->count; i++)
        if (!g->tensors[i].frozen)
            count += g->tensors[i].rows * g->tensors[i].cols;
    return count;
}
