/* Data sets: formats, columns, what is refused and where. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/memory.h"
#include "text/dataset.h"

static char path[256];

static void write_bytes(const char *bytes, size_t size) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    fclose(f);
}

static PareDataset *open_with(const char *content, PareDataOptions options) {
    PareDataset *d;
    PareError err;
    write_bytes(content, strlen(content));
    if (pare_dataset_open(path, &options, &d, &err))
        fail_msg("%s", err.message);
    return d;
}

static PareDataset *open_text(const char *content) {
    return open_with(content, (PareDataOptions){0});
}

static const PareDataRow *next(PareDataset *d) {
    const PareDataRow *row;
    PareError err;
    if (pare_dataset_next(d, &row, &err))
        fail_msg("%s", err.message);
    assert_non_null(row);
    return row;
}

static void assert_end(PareDataset *d) {
    const PareDataRow *row;
    PareError err;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pare_dataset_next(d, &row, &err), PARE_OK);
        assert_null(row);
    }
    pare_dataset_close(d);
}

/* Opens and reads to the end; the status and message of what goes wrong on the way. */
static PareStatus read_all(const char *file, const PareDataOptions *options, PareError *err) {
    PareDataset *d;
    const PareDataRow *row;
    err->message[0] = '\0';
    PareStatus status = pare_dataset_open(file, options, &d, err);
    if (status) {
        assert_null(d);
        return status;
    }
    do
        status = pare_dataset_next(d, &row, err);
    while (!status && row);
    pare_dataset_close(d);
    return status;
}

static void assert_refused(const char *content, PareDataOptions options, PareStatus code,
                           const char *message) {
    PareError err;
    write_bytes(content, strlen(content));
    PareStatus status = read_all(path, &options, &err);
    if (status != code || !strstr(err.message, message))
        fail_msg("status %d, message \"%s\"; expected %d, \"%s\"", (int)status, err.message,
                 (int)code, message);
}

static void test_text(void **state) {
    (void)state;
    const char *const expected[] = {"", "one line", "", "tab\xff ok", "last"};
    PareDataset *d = open_with("\n  one line \r\n\n\ttab\xff ok\nlast",
                               (PareDataOptions){.format = PARE_DATA_TEXT});
    for (size_t i = 0; i < 5; i++) {
        const PareDataRow *row = next(d);
        assert_string_equal(row->text, expected[i]);
        assert_int_equal(row->text_size, strlen(expected[i]));
        assert_int_equal(row->line, i + 1);
        assert_null(row->text_b);
        assert_null(row->target);
        assert_null(row->label_text);
        assert_null(row->input_ids);
    }
    assert_end(d);
}

static void test_text_blanks(void **state) {
    (void)state;
    PareDataset *d =
        open_with("  one  \n \n", (PareDataOptions){.format = PARE_DATA_TEXT, .keep_blanks = true});
    assert_string_equal(next(d)->text, "  one  ");
    assert_string_equal(next(d)->text, " ");
    assert_end(d);
}

/* Lines that are empty before the first content are rows of a text, whose format AUTO finds. */
static void test_text_detected(void **state) {
    (void)state;
    PareDataset *d = open_text("\n\r\nplain, not {json}\nmore\t\n");
    const char *const expected[] = {"", "", "plain, not {json}", "more"};
    for (size_t i = 0; i < 4; i++) {
        const PareDataRow *row = next(d);
        assert_string_equal(row->text, expected[i]);
        assert_int_equal(row->line, i + 1);
    }
    assert_end(d);
    assert_end(open_text(""));
    d = open_text("\n\n");
    assert_string_equal(next(d)->text, "");
    assert_int_equal(next(d)->line, 2);
    assert_end(d);
}

static void test_byte_order_mark(void **state) {
    (void)state;
    PareDataset *d = open_text("\xEF\xBB\xBFsentence\tlabel\nx\t1\n");
    const PareDataRow *row = next(d);
    assert_string_equal(row->text, "x");
    assert_true(row->has_label && row->label == 1);
    assert_end(d);
    d = open_text("\xEF\xBB\xBF{\"text\": \"x\"}");
    assert_string_equal(next(d)->text, "x");
    assert_end(d);
}

