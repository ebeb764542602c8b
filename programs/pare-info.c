/* pare-info: what a .pare file or a checkpoint holds. */
#include "convert/info.h"
#include "core/file.h"
#include "programs/cli_main.h"

typedef struct {
    bool tensors, json, sha256, verify;
    const char *root;
    PareCliCommon common;
} Settings;

static PareStatus print_tensors(PareInfo *info, const Settings *s, PareError *err) {
    PareBuffer line = {0};
    PareStatus st = PARE_OK;
    for (size_t i = 0; i < pare_info_count(info) && !st; i++) {
        pare_buffer_clear(&line);
        st = pare_info_tensor(info, i, s->json, s->sha256, &line, err);
        if (!st)
            st = pare_interrupt_check(err);
        if (!st)
            pare_cli_print(&line);
    }
    pare_buffer_free(&line);
    return st;
}

static PareStatus print_summary(const PareInfo *info, const Settings *s, PareError *err) {
    PareBuffer text = {0};
    PareStatus st = pare_info_summary(info, s->json, &text, err);
    if (!st)
        pare_cli_print(&text);
    pare_buffer_free(&text);
    return st;
}

static PareStatus run(const char *path, const Settings *s, PareError *err) {
    PareInfo *info = NULL;
    PareStatus st = pare_info_open(path, s->root, &info, err);
    if (!st && s->verify)
        st = pare_info_verify(info, err);
    if (!st)
        st = s->tensors || s->sha256 ? print_tensors(info, s, err) : print_summary(info, s, err);
    pare_info_close(info);
    return st;
}

int main(int argc, char **argv) {
    Settings s = {0};
    PareError err = {0};
    PareStringList operands = {0};
    PareOptionsNext next = PARE_OPTIONS_RUN;
    const PareOption options[] = {
        {.kind = PARE_OPT_FLAG,
         .name = "tensors",
         .target = &s.tensors,
         .help = "one line a tensor: name, shape, number format"},
        {.kind = PARE_OPT_FLAG,
         .name = "sha256",
         .target = &s.sha256,
         .help = "with it the SHA-256 of the values as little-endian float32; implies --tensors"},
        {.kind = PARE_OPT_FLAG,
         .name = "verify",
         .target = &s.verify,
         .help = "first compare every checksum of a .pare file"},
        {.kind = PARE_OPT_STRING,
         .name = "root",
         .target = &s.root,
         .values = "KEY",
         .help = "where in a training checkpoint the tensors are: keys joined by '/'"},
        {.kind = PARE_OPT_FLAG,
         .name = "json",
         .target = &s.json,
         .help = "print JSON: one object, or one a tensor and line"},
        PARE_CLI_OPTIONS(s.common)};
    const PareOptionTable table = {
        .program = "pare-info",
        .usage = "[OPTION]... FILE",
        .description = "Prints what a .pare file, a weights file or a checkpoint's folder holds.",
        .examples = "pare-info model.pare\n"
                    "pare-info --tensors --sha256 my-classifier",
        .options = options,
        .count = sizeof options / sizeof *options,
        .operands_min = 1,
        .operands_max = 1};
    pare_cli_start(table.program);
    PareStatus st = pare_options_parse(&table, argc, argv, &operands, &next, &err);
    if (!st && next == PARE_OPTIONS_RUN) {
        pare_cli_apply(&s.common);
        st = run(operands.items[0], &s, &err);
    }
    pare_options_free(&table, &operands);
    return pare_cli_end(st, &err);
}
