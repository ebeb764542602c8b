/* Command lines, messages, numbers and patterns. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/log.h"
#include "core/memory.h"
#include "core/options.h"

static struct {
    bool verbose, check, no_cache;
    const char *output;
    int64_t threads;
    double rate, share;
    int format;
    PareStringList keep;
    bool rate_given;
} set;

static const PareOption options[] = {
    {PARE_OPT_HEADING, 0, "Input and output", NULL, NULL, NULL, 0, 0, NULL},
    {PARE_OPT_STRING, 'o', "output", &set.output, "FILE", "write to FILE", 0, 0, NULL},
    {PARE_OPT_FLAG, 'v', "verbose", &set.verbose, NULL, "say more", 0, 0, NULL},
    {PARE_OPT_FLAG, 'c', "check", &set.check, NULL, "check the result", 0, 0, NULL},
    {PARE_OPT_FLAG, 0, "no-cache", &set.no_cache, NULL, "keep nothing", 0, 0, NULL},
    {PARE_OPT_INT, 't', "threads", &set.threads, NULL,
     "how many threads may work at one time, which is a long text that has to be wrapped", 1, 256,
     NULL},
    {PARE_OPT_FLOAT, 0, "rate", &set.rate, NULL, "learning rate", 0, 1e300, &set.rate_given},
    {PARE_OPT_SHARE, 0, "share", &set.share, NULL, "what is kept", 0, 0, NULL},
    {PARE_OPT_CHOICE, 0, "format", &set.format, "f16|bf16|int8", "number format", 0, 0, NULL},
    {PARE_OPT_LIST, 'k', "keep", &set.keep, "GLOB", "tensors to keep", 0, 0, NULL},
};

static const PareOptionTable table = {
    .program = "pare-test",
    .usage = "[OPTION]... IN [MORE] -o OUT",
    .description = "Does nothing, and is only a description that is longer than one line of the "
                   "help text.",
    .examples = "pare-test a -o b\npare-test c",
    .options = options,
    .count = sizeof options / sizeof *options,
    .operands_min = 1,
    .operands_max = 2,
};

static PareStringList operands;
static PareOptionsNext next;
static PareError err;

/* Parses words that single blanks separate; "_" stands for an empty word. */
static PareStatus parse(const char *line) {
    static char copy[500];
    static char *argv[50];
    int argc = 1;
    memset(&set, 0, sizeof set);
    set.format = 1;
    set.threads = 8;
    set.check = true;
    snprintf(copy, sizeof copy, "%s", line);
    argv[0] = copy + sizeof copy - 1;
    for (char *at = copy; *at;) {
        argv[argc++] = at;
        at += strcspn(at, " ");
        if (*at)
            *at++ = '\0';
    }
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "_") == 0)
            argv[i][0] = '\0';
    return pare_options_parse(&table, argc, argv, &operands, &next, &err);
}

static void accept(const char *line) {
    if (parse(line) != PARE_OK)
        fail_msg("%s: %s", line, err.message);
    assert_int_equal(next, PARE_OPTIONS_RUN);
}

static void refuse(const char *line, const char *message) {
    assert_int_equal(parse(line), PARE_E_USAGE);
    assert_string_equal(err.message, message);
    assert_null(operands.items); /* all is freed already */
    assert_null(set.keep.items);
}

static void release(void) {
    pare_options_free(&table, &operands);
}

static void options_are_stored(void **state) {
    (void)state;
    accept("in -o out --verbose --threads=4 --rate 1e-3 --share 25% --format int8 more");
    assert_true(set.verbose && set.rate_given && set.check);
    assert_string_equal(set.output, "out");
    assert_int_equal(set.threads, 4);
    assert_true(set.rate == 1e-3 && set.share == 0.25);
    assert_int_equal(set.format, 2);
    assert_int_equal(operands.count, 2);
    assert_string_equal(operands.items[1], "more");
    release();
    accept("-vcoout -t12 in --no-check --no-cache");
    assert_string_equal(set.output, "out");
    assert_true(set.verbose && !set.check && set.no_cache && !set.rate_given);
    assert_int_equal(set.threads, 12);
    release();
    accept("--keep a -k b -kc --keep=_ in");
    assert_int_equal(set.keep.count, 4);
    assert_string_equal(set.keep.items[2], "c");
    release();
    assert_null(set.keep.items);
    accept("- -- -v");
    assert_string_equal(operands.items[0], "-");
    assert_string_equal(operands.items[1], "-v");
    assert_false(set.verbose);
    release();
    accept("_ -v -v --no-verbose -o --strange");
    release();
}

