/* What every main shares. */
#include "programs/cli_main.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/log.h"

void pare_cli_start(const char *program) {
    pare_log_set_program(program);
    pare_interrupt_install();
}

void pare_cli_apply(const PareCliCommon *common) {
    if (common->quiet)
        pare_log_set_level(PARE_LOG_QUIET);
    else if (common->verbose)
        pare_log_set_level(PARE_LOG_VERBOSE);
}

void pare_cli_warn(const char *lines) {
    for (const char *at = lines; *at;) {
        size_t size = strcspn(at, "\n");
        pare_log_warn("%.*s", (int)size, at);
        at += size + (at[size] != 0);
    }
}

void pare_cli_print(const PareBuffer *text) {
    if (text->size)
        fwrite(text->data, 1, text->size, stdout);
}

int pare_cli_end(PareStatus status, PareError *err) {
    errno = 0;
    if ((fflush(stdout) != 0 || ferror(stdout)) && !status)
        status = pare_error_set(err, PARE_E_IO, "cannot write to standard output: %s",
                                errno ? strerror(errno) : "an earlier write failed");
    return status ? pare_log_fail(err) : 0;
}
