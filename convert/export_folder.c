/* Folders that appear as a whole.
 *
 * A new folder is written under a temporary name beside its own and renamed. Into one that exists
 * the files move one by one from a temporary folder inside it, so that its rights and links stay;
 * by then each of them is complete and on the disk. */
#include "convert/export_folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/buffer.h"
#include "core/file.h"
#include "core/memory.h"

enum { ATTEMPTS = 100 };

static PareStatus fail(const char *path, const char *what, int error, PareError *err) {
    return pare_error_set(err, PARE_E_IO, "%s: cannot %s: %s", path, what, strerror(error));
}

/* Without the slashes at its end. */
static char *clean_path(const char *path) {
    char *copy = pare_strdup(path);
    for (size_t n = copy ? strlen(copy) : 0; n > 1 && copy[n - 1] == '/'; n--)
        copy[n - 1] = 0;
    return copy;
}

static PareStatus check_empty(const char *path, PareError *err) {
    DIR *d = opendir(path);
    const struct dirent *entry;
    PareStatus st = PARE_OK;
    if (!d)
        return fail(path, "open the folder", errno, err);
    while (!st && (entry = readdir(d)))
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            st = pare_error_set(err, PARE_E_IO,
                                "%s: cannot write: the folder is not empty (--force replaces what "
                                "has the same names)",
                                path);
    closedir(d);
    return st;
}

static PareStatus check_place(PareExportFolder *f, bool force, PareError *err) {
    struct stat s;
    f->made = lstat(f->path, &s) != 0;
    if (f->made && errno != ENOENT)
        return fail(f->path, "create", errno, err);
    if (f->made && !*pare_file_basename(f->path))
        return pare_error_set(err, PARE_E_IO, "%s: cannot write: expected the name of a folder",
                              f->path);
    if (f->made)
        return PARE_OK;
    if (!pare_file_is_folder(f->path))
        return pare_error_set(err, PARE_E_IO, "%s: cannot write: it is a file, expected a folder",
                              f->path);
    return force ? PARE_OK : check_empty(f->path, err);
}

/* ".NAME.export-PID-n" beside a new folder, the same inside one that is there. */
static PareStatus make_temporary(PareExportFolder *f, PareError *err) {
    const char *name = pare_file_basename(f->path);
    int parent = f->made ? (int)(name - f->path) : (int)strlen(f->path);
    for (int i = 0; i < ATTEMPTS; i++) {
        PareBuffer b = {0};
        if (f->made)
            pare_buffer_printf(&b, "%.*s.%.100s.export-%ld-%d", parent, f->path, name,
                               (long)getpid(), i);
        else
            pare_buffer_printf(&b, "%.*s/.export-%ld-%d", parent, f->path, (long)getpid(), i);
        f->temporary = pare_buffer_steal(&b, NULL);
        if (!f->temporary)
            return pare_memory_error(err, f->path);
        if (mkdir(f->temporary, 0777) == 0)
            return PARE_OK;
        int error = errno;
        pare_free(f->temporary);
        f->temporary = NULL;
        if (error != EEXIST)
            return fail(f->path, "create", error, err);
    }
    return fail(f->path, "create", EEXIST, err);
}

PareStatus pare_export_folder_begin(PareExportFolder *f, const char *path, bool force,
                                    PareError *err) {
    f->path = clean_path(path);
    if (!f->path)
        return pare_memory_error(err, path);
    PareStatus st = check_place(f, force, err);
    return st ? st : make_temporary(f, err);
}

PareStatus pare_export_folder_file(PareExportFolder *f, const char *name, char **path,
                                   PareError *err) {
    if (f->count == PARE_FOLDER_FILES)
        return pare_error_set(err, PARE_E_UNSUPPORTED, "%s: more than %d files", f->path,
                              PARE_FOLDER_FILES);
    *path = pare_file_join(f->temporary, name);
    if (!*path)
        return pare_memory_error(err, name);
    f->files[f->count++] = name;
    return PARE_OK;
}

/* ---- Moving ---- */

