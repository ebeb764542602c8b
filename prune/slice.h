/* Slicing: a plan applied to a model's tensors.
 *
 * For every slot of the pruned description the tensor of the original that it comes from (layers
 * are renumbered) is cut along its axes: a unit is `group` consecutive rows or columns. Merged
 * key/value heads are means of groups. Tensors that shared their values share them still when they
 * were cut alike. */
#ifndef PARE_PRUNE_SLICE_H
#define PARE_PRUNE_SLICE_H

#include "prune/prune_plan.h"
#include "runtime/model.h"
#include "runtime/slots.h"

typedef struct PareSlices PareSlices;

/* Checks the plan and lays out the pruned model. INT8 models are refused: prune before quantizing.
 * `m` and `p` must outlive the object. */
PareStatus pare_slices_create(const PareModel *m, const ParePrunePlan *p, PareSlices **out,
                              PareError *err);
void pare_slices_destroy(PareSlices *s); /* NULL is allowed */
const PareDescription *pare_slices_description(const PareSlices *s);
const PareSlots *pare_slices_slots(const PareSlices *s);
/* The number of an earlier slot that slot `index` shares its values with; `index` itself if none.
 */
size_t pare_slices_shared(const PareSlices *s, size_t index);
/* The tensor of the original's file that a slot is cut from. */
const PareFileTensor *pare_slices_source(const PareSlices *s, size_t index);
/* The values of a slot of the pruned model, float32 row-major. */
PareStatus pare_slices_read(const PareSlices *s, size_t index, float *out, PareError *err);
/* The number that a layer of the pruned model has in the original. */
uint32_t pare_slices_layer(const PareSlices *s, PareStackIndex stack, uint32_t layer);
/* Original numbers of the units that dimension `dim` of a slot keeps; NULL: all. */
const PareKeep *pare_slices_kept(const PareSlices *s, size_t index, uint32_t dim);

#endif
