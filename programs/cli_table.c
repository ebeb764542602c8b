/* Option tables and their rules. */
#include "programs/cli_table.h"

void pare_cli_add(PareCliTable *t, const PareOption *rows, size_t count) {
    for (size_t i = 0; i < count; i++)
        t->rows[t->count++] = rows[i];
}

PareStatus pare_cli_check(const PareCliRule *rules, size_t count, PareError *err) {
    for (size_t i = 0; i < count; i++)
        if (rules[i].wrong)
            return pare_error_set(err, PARE_E_USAGE, "%s", rules[i].message);
    return PARE_OK;
}
