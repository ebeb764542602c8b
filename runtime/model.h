/* A model: a .pare file opened for use. Immutable; many sessions and processes share one mapping.
 */
#ifndef PARE_RUNTIME_MODEL_H
#define PARE_RUNTIME_MODEL_H

#include "core/error.h"
#include "core/json.h"
#include "formats/pare_file.h"
#include "runtime/description.h"
#include "runtime/generation.h"
#include "runtime/params.h"
#include "runtime/slots.h"

typedef struct PareModel PareModel;

/* Opens, reads the metadata, and checks that the file holds exactly the tensors that the
 * description calls for, in shapes and formats that the runtime computes with. */
PareStatus pare_model_open(const char *path, PareModel **out, PareError *err);
/* A model whose tensors are in memory (data: as for pare_params_bind_memory, borrowed) and whose
 * settings (generation, labels) are those of `like`, which must outlive it. It has no file. */
PareStatus pare_model_create(const PareModel *like, const PareDescription *d,
                             const PareSlots *slots, float *const *data, PareModel **out,
                             PareError *err);
void pare_model_close(PareModel *m); /* NULL is allowed; sessions must be gone */

const PareDescription *pare_model_description(const PareModel *m);
const PareParams *pare_model_params(const PareModel *m);
const PareSlots *pare_model_slots(const PareModel *m);
const PareFile *pare_model_file(const PareModel *m);             /* NULL for a model in memory */
const PareJson *pare_model_metadata(const PareModel *m);         /* the root object */
const PareGeneration *pare_model_generation(const PareModel *m); /* the checkpoint's defaults */
/* Label names: NULL when the checkpoint has none for this index. */
const char *pare_model_label(const PareModel *m, uint32_t index);
/* "F32", "INT8", "F16", "BF16" or "mixed": what the matrices are. */
const char *pare_model_precision(const PareModel *m);

#endif
