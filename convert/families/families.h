/* What the files of this folder offer to its registry. */
#ifndef PARE_CONVERT_FAMILIES_FAMILIES_H
#define PARE_CONVERT_FAMILIES_FAMILIES_H

#include "convert/family.h"

extern const PareFamily pare_family_bert, pare_family_gpt2, pare_family_bart, pare_family_marian,
    pare_family_t5, pare_family_encoder_decoder;

#endif
