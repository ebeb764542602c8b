/*
 * The words job: numbers, dates, times and amounts of money, and how to say them in English.
 */
#include "make-data.h"

#include <string.h>

/* ---- saying numbers ------------------------------------------------------------------------ */

static const char *const ONES[] = {"zero",    "one",     "two",       "three",    "four",
                                   "five",    "six",     "seven",     "eight",    "nine",
                                   "ten",     "eleven",  "twelve",    "thirteen", "fourteen",
                                   "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"};
static const char *const TENS[] = {"",      "",      "twenty",  "thirty", "forty",
                                   "fifty", "sixty", "seventy", "eighty", "ninety"};

static void say_below_hundred(struct line *out, uint32_t n) {
    if (n < 20) {
        line_say(out, ONES[n]);
        return;
    }
    line_say(out, TENS[n / 10]);
    if (n % 10 != 0)
        line_add(out, "-%s", ONES[n % 10]);
}

static void say_below_thousand(struct line *out, uint32_t n) {
    if (n >= 100) {
        line_say(out, ONES[n / 100]);
        line_say(out, "hundred");
    }
    if (n % 100 != 0)
        say_below_hundred(out, n % 100);
}

static void say_cardinal(struct line *out, uint32_t n) {
    static const struct {
        uint32_t size;
        const char *name;
    } groups[] = {{1000000, "million"}, {1000, "thousand"}};
    if (n == 0)
        line_say(out, ONES[0]);
    for (uint32_t i = 0; i < COUNT(groups); i++) {
        if (n < groups[i].size)
            continue;
        say_below_thousand(out, n / groups[i].size);
        line_say(out, groups[i].name);
        n %= groups[i].size;
    }
    say_below_thousand(out, n);
}

static void say_digits(struct line *out, const char *digits) {
    for (; *digits != '\0'; digits++)
        line_say(out, ONES[*digits - '0']);
}

/* Turns the last word said into its ordinal: "twenty-one" into "twenty-first". */
static void make_last_word_ordinal(struct line *out) {
    static const char *const irregular[][2] = {
        {"one", "first"},    {"two", "second"}, {"three", "third"},   {"five", "fifth"},
        {"eight", "eighth"}, {"nine", "ninth"}, {"twelve", "twelfth"}};
    size_t start = out->used;
    while (start > 0 && out->text[start - 1] != ' ' && out->text[start - 1] != '-')
        start--;
    for (uint32_t i = 0; i < COUNT(irregular); i++) {
        if (strcmp(out->text + start, irregular[i][0]) == 0) {
            out->used = start;
            line_add(out, "%s", irregular[i][1]);
            return;
        }
    }
    if (out->used > 0 && out->text[out->used - 1] == 'y') {
        out->used--;
        line_add(out, "ie");
    }
    line_add(out, "th");
}

static void say_ordinal(struct line *out, uint32_t n) {
    say_cardinal(out, n);
    make_last_word_ordinal(out);
}

/* 1906 "nineteen oh six", 1900 "nineteen hundred", 2005 "two thousand five", 2021. */
static void say_year(struct line *out, uint32_t year) {
    if (year >= 2000 && year < 2010) {
        say_cardinal(out, year);
        return;
    }
    say_below_hundred(out, year / 100);
    if (year % 100 == 0) {
        line_say(out, "hundred");
        return;
    }
    if (year % 100 < 10)
        line_say(out, "oh");
    say_below_hundred(out, year % 100);
}

/* ---- choosing and writing numbers ---------------------------------------------------------- */

/* Every length is as likely as every other; some numbers are mostly zeros, as in real life. */
static uint32_t choose_number(struct rng *rng, uint32_t most_digits) {
    uint32_t digits = rng_between(rng, 1, most_digits);
    uint32_t zeros = rng_chance(rng, 35) ? 60 : 0;
    uint32_t n = rng_between(rng, 1, 9);
    for (uint32_t i = 1; i < digits; i++) {
        uint32_t digit = rng_below(rng, 10);
        n = n * 10 + (rng_chance(rng, zeros) ? 0 : digit);
    }
    return n;
}

static void write_grouped(struct line *out, uint32_t n) {
    if (n >= 1000000)
        line_add(out, "%u,%03u,%03u", n / 1000000, n / 1000 % 1000, n % 1000);
    else if (n >= 1000)
        line_add(out, "%u,%03u", n / 1000, n % 1000);
    else
        line_add(out, "%u", n);
}

