/* Lengths of the generation settings that the positions which are kept cannot meet.
 *
 * The last token is never read, so a text may be one token longer than there are positions. What is
 * longer is lowered to the number of positions, as checkpoints have it, and wherever the metadata
 * say it: the source's settings are what an export writes. */
#include <string.h>

#include "core/json_text.h"
#include "core/options.h"
#include "prune/prune_impl.h"

typedef struct {
    const char *key;
    uint32_t beyond; /* most that can be met, more than the positions */
} Length;

static const Length LENGTHS[] = {{"max_length", 1}, {"max_new_tokens", 0}};
enum { COUNT = sizeof LENGTHS / sizeof *LENGTHS };

/* 0: all that there were, or nothing is generated. */
static uint32_t positions_left(const ParePrune *p) {
    const PareDescription *d = pare_model_description(p->model);
    const PareStack *decoder = &d->stacks[PARE_DECODER];
    uint32_t left = p->plan.stacks[PARE_DECODER].positions;
    bool generates = decoder->present && d->head.kind == PARE_HEAD_LM;
    return generates && left < decoder->positions ? left : 0;
}

void pare_prune_warn_lengths(const ParePrune *p) {
    const PareGeneration *g = pare_model_generation(p->model);
    const uint32_t values[COUNT] = {g->max_length, g->max_new_tokens};
    uint32_t left = positions_left(p);
    for (int i = 0; i < COUNT && left && p->o.warn; i++) {
        char *text = NULL;
        if (values[i] > left + LENGTHS[i].beyond)
            text = pare_arena_printf(p->arena,
                                     "%s of the generation settings is lowered from %u to %u, the "
                                     "positions that the decoder keeps",
                                     LENGTHS[i].key, values[i], left);
        if (text)
            p->o.warn(text);
    }
}

static bool is_too_long(PareJsonText key, PareJsonText value, uint32_t left) {
    char text[64];
    size_t size = (size_t)(value.end - value.at);
    double number;
    if (size >= sizeof text)
        return false;
    memcpy(text, value.at, size);
    text[size] = 0;
    for (int i = 0; i < COUNT; i++)
        if (pare_json_text_is(key, LENGTHS[i].key) && pare_parse_float(text, &number))
            return number > (double)left + LENGTHS[i].beyond;
    return false;
}

/* Of the metadata only the settings have lengths; within them objects may be nested as they like,
 * as deep as pare_json_parse allows. */
static void put_lowered(PareJsonText object, uint32_t left, bool root, PareBuffer *out) {
    PareJsonText key, value;
    const char *comma = "";
    pare_buffer_putc(out, '{');
    while (pare_json_text_next(&object, &key, &value)) {
        bool settings = pare_json_text_is(key, "generation") || pare_json_text_is(key, "source");
        pare_buffer_printf(out, "%s\"", comma);
        pare_buffer_append(out, key.at, (size_t)(key.end - key.at));
        pare_buffer_puts(out, "\":");
        comma = ",";
        if (*value.at == '{' && (settings || !root))
            put_lowered(value, left, false, out);
        else if (!root && is_too_long(key, value, left))
            pare_buffer_printf(out, "%u", left);
        else
            pare_buffer_append(out, value.at, (size_t)(value.end - value.at));
    }
    pare_buffer_putc(out, '}');
}

PareStatus pare_prune_lower_lengths(const ParePrune *p, PareBuffer *metadata, PareError *err) {
    uint32_t left = positions_left(p);
    PareBuffer lowered = {0};
    if (left == 0)
        return PARE_OK;
    put_lowered((PareJsonText){metadata->data, metadata->data + metadata->size}, left, true,
                &lowered);
    PareStatus st = pare_buffer_ok(&lowered, "metadata", err);
    pare_buffer_free(metadata);
    *metadata = lowered;
    return st;
}
