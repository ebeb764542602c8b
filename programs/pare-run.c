/* pare-run: a model at work on lines of text or token ids. */
#include <string.h>

#include "programs/cli_main.h"
#include "programs/run_runner.h"
#include "runtime/selftest.h"

static PareStatus self_test(const PareRunOptions *o, PareError *err) {
    PareModel *model = NULL;
    PareBuffer text = {0};
    PareSelfTestReport report = {0};
    PareStatus st = pare_model_open(o->model, &model, err);
    if (!st)
        st = pare_selftest_run(model, (size_t)o->common.threads, &report, err);
    if (st)
        goto done;
    if (o->json)
        pare_buffer_printf(&text, "{\"sequences\":%zu,\"failed\":%zu}\n", report.sequences,
                           report.failed);
    else if (!report.failed)
        pare_buffer_printf(&text, "self-test passed: %zu sequences gave the expected bits\n",
                           report.sequences);
    st = pare_buffer_ok(&text, "the report", err);
    pare_cli_print(&text);
    if (!st && report.failed)
        st = pare_error_set(err, PARE_E_FORMAT,
                            "%s: self-test failed: %zu of %zu sequences gave other bits than the "
                            "file says",
                            o->model, report.failed, report.sequences);
done:
    pare_buffer_free(&text);
    pare_model_close(model);
    return st;
}

int main(int argc, char **argv) {
    PareError err = {0};
    PareRunOptions options = pare_run_options();
    PareOptionsNext next = PARE_OPTIONS_RUN;
    pare_cli_start("pare-run");
    PareStatus st = pare_run_options_parse(&options, argc, argv, &next, &err);
    if (!st && next == PARE_OPTIONS_RUN) {
        pare_cli_apply(&options.common);
        st = options.self_test ? self_test(&options, &err) : pare_runner_run(&options, &err);
    }
    return pare_cli_end(st, &err);
}
