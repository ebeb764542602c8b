/* Students: a smaller model made of a teacher's layers ("shrink and fine-tune", Shleifer & Rush
 * 2020), with the teacher's embeddings and head. */
#ifndef PARE_DISTILL_STUDENT_H
#define PARE_DISTILL_STUDENT_H

#include "core/error.h"
#include "learn/weights.h"
#include "runtime/model.h"

/* Which layers of the teacher a student's stack takes, in order. */
typedef struct {
    uint32_t count;
    uint32_t *layers; /* [count], each below the teacher's layer count */
} PareLayerChoice;

typedef struct {
    PareLayerChoice stacks[PARE_STACKS];
} PareStudentLayers;

/* The layers that the paper takes for a student of `count` of `of` layers, and for pairs that it
 * does not list: evenly spaced, first and last included. out[count]; 1 <= count <= of. */
void pare_student_spread(uint32_t of, uint32_t count, uint32_t *out);

/* Reads "enc=6,dec=3" (numbers of layers), "dec=0+2+5" (the layers themselves), or "4" for models
 * with one stack. Stacks that are not named keep all layers. NULL text: all layers of both. */
PareStatus pare_student_layers_parse(const char *text, const PareDescription *teacher,
                                     PareArena *arena, PareStudentLayers *out, PareError *err);

/* The teacher's layer that supervises each of the student's layers in hidden-state matching: of the
 * paper's table, otherwise evenly spaced with the last one last. out[count]. */
void pare_student_supervisors(uint32_t of, uint32_t count, uint32_t *out);

/* "encoder.layers.1.ffn.in.weight" of the student is "encoder.layers.7.…" of the teacher. */
void pare_student_source_name(const PareStudentLayers *layers, const PareSlot *slot, char *name,
                              size_t size);

/* The description of a student with these layers; its layer arrays are allocated in `arena`. */
PareStatus pare_student_describe(const PareDescription *teacher, const PareStudentLayers *layers,
                                 PareArena *arena, PareDescription *out, PareError *err);
/* The student's parameters, copied from the teacher's; `extras` (may be NULL) gives what is trained
 * beside them. */
PareStatus pare_student_create(const PareModel *teacher, const PareStudentLayers *layers,
                               const PareWeightsFrom *extras, PareWeights **out, PareError *err);

#endif