/* What loading would find beside the new files and take for a part of the model. */
static PareStatus check_others(const PareExportFolder *f, PareError *err) {
    static const char *const READ[] = {"config.json",
                                       "generation_config.json",
                                       "model.safetensors",
                                       "model.safetensors.index.json",
                                       "pytorch_model.bin",
                                       "pytorch_model.bin.index.json",
                                       "tf_model.h5",
                                       "tf_model.h5.index.json",
                                       "flax_model.msgpack",
                                       "adapter_config.json",
                                       "tokenizer.json",
                                       "tokenizer_config.json",
                                       "special_tokens_map.json",
                                       "added_tokens.json",
                                       "vocab.txt",
                                       "vocab.json",
                                       "merges.txt",
                                       "spiece.model",
                                       "tokenizer.model",
                                       "sentencepiece.bpe.model",
                                       "source.spm",
                                       "target.spm"};
    for (size_t i = 0; i < sizeof READ / sizeof *READ; i++) {
        bool ours = false;
        for (size_t k = 0; k < f->count; k++)
            ours = ours || strcmp(f->files[k], READ[i]) == 0;
        char *path = ours ? NULL : pare_file_join(f->path, READ[i]);
        bool other = path && pare_file_exists(path);
        pare_free(path);
        if (!ours && !path)
            return pare_memory_error(err, READ[i]);
        if (other)
            return pare_error_set(err, PARE_E_IO,
                                  "%s: cannot write: the folder holds %s, which would be read with "
                                  "the exported files but is not one of them; remove it first",
                                  f->path, READ[i]);
    }
    return PARE_OK;
}

static PareStatus check_target(const char *path, const char *input, PareError *err) {
    if (pare_file_is_folder(path))
        return pare_error_set(err, PARE_E_IO, "%s: cannot write: it is a folder, expected a file",
                              path);
    if (pare_file_exists(path) && pare_file_same(path, input))
        return pare_error_set(err, PARE_E_IO, "%s: the output is the input", path);
    return PARE_OK;
}

/* Both paths of file i, or neither. */
static bool both_paths(const PareExportFolder *f, size_t i, char **from, char **to) {
    *from = pare_file_join(f->temporary, f->files[i]);
    *to = pare_file_join(f->path, f->files[i]);
    if (*from && *to)
        return true;
    pare_free(*from);
    pare_free(*to);
    return false;
}

static PareStatus each_file(const PareExportFolder *f, const char *input, bool move,
                            PareError *err) {
    PareStatus st = PARE_OK;
    for (size_t i = 0; i < f->count && !st; i++) {
        char *from, *to;
        if (!both_paths(f, i, &from, &to))
            return pare_memory_error(err, f->path);
        if (!move)
            st = check_target(to, input, err);
        else if (rename(from, to) != 0)
            st = fail(to, "write", errno, err);
        pare_free(from);
        pare_free(to);
    }
    return st;
}

/* So that the names survive a crash; a folder that cannot be opened for that is no reason to fail.
 */
static void sync_folder(const char *path) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        fsync(fd);
        close(fd);
    }
}

static void sync_parent(const char *path) {
    const char *name = pare_file_basename(path);
    PareBuffer b = {0};
    pare_buffer_printf(&b, "%.*s.", (int)(name - path), path);
    if (!b.failed)
        sync_folder(b.data);
    pare_buffer_free(&b);
}

PareStatus pare_export_folder_commit(PareExportFolder *f, const char *input, PareError *err) {
    PareStatus st = PARE_OK;
    sync_folder(f->temporary);
    if (f->made) {
        if (rename(f->temporary, f->path) != 0)
            return fail(f->path, "write", errno, err);
        pare_free(f->temporary);
        f->temporary = NULL;
        sync_parent(f->path);
        return PARE_OK;
    }
    st = check_others(f, err);
    if (!st)
        st = each_file(f, input, false, err);
    if (!st)
        st = each_file(f, input, true, err);
    sync_folder(f->path);
    return st;
}

/* Without asking for memory, since there may be none. */
void pare_export_folder_end(PareExportFolder *f) {
    int fd = f->temporary ? open(f->temporary, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    for (size_t i = 0; i < f->count && fd >= 0; i++)
        unlinkat(fd, f->files[i], 0);
    if (fd >= 0)
        close(fd);
    if (f->temporary)
        rmdir(f->temporary);
    pare_free(f->temporary);
    pare_free(f->path);
    *f = (PareExportFolder){0};
}
