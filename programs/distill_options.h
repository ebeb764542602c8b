/* pare-distill's options: the table, what needs reading beyond it, and what contradicts what. */
#ifndef PARE_PROGRAMS_DISTILL_OPTIONS_H
#define PARE_PROGRAMS_DISTILL_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"
#include "core/options.h"
#include "distill/distill.h"
#include "programs/cli_main.h"

/* The options as they were given, and, once parsed, what they mean to the stage. */
typedef struct {
    PareDistillOptions o;
    PareCliCommon common;
    const char *log_path;
    bool json;

    const char *method, *columns, *batch_size, *warmup;
    int format, optimizer, schedule, keep, share, embeddings;
    int64_t seed, steps, epochs, batch_tokens, accumulate, evaluate_every, patience, save_every;
    int64_t decoder_start, eos, pad;
    int64_t num_beams, max_length, max_source, max_target, block, limit;
    double rate, weight_decay, beta1, beta2, eps, momentum, average;
    double dropout, attention_dropout, activation_dropout, layer_drop, quant_noise;
    double label_weight, soft_weight, temperature, smoothing;
    bool no_shuffle, no_buckets, nesterov, relative_step, scale_parameter;
    struct {
        bool method, steps, epochs, batch_tokens, rate, beta1, beta2, eps, momentum, nesterov;
        bool relative_step, scale_parameter, schedule, warmup, min_rate, label_weight, soft_weight;
        bool temperature, keep, train_encoder, embeddings, share;
    } given;
} PareDistillCommand;

/* Defaults. */
PareDistillCommand pare_distill_command(void);
/* Parses the command line into `c`; *next as pare_options_parse gives it. What the options point to
 * is borrowed from argv. */
PareStatus pare_distill_command_parse(PareDistillCommand *c, int argc, char **argv,
                                      PareOptionsNext *next, PareError *err);
void pare_distill_command_free(PareDistillCommand *c);

#endif
