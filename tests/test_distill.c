/* The distill stage as a library: whatever allocation fails is said, and leaves no file. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "convert/convert.h"
#include "core/file.h"
#include "core/memory.h"
#include "distill/distill.h"

enum { PATH_SIZE = 512 };

static char folder[256];

static const char *in_folder(const char *name) {
    static char paths[32][PATH_SIZE]; /* as many as a test may hold at once */
    static unsigned next;
    char *path = paths[next++ % 32];
    snprintf(path, PATH_SIZE, "%s/%s", folder, name);
    return path;
}

static void convert(const char *golden, const char *name) {
    char path[PATH_SIZE];
    PareConvert *c = NULL;
    PareError err = {0};
    snprintf(path, sizeof path, "tests/data/train/%s", golden);
    PareConvertOptions options = {.folder = path, .no_tokenizer = true};
    if (pare_convert_open(&options, &c, &err) ||
        pare_convert_write(c, in_folder(name), true, NULL, &err))
        fail_msg("%s: %s", golden, err.message);
    pare_convert_close(c);
}

static void write_text(const char *name, const char *text) {
    FILE *f = fopen(in_folder(name), "wb");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static PareDistillOptions short_run(void) {
    PareDistillOptions o = pare_distill_defaults();
    o.output = in_folder("out.pare");
    o.epochs = 2;
    o.batches.batch_size = 2;
    o.threads = 1;
    o.optimizer.average = 0.5;
    return o;
}

static void expect_nothing_left(const PareDistillOptions *o) {
    char state[PATH_SIZE + 16];
    snprintf(state, sizeof state, "%s.training", o->output);
    assert_false(pare_file_exists(o->output));
    unlink(state); /* may be there: a run goes on from it */
}

static void fail_everywhere(const PareDistillOptions *o) {
    PareStatus st = PARE_E_MEMORY;
    for (uint64_t n = 1; st; n += 1 + n / 24) {
        PareDistillResult result;
        PareError err = {0};
        pare_memory_fail_after(n);
        st = pare_distill(o, &result, &err);
        pare_memory_fail_after(0);
        if (st && st != PARE_E_MEMORY)
            fail_msg("allocation %llu: %s", (unsigned long long)n, err.message);
        if (st)
            expect_nothing_left(o);
        else
            assert_int_equal(result.train.steps, o->steps ? o->steps : 4);
    }
    assert_true(pare_file_exists(o->output));
    unlink(o->output);
}

/* Two models, hidden states through projections or not, a validation, an average. */
static void memory_of_a_distillation(void **state) {
    (void)state;
    convert("kd-bert", "student.pare");
    convert("kd-teacher", "teacher.pare");
    write_text("data.jsonl",
               "{\"input_ids\":[5,6,7],\"label\":1}\n{\"input_ids\":[8,9],\"label\":0}\n"
               "{\"input_ids\":[5],\"label\":2}\n");
    PareDistillOptions o = short_run();
    o.methods = PARE_METHOD_KD;
    o.student = in_folder("student.pare");
    o.teacher = in_folder("teacher.pare");
    o.data = o.validation = in_folder("data.jsonl");
    o.hidden = 1;
    fail_everywhere(&o);
}

/* A student of a teacher's layers, texts that the teacher writes, both kinds of targets. */
static void memory_of_pseudo_labels(void **state) {
    (void)state;
    convert("marian", "teacher.pare");
    write_text("data.jsonl", "{\"input_ids\":[5,6,7,2],\"labels\":[9,2]}\n"
                             "{\"input_ids\":[8,9,2],\"labels\":[7,8,2]}\n");
    PareDistillOptions o = short_run();
    o.methods = PARE_METHOD_PSEUDO;
    o.teacher = in_folder("teacher.pare");
    o.layers = "enc=1,dec=1";
    o.data = in_folder("data.jsonl");
    o.pseudo.mix = true;
    o.steps = 3;
    o.num_beams = 2;
    o.max_length = 6;
    o.recompute = true;
    fail_everywhere(&o);
}

/* -- a teacher that reads less than its student -- */

enum { LONG = 70 };

/* Two short rows, and one that is longer than the positions of the model "bart". */
static void write_long_data(size_t source, size_t target) {
    char text[4096] = "{\"input_ids\":[5,6,2],\"labels\":[9,2]}\n"
                      "{\"input_ids\":[8,2],\"labels\":[7,2]}\n{\"input_ids\":[";
    size_t used = strlen(text);
    for (size_t i = 0; i < source; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s5", i ? "," : "");
    used += (size_t)snprintf(text + used, sizeof text - used, "],\"labels\":[");
    for (size_t i = 0; i < target; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%s6", i ? "," : "");
    snprintf(text + used, sizeof text - used, "]}\n");
    write_text("data.jsonl", text);
}

static void expect_refused(const PareDistillOptions *o, const char *message) {
    PareDistillResult result;
    PareError err = {0};
    PareStatus st = pare_distill(o, &result, &err);
    if (!st || !strstr(err.message, message))
        fail_msg("found %d \"%s\", expected \"%s\"", (int)st, err.message, message);
    assert_false(pare_file_exists(in_folder("out.pare.pseudo.jsonl")));
    expect_nothing_left(o);
}

static void teacher_of_fewer_positions(void **state) {
    (void)state;
    convert("t5", "student.pare");
    convert("bart", "teacher.pare");
    PareDistillOptions o = short_run();
    PareDistillResult result;
    PareError err = {0};
    o.student = in_folder("student.pare");
    o.teacher = in_folder("teacher.pare");
    o.data = in_folder("data.jsonl");
    o.methods = PARE_METHOD_KD;
    unlink(in_folder("out.pare.pseudo.jsonl")); /* of another test */
    unlink(in_folder("out.pare.pseudo.jsonl.provenance.json"));
    write_long_data(LONG, 2);
    expect_refused(&o, "line 3: the input has 70 tokens; expected at most 64");
    write_long_data(3, LONG);
    expect_refused(&o, "line 3: the target has 70 tokens; expected at most 64");
    o.truncate = true;
    assert_int_equal(pare_distill(&o, &result, &err), PARE_OK);
    unlink(o.output);
    /* What a teacher is to decode is refused before any of it is decoded. */
    o.truncate = false;
    o.methods = PARE_METHOD_PSEUDO;
    o.max_length = 6;
    write_long_data(LONG, 2);
    expect_refused(&o, "line 3: the input has 70 tokens; expected at most 64");
    /* Without it the student has no limit. */
    o.methods = PARE_METHOD_FINETUNE;
    o.teacher = NULL;
    o.max_length = 0;
    assert_int_equal(pare_distill(&o, &result, &err), PARE_OK);
    unlink(o.output);
}

static int make_folder(void **state) {
    const char *root = getenv("TMPDIR");
    (void)state;
    snprintf(folder, sizeof folder, "%s/pare-distill-XXXXXX", root ? root : "/tmp");
    return mkdtemp(folder) ? 0 : 1;
}

static int remove_folder(void **state) {
    static const char *const FILES[] = {
        "student.pare",      "teacher.pare",          "data.jsonl",
        "out.pare.training", "out.pare.pseudo.jsonl", "out.pare.pseudo.jsonl.provenance.json"};
    (void)state;
    for (size_t i = 0; i < sizeof FILES / sizeof *FILES; i++)
        unlink(in_folder(FILES[i]));
    return rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_of_a_distillation),
        cmocka_unit_test(memory_of_pseudo_labels),
        cmocka_unit_test(teacher_of_fewer_positions),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
