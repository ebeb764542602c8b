/* Marks bytes that nobody may touch, when the program is built with AddressSanitizer: the sanitizer
 * then finds overruns inside of larger blocks too. Otherwise these do nothing. */
#ifndef PARE_CORE_MEMORY_GUARD_H
#define PARE_CORE_MEMORY_GUARD_H

#include <stddef.h>

#if defined(__SANITIZE_ADDRESS__)
#define PARE_GUARDED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define PARE_GUARDED 1
#endif
#endif

#ifdef PARE_GUARDED
/* As <sanitizer/asan_interface.h> declares them; that header belongs to the compiler. */
void __asan_poison_memory_region(void const volatile *p, size_t size);
void __asan_unpoison_memory_region(void const volatile *p, size_t size);
enum { PARE_GUARD_GAP = 64 }; /* left between the blocks of an arena */
static inline void pare_guard(const void *p, size_t size) {
    __asan_poison_memory_region(p, size);
}
static inline void pare_unguard(const void *p, size_t size) {
    __asan_unpoison_memory_region(p, size);
}
#else
enum { PARE_GUARD_GAP = 0 };
static inline void pare_guard(const void *p, size_t size) {
    (void)p, (void)size;
}
static inline void pare_unguard(const void *p, size_t size) {
    (void)p, (void)size;
}
#endif

#endif
