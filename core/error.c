/* Filling error objects: messages are cut, never overrun, and are one line of valid UTF-8. */
#include "core/error.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "core/utf8.h"

/* Ends an overlong message in "...", without leaving half of a UTF-8 sequence before it. */
static void mark_cut(char *message) {
    size_t at = PARE_ERROR_MESSAGE_SIZE - sizeof "...";
    while (at > 0 && ((unsigned char)message[at] & 0xC0) == 0x80)
        at--;
    memcpy(message + at, "...", sizeof "...");
}

/* Messages quote names and values of files, which may hold line ends and worse: a stranger's file
 * must not be able to write a second message. */
static void make_one_line(char *message) {
    uint8_t *at = (uint8_t *)message;
    for (size_t left = strlen(message), length; left > 0; left -= length, at += length) {
        length = pare_utf8_sequence(at, left, NULL);
        bool control = at[0] < 0x20 || at[0] == 0x7F || (at[0] == 0xC2 && at[1] < 0xA0);
        if (length > 0 && !control)
            continue;
        length = length > 0 ? length : 1;
        memset(at, '?', length);
    }
}

static void finish(char *message, int length) {
    if (length < 0)
        message[0] = '\0';
    else if (length >= PARE_ERROR_MESSAGE_SIZE)
        mark_cut(message);
    make_one_line(message);
}

PareStatus pare_error_set(PareError *err, PareStatus code, const char *format, ...) {
    if (!err)
        return code;
    /* The arguments may point into err->message itself, hence the detour. */
    char message[PARE_ERROR_MESSAGE_SIZE];
    va_list args;
    va_start(args, format);
    finish(message, vsnprintf(message, sizeof message, format, args));
    va_end(args);
    err->code = code;
    memcpy(err->message, message, sizeof message);
    return code;
}

PareStatus pare_error_prefix(PareError *err, const char *format, ...) {
    if (!err)
        return PARE_OK;
    char prefix[PARE_ERROR_MESSAGE_SIZE], message[PARE_ERROR_MESSAGE_SIZE];
    va_list args;
    va_start(args, format);
    finish(prefix, vsnprintf(prefix, sizeof prefix, format, args));
    va_end(args);
    finish(message, snprintf(message, sizeof message, "%s: %s", prefix, err->message));
    memcpy(err->message, message, sizeof message);
    return err->code;
}

int pare_error_exit_code(PareStatus status) {
    switch (status) {
    case PARE_OK:
        return 0;
    case PARE_E_USAGE:
        return 2;
    case PARE_E_LIMIT:
        return 3;
    default:
        return 1;
    }
}
