/* What a file is, by its content; and for what is no checkpoint, what to do instead. */
#include "formats/checkpoint_sniff.h"

#include <string.h>
#include <strings.h>

typedef struct {
    size_t offset, size;
    const char *bytes;
    const char *advice;
} Signature;

#define SIGNATURE(offset, bytes, advice)                                                           \
    { offset, sizeof bytes - 1, bytes, advice }

static const Signature signatures[] = {
    SIGNATURE(0, "version https://git-lfs",
              "this is a Git LFS pointer, not the file it points at; fetch the real one with "
              "'git lfs pull'"),
    SIGNATURE(0, "\x89PARE\r\n\x1a",
              "this is a .pare file already; a checkpoint to convert was expected"),
    SIGNATURE(0, "GGUF",
              "this is a GGUF file, which is quantized for another program; give the original "
              "checkpoint"),
    SIGNATURE(0, "\x89HDF\r\n\x1a\n",
              "this is an HDF5 file (TensorFlow or Keras), which this version does not read; give "
              "model.safetensors or pytorch_model.bin"),
    SIGNATURE(257, "ustar", "this is a tar archive; unpack it and give the checkpoint inside"),
    SIGNATURE(0, "\x1f\x8b", "this is compressed with gzip; unpack it first"),
    SIGNATURE(0, "\x28\xb5\x2f\xfd", "this is compressed with zstd; unpack it first"),
    SIGNATURE(0,
              "\xfd"
              "7zXZ",
              "this is compressed with xz; unpack it first"),
    SIGNATURE(0, "\x93NUMPY", "this is a single NumPy array, not a checkpoint"),
    SIGNATURE(0, "\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e",
              "this is PyTorch's format from before version 1.6, which this version does not "
              "read; load it and save it again with a newer PyTorch"),
    SIGNATURE(0, "\x80\x02", "this is a bare pickle, not a file that torch.save wrote"),
    SIGNATURE(0, "\x80\x03", "this is a bare pickle, not a file that torch.save wrote"),
    SIGNATURE(0, "\x80\x04", "this is a bare pickle, not a file that torch.save wrote"),
    SIGNATURE(0, "\x80\x05", "this is a bare pickle, not a file that torch.save wrote"),
};

static bool matches(const PareMapping *map, const Signature *s) {
    return map->size >= s->offset && map->size - s->offset >= s->size &&
           memcmp(map->data + s->offset, s->bytes, s->size) == 0;
}

/* Text that begins, behind white space and a byte order mark, with one of the words. */
static bool begins_with_word(const PareMapping *map, const char *const *words, size_t count) {
    size_t at = map->size >= 3 && memcmp(map->data, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    while (at < map->size && memchr(" \t\r\n", map->data[at], 4) != NULL)
        at++;
    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(words[i]);
        if (map->size - at >= length &&
            strncasecmp((const char *)map->data + at, words[i], length) == 0)
            return true;
    }
    return false;
}

/* A protocol buffer whose first two fields are a small number and a text or message. */
static bool looks_like_protobuf(const PareMapping *map) {
    return map->size > 4 && map->data[0] == 0x08 && map->data[1] < 0x20 && map->data[2] == 0x12;
}

static bool looks_like_safetensors(const PareMapping *map) {
    static const uint8_t high[4] = {0};
    return map->size > 8 && map->data[8] == '{' && memcmp(map->data + 4, high, 4) == 0;
}

PareContent pare_content_sniff(const PareMapping *map, const char **advice) {
    static const char *const html[] = {"<!doctype html", "<html", "<?xml", "<head"};
    static const char *const json[] = {"{", "["};
    *advice = "this is no checkpoint that this program knows (PyTorch zip, safetensors)";
    if (map->size == 0) {
        *advice = "the file is empty; the download may have failed";
        return PARE_CONTENT_OTHER;
    }
    if (map->size >= 4 &&
        (memcmp(map->data, "PK\3\4", 4) == 0 || memcmp(map->data, "PK\5\6", 4) == 0))
        return PARE_CONTENT_ZIP;
    for (size_t i = 0; i < sizeof signatures / sizeof *signatures; i++)
        if (matches(map, &signatures[i])) {
            *advice = signatures[i].advice;
            return PARE_CONTENT_OTHER;
        }
    if (looks_like_safetensors(map))
        return PARE_CONTENT_SAFETENSORS;
    if (begins_with_word(map, html, sizeof html / sizeof *html))
        *advice = "this is a web page, not a checkpoint; download the file itself (on a model's "
                  "page: 'resolve', not 'blob')";
    else if (begins_with_word(map, json, sizeof json / sizeof *json))
        *advice = "this is JSON, not weights; give the weights file or the folder that holds it";
    else if (looks_like_protobuf(map))
        *advice = "this looks like a graph (ONNX or TensorFlow); give the checkpoint that it was "
                  "exported from";
    else
        return PARE_CONTENT_UNKNOWN;
    return PARE_CONTENT_OTHER;
}