static void wrong_options_are_explained(void **state) {
    (void)state;
    refuse("in --outptu=x", "unknown option '--outptu'; did you mean '--output'?");
    refuse("in --out x", "unknown option '--out'; did you mean '--output'?");
    refuse("in --hlep", "unknown option '--hlep'; did you mean '--help'?");
    refuse("in --Verbose", "unknown option '--Verbose'; did you mean '--verbose'?");
    refuse("in --frobnicate", "unknown option '--frobnicate'");
    refuse("in --no-output", "unknown option '--no-output'; did you mean '--output'?");
    refuse("in --no-no-cache", "unknown option '--no-no-cache'; did you mean '--no-cache'?");
    refuse("in --=x", "unknown option '--'");
    refuse("in -x", "unknown option '-x' in '-x'");
    refuse("in -vx", "unknown option '-x' in '-vx'");
    refuse("in -o=x", "'-o=x': write '-o VALUE' or '--output=VALUE'");
    refuse("in -v=1", "'-v=1': option '-v' takes no value");
    refuse("in --verbose=1", "option '--verbose' takes no value, found '1'");
    refuse("in --no-check=1", "option '--no-check' takes no value, found '1'");
    refuse("in -o", "option '-o' needs a value (FILE)");
    refuse("in --threads", "option '--threads' needs a value (N)");
    refuse("in -k a -o --verbose", "option '-o' needs a value (FILE), found option '--verbose'");
    refuse("in -o --threads=3", "option '-o' needs a value (FILE), found option '--threads=3'");
    refuse("in -o a --output b", "option '--output' is given twice");
    refuse("in --threads 1 -t2", "option '--threads' is given twice");
    refuse("a b c -k x", "unexpected operand 'c': expected at most 2 operands");
    refuse("-k x", "missing operand: found 0, expected at least 1 (usage: pare-test [OPTION]... IN "
                   "[MORE] -o OUT)");
}

static void wrong_values_are_explained(void **state) {
    (void)state;
    refuse("in --threads x", "option '--threads': found 'x', expected a whole number (k, M, G, Ki, "
                             "Mi, Gi may follow)");
    refuse("in --threads 0", "option '--threads': 0 is out of range, expected 1 to 256");
    refuse("in -t 1k", "option '-t': 1k is out of range, expected 1 to 256");
    refuse("in --rate nan", "option '--rate': found 'nan', expected a finite decimal number");
    refuse("in --rate -1", "option '--rate': -1 is out of range, expected at least 0");
    refuse("in --share 25", "option '--share': found '25', expected a share such as 25% or 0.25, "
                            "from 0 to 1");
    refuse("in --format f32", "option '--format': found 'f32', expected f16, bf16 or int8");
    refuse("in --format f1", "option '--format': found 'f1', expected f16, bf16 or int8");
    refuse("in --format _", "option '--format': found '', expected f16, bf16 or int8");
}

static void memory_may_run_out(void **state) {
    (void)state;
    PareStatus st = PARE_E_MEMORY;
    for (uint64_t n = 1; st; n++) {
        pare_memory_fail_after(n);
        st = parse("in -k a -k b more");
        pare_memory_fail_after(0);
        assert_true(st == PARE_OK || st == PARE_E_MEMORY);
    }
    release();
}

/* ---- What is printed ----------------------------------------------------------------------- */

static char printed[8000];
static FILE *capture;
static int kept;

static void begin_capture(int fd) {
    fflush(stdout);
    capture = tmpfile();
    kept = dup(fd);
    dup2(fileno(capture), fd);
}

static void end_capture(int fd) {
    fflush(stdout);
    fflush(stderr);
    dup2(kept, fd);
    close(kept);
    rewind(capture);
    printed[fread(printed, 1, sizeof printed - 1, capture)] = '\0';
    fclose(capture);
}

