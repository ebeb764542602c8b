/* JSON as text: members are copied as they were written (1.0 stays 1.0), which a tree forgets.
 *
 * Only for text that pare_json_parse has accepted. */
#ifndef PARE_CORE_JSON_TEXT_H
#define PARE_CORE_JSON_TEXT_H

#include <stdbool.h>

#include "core/buffer.h"

typedef struct {
    const char *at, *end;
} PareJsonText;

/* The members of an object, one after the other: begin with `rest` = the object. `key` is without
 * its quotes, escapes as they are. */
bool pare_json_text_next(PareJsonText *rest, PareJsonText *key, PareJsonText *value);
/* A key without characters that JSON escapes. false when `object` is none or has no such member. */
bool pare_json_text_get(PareJsonText object, const char *key, PareJsonText *value);
bool pare_json_text_is(PareJsonText key, const char *name);
/* Two blanks a level, one member a line, a line end behind it: as transformers writes its files. */
void pare_json_text_pretty(PareJsonText value, PareBuffer *out);

#endif
