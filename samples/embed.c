/* Labels lines of text with a model in a .pare file: what it takes to embed the runtime.
 *
 *     cc -o embed samples/embed.c $(pkg-config --cflags --libs pare)
 *     echo 'turn off the lights' | ./embed command-intent.int8.pare */
#define _POSIX_C_SOURCE 200809L /* getline */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <pare.h>

int main(int argc, char **argv) {
    char *line = NULL, message[512];
    size_t capacity = 0;
    Pare *model;
    int code = 0;
    if (argc != 2) {
        fprintf(stderr, "usage: %s MODEL.pare <LINES\n", argv[0]);
        return 2;
    }
    if (pare_open(argv[1], 1, &model, message, sizeof message)) {
        fprintf(stderr, "%s: %s\n", argv[0], message);
        return 1;
    }
    while (!code && getline(&line, &capacity, stdin) > 0) {
        PareLabel label;
        line[strcspn(line, "\n")] = '\0';
        code = pare_classify(model, line, NULL, &label);
        if (code)
            fprintf(stderr, "%s: %s\n", argv[0], pare_message(model));
        else
            printf("%-16s %.4f  %s\n", label.name ? label.name : "-",
                   (double)label.probabilities[label.index], line);
    }
    free(line);
    pare_close(model);
    return code ? 1 : 0;
}
