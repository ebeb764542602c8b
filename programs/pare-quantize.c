/* pare-quantize: reads options, calls the quantize stage, prints its report. */
#include <stdio.h>
#include <string.h>

#include "core/buffer.h"
#include "core/memory.h"
#include "core/options.h"
#include "programs/cli_main.h"
#include "quantize/quantize.h"

static struct {
    const char *output, *to;
    PareStringList keep;
    int64_t threads;
    bool force, json, no_self_test;
    PareCliCommon common;
} opt;

static const PareOption OPTIONS[] = {
    {PARE_OPT_STRING, 'o', "output", &opt.output, "FILE", "the file to write", 0, 0, NULL},
    {PARE_OPT_STRING, 0, "to", &opt.to, "TYPE", "int8, fp16 or bf16", 0, 0, NULL},
    {PARE_OPT_LIST, 0, "keep", &opt.keep, "GLOB=TYPE",
     "give tensors whose name matches another type (f32, fp16, bf16, int8); the first match counts",
     0, 0, NULL},
    {PARE_OPT_FLAG, 0, "no-self-test", &opt.no_self_test, NULL,
     "leave out the self-test that pare-run --self-test replays", 0, 0, NULL},
    {PARE_OPT_INT, 't', "threads", &opt.threads, "N",
     "threads for the self-test (default: all that the process may use)", 1, 256, NULL},
    {PARE_OPT_FLAG, 'f', "force", &opt.force, NULL, "replace an existing output", 0, 0, NULL},
    {PARE_OPT_FLAG, 0, "json", &opt.json, NULL, "print one JSON object a tensor, then the totals",
     0, 0, NULL},
    {PARE_OPT_FLAG, 'q', "quiet", &opt.common.quiet, NULL,
     "no progress and, but for --json, no report", 0, 0, NULL},
    {PARE_OPT_FLAG, 'v', "verbose", &opt.common.verbose, NULL, "say more about what is done", 0, 0,
     NULL},
};

static const PareOptionTable TABLE = {
    .program = "pare-quantize",
    .usage = "[OPTION]... IN.pare -o OUT.pare --to int8|fp16|bf16",
    .description =
        "Quantizes the matrices of an F32 model. INT8 gives the same bits on every CPU, at "
        "every thread count and in any batch. Norms, biases and position tables stay F32.",
    .examples = "  pare-quantize model.pare -o model.int8.pare --to int8\n"
                "  pare-quantize model.pare -o m.pare --to int8 --keep 'head.*=f32'\n",
    .options = OPTIONS,
    .count = sizeof OPTIONS / sizeof *OPTIONS,
    .operands_min = 1,
    .operands_max = 1,
};

static void print_json(const PareQuantizeLine *l) {
    PareBuffer b = {0};
    pare_buffer_puts(&b, "{\"tensor\":");
    pare_buffer_put_json_string(&b, l->name, strlen(l->name));
    pare_buffer_printf(&b, ",\"from\":\"%s\",\"to\":\"%s\",\"bytes_before\":%llu,",
                       pare_dtype_name(l->from), pare_dtype_name(l->to),
                       (unsigned long long)l->bytes_before);
    pare_buffer_printf(
        &b, "\"bytes_after\":%llu,\"relative_error\":", (unsigned long long)l->bytes_after);
    pare_buffer_put_json_double(&b, l->relative_error);
    pare_buffer_puts(&b, "}\n");
    if (!b.failed)
        fwrite(b.data, 1, b.size, stdout);
    pare_buffer_free(&b);
}

static void print_line(void *context, const PareQuantizeLine *l) {
    (void)context;
    if (opt.json)
        print_json(l);
    else
        printf("%-44s %-4s -> %-4s %11llu -> %11llu  %.2e\n", l->name, pare_dtype_name(l->from),
               pare_dtype_name(l->to), (unsigned long long)l->bytes_before,
               (unsigned long long)l->bytes_after, l->relative_error);
}

static void print_totals(const PareQuantizeTotals *t) {
    double share = t->tensor_bytes_before
                       ? 100.0 * (double)t->tensor_bytes_after / (double)t->tensor_bytes_before
                       : 0;
    if (opt.json)
        printf(
            "{\"tensor_bytes_before\":%llu,\"tensor_bytes_after\":%llu,\"file_bytes_before\":%llu,"
            "\"file_bytes_after\":%llu}\n",
            (unsigned long long)t->tensor_bytes_before, (unsigned long long)t->tensor_bytes_after,
            (unsigned long long)t->file_bytes_before, (unsigned long long)t->file_bytes_after);
    else
        printf("tensors %llu -> %llu bytes (%.2f %%), file %llu -> %llu bytes\n",
               (unsigned long long)t->tensor_bytes_before,
               (unsigned long long)t->tensor_bytes_after, share,
               (unsigned long long)t->file_bytes_before, (unsigned long long)t->file_bytes_after);
}

/* The rules borrow copies of the options' texts, which live in one arena. */
static PareStatus parse_rules(PareArena *arena, PareKeepRule **rules, PareError *err) {
    *rules = pare_arena_alloc(arena, opt.keep.count, sizeof **rules);
    PareStatus st = *rules ? PARE_OK : pare_memory_error(err, "options");
    for (size_t i = 0; i < opt.keep.count && !st; i++) {
        char *copy = pare_arena_strdup(arena, opt.keep.items[i]);
        st = copy ? pare_keep_parse(copy, &(*rules)[i], err) : pare_memory_error(err, "options");
    }
    return st;
}

static PareStatus check_options(PareDtype *to, PareError *err) {
    if (!opt.output)
        return pare_error_set(err, PARE_E_USAGE, "-o FILE is missing");
    if (!opt.to)
        return pare_error_set(err, PARE_E_USAGE, "--to int8|fp16|bf16 is missing");
    if (!pare_quantize_parse_type(opt.to, to) || *to == PARE_F32)
        return pare_error_set(err, PARE_E_USAGE, "--to '%s': expected int8, fp16 or bf16", opt.to);
    return PARE_OK;
}

static PareStatus run(const char *input, PareError *err) {
    PareQuantizeOptions o = {.input = input,
                             .output = opt.output,
                             .keep_count = opt.keep.count,
                             .force = opt.force,
                             .self_test = !opt.no_self_test,
                             .threads = (size_t)opt.threads,
                             .report = opt.common.quiet && !opt.json ? NULL : print_line};
    PareQuantizeTotals totals;
    PareKeepRule *rules = NULL;
    PareArena *arena = pare_arena_create(0);
    PareStatus st = check_options(&o.to, err);
    if (!st)
        st = arena ? parse_rules(arena, &rules, err) : pare_memory_error(err, "options");
    o.keep = rules;
    if (!st)
        st = pare_quantize(&o, &totals, err);
    if (!st && o.report)
        print_totals(&totals);
    pare_arena_destroy(arena);
    return st;
}

int main(int argc, char **argv) {
    PareError err = {0};
    PareStringList operands = {0};
    PareOptionsNext next;
    pare_cli_start(TABLE.program);
    PareStatus st = pare_options_parse(&TABLE, argc, argv, &operands, &next, &err);
    if (!st && next == PARE_OPTIONS_RUN) {
        pare_cli_apply(&opt.common);
        st = run(operands.items[0], &err);
    }
    int code = pare_cli_end(st, &err);
    pare_options_free(&TABLE, &operands);
    return code;
}
