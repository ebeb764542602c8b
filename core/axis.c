/* Axis tags as values and as text. */
#include "core/axis.h"

#include <stdio.h>

static const char *const kind_names[PARE_AXIS_COUNT] = {
    "none", "vocabulary", "position", "type",   "width", "embedding",
    "head", "kv",         "ffn",      "bucket", "label", "hidden",
};

/* The group is left out: a relative bias has one row per head where the query matrix has a head
 * size of them, and both are sliced by the same keep-list. */
bool pare_axis_equal(PareAxis a, PareAxis b) {
    return a.kind == b.kind && a.stack == b.stack && a.block == b.block && a.layer == b.layer;
}

const char *pare_axis_text(PareAxis axis, char *out, size_t size) {
    static const char *const stacks[] = {"encoder", "decoder", "head"};
    const char *kind = axis.kind < PARE_AXIS_COUNT ? kind_names[axis.kind] : "unknown";
    const char *stack = axis.stack < 3 ? stacks[axis.stack] : "unknown";
    const char *block = axis.block == PARE_BLOCK_CROSS ? "cross" : "self";
    char group[16] = "";
    if (axis.group > 1)
        snprintf(group, sizeof group, "x%u", (unsigned)axis.group);
    switch (axis.kind) {
    case PARE_AXIS_NONE:
    case PARE_AXIS_LABEL:
        snprintf(out, size, "%s%s", kind, group);
        break;
    case PARE_AXIS_HEAD:
    case PARE_AXIS_KV:
        snprintf(out, size, "%s(%s.%u.%s)%s", kind, stack, (unsigned)axis.layer, block, group);
        break;
    case PARE_AXIS_FFN:
        snprintf(out, size, "%s(%s.%u)%s", kind, stack, (unsigned)axis.layer, group);
        break;
    default:
        snprintf(out, size, "%s(%s)%s", kind, stack, group);
        break;
    }
    return out;
}