static void help_is_complete(void **state) {
    (void)state;
    static const char expected[] =
        "Usage: pare-test [OPTION]... IN [MORE] -o OUT\n"
        "\n"
        "Does nothing, and is only a description that is longer than one line of the help text.\n"
        "\n"
        "Input and output:\n"
        "  -o, --output=FILE           write to FILE\n"
        "  -v, --verbose               say more\n"
        "  -c, --[no-]check            check the result\n"
        "      --no-cache              keep nothing\n"
        "  -t, --threads=N             how many threads may work at one time, which is a long "
        "text\n"
        "                              that has to be wrapped (default: 8)\n"
        "      --rate=X                learning rate\n"
        "      --share=SHARE           what is kept\n"
        "      --format=f16|bf16|int8  number format (default: bf16)\n"
        "  -k, --keep=GLOB             tensors to keep\n"
        "\n"
        "About the program:\n"
        "  -h, --help                  print this help and exit\n"
        "      --version               print the version and exit\n"
        "\n"
        "Examples:\n"
        "  pare-test a -o b\n"
        "  pare-test c\n";
    for (int i = 0; i < 2; i++) {
        begin_capture(STDOUT_FILENO);
        PareStatus st = parse(i ? "-h" : "-k x a b c --help --wrong");
        end_capture(STDOUT_FILENO);
        assert_int_equal(st, PARE_OK);
        assert_int_equal(next, PARE_OPTIONS_EXIT);
        assert_string_equal(printed, expected);
        release();
    }
    begin_capture(STDOUT_FILENO);
    PareStatus st = parse("--version");
    end_capture(STDOUT_FILENO);
    assert_int_equal(st, PARE_OK);
    assert_int_equal(next, PARE_OPTIONS_EXIT);
    assert_memory_equal(printed, "pare-test (pare) ", 17);
    release();
}

static void messages_go_to_stderr(void **state) {
    (void)state;
    PareError usage = {.code = PARE_E_USAGE, .message = "bad \x1b[31m\xC2\x9B name \x7F \xC3\xA4"};
    PareError limit = {.code = PARE_E_LIMIT, .message = "too far"};
    pare_log_set_program("pare-test");
    begin_capture(STDERR_FILENO);
    for (int level = PARE_LOG_QUIET; level <= PARE_LOG_VERBOSE; level++) {
        pare_log_set_level((PareLogLevel)level);
        pare_log_warn("w%d", level);
        pare_log_note("n%d", level);
        pare_log_info("i%d", level);
    }
    int first = pare_log_fail(&usage), second = pare_log_fail(&limit);
    pare_log_set_level(PARE_LOG_NORMAL);
    PareProgress *p = pare_progress_start("work", 10); /* not a terminal */
    pare_progress_update(p, 5, "note");
    pare_progress_finish(p);
    end_capture(STDERR_FILENO);
    assert_null(p);
    assert_int_equal(first, 2);
    assert_int_equal(second, 3);
    assert_string_equal(printed, "pare-test: warning: w1\n"
                                 "pare-test: n1\n"
                                 "pare-test: warning: w2\n"
                                 "pare-test: n2\n"
                                 "pare-test: i2\n"
                                 "pare-test: bad ?[31m?? name ? \xC3\xA4\n"
                                 "Try 'pare-test --help'.\n"
                                 "pare-test: too far\n");
}

/* Work that goes on where another run stopped, and then counts from the beginning again. The line
 * is read from a terminal of our own. */
static void progress_counts_what_it_sees(void **state) {
    (void)state;
    char text[4096];
    int saved = dup(STDERR_FILENO), terminal = posix_openpt(O_RDWR | O_NOCTTY);
    if (terminal < 0 || grantpt(terminal) || unlockpt(terminal))
        skip();
    int end = open(ptsname(terminal), O_RDWR | O_NOCTTY);
    assert_true(saved >= 0 && end >= 0);
    setenv("TERM", "xterm", 1);
    dup2(end, STDERR_FILENO);
    PareProgress *p = pare_progress_start("work", 1000);
    pare_progress_update(p, 900, NULL);
    sleep(2);
    usleep(100000);
    pare_progress_update(p, 950, NULL); /* 50 in 2.1 seconds, and 50 are left */
    pare_progress_update(p, 3, NULL);
    usleep(150000);
    pare_progress_update(p, 4, NULL); /* nothing is known of this part yet */
    pare_progress_finish(p);
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(end);
    size_t size = 0;
    for (ssize_t n; (n = read(terminal, text + size, sizeof text - 1 - size)) > 0;)
        size += (size_t)n; /* until nobody is left who writes */
    close(terminal);
    text[size] = '\0';
    assert_non_null(p);
    assert_non_null(strstr(text, "work:  90 % of 1000\033"));
    assert_non_null(strstr(text, "work:  95 % of 1000, 00:0"));
    assert_non_null(strstr(text, "work:   0 % of 1000\033"));
}

/* ---- Numbers and patterns ------------------------------------------------------------------ */

