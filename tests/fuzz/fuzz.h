/* What fuzzing targets share. A target defines LLVMFuzzerTestOneInput and fuzz_corpora; libFuzzer
 * drives it, or replay.c, which feeds it the files of its corpora. docs/fuzzing.md explains. */
#ifndef PARE_TESTS_FUZZ_FUZZ_H
#define PARE_TESTS_FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

#include "formats/checkpoint.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max); /* libFuzzer's own */

/* Folders of inputs, from the root of the repository; ends with NULL. */
extern const char *const fuzz_corpora[];

/* The bytes as a file without a name: a path that opens it until the next call. */
const char *fuzz_file(const void *bytes, size_t size);
/* A folder in memory, made once; and a file in it, replaced. */
const char *fuzz_folder(void);
void fuzz_put(const char *name, const void *bytes, size_t size);
void fuzz_remove(const char *name);

/* Opens a checkpoint, reads its tensors up to a bound, and closes it. */
void fuzz_read_checkpoint(const char *path);
void fuzz_read_tensors(PareCheckpoint *c);

/* A failure must come with one line of valid UTF-8 that says why. With FUZZ_SHOW in the environment
 * it is printed. */
void fuzz_check_error(PareStatus status, const PareError *err);
/* The same, and it begins with the file's name. */
void fuzz_check_named(PareStatus status, const PareError *err, const char *name);

#endif