/* Writes n to the source. Numbers of up to five digits also occur without a comma. */
static void write_number(struct rng *rng, struct line *out, uint32_t n) {
    if (n < 100000 && rng_chance(rng, 40))
        line_add(out, "%u", n);
    else
        write_grouped(out, n);
}

/* ---- the kinds of rows of the words job ---------------------------------------------------- */

typedef void make_fn(struct rng *rng, struct words_row *row);

static void make_cardinal(struct rng *rng, struct words_row *row) {
    uint32_t n = choose_number(rng, 7);
    if (rng_chance(rng, 12)) {
        line_add(&row->source, "-");
        line_say(&row->target, "minus");
    }
    write_number(rng, &row->source, n);
    say_cardinal(&row->target, n);
}

static void make_decimal(struct rng *rng, struct words_row *row) {
    uint32_t whole = rng_chance(rng, 20) ? 0 : choose_number(rng, 4);
    char digits[4];
    uint32_t length = rng_between(rng, 1, 3);
    for (uint32_t i = 0; i < length; i++)
        digits[i] = (char)('0' + rng_below(rng, 10));
    digits[length] = '\0';
    write_number(rng, &row->source, whole);
    line_add(&row->source, ".%s", digits);
    say_cardinal(&row->target, whole);
    line_say(&row->target, "point");
    say_digits(&row->target, digits);
}

static const char *ordinal_suffix(uint32_t n) {
    static const char *const suffixes[] = {"th", "st", "nd", "rd"};
    bool teen = n / 10 % 10 == 1;
    return !teen && n % 10 < COUNT(suffixes) ? suffixes[n % 10] : suffixes[0];
}

static void make_ordinal(struct rng *rng, struct words_row *row) {
    uint32_t n = choose_number(rng, 4);
    write_number(rng, &row->source, n);
    line_add(&row->source, "%s", ordinal_suffix(n));
    say_ordinal(&row->target, n);
}

static void make_percent(struct rng *rng, struct words_row *row) {
    if (rng_chance(rng, 50)) {
        make_decimal(rng, row);
    } else {
        uint32_t n = choose_number(rng, 3);
        line_add(&row->source, "%u", n);
        say_cardinal(&row->target, n);
    }
    line_add(&row->source, "%%");
    line_say(&row->target, "percent");
}

struct currency {
    const char *sign, *one, *many, *part_one, *part_many;
};

static const struct currency CURRENCIES[] = {
    {"$", "dollar", "dollars", "cent", "cents"},
    {"£", "pound", "pounds", "penny", "pence"},
    {"€", "euro", "euros", "cent", "cents"},
};

static void make_millions_of_money(struct rng *rng, struct words_row *row,
                                   const struct currency *money) {
    uint32_t whole = choose_number(rng, 3);
    line_add(&row->source, "%s%u", money->sign, whole);
    say_cardinal(&row->target, whole);
    if (rng_chance(rng, 50)) {
        uint32_t tenth = rng_between(rng, 1, 9);
        line_add(&row->source, ".%u", tenth);
        line_say(&row->target, "point");
        line_say(&row->target, ONES[tenth]);
    }
    const char *scale = rng_chance(rng, 60) ? "million" : "billion";
    line_add(&row->source, " %s", scale);
    line_say(&row->target, scale);
    line_say(&row->target, money->many);
}

static void make_money(struct rng *rng, struct words_row *row) {
    const struct currency *money = &CURRENCIES[rng_chance(rng, 50) ? 0 : rng_between(rng, 1, 2)];
    if (rng_chance(rng, 12)) {
        make_millions_of_money(rng, row, money);
        return;
    }
    uint32_t whole = rng_chance(rng, 10) ? 0 : choose_number(rng, 6);
    uint32_t parts = whole == 0 || rng_chance(rng, 55) ? rng_between(rng, 1, 99) : 0;
    line_add(&row->source, "%s", money->sign);
    write_grouped(&row->source, whole);
    if (whole > 0) {
        say_cardinal(&row->target, whole);
        line_say(&row->target, whole == 1 ? money->one : money->many);
    }
    if (parts > 0) {
        line_add(&row->source, ".%02u", parts);
        if (whole > 0)
            line_say(&row->target, "and");
        say_cardinal(&row->target, parts);
        line_say(&row->target, parts == 1 ? money->part_one : money->part_many);
    }
}

struct month {
    const char *brief, *name;
    uint32_t days;
};

