/* Errors of the whole project: a status code and a message for a person.
 *
 * Every fallible function returns a PareStatus and, when that is not PARE_OK, has filled the
 * PareError that its caller passed. Libraries never print and never exit. A message names the
 * file, tensor or option, what was found and what was expected, in one sentence: one line, in which
 * control characters and invalid UTF-8 (of a name, say) have become question marks. */
#ifndef PARE_CORE_ERROR_H
#define PARE_CORE_ERROR_H

typedef enum {
    PARE_OK = 0,
    PARE_E_IO,          /* the operating system refused: open, read, write, space */
    PARE_E_FORMAT,      /* a file's content is not what it must be */
    PARE_E_UNSUPPORTED, /* understood, but not something that this program does */
    PARE_E_USAGE,       /* an option or argument is wrong (exit code 2) */
    PARE_E_MEMORY,      /* an allocation failed */
    PARE_E_LIMIT,       /* a verification limit was not met (exit code 3) */
    PARE_E_INTERRUPTED  /* the user asked to stop */
} PareStatus;

enum { PARE_ERROR_MESSAGE_SIZE = 1024 };

typedef struct {
    PareStatus code;
    char message[PARE_ERROR_MESSAGE_SIZE];
} PareError;

/* Fill `err` (may be NULL) and return `code`, so that callers can write
 * `return pare_error_set(err, PARE_E_FORMAT, "%s: …", path);`. Overlong messages end in "...". */
PareStatus pare_error_set(PareError *err, PareStatus code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Put "prefix: " before the message that `err` already holds, keeping its code; returns the code.
 */
PareStatus pare_error_prefix(PareError *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The exit code of a program for a status: 0 done, 1 failed, 2 usage, 3 limits not met. */
int pare_error_exit_code(PareStatus status);

#endif
