/* What is done, and what came of it, for whoever wants to know more than the report says. */
#include <time.h>

#include "prune/prune_impl.h"

static const char *const STACKS[PARE_STACKS] = {"encoder", "decoder"};

double pare_prune_clock(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* Frees the line. */
static void say(const ParePrune *p, PareBuffer *line) {
    if (!line->failed)
        p->o.say(line->data);
    pare_buffer_free(line);
}

void pare_prune_say_step(const ParePrune *p, const char *what, const char *of, double begin) {
    PareBuffer line = {0};
    if (!p->o.say)
        return;
    pare_buffer_printf(&line, "%s%s%s: %.2f s", what, of ? " " : "", of ? of : "",
                       pare_prune_clock() - begin);
    say(p, &line);
}

/* "heads 0.1 to 0.3"; nothing where there are no scores. */
static void put_range(PareBuffer *line, const char *what, const double *scores, uint32_t count,
                      const char **before) {
    double least = scores && count ? scores[0] : 0, most = least;
    for (uint32_t i = 1; scores && i < count; i++) {
        least = scores[i] < least ? scores[i] : least;
        most = scores[i] > most ? scores[i] : most;
    }
    if (!scores || count == 0)
        return;
    pare_buffer_printf(line, "%s%s %.3g", *before, what, least);
    if (count > 1)
        pare_buffer_printf(line, " to %.3g", most);
    *before = ", ";
}

static void say_layer(const ParePrune *p, int s, uint32_t l) {
    const PareStackScores *scores = &p->scores.stacks[s];
    const PareLayerScores *lists = &scores->layers[l];
    const PareLayerShape *shape = &pare_model_description(p->model)->stacks[s].layers[l];
    const char *before = ": ";
    PareBuffer line = {0};
    pare_buffer_printf(&line, "importance of %s layer %u", STACKS[s], l);
    put_range(&line, "heads", lists->heads[PARE_BLOCK_SELF], shape->self.heads, &before);
    put_range(&line, "cross heads", lists->heads[PARE_BLOCK_CROSS], shape->cross.heads, &before);
    put_range(&line, "units", lists->ffn, shape->ffn, &before);
    if (p->scores.criterion != PARE_CRITERION_RECONSTRUCT) /* which scores no layers */
        put_range(&line, "all of it", &scores->layer[l], 1, &before);
    say(p, &line);
}

void pare_prune_say_scores(const ParePrune *p) {
    const PareDescription *d = pare_model_description(p->model);
    for (int s = 0; s < PARE_STACKS && p->o.say; s++)
        for (uint32_t l = 0; d->stacks[s].present && l < d->stacks[s].layer_count; l++)
            say_layer(p, s, l);
}

void pare_prune_say_repair(const ParePrune *p, const PareRepair *r) {
    static const char *const PARTS[] = {"self", "cross", "ffn"};
    size_t count;
    const PareRepairLine *lines = pare_repair_lines(r, &count);
    for (size_t i = 0; i < count && p->o.say; i++) {
        PareBuffer line = {0};
        pare_buffer_printf(&line, "relative error of %s layer %u %s was %.4f and is %.4f",
                           STACKS[lines[i].stack], lines[i].layer, PARTS[lines[i].sublayer],
                           lines[i].before, lines[i].after);
        say(p, &line);
    }
}