static void test_tsv_header(void **state) {
    (void)state;
    PareDataset *d = open_text("index\tquestion\tsentence\tlabel\r\n"
                               "0\t \"who\t is it\" \tnot_entailment\r\n\n"
                               "1\t\tb\t-1\r\n");
    const PareDataRow *row = next(d);
    assert_string_equal(row->text, "\"who");
    assert_string_equal(row->text_b, "is it\"");
    assert_int_equal(row->text_b_size, 6);
    assert_string_equal(row->label_text, "not_entailment");
    assert_false(row->has_label);
    assert_int_equal(row->line, 2);
    row = next(d);
    assert_string_equal(row->text, "");
    assert_int_equal(row->text_size, 0);
    assert_true(row->has_label && row->label == -1);
    assert_int_equal(row->line, 4);
    assert_end(d);
}

static void test_tsv_defaults(void **state) {
    (void)state;
    PareDataset *d = open_text("Guten Tag.\tHello.\nx\t7\n");
    const PareDataRow *row = next(d);
    assert_string_equal(row->text, "Guten Tag.");
    assert_string_equal(row->target, "Hello.");
    assert_int_equal(row->target_size, 6);
    assert_null(row->label_text);
    assert_string_equal(next(d)->target, "7");
    assert_end(d);
    d = open_text("good\t1\nbad\tzero\n");
    row = next(d);
    assert_null(row->target);
    assert_true(row->has_label && row->label == 1);
    row = next(d);
    assert_false(row->has_label);
    assert_string_equal(row->label_text, "zero");
    assert_end(d);
    d = open_text("see\t20240\n"); /* a number, but hardly a class */
    assert_string_equal(next(d)->target, "20240");
    assert_end(d);
    d = open_with("one\ntwo\n", (PareDataOptions){.format = PARE_DATA_TSV});
    assert_string_equal(next(d)->text, "one");
    assert_string_equal(next(d)->text, "two");
    assert_end(d);
}

static void test_tsv_columns(void **state) {
    (void)state;
    PareDataOptions options = {.columns = "-,label,-,text"};
    PareDataset *d = open_with("gj04\t1\t*\tThe sailors rode.\n", options);
    const PareDataRow *row = next(d);
    assert_string_equal(row->text, "The sailors rode.");
    assert_true(row->label == 1);
    assert_end(d);
    /* Named columns win over a header's names; the header is no row. */
    d = open_with("src\ttgt\na\tb\n", (PareDataOptions){.columns = "target,source"});
    row = next(d);
    assert_string_equal(row->text, "b");
    assert_string_equal(row->target, "a");
    assert_end(d);
    /* One named column makes lines without tabs TSV. */
    d = open_with("5\n", (PareDataOptions){.columns = "label"});
    row = next(d);
    assert_null(row->text);
    assert_true(row->label == 5);
    assert_end(d);
    d = open_with("{text\tx\n", (PareDataOptions){.format = PARE_DATA_TSV, .columns = "text,-"});
    assert_string_equal(next(d)->text, "{text");
    assert_end(d);
    assert_end(open_with("", options));
}

static void test_tsv_blanks(void **state) {
    (void)state;
    PareDataset *d = open_with(
        " a \t b \t 1 \n", (PareDataOptions){.columns = "text,target,label", .keep_blanks = true});
    const PareDataRow *row = next(d);
    assert_string_equal(row->text, " a ");
    assert_string_equal(row->target, " b ");
    assert_string_equal(row->label_text, "1");
    assert_end(d);
}