static const struct month MONTHS[] = {
    {"Jan", "January", 31}, {"Feb", "February", 28}, {"Mar", "March", 31},
    {"Apr", "April", 30},   {"May", "May", 31},      {"Jun", "June", 30},
    {"Jul", "July", 31},    {"Aug", "August", 31},   {"Sep", "September", 30},
    {"Oct", "October", 31}, {"Nov", "November", 30}, {"Dec", "December", 31}};

static uint32_t choose_year(struct rng *rng) {
    return rng_chance(rng, 55) ? rng_between(rng, 1950, 2039) : rng_between(rng, 1100, 2099);
}

static void say_day(struct line *out, uint32_t day, const struct month *month) {
    line_say(out, "the");
    say_ordinal(out, day);
    line_say(out, "of");
    line_say(out, month->name);
}

/* "3 Mar 2021", "March 3, 2021", "2021-03-03": one date, written in several ways. */
static void make_full_date(struct rng *rng, struct words_row *row) {
    uint32_t number = rng_below(rng, COUNT(MONTHS));
    const struct month *month = &MONTHS[number];
    uint32_t day = rng_between(rng, 1, month->days);
    uint32_t year = choose_year(rng);
    const char *name = rng_chance(rng, 50) ? month->brief : month->name;
    switch (rng_below(rng, 4)) {
    case 0:
        line_add(&row->source, "%04u-%02u-%02u", year, number + 1, day);
        break;
    case 1:
        line_add(&row->source, "%s %u, %u", name, day, year);
        break;
    default:
        line_add(&row->source, "%u %s %u", day, name, year);
        break;
    }
    say_day(&row->target, day, month);
    say_year(&row->target, year);
}

/* "3 Mar", "Tue 3 March", "Mar 3rd". */
static void make_day(struct rng *rng, struct words_row *row) {
    static const char *const weekdays[] = {"Monday", "Tuesday",  "Wednesday", "Thursday",
                                           "Friday", "Saturday", "Sunday"};
    const struct month *month = &MONTHS[rng_below(rng, COUNT(MONTHS))];
    uint32_t day = rng_between(rng, 1, month->days);
    const char *name = rng_chance(rng, 50) ? month->brief : month->name;
    if (rng_chance(rng, 50)) {
        const char *weekday = weekdays[rng_below(rng, COUNT(weekdays))];
        line_add(&row->source, "%.*s ", rng_chance(rng, 50) ? 3 : 9, weekday);
        line_say(&row->target, weekday);
    }
    if (rng_chance(rng, 30))
        line_add(&row->source, "%s %u%s", name, day, ordinal_suffix(day));
    else
        line_add(&row->source, "%u %s", day, name);
    say_day(&row->target, day, month);
}

static void make_year(struct rng *rng, struct words_row *row) {
    uint32_t year = choose_year(rng);
    if (rng_chance(rng, 70)) {
        static const char *const before[] = {"in", "since", "before", "until"};
        const char *word = before[rng_below(rng, COUNT(before))];
        line_add(&row->source, "%s %u", word, year);
        line_say(&row->target, word);
        say_year(&row->target, year);
        return;
    }
    uint32_t tens = rng_between(rng, 2, 9);
    line_add(&row->source, "the %u%u0s", year / 100, tens);
    line_say(&row->target, "the");
    say_below_hundred(&row->target, year / 100);
    line_say(&row->target, TENS[tens]);
    row->target.used--; /* "eighty" becomes "eighties" */
    line_add(&row->target, "ies");
}

static void make_date(struct rng *rng, struct words_row *row) {
    uint32_t die = rng_below(rng, 100);
    if (die < 55)
        make_full_date(rng, row);
    else if (die < 78)
        make_day(rng, row);
    else
        make_year(rng, row);
}

static const char *part_of_day(uint32_t hour) {
    if (hour < 5 || hour >= 21)
        return "at night";
    if (hour < 12)
        return "in the morning";
    return hour < 18 ? "in the afternoon" : "in the evening";
}

static void say_time(struct line *out, uint32_t hour, uint32_t minute) {
    if (hour % 12 == 0 && minute == 0) {
        line_say(out, hour == 0 ? "midnight" : "noon");
        return;
    }
    line_say(out, ONES[hour % 12 == 0 ? 12 : hour % 12]);
    if (minute == 0) {
        line_say(out, "o'clock");
    } else {
        if (minute < 10)
            line_say(out, "oh");
        say_below_hundred(out, minute);
    }
    line_say(out, part_of_day(hour));
}

