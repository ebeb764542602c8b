/* What a file is, by its content; and for what is no checkpoint, what to do instead. */
#include "formats/checkpoint_sniff.h"

#include <string.h>
#include <strings.h>

#define ADVICE_ORIGINAL "; give the checkpoint that it was made of"
#define ADVICE_PICKLE                                                                              \
    "this is a bare pickle, not a file that torch.save wrote; load it in Python and save it with " \
    "torch.save or safetensors"
#define ADVICE_DOWNLOAD "; download the file itself (on a model's page: 'resolve', not 'blob')"

/* ---- Bytes at a fixed place ---- */

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
    SIGNATURE(0, "lmgg", "this is an old GGML file, which is for another program" ADVICE_ORIGINAL),
    SIGNATURE(0, "fmgg", "this is an old GGML file, which is for another program" ADVICE_ORIGINAL),
    SIGNATURE(0, "tjgg", "this is an old GGML file, which is for another program" ADVICE_ORIGINAL),
    SIGNATURE(0, "algg", "this is an old GGML adapter (LoRA), which is for another program"),
    SIGNATURE(4, "TFL3", "this is a TensorFlow Lite graph" ADVICE_ORIGINAL),
    SIGNATURE(0, "\x1f\x8b", "this is compressed with gzip; unpack it first"),
    SIGNATURE(0, "\x28\xb5\x2f\xfd", "this is compressed with zstd; unpack it first"),
    SIGNATURE(0,
              "\xfd"
              "7zXZ",
              "this is compressed with xz; unpack it first"),
    SIGNATURE(0, "BZh", "this is compressed with bzip2; unpack it first"),
    SIGNATURE(0, "\x04\x22\x4d\x18", "this is compressed with lz4; unpack it first"),
    SIGNATURE(0, "7z\xbc\xaf\x27\x1c", "this is a 7z archive; unpack it first"),
    SIGNATURE(0, "Rar!\x1a\x07", "this is a rar archive; unpack it first"),
    SIGNATURE(0, "\x93NUMPY",
              "this is a single NumPy array, not a checkpoint; save all arrays by name as "
              "safetensors"),
    SIGNATURE(0, "\x80\x02", ADVICE_PICKLE),
    SIGNATURE(0, "\x80\x03", ADVICE_PICKLE),
    SIGNATURE(0, "\x80\x04", ADVICE_PICKLE),
    SIGNATURE(0, "\x80\x05", ADVICE_PICKLE),
    SIGNATURE(0, "(dp", ADVICE_PICKLE),
    SIGNATURE(0, "(lp", ADVICE_PICKLE),
    SIGNATURE(0, "ccollections\nOrderedDict", ADVICE_PICKLE),
    SIGNATURE(0,
              "\x7f"
              "ELF",
              "this is a program or library, not a checkpoint"),
    SIGNATURE(0, "%PDF-", "this is a PDF document, not a checkpoint"),
};

static bool has(const PareMapping *map, size_t offset, const char *bytes, size_t size) {
    return map->size >= offset && map->size - offset >= size &&
           memcmp(map->data + offset, bytes, size) == 0;
}

static const char *sniff_signature(const PareMapping *map) {
    for (size_t i = 0; i < sizeof signatures / sizeof *signatures; i++) {
        const Signature *s = &signatures[i];
        if (has(map, s->offset, s->bytes, s->size))
            return s->advice;
    }
    /* LevelDB's table ends in its magic number. */
    if (map->size >= 48 && has(map, map->size - 8, "\x57\xfb\x80\x8b\x24\x75\x47\xdb", 8))
        return "this is the index of a TensorFlow checkpoint; load it in transformers with "
               "from_tf=True and save it as PyTorch";
    return NULL;
}

/* ---- Archives and messages ---- */

enum { TAR_BLOCK = 512, TAR_MEMBERS_MAX = 64 };

/* An octal field, ended by a blank or NUL; UINT64_MAX when it is none. */
static uint64_t octal(const uint8_t *p, size_t size) {
    uint64_t value = 0;
    size_t i = 0;
    while (i < size && p[i] == ' ')
        i++;
    if (i == size || p[i] < '0' || p[i] > '7')
        return UINT64_MAX;
    for (; i < size && p[i] >= '0' && p[i] <= '7'; i++)
        value = value * 8 + (uint64_t)(p[i] - '0');
    return i == size || p[i] == ' ' || p[i] == 0 ? value : UINT64_MAX;
}

