/* Which file of a folder holds the weights, and what to do with a folder that has none. */
#include "formats/checkpoint_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fnmatch.h>
#include <string.h>

#include "core/file.h"
#include "core/memory.h"
#include "formats/checkpoint_sniff.h"
#include "formats/tensor_names.h"

/* In the order of preference, which is that of transformers. */
static const char *const wanted[] = {"model.safetensors", "model.safetensors.index.json",
                                     "pytorch_model.bin", "pytorch_model.bin.index.json",
                                     "tf_model.h5",       "tf_model.h5.index.json"};

#define LOOKED_FOR                                                                                 \
    "looked for model.safetensors, pytorch_model.bin, tf_model.h5 and their .index.json"

/* What a folder may hold instead: names as a shell writes them, the most telling first. */
static const struct {
    const char *pattern, *what;
    bool ignored; /* says nothing about the weights */
} others[] = {
    {"optimizer.*", "", true},
    {"scheduler.*", "", true},
    {"rng_state*", "", true},
    {"training_args.bin", "", true},
    {"scaler.pt", "", true},
    {"adapter_model.*",
     "an adapter (LoRA), which is no model by itself: merge it into its base model first (PEFT's "
     "merge_and_unload), save that, and give its folder",
     false},
    {"*.index.json",
     "an index with a name of its own: give its path, or rename it as transformers names it",
     false},
    {"*-[0-9][0-9][0-9][0-9][0-9]-of-[0-9][0-9][0-9][0-9][0-9].safetensors",
     "a shard without the index of the shards: get model.safetensors.index.json as well", false},
    {"*-[0-9][0-9][0-9][0-9][0-9]-of-[0-9][0-9][0-9][0-9][0-9].bin",
     "a shard without the index of the shards: get pytorch_model.bin.index.json as well", false},
    {"*-[0-9][0-9][0-9][0-9][0-9]-of-[0-9][0-9][0-9][0-9][0-9].h5",
     "a shard without the index of the shards: get tf_model.h5.index.json as well", false},
    {"*.safetensors", NULL, false},
    {"*.bin", NULL, false},
    {"*.pt", NULL, false},
    {"*.pth", NULL, false},
    {"*.h5", NULL, false},
    {"*.keras", NULL, false},
    {"*.ckpt", NULL, false},
    {"*.gguf",
     "a GGUF file, which is quantized for another program: give the checkpoint that it was made of",
     false},
    {"flax_model*.msgpack",
     "a Flax checkpoint: load it in transformers with from_flax=True and save it as PyTorch",
     false},
    {"saved_model.pb",
     "a TensorFlow SavedModel, a graph: save the weights instead (save_pretrained, or "
     "model.save_weights with a name ending in .h5)",
     false},
    {"*.data-[0-9]*-of-[0-9]*",
     "a TensorFlow checkpoint of variables: load it in transformers with from_tf=True and save it "
     "as PyTorch",
     false},
    {"*.ckpt[-.]*",
     "a TensorFlow checkpoint of variables: load it in transformers with from_tf=True and save it "
     "as PyTorch",
     false},
    {"*.onnx", "an ONNX graph: give the checkpoint that it was exported from", false},
    {"*.tflite", "a TensorFlow Lite graph: give the checkpoint that it was made of", false},
    {"openvino_model.xml", "an OpenVINO graph: give the checkpoint that it was made of", false},
    {"*.ml[mp]*", "a Core ML model: give the checkpoint that it was made of", false},
    {"checkpoint-[0-9]*", "the checkpoint of a training run: give that folder", false},
    {"snapshots", "a download cache: give the folder of one revision below it", false},
};

enum { OTHERS = sizeof others / sizeof *others };

/* The entry that tells most: of the lowest rule, and of those the first by name. */
typedef struct {
    size_t rule; /* OTHERS: none */
    char *name;
} Best;

static PareStatus consider(Best *best, const char *name, PareError *err) {
    size_t rule = 0;
    while (rule < OTHERS && fnmatch(others[rule].pattern, name, 0) != 0)
        rule++;
    if (rule == OTHERS || others[rule].ignored || rule > best->rule ||
        (rule == best->rule && strcmp(name, best->name) > 0))
        return PARE_OK;
    char *copy = pare_strdup(name);
    if (copy == NULL)
        return pare_memory_error(err, "a folder");
    pare_free(best->name);
    *best = (Best){rule, copy};
    return PARE_OK;
}

static PareStatus find_other(const char *folder, Best *best, PareError *err) {
    const struct dirent *entry;
    PareStatus status = PARE_OK;
    DIR *d = opendir(folder);
    if (d == NULL)
        return pare_error_set(err, PARE_E_IO, "%s: cannot open: %s", folder, strerror(errno));
    while (status == PARE_OK && (entry = readdir(d)) != NULL)
        status = consider(best, entry->d_name, err);
    closedir(d);
    return status;
}

/* A file that may be a checkpoint under another name: its content decides. */
static PareStatus refuse_named(const char *folder, const char *name, const char *shown,
                               PareError *err) {
    PareMapping map = {0};
    const char *advice = "it cannot be read";
    char *path = pare_file_join(folder, name);
    if (path == NULL)
        return pare_memory_error(err, folder);
    PareContent content = PARE_CONTENT_OTHER;
    if (pare_file_map(path, &map, NULL) == PARE_OK)
        content = pare_content_sniff(&map, &advice);
    if (content != PARE_CONTENT_OTHER && content != PARE_CONTENT_UNKNOWN)
        advice = "give its path where a file will do, or rename it to one of these names";
    pare_file_unmap(&map);
    pare_free(path);
    return pare_error_set(err, PARE_E_UNSUPPORTED,
                          "%s: the folder holds no checkpoint by its usual names (" LOOKED_FOR
                          "); it holds %s: %s",
                          folder, shown, advice);
}

static PareStatus refuse(const char *folder, PareError *err) {
    Best best = {.rule = OTHERS};
    char shown[128];
    PareStatus status = find_other(folder, &best, err);
    if (status == PARE_OK && best.rule == OTHERS)
        status = pare_error_set(err, PARE_E_IO, "%s: the folder holds no checkpoint; " LOOKED_FOR,
                                folder);
    if (status == PARE_OK) {
        pare_name_show(best.name, strlen(best.name), shown, sizeof shown);
        if (others[best.rule].what == NULL)
            status = refuse_named(folder, best.name, shown, err);
        else
            status = pare_error_set(err, PARE_E_UNSUPPORTED,
                                    "%s: the folder holds no checkpoint that can be read; it holds "
                                    "%s, %s",
                                    folder, shown, others[best.rule].what);
    }
    pare_free(best.name);
    return status;
}

PareStatus pare_folder_find_weights(const char *folder, char **path, PareError *err) {
    *path = NULL;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        char *joined = pare_file_join(folder, wanted[i]);
        if (joined == NULL)
            return pare_memory_error(err, folder);
        if (pare_file_exists(joined)) {
            *path = joined;
            return PARE_OK;
        }
        pare_free(joined);
    }
    return refuse(folder, err);
}
