/* config.json and generation_config.json, and descriptions: JSON that becomes a model's shape. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/family.h"
#include "core/json.h"
#include "tests/fuzz/fuzz.h"

const char *const fuzz_corpora[] = {"tests/fuzz/seeds/config", "tests/fuzz/crashes/config", NULL};

/* Families may look what a checkpoint holds. */
static const char EMPTY[] = "\x40\0\0\0\0\0\0\0"
                            "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}"
                            "          "
                            "\0\0\0\0";

static void describe(const PareJson *root, PareArena *arena, PareError *err) {
    static PareCheckpoint *checkpoint;
    if (!checkpoint)
        pare_checkpoint_open(fuzz_file(EMPTY, sizeof EMPTY - 1), NULL, &checkpoint, err);
    const PareJson *type = pare_json_get(root, "model_type");
    const PareFamily *family =
        pare_json_is_string(type) ? pare_family_find(pare_json_string(type)) : NULL;
    if (!family || !checkpoint)
        return;
    PareFamilyModel model = {.family = family};
    PareConfig config = {
        .object = root, .where = "input", .checkpoint = checkpoint, .arena = arena, .err = err};
    PareSlots slots;
    PareStatus status = pare_family_describe(&config, &model);
    if (status == PARE_OK)
        status = pare_slots_list(&model.description, arena, &slots, err);
    fuzz_check_named(status, err, "input");
    PareBuffer warnings = {0};
    pare_config_unknown(&config, family->fields, family->harmless, family->neutral, &warnings);
    pare_buffer_free(&warnings);
}

/* What is printed must be read. */
static void print_and_parse(const PareJson *root) {
    PareError err = {0};
    PareJsonDoc *again = NULL;
    char *text = pare_json_print(root);
    if (text && pare_json_parse(text, strlen(text), "printed", &again, &err) == PARE_E_FORMAT) {
        fprintf(stderr, "%s: %s\n", err.message, text);
        abort();
    }
    pare_json_free(again);
    pare_free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    PareError err = {0};
    PareJsonDoc *doc = NULL;
    PareDescription d;
    PareGeneration g = pare_generation_defaults();
    PareArena *arena = pare_arena_create(0);
    if (!arena)
        return 0;
    PareStatus status = pare_json_parse((const char *)data, size, "input", &doc, &err);
    fuzz_check_named(status, &err, "input");
    if (status == PARE_OK) {
        const PareJson *root = pare_json_root(doc);
        print_and_parse(root);
        fuzz_check_named(pare_generation_read(&g, root, "input", arena, &err), &err, "input");
        fuzz_check_named(pare_description_read(root, "input", arena, &d, &err), &err, "input");
        if (pare_json_is_object(root))
            describe(root, arena, &err);
    }
    pare_json_free(doc);
    pare_arena_destroy(arena);
    return 0;
}
