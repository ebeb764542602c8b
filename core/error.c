/* Filling error objects: messages are cut, never overrun, and stay valid UTF-8. */
#include "core/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Ends an overlong message in "...", without leaving half of a UTF-8 sequence before it. */
static void mark_cut(char *message) {
    size_t at = PARE_ERROR_MESSAGE_SIZE - sizeof "...";
    while (at > 0 && ((unsigned char)message[at] & 0xC0) == 0x80)
        at--;
    memcpy(message + at, "...", sizeof "...");
}

static void finish(char *message, int length) {
    if (length < 0)
        message[0] = '\0';
    else if (length >= PARE_ERROR_MESSAGE_SIZE)
        mark_cut(message);
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