/* The sum of the header's bytes, its own field taken as blanks; older archives have no magic. */
static bool is_tar_header(const uint8_t *block) {
    uint64_t sum = 8 * ' ';
    for (size_t i = 0; i < TAR_BLOCK; i++)
        sum += i >= 148 && i < 156 ? 0 : block[i];
    return block[0] != 0 && octal(block + 148, 8) == sum;
}

/* Begins with a pickle of torch.save's magic number, whatever the protocol:
 * 119547037146038801333356 as ten bytes, which protocols 0 and 1 write as text. */
static bool is_torch_legacy(const PareMapping *map) {
    static const char magic[] = "\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19\x2e";
    static const char text[] = "L119547037146038801333356L\n.";
    size_t at = has(map, 0, "\x80", 1) ? 2 : 0;
    if (has(map, at, "\x95", 1)) /* protocols 4 and 5 may frame it */
        at += 9;
    return has(map, at, magic, sizeof magic - 1) || has(map, 0, text, sizeof text - 1);
}

/* PyTorch 0.1 saved tar archives of sys_info, pickle, tensors and storages. */
static bool is_torch_tar(const PareMapping *map) {
    bool info = false, storages = false;
    uint64_t at = 0;
    if (map->size < TAR_BLOCK)
        return false;
    for (size_t i = 0;
         i < TAR_MEMBERS_MAX && at <= map->size - TAR_BLOCK && is_tar_header(map->data + at); i++) {
        const char *name = (const char *)map->data + at;
        uint64_t size = octal(map->data + at + 124, 12);
        info = info || strncmp(name, "sys_info", 100) == 0;
        storages = storages || strncmp(name, "storages", 100) == 0;
        if (size > map->size)
            break;
        at += TAR_BLOCK + (size + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
    }
    return info && storages;
}

static const char *sniff_tar(const PareMapping *map) {
    if (map->size < TAR_BLOCK || !is_tar_header(map->data))
        return has(map, 257, "ustar", 5)
                   ? "this is a damaged tar archive; the checkpoint may be inside"
                   : NULL;
    return "this is a tar archive; unpack it and give the checkpoint inside";
}

/* A base-128 number at `*at`; false when it is cut off or longer than five bytes. */
static bool take_varint(const PareMapping *map, size_t *at, uint64_t *out) {
    *out = 0;
    for (unsigned shift = 0; shift < 35 && *at < map->size; shift += 7) {
        uint8_t byte = map->data[(*at)++];
        *out |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80)
            return true;
    }
    return false;
}

static bool is_printable(const PareMapping *map, size_t at, uint64_t size) {
    if (at > map->size || size > map->size - at)
        return false;
    for (size_t i = 0; i < size; i++)
        if (map->data[at + i] < 0x20 || map->data[at + i] > 0x7e)
            return false;
    return true;
}

/* Graphs are protocol buffers: a version (field 1), then a text (ONNX: who made it, field 2) or a
 * message (field 2 of SavedModel and Core ML; field 7, the graph, of ONNX). */
static const char *sniff_protobuf(const PareMapping *map) {
    uint64_t version, size;
    size_t at = 1;
    if (map->size > 8 && has(map, 4, "<unk>", 5) && map->data[0] == 0x0a && map->data[2] == 0x0a)
        return "this is a tokenizer's model (sentencepiece), not weights";
    if (map->size < 5 || map->data[0] != 0x08 || !take_varint(map, &at, &version) || version > 64 ||
        at >= map->size)
        return NULL;
    uint8_t tag = map->data[at++];
    if ((tag != 0x12 && tag != 0x3a && tag != 0x42) || !take_varint(map, &at, &size))
        return NULL;
    if (tag != 0x12 || is_printable(map, at, size))
        return "this is an ONNX graph; give the checkpoint that it was exported from";
    if (at >= map->size || map->data[at] != 0x0a)
        return NULL;
    return version == 1 ? "this is a TensorFlow SavedModel, a graph; save the weights instead "
                          "(save_pretrained, or model.save_weights with a name ending in .h5)"
                        : "this is a Core ML model" ADVICE_ORIGINAL;
}

