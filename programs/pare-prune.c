/* pare-prune: reads options, runs the prune stage, prints what is kept. */
#include "core/log.h"
#include "programs/cli_main.h"
#include "programs/prune_options.h"
#include "prune/prune.h"

static void warn(const char *line) {
    pare_log_warn("%s", line);
}

static void say(const char *line) {
    pare_log_info("%s", line);
}

static PareStatus run(ParePruneCommand *c, PareError *err) {
    ParePrune *p = NULL;
    PareBuffer text = {0};
    c->o.warn = warn;
    c->o.say = c->common.verbose ? say : NULL;
    PareStatus st = pare_prune_open(&c->o, &p, err);
    if (!st && !c->dry_run)
        st = pare_prune_apply(p, err);
    if (!st)
        st = pare_prune_describe(p, c->json, &text, err);
    if (!st && (!c->common.quiet || c->json))
        pare_cli_print(&text);
    pare_buffer_free(&text);
    pare_prune_close(p);
    return st;
}

int main(int argc, char **argv) {
    ParePruneCommand c = pare_prune_command();
    PareError err = {0};
    PareOptionsNext next = PARE_OPTIONS_RUN;
    pare_cli_start("pare-prune");
    PareStatus st = pare_prune_command_parse(&c, argc, argv, &next, &err);
    if (!st && next == PARE_OPTIONS_RUN) {
        pare_cli_apply(&c.common);
        st = run(&c, &err);
    }
    return pare_cli_end(st, &err);
}
