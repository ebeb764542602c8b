/* A process gives up what it does not need: files, network, programs, memory, time.
 *
 * For a process that was forked to read a file that may be hostile, with a library that may be
 * fooled by it. Each means is taken where the kernel has it; those that it has not are passed over,
 * since the others remain: resource limits, no new privileges, no core dump, Landlock (no file can
 * be opened), and seccomp (only the system calls that computing needs). With AddressSanitizer the
 * limits of memory are left out, because it reserves terabytes, and forbidden calls fail instead of
 * ending the process, because its reports need a few. Under valgrind there is no sandbox.
 *
 * Private to formats/. */
#ifndef PARE_FORMATS_HDF5_SANDBOX_H
#define PARE_FORMATS_HDF5_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The two descriptors that a sandboxed process keeps: it talks over the one and may map the other.
 */
enum { PARE_SANDBOX_CHANNEL = 0, PARE_SANDBOX_MEMORY = 1 };

/* Ends with the thread that forked it, keeps only `channel` and `memory` (as the numbers above),
 * and takes no signals of the terminal. Right after the fork. */
bool pare_sandbox_isolate(int channel, int memory);

enum { PARE_SANDBOX_MEMORY_BYTES = 384 << 20 }; /* that the process may allocate for itself */

/* Then, before the first byte of the file is looked at. false when not even the limits hold. */
bool pare_sandbox_enter(uint64_t cpu_seconds);

/* The parent lets the sandboxed process map `bytes` of shared memory. */
void pare_sandbox_allow_mapping(int process, uint64_t address_space, uint64_t bytes);
/* Bytes of address space that this process has now; 0 when that is not known. */
uint64_t pare_sandbox_address_space(void);

#endif