static void test_tsv_refused(void **state) {
    (void)state;
    PareDataOptions none = {0};
    assert_refused("a\tb\nc\n", none, PARE_E_FORMAT, "line 2 has 1 columns; expected 2");
    assert_refused("sentence\tlabel\nx\t1\ty\n", none, PARE_E_FORMAT,
                   "line 2 has 3 columns; expected 2");
    assert_refused("a\tb\tc\n", none, PARE_E_FORMAT, "line 1: the first line has 3 columns");
    assert_refused("text\ttext_b\tsentence\n", none, PARE_E_FORMAT, "two columns that mean text_b");
    assert_refused("label\tgold_label\ttext\n", none, PARE_E_FORMAT, "two columns that mean label");
    none.columns = "text,lable";
    assert_refused("a\tb\n", none, PARE_E_USAGE, "\"lable\" is not a column's name");
    none.columns = "text,input_ids";
    assert_refused("a\tb\n", none, PARE_E_USAGE, "\"input_ids\" is not");
    none.columns = "text,";
    assert_refused("a\tb\n", none, PARE_E_USAGE, "\"\" is not a column's name");
    none.columns = "label,label";
    assert_refused("a\tb\n", none, PARE_E_USAGE, "two columns mean label");
    none.columns = "-,-";
    assert_refused("a\tb\n", none, PARE_E_USAGE, "every column is skipped");
    none.columns = "text";
    assert_refused("{\"text\": 1}\n", none, PARE_E_USAGE, "these are JSON lines");
    none.format = PARE_DATA_TEXT;
    assert_refused("a\n", none, PARE_E_USAGE, "these are plain text");
}

static void test_json_texts(void **state) {
    (void)state;
    PareDataset *d = open_text(
        "{\"premise\": \" a \\u00e4\\n\", \"hypothesis\": \"b\", \"label\": 2, \"x\": []}\n"
        "\r\n"
        " {\"src\": \"s\", \"tgt\": \"t\", \"label\": \"pos\", \"text_b\": null}\n"
        "{\"question\": \"q\", \"sentence\": \"s\", \"labels\": 1.5}\n"
        "{\"summary\": \"\", \"label\": true}");
    const PareDataRow *row = next(d);
    assert_string_equal(row->text, "a ä");
    assert_int_equal(row->text_size, 4);
    assert_string_equal(row->text_b, "b");
    assert_string_equal(row->label_text, "2");
    assert_true(row->has_label && row->label == 2);
    row = next(d);
    assert_int_equal(row->line, 3);
    assert_string_equal(row->target, "t");
    assert_null(row->text_b);
    assert_string_equal(row->label_text, "pos");
    assert_false(row->has_label);
    row = next(d);
    assert_string_equal(row->text, "q");
    assert_string_equal(row->text_b, "s");
    assert_true(row->has_label && row->label == 1.5);
    row = next(d);
    assert_null(row->text);
    assert_string_equal(row->target, "");
    assert_int_equal(row->target_size, 0);
    assert_true(row->has_label && row->label == 1);
    assert_string_equal(row->label_text, "true");
    assert_end(d);
}

static void assert_ids(const int32_t *ids, size_t count, const int32_t *expected, size_t wanted) {
    assert_int_equal(count, wanted);
    assert_non_null(ids);
    assert_memory_equal(ids, expected, wanted * sizeof *ids);
}

static void test_json_ids(void **state) {
    (void)state;
    PareDataset *d =
        open_text("{\"input_ids\": [101, 7, 2147483647, 0, 0], \"token_type_ids\": [0, 1, 2, 3, 4],"
                  " \"attention_mask\": [1, 0, 1, 1, 0], \"decoder_input_ids\": [5, 6],"
                  " \"decoder_attention_mask\": [0, 1], \"labels\": [-100, 3]}\n"
                  "{\"input_ids\": [1, 2]}\n"
                  "{\"input_ids\": [], \"label\": 0}\n");
    const PareDataRow *row = next(d);
    assert_ids(row->input_ids, row->input_count, (const int32_t[]){101, 2147483647, 0}, 3);
    assert_ids(row->type_ids, row->type_count, (const int32_t[]){0, 2, 3}, 3);
    assert_ids(row->decoder_ids, row->decoder_count, (const int32_t[]){6}, 1);
    assert_ids(row->label_ids, row->label_count, (const int32_t[]){-100, 3}, 2);
    assert_null(row->text);
    row = next(d);
    assert_ids(row->input_ids, row->input_count, (const int32_t[]){1, 2}, 2);
    assert_null(row->type_ids);
    assert_null(row->decoder_ids);
    assert_null(row->label_ids);
    assert_int_equal(row->type_count + row->decoder_count + row->label_count, 0);
    row = next(d);
    assert_non_null(row->input_ids);
    assert_int_equal(row->input_count, 0);
    assert_end(d);
}

