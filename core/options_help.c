/* What --help prints: usage, description, the options in aligned columns, examples. */
#include <stdio.h>
#include <string.h>

#include "core/buffer.h"
#include "core/options_parts.h"

/* Help texts begin in this column, or on a line of their own after a long option. */
enum { HELP_COLUMN = 30, WIDTH = 90 };

/* Appends `text` wrapped at WIDTH; lines after the first begin in `column`. A newline in the text
 * stays one. `at` is the column where the text begins. */
static void put_wrapped(PareBuffer *b, const char *text, size_t column, size_t at) {
    size_t start = at;
    while (*text) {
        size_t word = strcspn(text, " \n");
        if (at > start && at + 1 + word > WIDTH) {
            pare_buffer_printf(b, "\n%*s", (int)column, "");
            at = start = column;
        }
        if (at > start) {
            pare_buffer_putc(b, ' ');
            at++;
        }
        pare_buffer_append(b, text, word);
        at += word;
        text += word;
        if (*text == '\n') {
            pare_buffer_printf(b, "\n%*s", (int)column, "");
            at = start = column;
        }
        text += *text != '\0';
    }
    pare_buffer_putc(b, '\n');
}

const char *pare_options_value_word(const PareOption *o) {
    static const char *const words[] = {
        [PARE_OPT_STRING] = "TEXT", [PARE_OPT_INT] = "N",     [PARE_OPT_FLOAT] = "X",
        [PARE_OPT_SHARE] = "SHARE", [PARE_OPT_LIST] = "TEXT", [PARE_OPT_CHOICE] = "WORD",
    };
    return o->values ? o->values : words[o->kind] ? words[o->kind] : "";
}

/* What the option holds before the command line is read, where that tells the user something. A
 * flag that is on, and thus needs its --no- form, shows it by its name. */
static void put_default(PareBuffer *b, const PareOption *o) {
    size_t length = 0;
    const char *word;
    if (!o->target || (o->help && strstr(o->help, "default")))
        return;
    switch (o->kind) {
    case PARE_OPT_STRING:
        if (*(const char *const *)o->target)
            pare_buffer_printf(b, " (default: %s)", *(const char *const *)o->target);
        break;
    case PARE_OPT_INT:
        if (*(const int64_t *)o->target)
            pare_buffer_printf(b, " (default: %lld)", (long long)*(const int64_t *)o->target);
        break;
    case PARE_OPT_FLOAT:
    case PARE_OPT_SHARE:
        if (*(const double *)o->target == 0)
            break;
        pare_buffer_puts(b, " (default: ");
        pare_buffer_put_json_double(b, *(const double *)o->target);
        pare_buffer_putc(b, ')');
        break;
    case PARE_OPT_CHOICE:
        if (*(const int *)o->target < 0)
            break;
        word = pare_options_word(o->values, (size_t) * (const int *)o->target, &length);
        if (word)
            pare_buffer_printf(b, " (default: %.*s)", (int)length, word);
        break;
    default:
        break;
    }
}

/* "  -o, --output=FILE", and its length. */
static size_t put_names(PareBuffer *b, const PareOption *o) {
    size_t before = b->size;
    if (o->letter)
        pare_buffer_printf(b, "  -%c, ", o->letter);
    else
        pare_buffer_puts(b, "      ");
    if (o->kind != PARE_OPT_FLAG)
        pare_buffer_printf(b, "--%s=%s", o->name, pare_options_value_word(o));
    else if (pare_options_negatable(o) && o->target && *(const bool *)o->target)
        pare_buffer_printf(b, "--[no-]%s", o->name);
    else
        pare_buffer_printf(b, "--%s", o->name);
    return b->size - before;
}

static void put_option(PareBuffer *b, const PareOption *o) {
    PareBuffer text = {0};
    pare_buffer_puts(&text, o->help ? o->help : "");
    put_default(&text, o);
    size_t used = put_names(b, o);
    if (used + 2 > HELP_COLUMN) {
        pare_buffer_putc(b, '\n');
        used = 0;
    }
    pare_buffer_printf(b, "%*s", (int)(HELP_COLUMN - used), "");
    put_wrapped(b, text.failed ? "" : text.data, HELP_COLUMN, HELP_COLUMN);
    b->failed = b->failed || text.failed;
    pare_buffer_free(&text);
}

static bool uses_letter(const PareOptionTable *table, char letter) {
    for (size_t i = 0; i < table->count; i++)
        if (table->options[i].kind != PARE_OPT_HEADING && table->options[i].letter == letter)
            return true;
    return false;
}

static void put_table(PareBuffer *b, const PareOptionTable *table) {
    const PareOption help = {.kind = PARE_OPT_FLAG,
                             .letter = uses_letter(table, 'h') ? '\0' : 'h',
                             .name = "help",
                             .help = "print this help and exit"};
    const PareOption version = {
        .kind = PARE_OPT_FLAG, .name = "version", .help = "print the version and exit"};
    bool headed = table->count > 0 && table->options[0].kind == PARE_OPT_HEADING;
    if (!headed)
        pare_buffer_puts(b, "\nOptions:\n");
    for (size_t i = 0; i < table->count; i++) {
        const PareOption *o = &table->options[i];
        if (o->kind == PARE_OPT_HEADING)
            pare_buffer_printf(b, "\n%s:\n", o->help ? o->help : o->name);
        else
            put_option(b, o);
    }
    if (headed)
        pare_buffer_puts(b, "\nAbout the program:\n");
    put_option(b, &help);
    put_option(b, &version);
}

static void put_examples(PareBuffer *b, const char *examples) {
    if (examples)
        pare_buffer_puts(b, "\nExamples:\n");
    while (examples && *examples) {
        size_t length = strcspn(examples, "\n");
        pare_buffer_printf(b, "  %.*s\n", (int)length, examples);
        examples += length + (examples[length] == '\n');
    }
}

PareStatus pare_options_help(const PareOptionTable *table, PareError *err) {
    PareBuffer b = {0};
    pare_buffer_printf(&b, "Usage: %s %s\n", table->program, table->usage ? table->usage : "");
    if (table->description) {
        pare_buffer_putc(&b, '\n');
        put_wrapped(&b, table->description, 0, 0);
    }
    put_table(&b, table);
    put_examples(&b, table->examples);
    PareStatus status = pare_buffer_ok(&b, "the help text", err);
    if (!status)
        fwrite(b.data, 1, b.size, stdout);
    pare_buffer_free(&b);
    return status;
}
