/* What the tests of export share: paths, converting, exporting, looking at config.json. */
#ifndef PARE_TESTS_TEST_EXPORT_COMMON_H
#define PARE_TESTS_TEST_EXPORT_COMMON_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "convert/convert.h"
#include "convert/export.h"
#include "core/file.h"
#include "core/json_text.h"
#include "core/memory.h"
#include "quantize/quantize.h"
#include "runtime/model.h"
#include "tests/test_export_slice.h"

/* The same text for the same name, as long as the program runs. */
__attribute__((unused)) static const char *path_of(const char *what) {
    static char paths[16][256];
    const char *tmp = getenv("TMPDIR");
    char path[256];
    size_t i = 0;
    snprintf(path, sizeof path, "%s/export-%ld-%s", tmp ? tmp : "/tmp", (long)getpid(), what);
    while (paths[i][0] && strcmp(paths[i], path) != 0)
        i++;
    assert_true(i < 16);
    memcpy(paths[i], path, sizeof path);
    return paths[i];
}

__attribute__((unused)) static void ok(PareStatus st, const PareError *err) {
    if (st)
        print_error("%s\n", err->message);
    assert_int_equal(st, PARE_OK);
}

__attribute__((unused)) static void convert(const char *folder, bool tokenizer, const char *out) {
    PareError err = {0};
    PareConvert *c;
    PareConvertOptions o = {.folder = folder, .no_tokenizer = !tokenizer};
    ok(pare_convert_open(&o, &c, &err), &err);
    ok(pare_convert_write(c, out, true, NULL, &err), &err);
    pare_convert_close(c);
}

__attribute__((unused)) static void convert_golden(const char *name, const char *out) {
    char folder[256];
    snprintf(folder, sizeof folder, "tests/data/goldens/%s", name);
    convert(folder, false, out);
}

__attribute__((unused)) static void remove_folder(const char *folder) {
    char command[512];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    assert_int_equal(system(command), 0);
}

/* Exports into a fresh folder; the summary's notices go to `notices` where that is given. */
__attribute__((unused)) static PareStatus try_export(PareExportOptions o, PareBuffer *notices,
                                                     PareError *err) {
    PareExport *e;
    PareStatus st = pare_export_open(&o, &e, err);
    if (st)
        return st;
    remove_folder(o.folder);
    st = pare_export_write(e, NULL, err);
    if (notices)
        pare_buffer_puts(notices, pare_export_summary(e)->notices);
    pare_export_close(e);
    return st;
}

__attribute__((unused)) static void export_to(PareExportOptions o) {
    PareError err = {0};
    ok(try_export(o, NULL, &err), &err);
}

__attribute__((unused)) static void refused(PareExportOptions o, const char *part) {
    PareError err = {0};
    assert_int_not_equal(try_export(o, NULL, &err), PARE_OK);
    if (!strstr(err.message, part))
        fail_msg("\"%s\" does not say \"%s\"", err.message, part);
    assert_false(pare_file_exists(o.folder));
}

__attribute__((unused)) static PareModel *open_model(const char *path) {
    PareModel *m;
    PareError err = {0};
    ok(pare_model_open(path, &m, &err), &err);
    return m;
}

__attribute__((unused)) static const char *json_member(const char *folder, const char *key) {
    static char text[512];
    char path[300];
    PareJsonText value;
    char *bytes;
    size_t size;
    PareError err = {0};
    snprintf(path, sizeof path, "%s/config.json", folder);
    ok(pare_file_read(path, 1 << 20, &bytes, &size, &err), &err);
    text[0] = 0;
    if (pare_json_text_get((PareJsonText){bytes, bytes + size}, key, &value)) {
        size_t n = 0;
        for (const char *at = value.at; at < value.end && n + 1 < sizeof text; at++)
            if (*at != ' ' && *at != '\n')
                text[n++] = *at;
        text[n] = 0;
    }
    pare_free(bytes);
    return text;
}

__attribute__((unused)) static void quantize(const char *in, const char *out, PareDtype to) {
    PareQuantizeTotals totals;
    PareError err = {0};
    PareQuantizeOptions o = {.input = in, .output = out, .to = to, .force = true, .threads = 1};
    ok(pare_quantize(&o, &totals, &err), &err);
}

#endif
