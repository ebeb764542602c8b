/* The self-test inside a model file: token ids and a checksum of the logits' bits that they must
 * give on every machine. Only for files whose matrices are INT8, F16 or BF16: the products of F32
 * ones belong to BLAS and may differ in the last bits. */
#ifndef PARE_RUNTIME_SELFTEST_H
#define PARE_RUNTIME_SELFTEST_H

#include "core/buffer.h"
#include "core/error.h"
#include "runtime/model.h"

/* Whether the model's results are the same bits everywhere (no F32 matrix). */
bool pare_selftest_applies(const PareModel *m);
/* Runs a few sequences of pseudo-random ids and appends the section's JSON (docs/FORMAT.md). */
PareStatus pare_selftest_create(const PareModel *m, size_t threads, PareBuffer *out,
                                PareError *err);

typedef struct {
    size_t sequences; /* how many were replayed */
    size_t failed;    /* how many gave other bits */
} PareSelfTestReport;

/* Replays the file's section; no section is an error. PARE_OK even when sequences failed: look at
 * the report. */
PareStatus pare_selftest_run(const PareModel *m, size_t threads, PareSelfTestReport *out,
                             PareError *err);

#endif