/* "07:05" and "19:30", or "7:05 am" and "7:30 pm", or just "7 pm". */
static void make_time(struct rng *rng, struct words_row *row) {
    uint32_t hour = rng_below(rng, 24);
    uint32_t minute = rng_chance(rng, 15) ? 0 : rng_below(rng, 60);
    if (rng_chance(rng, 50)) {
        line_add(&row->source, "%02u:%02u", hour, minute);
    } else {
        line_add(&row->source, "%u", hour % 12 == 0 ? 12 : hour % 12);
        if (minute != 0 || rng_chance(rng, 50))
            line_add(&row->source, ":%02u", minute);
        line_add(&row->source, " %s", hour < 12 ? "am" : "pm");
    }
    say_time(&row->target, hour, minute);
}

static void make_measure(struct rng *rng, struct words_row *row) {
    static const struct {
        const char *brief, *one, *many;
    } units[] = {
        {"km", "kilometer", "kilometers"},
        {"m", "meter", "meters"},
        {"cm", "centimeter", "centimeters"},
        {"kg", "kilogram", "kilograms"},
        {"g", "gram", "grams"},
        {"ml", "milliliter", "milliliters"},
        {"min", "minute", "minutes"},
        {"h", "hour", "hours"},
        {"mph", "mile per hour", "miles per hour"},
        {"°C", "degree Celsius", "degrees Celsius"},
        {"GB", "gigabyte", "gigabytes"},
    };
    bool one = false;
    if (rng_chance(rng, 35)) {
        make_decimal(rng, row);
    } else {
        uint32_t n = choose_number(rng, 4);
        one = n == 1;
        write_number(rng, &row->source, n);
        say_cardinal(&row->target, n);
    }
    uint32_t unit = rng_below(rng, COUNT(units));
    line_add(&row->source, " %s", units[unit].brief);
    line_say(&row->target, one ? units[unit].one : units[unit].many);
}

/* "3/4" is three quarters, "2 1/2" is two and one half. */
static void make_fraction(struct rng *rng, struct words_row *row) {
    uint32_t bottom = rng_between(rng, 2, 12);
    uint32_t top = rng_between(rng, 1, bottom - 1);
    if (rng_chance(rng, 70)) {
        uint32_t whole = choose_number(rng, 3);
        line_add(&row->source, "%u ", whole);
        say_cardinal(&row->target, whole);
        line_say(&row->target, "and");
    }
    line_add(&row->source, "%u/%u", top, bottom);
    say_cardinal(&row->target, top);
    if (bottom == 2)
        line_say(&row->target, "half");
    else if (bottom == 4)
        line_say(&row->target, "quarter");
    else
        say_ordinal(&row->target, bottom);
    line_add(&row->target, "%s", top > 1 ? "s" : "");
}

/* Two of the above, joined by words that stay as they are: "20% of $1,000". */
static void make_phrase(struct rng *rng, struct words_row *row) {
    static const struct {
        const char *before;
        make_fn *first;
        const char *middle;
        make_fn *second;
    } phrases[] = {
        {"from ", make_day, "to", make_day},
        {"from ", make_time, "to", make_time},
        {"between ", make_cardinal, "and", make_cardinal},
        {"", make_measure, "for", make_money},
        {"", make_percent, "of", make_money},
        {"by ", make_full_date, "at", make_time},
        {"", make_ordinal, "of", make_cardinal},
    };
    uint32_t which = rng_below(rng, COUNT(phrases));
    struct words_row second;
    line_clear(&second.source);
    line_clear(&second.target);
    line_add(&row->source, "%s", phrases[which].before);
    line_add(&row->target, "%.*s", (int)strcspn(phrases[which].before, " "), phrases[which].before);
    phrases[which].first(rng, row);
    phrases[which].second(rng, &second);
    line_add(&row->source, " %s %s", phrases[which].middle, second.source.text);
    line_add(&row->target, " %s %s", phrases[which].middle, second.target.text);
}

void words_make_row(struct rng *rng, struct words_row *row) {
    static const struct {
        uint32_t percent;
        make_fn *make;
    } kinds[] = {{20, make_cardinal}, {7, make_decimal}, {7, make_ordinal}, {6, make_percent},
                 {17, make_money},    {20, make_date},   {7, make_time},    {6, make_measure},
                 {3, make_fraction},  {7, make_phrase}};
    uint32_t die = rng_below(rng, 100);
    uint32_t kind = 0;
    while (die >= kinds[kind].percent)
        die -= kinds[kind++].percent;
    line_clear(&row->source);
    line_clear(&row->target);
    kinds[kind].make(rng, row);
}
