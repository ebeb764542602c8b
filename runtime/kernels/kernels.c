/* Which kernels this machine runs: detection, PARE_CPU, and one table for each variant. */
#include "runtime/kernels/kernels.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "runtime/kernels/kernels_table.h"

#ifdef PARE_HAVE_AVX2
#include <cpuid.h>
#endif

enum { VARIANTS_MAX = 5 };

static struct {
    pthread_once_t once;
    PareKernels table[VARIANTS_MAX]; /* scalar first, the best last */
    size_t count;
    _Atomic(const PareKernels *) chosen;
} kernels = {.once = PTHREAD_ONCE_INIT};

/* __builtin_cpu_supports also asks whether the operating system saves the registers. Clang 14 does
 * not know "f16c" there. */
#ifdef PARE_HAVE_AVX2
static bool cpu_has_avx2(void) {
    unsigned eax, ebx, ecx, edx;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __get_cpuid(1, &eax, &ebx, &ecx, &edx) && (ecx & bit_F16C);
}
#endif

#ifdef PARE_HAVE_AVX512
static bool cpu_has_avx512(void) {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
#endif

/* Each variant starts from the one before it. */
static PareKernels *add_variant(const char *name) {
    PareKernels *table = &kernels.table[kernels.count];
    if (kernels.count > 0)
        *table = kernels.table[kernels.count - 1];
    table->name = name;
    kernels.count++;
    return table;
}

static void build_tables(void) {
    PareKernels *table = add_variant("scalar");
    pare_kernels_rows_scalar(table);
    pare_kernels_gemm_scalar(table);
    pare_kernels_train_scalar(table);
#ifdef PARE_HAVE_AVX2
    if (cpu_has_avx2()) {
        table = add_variant("avx2");
        pare_kernels_rows_avx2(table);
        pare_kernels_gemm_avx2(table);
    }
#endif
#ifdef PARE_HAVE_AVX512
    if (cpu_has_avx2() && cpu_has_avx512()) {
        table = add_variant("avx512");
        pare_kernels_rows_avx512(table);
        pare_kernels_gemm_avx512(table);
#ifdef PARE_HAVE_VNNI
        if (__builtin_cpu_supports("avx512vnni")) {
            table = add_variant("vnni");
            pare_kernels_gemm_vnni(table);
        }
#endif
    }
#endif
    atomic_store(&kernels.chosen, table);
}

const PareKernels *pare_kernels_variant(size_t index) {
    pthread_once(&kernels.once, build_tables);
    return index < kernels.count ? &kernels.table[index] : NULL;
}

const PareKernels *pare_kernels(void) {
    pthread_once(&kernels.once, build_tables);
    return atomic_load(&kernels.chosen);
}

static bool name_is_known(const char *name) {
    static const char *const known[] = {"scalar", "avx2", "avx512", "vnni", "neon"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (!strcmp(name, known[i]))
            return true;
    return false;
}

PareStatus pare_kernels_init(PareError *err) {
    pthread_once(&kernels.once, build_tables);
    const char *name = getenv("PARE_CPU");
    if (!name) {
        atomic_store(&kernels.chosen, &kernels.table[kernels.count - 1]);
        return PARE_OK;
    }
    for (size_t i = 0; i < kernels.count; i++) {
        if (!strcmp(kernels.table[i].name, name)) {
            atomic_store(&kernels.chosen, &kernels.table[i]);
            return PARE_OK;
        }
    }
    const char *best = kernels.table[kernels.count - 1].name;
    if (name_is_known(name))
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "PARE_CPU=%s: this machine or build cannot run these kernels; the "
                              "best it has is \"%s\"",
                              name, best);
    return pare_error_set(
        err, PARE_E_USAGE,
        "PARE_CPU=%s: unknown kernels, expected scalar, avx2, avx512, vnni or neon", name);
}
