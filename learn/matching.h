/* Losses on the inside of the stacks: hidden states and attention of student and teacher.
 *
 * Hidden states (Romero et al. 2015, TinyBERT, Shleifer & Rush 2020): mean squared difference of a
 * student's layer and the teacher's layer that supervises it, through a learned projection where
 * widths differ. Attention (MiniLM): KL(teacher || student) of the probabilities of self-attention,
 * mean over heads and query rows. Both are means over pairs of layers of all stacks. */
#ifndef PARE_LEARN_MATCHING_H
#define PARE_LEARN_MATCHING_H

#include "runtime/forward.h"

typedef struct {
    float hidden, attention; /* weights; 0: not used */
    /* [student layers]: the teacher's layer for each; NULL: the stack is not matched. */
    const uint32_t *supervisors[PARE_STACKS];
    /* [student layers]: from the student's width to the teacher's; NULL where they are equal. */
    const PareLinear *projections[PARE_STACKS];
} PareMatching;

/* Refuses what cannot be matched: attention with other numbers of heads, or with relative
 * positions. */
PareStatus pare_matching_check(const PareMatching *m, const PareDescription *student,
                               const PareDescription *teacher, PareError *err);

/* Taps of one model, in the run's arena: hidden states and, where wanted, queries and keys. */
PareTaps *pare_matching_taps(const PareMatching *m, const PareStack *stack, PareRun *r);

/* One stack of both models after their forward passes. */
typedef struct {
    const PareStack *student, *teacher;
    const PareTaps *student_taps, *teacher_taps;
    const PareRows *rows; /* [sequences] of the packed pass, the same in both */
    size_t sequences;
    PareStackIndex index;
    size_t pairs;      /* of all stacks together */
    size_t batch_rows; /* rows of this stack in the whole batch */
} PareMatchedStack;

/* Adds the gradients to the student's taps and the losses, weighted, to *hidden and *attention. */
void pare_matching_run(const PareMatching *m, PareRun *r, const PareMatchedStack *s, double *hidden,
                       double *attention);

#endif
