/* PARE_UNROLL before a loop of a few constant steps: unroll it whole, so that what it indexes stays
 * in registers. Not under the address sanitizer, which has no use for the speed and would take
 * minutes to compile what comes of it. */
#ifndef PARE_RUNTIME_KERNELS_UNROLL_H
#define PARE_RUNTIME_KERNELS_UNROLL_H

#if defined(__clang__)
#if __has_feature(address_sanitizer)
#define PARE_UNROLL _Pragma("clang loop unroll(disable)")
#else
#define PARE_UNROLL _Pragma("clang loop unroll(full)")
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define PARE_UNROLL _Pragma("GCC unroll 1")
#else
#define PARE_UNROLL _Pragma("GCC unroll 16")
#endif

#endif
