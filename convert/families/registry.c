/* The families: one line each. */
#include "convert/families/families.h"

static const PareFamily *const FAMILIES[] = {
    &pare_family_bert,   &pare_family_gpt2, &pare_family_bart,
    &pare_family_marian, &pare_family_t5,   &pare_family_encoder_decoder,
};

const PareFamily *pare_family_at(size_t index) {
    return index < sizeof FAMILIES / sizeof *FAMILIES ? FAMILIES[index] : NULL;
}