/* Flax: a map with few entries whose first key is a text. */
static const char *sniff_msgpack(const PareMapping *map) {
    size_t at = 1;
    if (map->size < 4)
        return NULL;
    if (map->data[0] == 0xde)
        at = 3;
    else if (map->data[0] < 0x81 || map->data[0] > 0x8f)
        return NULL;
    size_t length = map->data[at] & 0x1f;
    if ((map->data[at] & 0xe0) != 0xa0 || length == 0 || !is_printable(map, at + 1, length))
        return NULL;
    return "this is MessagePack, probably of Flax; load it in transformers with from_flax=True and "
           "save it as PyTorch";
}

/* CTranslate2: a version, and the name of the model's class with its length. */
static const char *sniff_ctranslate(const PareMapping *map) {
    if (!has(map, 1, "\0\0\0", 3) || map->size < 8 || map->data[0] == 0 || map->data[5] != 0)
        return NULL;
    size_t length = map->data[4];
    if (length < 6 || !has(map, 6 + length - 5, "Spec\0", 5) || !is_printable(map, 6, length - 1))
        return NULL;
    return "this is a CTranslate2 model, which is for another program" ADVICE_ORIGINAL;
}

/* Space that was set aside for a download, or the holes of a sparse copy. */
static const char *sniff_zeros(const PareMapping *map) {
    enum { LOOKED_AT = 1 << 20 };
    size_t size = map->size < LOOKED_AT ? map->size : LOOKED_AT;
    for (size_t i = 0; i < size; i++)
        if (map->data[i] != 0)
            return NULL;
    return map->size <= LOOKED_AT
               ? "the file holds only zeros; the download or copy failed, get it again"
               : "the file begins with a million zeros; the download or copy failed, get it again";
}

/* ---- Text ---- */

typedef struct {
    const char *word, *advice;
} Word;

#define ADVICE_PAGE "this is a web page, not a checkpoint" ADVICE_DOWNLOAD
#define ADVICE_ABSENT                                                                              \
    "this is a server's answer that there is no such file; check the name and download it again"
#define ADVICE_ACCESS                                                                              \
    "this is a server's answer that access is restricted; accept the model's terms, log in, and "  \
    "download it again"
#define ADVICE_XML                                                                                 \
    "this is XML, probably a server's error message; look into it, and download the file again"
#define ADVICE_PYTHON "this is a Python program or script; give the file that it loads or saves"

/* What a text begins with, behind white space and a byte order mark; letters in either case. */
static const Word words[] = {
    {"<!doctype html", ADVICE_PAGE},
    {"<html", ADVICE_PAGE},
    {"<head", ADVICE_PAGE},
    {"<?xml", ADVICE_XML},
    {"<Error>", ADVICE_XML},
    {"Entry not found", ADVICE_ABSENT},
    {"Repository not found", ADVICE_ABSENT},
    {"Not found", ADVICE_ABSENT},
    {"404", ADVICE_ABSENT},
    {"Access to model", ADVICE_ACCESS},
    {"Access denied", ADVICE_ACCESS},
    {"Invalid username or password", ADVICE_ACCESS},
    {"Invalid credentials", ADVICE_ACCESS},
    {"Unauthorized", ADVICE_ACCESS},
    {"Forbidden", ADVICE_ACCESS},
    {"model_checkpoint_path:",
     "this is TensorFlow's note of its latest checkpoint, not the checkpoint; load that in "
     "transformers with from_tf=True and save it as PyTorch"},
    {"import ", ADVICE_PYTHON},
    {"from ", ADVICE_PYTHON},
    {"#!/", ADVICE_PYTHON},
    {"# coding", ADVICE_PYTHON},
    {"# -*- coding", ADVICE_PYTHON},
    {"\"\"\"", ADVICE_PYTHON},
    {"def ", ADVICE_PYTHON},
    {"class ", ADVICE_PYTHON},
};

static size_t skip_blanks(const PareMapping *map) {
    size_t at = has(map, 0, "\xef\xbb\xbf", 3) ? 3 : 0;
    while (at < map->size && memchr(" \t\r\n", map->data[at], 4) != NULL)
        at++;
    return at;
}

