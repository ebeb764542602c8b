/* pare-prune: reads options, runs the prune stage, prints what is kept. */
#include "core/file.h"
#include "core/log.h"
#include "programs/cli_main.h"
#include "prune/prune.h"

static struct {
    ParePruneOptions o;
    const char *plan_out;
    int64_t kv_heads, positions;
    bool dry_run, json;
    PareCliCommon common;
} opt;

static const PareOption OPTIONS[] = {
    {PARE_OPT_STRING, 'o', "output", &opt.o.output, "FILE", "write the pruned model to FILE", 0, 0,
     NULL},
    {PARE_OPT_STRING, 0, "heads-list", &opt.o.heads, "LIST",
     "attention heads to leave out: '0:1;1:0,3', 'enc.0:2;dec.1.cross:0-3'", 0, 0, NULL},
    {PARE_OPT_STRING, 0, "ffn-list", &opt.o.units, "LIST",
     "feed-forward units to leave out: '0:0-63;2:5,7'", 0, 0, NULL},
    {PARE_OPT_STRING, 0, "drop-layers", &opt.o.layers, "LIST",
     "layers to leave out: '1,3', 'dec.1,dec.2'", 0, 0, NULL},
    {PARE_OPT_STRING, 0, "drop-sublayers", &opt.o.sublayers, "LIST",
     "sublayers to leave out: '3.self,2.ffn', 'dec.0.cross'", 0, 0, NULL},
    {PARE_OPT_INT, 0, "kv-heads", &opt.kv_heads, "N",
     "replace the key/value heads of every block by N means", 1, 65536, NULL},
    {PARE_OPT_INT, 0, "positions", &opt.positions, "N", "keep the first N positions", 1, 1e9, NULL},
    {PARE_OPT_STRING, 0, "plan", &opt.o.plan, "FILE", "apply this plan instead of lists", 0, 0,
     NULL},
    {PARE_OPT_STRING, 0, "plan-out", &opt.plan_out, "FILE", "write the plan to FILE, as JSON", 0, 0,
     NULL},
    {PARE_OPT_FLAG, 'n', "dry-run", &opt.dry_run, NULL,
     "print what would be kept, and write no model", 0, 0, NULL},
    {PARE_OPT_FLAG, 'f', "force", &opt.o.force, NULL, "replace existing files", 0, 0, NULL},
    {PARE_OPT_FLAG, 0, "json", &opt.json, NULL, "print one JSON object", 0, 0, NULL},
    PARE_CLI_OPTIONS(opt.common)};

static const PareOptionTable TABLE = {
    .program = "pare-prune",
    .usage = "[OPTION]... IN.pare -o OUT.pare",
    .description = "Cuts heads, feed-forward units, layers, sublayers, key/value heads and "
                   "positions out of a model. Tensors become smaller; nothing is masked.",
    .examples = "pare-prune model.pare -o small.pare --heads-list '0:1;1:0,3'\n"
                "pare-prune model.pare --drop-layers dec.1,dec.3 --plan-out plan.json --dry-run\n"
                "pare-prune model.pare -o small.pare --plan plan.json",
    .options = OPTIONS,
    .count = sizeof OPTIONS / sizeof *OPTIONS,
    .operands_min = 1,
    .operands_max = 1};

static PareStatus save_plan(const ParePrune *p, PareError *err) {
    PareBuffer text = {0};
    PareOutput *out;
    pare_prune_write_plan(p, &text);
    PareStatus st = pare_buffer_ok(&text, "the plan", err);
    if (!st)
        st = pare_output_open(opt.plan_out, opt.o.force, &out, err);
    if (!st) {
        st = pare_output_write(out, text.data, text.size, err);
        if (st)
            pare_output_abort(out);
        else
            st = pare_output_commit(out, err);
    }
    pare_buffer_free(&text);
    return st;
}

static PareStatus apply(ParePrune *p, PareError *err) {
    PareProgress *progress =
        opt.common.quiet ? NULL : pare_progress_start("pruning", pare_prune_tensors(p));
    PareStatus st = pare_prune_apply(p, progress, err);
    pare_progress_finish(progress);
    return st;
}

static PareStatus run(PareError *err) {
    ParePrune *p = NULL;
    PareBuffer text = {0};
    PareStatus st = pare_prune_open(&opt.o, &p, err);
    if (!st)
        st = pare_prune_describe(p, opt.json, &text, err);
    if (!st && opt.plan_out)
        st = save_plan(p, err);
    if (!st && !opt.dry_run)
        st = apply(p, err);
    if (!st && (!opt.common.quiet || opt.json))
        pare_cli_print(&text);
    pare_buffer_free(&text);
    pare_prune_close(p);
    return st;
}

int main(int argc, char **argv) {
    PareError err = {0};
    PareStringList operands = {0};
    PareOptionsNext next = PARE_OPTIONS_RUN;
    pare_cli_start(TABLE.program);
    PareStatus st = pare_options_parse(&TABLE, argc, argv, &operands, &next, &err);
    if (!st && next == PARE_OPTIONS_RUN) {
        pare_cli_apply(&opt.common);
        opt.o.input = operands.items[0];
        opt.o.kv_heads = (uint32_t)opt.kv_heads;
        opt.o.positions = (uint32_t)opt.positions;
        if (!opt.o.output && !opt.dry_run)
            st = pare_error_set(&err, PARE_E_USAGE, "no output: give -o FILE, or --dry-run");
        else
            st = run(&err);
    }
    pare_options_free(&TABLE, &operands);
    return pare_cli_end(st, &err);
}