static void test_json_refused(void **state) {
    (void)state;
    static const struct {
        const char *line, *message;
    } cases[] = {
        {"{\"input_ids\": [1, -1]}", "line 2: input_ids[1] is -1; expected an integer from 0"},
        {"{\"input_ids\": [2147483648]}", "input_ids[0] is 2147483648"},
        {"{\"input_ids\": [1.5]}", "input_ids[0] is 1.5"},
        {"{\"input_ids\": [\"1\"]}", "input_ids[0] is \"1\""},
        {"{\"input_ids\": [[1]]}", "input_ids[0] is [1]"},
        {"{\"input_ids\": 3}", "\"input_ids\" is 3; expected an array of integers"},
        {"{\"input_ids\": [-100]}", "input_ids[0] is -100"},
        {"{\"input_ids\": [1], \"labels\": [-99]}", "labels[0] is -99"},
        {"{\"input_ids\": [1], \"attention_mask\": [2]}",
         "attention_mask[0] is 2; expected 0 or 1"},
        {"{\"input_ids\": [1], \"attention_mask\": [1, 1]}",
         "attention_mask has 2 numbers; expected 1, as many as input_ids"},
        {"{\"input_ids\": [1], \"token_type_ids\": []}",
         "token_type_ids has 0 numbers; expected 1"},
        {"{\"text\": \"a\", \"attention_mask\": [1]}", "there is attention_mask, but no input_ids"},
        {"{\"input_ids\": [1], \"decoder_attention_mask\": [1]}", "but no decoder_input_ids"},
        {"{\"text\": 5}", "\"text\" is 5; expected a string"},
        {"{\"text\": \"a\", \"label\": [1]}", "\"label\" is [1]; expected a number or a string"},
        {"{\"text\": \"a\", \"target\": \"b\", \"tgt\": \"c\"}", "two members mean target"},
        {"{\"txt\": \"a\", \"label\": 1}", "no member that is known"},
        {"{}", "no member that is known"},
        {"[1]", "expected a JSON object"},
        {"{\"text\": \"a\"} x", "line 2"},
        {"{\"text\": \"a\"", "line 2"},
        {"text", "line 2"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char content[256];
        snprintf(content, sizeof content, "{\"text\": \"fine\"}\n%s\n", cases[i].line);
        assert_refused(content, (PareDataOptions){0}, PARE_E_FORMAT, cases[i].message);
    }
}

static void test_nul_refused(void **state) {
    (void)state;
    PareError err;
    write_bytes("one\ntwo\0\nthree\n", 15);
    assert_int_equal(read_all(path, NULL, &err), PARE_E_FORMAT);
    assert_non_null(strstr(err.message, "line 2 contains a NUL byte"));
}

static void test_files_refused(void **state) {
    (void)state;
    PareError err;
    assert_int_equal(read_all("tests/no such file", NULL, &err), PARE_E_IO);
    assert_non_null(strstr(err.message, "tests/no such file: cannot open"));
    assert_int_equal(read_all("tests", NULL, &err), PARE_E_IO);
    assert_non_null(strstr(err.message, "tests: cannot read"));
}

/* A line far longer than the reader's chunk, with ends at awkward places of it. */
static void test_long_lines(void **state) {
    (void)state;
    static const size_t sizes[] = {65534, 65535, 65536, 65537, 131071, 131072, 131073, 3000000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        size_t n = sizes[i];
        char *text = pare_alloc(n + 8, 1);
        memset(text, 'x', n);
        memcpy(text + n, "\r\nlast", 6);
        write_bytes(text, n + 6);
        PareDataset *d;
        PareError err;
        assert_int_equal(pare_dataset_open(path, NULL, &d, &err), PARE_OK);
        const PareDataRow *row = next(d);
        assert_int_equal(row->text_size, n);
        assert_int_equal(strlen(row->text), n);
        assert_string_equal(next(d)->text, "last");
        assert_end(d);
        pare_free(text);
    }
}

static void test_line_limit(void **state) {
    (void)state;
    enum { LIMIT = 64 << 20 };
    PareError err;
    char *text = pare_alloc(LIMIT + 8, 1);
    memset(text, 'x', LIMIT + 8);
    memcpy(text, "ok\n", 3);
    text[LIMIT + 3] = '\n'; /* exactly the limit */
    write_bytes(text, LIMIT + 4);
    assert_int_equal(read_all(path, NULL, &err), PARE_OK);
    text[LIMIT + 3] = 'x';
    write_bytes(text, LIMIT + 4);
    assert_int_equal(read_all(path, NULL, &err), PARE_E_FORMAT);
    assert_non_null(strstr(err.message, "line 2 is longer than 67108864 bytes"));
    pare_free(text);
}

static void test_standard_input(void **state) {
    (void)state;
    int ends[2], keep = dup(STDIN_FILENO);
    PareDataset *d;
    PareError err;
    assert_int_equal(pipe(ends), 0);
    dup2(ends[0], STDIN_FILENO);
    assert_int_equal(write(ends[1], "a\tb\nc\n", 6), 6);
    close(ends[1]);
    close(ends[0]);
    assert_int_equal(pare_dataset_open("-", NULL, &d, &err), PARE_OK);
    assert_string_equal(next(d)->target, "b");
    const PareDataRow *row;
    assert_int_equal(pare_dataset_next(d, &row, &err), PARE_E_FORMAT);
    assert_non_null(strstr(err.message, "standard input: line 2"));
    pare_dataset_close(d);
    dup2(keep, STDIN_FILENO);
    close(keep);
}

static void test_no_memory(void **state) {
    (void)state;
    static const char *const contents[] = {
        "{\"text\": \" a\", \"label\": 1, \"input_ids\": [1, 2], \"labels\": []}\n",
        "sentence\tlabel\na\t1\n", "text\n"};
    for (size_t i = 0; i < 3; i++) {
        write_bytes(contents[i], strlen(contents[i]));
        for (uint64_t n = 1;; n++) {
            PareError err;
            pare_memory_fail_after(n);
            PareStatus status = read_all(path, NULL, &err);
            pare_memory_fail_after(0);
            if (status == PARE_OK) {
                assert_true(n > 2);
                break;
            }
            assert_int_equal(status, PARE_E_MEMORY);
        }
    }
}

static int setup(void **state) {
    (void)state;
    const char *folder = getenv("TMPDIR");
    snprintf(path, sizeof path, "%s/pare-dataset-XXXXXX", folder ? folder : "/tmp");
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int teardown(void **state) {
    (void)state;
    return unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),           cmocka_unit_test(test_text_blanks),
        cmocka_unit_test(test_text_detected),  cmocka_unit_test(test_byte_order_mark),
        cmocka_unit_test(test_tsv_header),     cmocka_unit_test(test_tsv_defaults),
        cmocka_unit_test(test_tsv_columns),    cmocka_unit_test(test_tsv_blanks),
        cmocka_unit_test(test_tsv_refused),    cmocka_unit_test(test_json_texts),
        cmocka_unit_test(test_json_ids),       cmocka_unit_test(test_json_refused),
        cmocka_unit_test(test_nul_refused),    cmocka_unit_test(test_files_refused),
        cmocka_unit_test(test_long_lines),     cmocka_unit_test(test_line_limit),
        cmocka_unit_test(test_standard_input), cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
