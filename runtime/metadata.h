/* The metadata of the next .pare file in a chain of stages. */
#ifndef PARE_RUNTIME_METADATA_H
#define PARE_RUNTIME_METADATA_H

#include "core/buffer.h"
#include "core/error.h"
#include "runtime/model.h"

/* The metadata of `m` with one more entry at the end of its provenance:
 *   {"stage": stage, "program": "pare-<stage>", "version": <version>, "options": <options>,
 *    "inputs": [{"file": <name without folders>, "bytes": n, "sha256": "…"}]}
 * `options` is a JSON object as text. Everything else is kept byte for byte; a description that
 * changed is given as `description` (NULL: kept). Neither time nor machine enters, so that the same
 * inputs and options give the same bytes. */
PareStatus pare_metadata_append(const PareModel *m, const char *stage, const char *options,
                                const PareDescription *description, PareBuffer *out,
                                PareError *err);

/* The member "provenance" alone, for what is made of several models: their stages one behind the
 * other, and one more that has them all as its inputs. */
PareStatus pare_metadata_provenance(const PareModel *const *models, size_t count, const char *stage,
                                    const char *options, PareBuffer *out, PareError *err);

#endif