static void integers_are_strict(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int64_t value;
    } good[] = {{"0", 0},
                {"-0", 0},
                {"+7", 7},
                {"007", 7},
                {"12k", 12000},
                {"3M", 3000000},
                {"-2G", -2000000000},
                {"1Ki", 1024},
                {"5Mi", 5 << 20},
                {"8Gi", INT64_C(8) << 30},
                {"9223372036854775807", INT64_MAX},
                {"-9223372036854775808", INT64_MIN}};
    static const char *const bad[] = {"",
                                      "-",
                                      "k",
                                      " 1",
                                      "1 ",
                                      "1.5",
                                      "1e3",
                                      "0x10",
                                      "1K",
                                      "1KiB",
                                      "1m",
                                      "--1",
                                      "9223372036854775808",
                                      "-9223372036854775809",
                                      "9223372036854775807k",
                                      "8589934592Gi",
                                      "99999999999999999999999999"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        int64_t value = 99;
        assert_true(pare_parse_int(good[i].text, &value));
        assert_true(value == good[i].value);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int64_t value = 99;
        if (pare_parse_int(bad[i], &value))
            fail_msg("'%s' was accepted", bad[i]);
        assert_int_equal(value, 99);
    }
}

static void decimals_are_strict(void **state) {
    (void)state;
    static const char *const bad[] = {"",    ".",     "-",   "1e",  "1e+",   " 1",
                                      "1 ",  "0x1p3", "nan", "inf", "1,5",   "1e999",
                                      "--1", "1.2.3", "1f",  "e5",  "1e5.5", "infinity"};
    double value = 99;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (pare_parse_float(bad[i], &value) || pare_parse_share(bad[i], &value))
            fail_msg("'%s' was accepted", bad[i]);
    }
    assert_true(value == 99);
    assert_true(pare_parse_float("-1.5e-3", &value) && value == -1.5e-3);
    assert_true(pare_parse_float(".5", &value) && value == 0.5);
    assert_true(pare_parse_float("5.", &value) && value == 5);
    assert_true(pare_parse_float("+1e+5", &value) && value == 1e5);
    assert_true(pare_parse_share("25%", &value) && value == 0.25);
    assert_true(pare_parse_share("0.25", &value) && value == 0.25);
    assert_true(pare_parse_share("100%", &value) && value == 1);
    assert_true(pare_parse_share("1", &value) && value == 1);
    assert_true(pare_parse_share("0", &value) && value == 0);
    static const char *const no_share[] = {"%", "101%", "1.01", "-1%", "25%%", "25 %", "-0.1"};
    for (size_t i = 0; i < sizeof no_share / sizeof *no_share; i++)
        assert_false(pare_parse_share(no_share[i], &value));
}

static void patterns_match(void **state) {
    (void)state;
    static const struct {
        const char *pattern, *text;
        bool match;
    } cases[] = {
        {"", "", true},
        {"", "a", false},
        {"*", "", true},
        {"*", "a.b/c", true},
        {"a*", "abc", true},
        {"a*c", "abbc", true},
        {"a*c", "abcd", false},
        {"*.weight", "l.0.weight", true},
        {"*.weight", "l.0.bias", false},
        {"*a*b*c*", "xxaxxbxxcxx", true},
        {"*a*b*c*", "xxaxxcxxbxx", false},
        {"?", "a", true},
        {"?", "", false},
        {"??", "a", false},
        {"[abc]", "b", true},
        {"[abc]", "d", false},
        {"[a-c]x", "bx", true},
        {"[!a-c]", "b", false},
        {"[!a-c]", "d", true},
        {"[^a]", "b", true},
        {"[]a]", "]", true},
        {"[a", "[a", true},
        {"[a", "a", false},
        {"[", "[", true},
        {"l.[0-3].*", "l.2.q", true},
        {"l.[0-3].*", "l.4.q", false},
        {"[a-]", "-", true},
        {"**", "abc", true},
        {"a", "A", false},
        {"*[0-9]", "layer12", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (pare_glob_match(cases[i].pattern, cases[i].text) != cases[i].match)
            fail_msg("'%s' and '%s'", cases[i].pattern, cases[i].text);
    /* Not exponential. */
    assert_false(
        pare_glob_match("*a*a*a*a*a*a*a*a*a*a*a*a*b",
                        "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_are_stored),
        cmocka_unit_test(wrong_options_are_explained),
        cmocka_unit_test(wrong_values_are_explained),
        cmocka_unit_test(memory_may_run_out),
        cmocka_unit_test(help_is_complete),
        cmocka_unit_test(messages_go_to_stderr),
        cmocka_unit_test(progress_counts_what_it_sees),
        cmocka_unit_test(integers_are_strict),
        cmocka_unit_test(decimals_are_strict),
        cmocka_unit_test(patterns_match),
    };
    return cmocka_run_group_tests_name("core: options", tests, NULL, NULL);
}
