/* PARE_UNROLL before a loop of a few constant steps: unroll it whole, so that what it indexes stays
 * in registers. */
#ifndef PARE_RUNTIME_KERNELS_UNROLL_H
#define PARE_RUNTIME_KERNELS_UNROLL_H

#ifdef __clang__
#define PARE_UNROLL _Pragma("clang loop unroll(full)")
#else
#define PARE_UNROLL _Pragma("GCC unroll 16")
#endif

#endif