static bool begins_with(const PareMapping *map, size_t at, const char *word) {
    size_t length = strlen(word);
    return map->size - at >= length && strncasecmp((const char *)map->data + at, word, length) == 0;
}

static bool contains(const PareMapping *map, const char *word) {
    return memmem(map->data, map->size, word, strlen(word)) != NULL;
}

/* A server's error, a configuration; the index of a sharded checkpoint is told apart before. */
static const char *advise_json(const PareMapping *map) {
    enum { MESSAGE_MAX = 4096 };
    PareMapping start = {map->data, map->size < MESSAGE_MAX ? map->size : MESSAGE_MAX};
    if (contains(&start, "Entry not found") || contains(&start, "not found"))
        return ADVICE_ABSENT;
    if (contains(&start, "restricted") || contains(&start, "gated") ||
        contains(&start, "authenticated") || contains(&start, "Invalid username"))
        return ADVICE_ACCESS;
    if (contains(&start, "\"error\""))
        return "this is JSON, a server's error message; look into it, and download the file again";
    return "this is JSON, not weights; give the weights file or the folder that holds it";
}

static const char *sniff_text(const PareMapping *map) {
    size_t at = skip_blanks(map);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (begins_with(map, at, words[i].word))
            return words[i].advice;
    if (begins_with(map, at, "{") || begins_with(map, at, "["))
        return advise_json(map);
    return NULL;
}

/* ---- Containers ---- */

/* A zip archive whose first entry is a NumPy array. */
static bool is_arrays(const PareMapping *map) {
    enum { NAME_SIZE = 26, NAME = 30 };
    if (!has(map, 0, "PK\3\4", 4) || map->size < NAME)
        return false;
    size_t length = map->data[NAME_SIZE] | (size_t)map->data[NAME_SIZE + 1] << 8;
    return length > 4 && has(map, NAME + length - 4, ".npy", 4);
}

/* A header of possible length that begins as JSON; or what begins so exactly that only the length
 * can be wrong. */
static bool looks_like_safetensors(const PareMapping *map) {
    uint64_t length;
    if (map->size < 9)
        return false;
    memcpy(&length, map->data, sizeof length);
    if (map->data[8] == '{' && (length <= UINT32_MAX || has(map, 9, "\"", 1)))
        return true;
    PareMapping header = {map->data + 8, map->size - 8};
    return length < header.size && begins_with(&header, skip_blanks(&header), "{\"");
}

static bool looks_like_index(const PareMapping *map) {
    return begins_with(map, skip_blanks(map), "{") && contains(map, "\"weight_map\"");
}

PareContent pare_content_sniff(const PareMapping *map, const char **advice) {
    static const char *(*const sniffers[])(const PareMapping *) = {
        sniff_signature, sniff_tar,        sniff_zeros, sniff_protobuf,
        sniff_msgpack,   sniff_ctranslate, sniff_text};
    *advice = "this is no checkpoint that this program knows (PyTorch zip, safetensors, HDF5)";
    if (map->size == 0) {
        *advice = "the file is empty; the download may have failed";
        return PARE_CONTENT_OTHER;
    }
    if (is_arrays(map)) {
        *advice = "this is an archive of NumPy arrays (.npz); save them by name as safetensors";
        return PARE_CONTENT_OTHER;
    }
    if (has(map, 0, "PK\3\4", 4) || has(map, 0, "PK\5\6", 4))
        return PARE_CONTENT_ZIP;
    if (is_torch_legacy(map))
        return PARE_CONTENT_TORCH_LEGACY;
    if (is_torch_tar(map))
        return PARE_CONTENT_TORCH_TAR;
    if (looks_like_safetensors(map))
        return PARE_CONTENT_SAFETENSORS;
    if (has(map, 0, "\x89HDF\r\n\x1a\n", 8))
        return PARE_CONTENT_HDF5;
    if (looks_like_index(map))
        return PARE_CONTENT_INDEX;
    for (size_t i = 0; i < sizeof sniffers / sizeof *sniffers; i++) {
        const char *found = sniffers[i](map);
        if (found != NULL) {
            *advice = found;
            return PARE_CONTENT_OTHER;
        }
    }
    return PARE_CONTENT_UNKNOWN;
}
