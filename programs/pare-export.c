/* pare-export: a .pare file to a checkpoint's folder. */
#include "convert/export.h"
#include "core/log.h"
#include "programs/cli_main.h"

typedef struct {
    PareExportOptions export;
    int format, dtype;
    bool dry_run, json, format_given;
    PareCliCommon common;
} Settings;

static PareStatus export_model(PareExport *e, const Settings *s, PareError *err) {
    const PareExportSummary *summary = pare_export_summary(e);
    PareProgress *progress = pare_progress_start("exporting", summary->bytes);
    PareStatus st = pare_export_write(e, progress, err);
    pare_progress_finish(progress);
    if (!st)
        pare_log_info("%s: %s, %zu tensors, %llu parameters", s->export.folder,
                      summary->architecture, summary->tensors,
                      (unsigned long long)summary->parameters);
    return st;
}

static PareStatus run(Settings *s, PareError *err) {
    PareExport *e = NULL;
    PareBuffer text = {0};
    PareStatus st = pare_export_open(&s->export, &e, err);
    if (!st && !s->dry_run)
        st = export_model(e, s, err);
    if (st)
        goto done;
    pare_cli_warn(pare_export_summary(e)->notices);
    if (s->dry_run || s->json) {
        pare_export_describe(e, s->json, &text);
        st = pare_buffer_ok(&text, "the summary", err);
        pare_cli_print(&text);
    }
done:
    pare_buffer_free(&text);
    pare_export_close(e);
    return st;
}

/* The words of --format and --dtype, in the order of the tables in main. */
static PareStatus apply(Settings *s, PareError *err) {
    static const PareSaveFormat FORMATS[] = {PARE_SAVE_SAFETENSORS, PARE_SAVE_PYTORCH,
                                             PARE_SAVE_HDF5};
    static const PareDtype DTYPES[] = {PARE_F32, PARE_F32, PARE_F16, PARE_BF16};
    if (!s->format_given)
        return pare_error_set(err, PARE_E_USAGE,
                              "no format: give --format safetensors, pytorch or hdf5");
    if (!s->export.folder && !s->dry_run)
        return pare_error_set(err, PARE_E_USAGE, "no output: give -o DIR, or --dry-run");
    s->export.format = FORMATS[s->format];
    s->export.change_dtype = s->dtype > 0;
    s->export.dtype = DTYPES[s->dtype];
    return PARE_OK;
}

int main(int argc, char **argv) {
    Settings s = {0};
    PareError err = {0};
    PareStringList operands = {0};
    PareOptionsNext next = PARE_OPTIONS_RUN;
    const PareOption options[] = {
        {.kind = PARE_OPT_STRING,
         .letter = 'o',
         .name = "output",
         .target = &s.export.folder,
         .values = "DIR",
         .help = "write the files into DIR, which is made if it does not exist"},
        {.kind = PARE_OPT_CHOICE,
         .name = "format",
         .target = &s.format,
         .values = "safetensors|pytorch|hdf5",
         .help = "model.safetensors, pytorch_model.bin, or tf_model.h5 for TensorFlow",
         .given = &s.format_given},
        {.kind = PARE_OPT_CHOICE,
         .name = "dtype",
         .target = &s.dtype,
         .values = "keep|f32|f16|bf16",
         .help = "the number format of all tensors; keep: what each of them has"},
        {.kind = PARE_OPT_FLAG,
         .name = "dequantize",
         .target = &s.export.dequantize,
         .help = "write INT8 weights as floating-point numbers; otherwise they are refused"},
        {.kind = PARE_OPT_FLAG,
         .name = "pad-pruned",
         .target = &s.export.pad_pruned,
         .help = "fill heads and feed-forward units that pruning took from some layers up with "
                 "zeros; the model computes the same and is large again"},
        {.kind = PARE_OPT_FLAG,
         .letter = 'f',
         .name = "force",
         .target = &s.export.force,
         .help = "write into a DIR that is not empty, and replace files of the same names"},
        {.kind = PARE_OPT_FLAG,
         .name = "no-tokenizer",
         .target = &s.export.no_tokenizer,
         .help = "leave the tokenizer's files out"},
        {.kind = PARE_OPT_FLAG,
         .letter = 'n',
         .name = "dry-run",
         .target = &s.dry_run,
         .help = "check all but the values, print what would be done, and write nothing"},
        {.kind = PARE_OPT_FLAG,
         .name = "json",
         .target = &s.json,
         .help = "print a summary as one JSON object"},
        PARE_CLI_OPTIONS(s.common)};
    const PareOptionTable table = {
        .program = "pare-export",
        .usage = "[OPTION]... FILE.pare -o DIR --format safetensors|pytorch|hdf5",
        .description = "Makes a checkpoint's folder of a .pare file, for from_pretrained of "
                       "transformers: config.json, weights, tokenizer.",
        .examples = "pare-export small.pare -o small --format safetensors\n"
                    "pare-export small.int8.pare -o small --format pytorch --dequantize",
        .options = options,
        .count = sizeof options / sizeof *options,
        .operands_min = 1,
        .operands_max = 1};
    pare_cli_start(table.program);
    PareStatus st = pare_options_parse(&table, argc, argv, &operands, &next, &err);
    if (!st && next == PARE_OPTIONS_RUN) {
        pare_cli_apply(&s.common);
        s.export.model = operands.items[0];
        st = apply(&s, &err);
        if (!st)
            st = run(&s, &err);
    }
    pare_options_free(&table, &operands);
    return pare_cli_end(st, &err);
}
