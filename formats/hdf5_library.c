/* The HDF5 library's doorkeeper: a driver that asks callbacks for bytes, the walk over a file, and
 * reading and writing datasets. */
#define H5_USE_110_API /* later versions give the same names to other functions */
#include "formats/hdf5_library.h"

#include <hdf5.h>
#include <stdio.h>
#include <string.h>

#include "core/memory.h"
#if H5_VERSION_GE(1, 13, 0)
#include <H5FDdevelop.h>
#endif

enum {
    PATH_BYTES = 1024,  /* of a dataset, with its NUL */
    DEPTH_MAX = 32,     /* groups within groups */
    TEXT_BYTES = 65536, /* of one name */
    CHUNK_BYTES = 64 << 20,
    PIECE_BYTES = 8 << 20, /* read at once */
    DRIVER_VALUE = 0x70726531
};

struct PareHdf5 {
    PareHdf5Io io;
    hid_t file;
};

/* ---- The driver ---- */

typedef struct {
    H5FD_t head; /* the library's part; must be first */
    const PareHdf5Io *io;
    haddr_t end_of_addresses, end_of_file;
} Stream;

static H5FD_t *stream_open(const char *name, unsigned flags, hid_t access, haddr_t limit) {
    (void)name, (void)flags, (void)limit;
    const PareHdf5Io *const *info = H5Pget_driver_info(access);
    Stream *s = info == NULL ? NULL : pare_alloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->io = *info;
    s->end_of_file = s->io->size;
    return &s->head;
}

static herr_t stream_close(H5FD_t *file) {
    pare_free(file);
    return 0;
}

static herr_t stream_query(const H5FD_t *file, unsigned long *flags) {
    (void)file;
    *flags = 0;
    return 0;
}

static haddr_t stream_addresses(const H5FD_t *file, H5FD_mem_t type) {
    (void)type;
    return ((const Stream *)(const void *)file)->end_of_addresses;
}

static herr_t stream_set_addresses(H5FD_t *file, H5FD_mem_t type, haddr_t address) {
    (void)type;
    ((Stream *)(void *)file)->end_of_addresses = address;
    return 0;
}

static haddr_t stream_end(const H5FD_t *file, H5FD_mem_t type) {
    (void)type;
    return ((const Stream *)(const void *)file)->end_of_file;
}

/* Beyond the end there are zeros, up to what the library has given addresses to. */
static herr_t stream_read(H5FD_t *file, H5FD_mem_t type, hid_t transfer, haddr_t at, size_t size,
                          void *out) {
    const Stream *s = (const Stream *)(const void *)file;
    (void)type, (void)transfer;
    if (at > s->end_of_addresses || size > s->end_of_addresses - at)
        return -1;
    size_t inside = at >= s->end_of_file         ? 0
                    : size > s->end_of_file - at ? (size_t)(s->end_of_file - at)
                                                 : size;
    memset((uint8_t *)out + inside, 0, size - inside);
    return inside == 0 || s->io->read(s->io->context, at, inside, out) ? 0 : -1;
}

static herr_t stream_write(H5FD_t *file, H5FD_mem_t type, hid_t transfer, haddr_t at, size_t size,
                           const void *bytes) {
    Stream *s = (Stream *)(void *)file;
    (void)type, (void)transfer;
    if (s->io->write == NULL || size > UINT64_MAX - at ||
        !s->io->write(s->io->context, at, size, bytes))
        return -1;
    if (at + size > s->end_of_file)
        s->end_of_file = at + size;
    return 0;
}

static const H5FD_class_t stream_class = {
#if H5_VERSION_GE(1, 13, 0)
    .version = H5FD_CLASS_VERSION,
    .value = (H5FD_class_value_t)DRIVER_VALUE,
#endif
    .name = "pare",
    .maxaddr = INT64_MAX,
    .fc_degree = H5F_CLOSE_STRONG,
    .fapl_size = sizeof(const PareHdf5Io *),
    .open = stream_open,
    .close = stream_close,
    .query = stream_query,
    .get_eoa = stream_addresses,
    .set_eoa = stream_set_addresses,
    .get_eof = stream_end,
    .read = stream_read,
    .write = stream_write,
    .fl_map = H5FD_FLMAP_DICHOTOMY};

static hid_t driver = -1;

bool pare_hdf5_start(void) {
    if (H5open() < 0)
        return false;
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
    H5PLset_loading_state(0);
    if (driver < 0 || H5Iget_type(driver) != H5I_VFL)
        driver = H5FDregister(&stream_class);
    return driver >= 0;
}

static char complaint[128];

static herr_t keep_complaint(unsigned depth, const H5E_error2_t *error, void *context) {
    (void)depth, (void)context;
    if (error->desc != NULL && *error->desc != '\0')
        snprintf(complaint, sizeof complaint, "%s", error->desc);
    return 0;
}

/* At once after a call that failed: the next one clears it. The innermost one is walked to last. */
static void note_complaint(void) {
    complaint[0] = '\0';
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, keep_complaint, NULL);
}

const char *pare_hdf5_complaint(void) {
    return complaint;
}

static hid_t access_of(const PareHdf5 *h) {
    const PareHdf5Io *io = &h->io;
    hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    if (access >= 0 && H5Pset_driver(access, driver, &io) < 0) {
        H5Pclose(access);
        return -1;
    }
    return access;
}

/* ---- Number formats ---- */

/* A type that the library does not have by name: sign, exponent and mantissa from the top. */
static hid_t small_float(size_t exponent, bool big) {
    hid_t t = H5Tcopy(big ? H5T_IEEE_F32BE : H5T_IEEE_F32LE);
    if (t >= 0 && (H5Tset_fields(t, 15, 15 - exponent, exponent, 0, 15 - exponent) < 0 ||
                   H5Tset_size(t, 2) < 0 || H5Tset_ebias(t, exponent == 5 ? 15 : 127) < 0)) {
        H5Tclose(t);
        return -1;
    }
    return t;
}

/* As it lies in a file; to be closed. Truth values are the numbers that hold them. */
static hid_t file_type(PareDtype dtype, bool big) {
    switch (dtype) {
    case PARE_F32:
        return H5Tcopy(big ? H5T_IEEE_F32BE : H5T_IEEE_F32LE);
    case PARE_F16:
        return small_float(5, big);
    case PARE_BF16:
        return small_float(8, big);
    case PARE_F64:
        return H5Tcopy(big ? H5T_IEEE_F64BE : H5T_IEEE_F64LE);
    case PARE_I64:
        return H5Tcopy(big ? H5T_STD_I64BE : H5T_STD_I64LE);
    case PARE_I32:
        return H5Tcopy(big ? H5T_STD_I32BE : H5T_STD_I32LE);
    case PARE_I16:
        return H5Tcopy(big ? H5T_STD_I16BE : H5T_STD_I16LE);
    case PARE_I8:
        return H5Tcopy(big ? H5T_STD_I8BE : H5T_STD_I8LE);
    case PARE_U8:
    case PARE_BOOL:
        return H5Tcopy(big ? H5T_STD_U8BE : H5T_STD_U8LE);
    default:
        return -1;
    }
}

/* 1: the type is this one; 2: with the other order of bytes; 0: neither. */
static int matches(hid_t type, PareDtype dtype) {
    for (int big = 0; big < 2; big++) {
        hid_t t = file_type(dtype, big);
        bool same = t >= 0 && H5Tequal(type, t) > 0;
        H5Tclose(t);
        if (same)
            return 1 + big;
    }
    return 0;
}

/* What h5py makes of truth values: FALSE and TRUE, in one byte. */
static bool is_truth(hid_t type) {
    static const char *const wanted[2] = {"FALSE", "TRUE"};
    if (H5Tget_size(type) != 1 || H5Tget_nmembers(type) != 2)
        return false;
    for (unsigned i = 0; i < 2; i++) {
        uint8_t value = 2;
        char *name = H5Tget_member_name(type, i);
        bool good = name != NULL && strcmp(name, wanted[i]) == 0 &&
                    H5Tget_member_value(type, i, &value) >= 0 && value == i;
        H5free_memory(name);
        if (!good)
            return false;
    }
    return true;
}

static const char *foreign_name(hid_t type) {
    static const char *const unsigned_names[] = {[2] = "U16", [4] = "U32", [8] = "U64"};
    static const char *const names[] = {
        [H5T_INTEGER] = "integer",   [H5T_FLOAT] = "float", [H5T_STRING] = "string",
        [H5T_COMPOUND] = "compound", [H5T_ENUM] = "enum",   [H5T_REFERENCE] = "reference",
        [H5T_VLEN] = "vlen",         [H5T_ARRAY] = "array"};
    int class = (int)H5Tget_class(type);
    size_t size = H5Tget_size(type);
    if (class == H5T_INTEGER && H5Tget_sign(type) == H5T_SGN_NONE &&
        (size == 2 || size == 4 || size == 8))
        return unsigned_names[size];
    if (class < 0 || class >= (int)(sizeof names / sizeof *names) || names[class] == NULL)
        return "opaque";
    return names[class];
}

/* Keras keeps bfloat16 as two bytes without meaning, and says so in an attribute. */
static bool says_bfloat16(hid_t set) {
    char *text = NULL;
    hid_t attribute = H5Aexists(set, "dtype") > 0 ? H5Aopen(set, "dtype", H5P_DEFAULT) : -1;
    if (attribute < 0)
        return false;
    hid_t type = H5Aget_type(attribute), space = H5Aget_space(attribute);
    bool good = H5Tis_variable_str(type) > 0 && H5Sget_simple_extent_npoints(space) == 1 &&
                H5Aread(attribute, type, &text) >= 0 && text != NULL &&
                strcmp(text, "bfloat16") == 0;
    H5free_memory(text);
    H5Sclose(space);
    H5Tclose(type);
    H5Aclose(attribute);
    return good;
}

/* Sets dtype, or `foreign`. Returns whether the bytes are as they are wanted. */
static bool classify(hid_t set, hid_t type, PareHdf5Dataset *d) {
    d->foreign = NULL;
    for (d->dtype = 0; d->dtype < PARE_DTYPE_COUNT; d->dtype++) {
        int how = matches(type, d->dtype);
        if (how != 0)
            return how == 1 || pare_dtype_size(d->dtype) == 1;
    }
    if (H5Tget_class(type) == H5T_ENUM && is_truth(type)) {
        d->dtype = PARE_BOOL;
        return true;
    }
    if (H5Tget_class(type) == H5T_OPAQUE && H5Tget_size(type) == 2 && says_bfloat16(set)) {
        d->dtype = PARE_BF16;
        return true;
    }
    d->dtype = PARE_DTYPE_COUNT;
    d->foreign = foreign_name(type);
    return false;
}

/* ---- The walk ---- */

typedef struct {
    const PareHdf5 *h;
    const PareHdf5Visitor *v;
    char path[PATH_BYTES];
    size_t length; /* of the path */
    size_t depth;
    uint64_t visits; /* objects so far */
    haddr_t *groups; /* addresses of those that were entered */
    size_t group_count, group_capacity;
    bool refused;
} Walk;

static bool refuse(Walk *w, const char *why) {
    if (!w->refused)
        w->v->refuse(w->v->context, w->path, why);
    w->refused = true;
    return false;
}

static bool library_failed(Walk *w, const char *what) {
    char why[256];
    note_complaint();
    snprintf(why, sizeof why, "%s: the HDF5 library says '%s'", what, complaint);
    return refuse(w, why);
}

/* NULL when the library's own filters suffice. */
static const char *check_filters(hid_t creation, PareHdf5Dataset *d) {
    static char why[96];
    int count = H5Pget_nfilters(creation);
    if (count < 0)
        return "has filters that cannot be read";
    for (unsigned i = 0; i < (unsigned)count; i++) {
        unsigned flags, config;
        size_t values = 0;
        H5Z_filter_t id = H5Pget_filter2(creation, i, &flags, &values, NULL, 0, NULL, &config);
        d->deflated = d->deflated || id == H5Z_FILTER_DEFLATE;
        if (id == H5Z_FILTER_DEFLATE || id == H5Z_FILTER_SHUFFLE || id == H5Z_FILTER_FLETCHER32)
            continue;
        snprintf(why, sizeof why,
                 "is stored with filter %d; only deflate, shuffle and fletcher32 are read", id);
        return why;
    }
    return NULL;
}

static const char *check_chunk(hid_t creation, hid_t type) {
    hsize_t chunk[H5S_MAX_RANK];
    size_t bytes = H5Tget_size(type);
    int dims = H5Pget_chunk(creation, H5S_MAX_RANK, chunk);
    if (dims < 0)
        return "has chunks that cannot be read";
    for (int i = 0; i < dims; i++)
        if (!pare_size_mul(bytes, (size_t)chunk[i], &bytes) || bytes > CHUNK_BYTES)
            return "has chunks of more than 64 MiB";
    return NULL;
}

/* How the elements are stored. NULL, or why they are not read. */
static const char *describe_storage(hid_t set, hid_t type, PareHdf5Dataset *d) {
    const char *why = NULL;
    hid_t creation = H5Dget_create_plist(set);
    H5D_layout_t layout = creation < 0 ? H5D_LAYOUT_ERROR : H5Pget_layout(creation);
    d->stored = H5Dget_storage_size(set);
    if (layout == H5D_VIRTUAL)
        why = "is a virtual data set, whose elements are in other files";
    else if (layout != H5D_COMPACT && layout != H5D_CONTIGUOUS && layout != H5D_CHUNKED)
        why = "is stored in a way that is not known";
    else if (H5Pget_external_count(creation) != 0)
        why = "keeps its elements in another file (external storage)";
    else
        why = check_filters(creation, d);
    if (why == NULL && layout == H5D_CHUNKED)
        why = check_chunk(creation, type);
    if (why == NULL && layout == H5D_CONTIGUOUS && d->direct) {
        haddr_t offset = H5Dget_offset(set);
        d->direct = offset != HADDR_UNDEF;
        d->offset = d->direct ? offset : 0;
    } else {
        d->direct = false;
    }
    H5Pclose(creation);
    return why;
}

static const char *describe_shape(hid_t space, PareHdf5Dataset *d) {
    hsize_t shape[H5S_MAX_RANK];
    if (H5Sget_simple_extent_type(space) == H5S_NULL)
        return "has no elements and no shape";
    int dims = H5Sget_simple_extent_ndims(space);
    if (dims < 0 || dims > PARE_MAX_DIMS)
        return "has more than 8 dimensions";
    if (H5Sget_simple_extent_dims(space, shape, NULL) < 0)
        return "has a shape that cannot be read";
    d->type.dims = (uint32_t)dims;
    for (int i = 0; i < dims; i++)
        d->type.shape[i] = shape[i];
    return NULL;
}

static bool visit_dataset(Walk *w, hid_t set, haddr_t address) {
    PareHdf5Dataset d = {.path = w->path, .address = address};
    hid_t type = H5Dget_type(set), space = H5Dget_space(set);
    const char *why = type < 0 || space < 0 ? "cannot be read" : describe_shape(space, &d);
    if (why == NULL) {
        d.direct = classify(set, type, &d);
        d.type.dtype = d.dtype;
        why = describe_storage(set, type, &d);
    }
    H5Sclose(space);
    H5Tclose(type);
    return why == NULL ? w->v->dataset(w->v->context, &d) : refuse(w, why);
}

/* ---- Lists of names ---- */

static const char unreadable_list[] = "has a list of names that cannot be read";

static bool tell_fixed(Walk *w, hid_t attribute, hid_t type, size_t count) {
    size_t width = H5Tget_size(type), bytes;
    bool good = true;
    if (width == 0 || width > TEXT_BYTES || !pare_size_mul(count, width, &bytes) ||
        bytes > w->h->io.size)
        return refuse(w, "has a list of names that is longer than the file");
    char *texts = pare_alloc(bytes, 1);
    if (texts == NULL || H5Aread(attribute, type, texts) < 0)
        good = library_failed(w, unreadable_list);
    for (size_t i = 0; good && i < count; i++) {
        size_t length = strnlen(texts + i * width, width);
        while (H5Tget_strpad(type) == H5T_STR_SPACEPAD && length > 0 &&
               texts[i * width + length - 1] == ' ')
            length--;
        good = w->v->text(w->v->context, texts + i * width, length);
    }
    pare_free(texts);
    return good;
}

/* Each text takes at least 16 bytes of the file. */
static bool tell_variable(Walk *w, hid_t attribute, hid_t type, hid_t space, size_t count) {
    bool good = true;
    if (count > w->h->io.size / 16)
        return refuse(w, "has a list of names that is longer than the file");
    char **texts = pare_alloc(count, sizeof *texts);
    if (texts == NULL)
        return refuse(w, "has a list of names for which there is no memory");
    if (H5Aread(attribute, type, texts) < 0) {
        pare_free(texts);
        return library_failed(w, unreadable_list);
    }
    for (size_t i = 0; good && i < count; i++) {
        const char *text = texts[i] != NULL ? texts[i] : "";
        good = strnlen(text, TEXT_BYTES) < TEXT_BYTES
                   ? w->v->text(w->v->context, text, strlen(text))
                   : refuse(w, "has a name of more than 64 KiB");
    }
    H5Dvlen_reclaim(type, space, H5P_DEFAULT, texts);
    pare_free(texts);
    return good;
}

/* One attribute. An empty list may have any type: numpy makes one of numbers. */
static bool tell_attribute(Walk *w, hid_t object, const char *name) {
    bool good = false;
    hid_t attribute = H5Aopen(object, name, H5P_DEFAULT);
    if (attribute < 0)
        return library_failed(w, "has a list of names that cannot be opened");
    hid_t type = H5Aget_type(attribute), space = H5Aget_space(attribute);
    hssize_t count = H5Sget_simple_extent_npoints(space);
    if (type < 0 || space < 0 || count < 0)
        good = library_failed(w, unreadable_list);
    else if (count == 0)
        good = true;
    else if (H5Tget_class(type) != H5T_STRING)
        good = refuse(w, "has a list of names that holds no texts");
    else if (H5Tis_variable_str(type) > 0)
        good = tell_variable(w, attribute, type, space, (size_t)count);
    else
        good = tell_fixed(w, attribute, type, (size_t)count);
    H5Sclose(space);
    H5Tclose(type);
    H5Aclose(attribute);
    return good;
}

/* Keras cuts a list that is longer than an attribute can be: name0, name1, … */
static bool tell_list(Walk *w, hid_t group, const char *name) {
    char part[64];
    bool whole = H5Aexists(group, name) > 0;
    snprintf(part, sizeof part, "%s0", name);
    if (!whole && H5Aexists(group, part) <= 0)
        return true;
    if (!w->v->list(w->v->context, w->path, name))
        return false;
    if (whole)
        return tell_attribute(w, group, name);
    for (unsigned i = 1; H5Aexists(group, part) > 0; i++) {
        if (!tell_attribute(w, group, part))
            return false;
        snprintf(part, sizeof part, "%s%u", name, i);
    }
    return true;
}

/* ---- Groups ---- */

static bool enter_group(Walk *w, haddr_t address) {
    for (size_t i = 0; i < w->group_count; i++)
        if (w->groups[i] == address)
            return refuse(w, "is a group that is found in two places (perhaps inside itself)");
    if (w->group_count == w->group_capacity) {
        size_t capacity = w->group_capacity == 0 ? 64 : 2 * w->group_capacity;
        haddr_t *larger = pare_realloc(w->groups, capacity, sizeof *larger);
        if (larger == NULL)
            return refuse(w, "is a group for which there is no memory");
        w->groups = larger;
        w->group_capacity = capacity;
    }
    w->groups[w->group_count++] = address;
    return w->v->progress(w->v->context);
}

static bool visit_object(Walk *w, hid_t object);

/* An object needs a header of its own, so a file of n bytes cannot have more than n / 16. */
static bool visit_link(Walk *w, hid_t group, const char *name, const H5L_info_t *link) {
    bool good;
    if (++w->visits > w->h->io.size / 16)
        return refuse(w, "is one object more than the file has room for");
    if (link->type == H5L_TYPE_SOFT)
        return refuse(w, "is a soft link; only objects of this file itself are read");
    if (link->type != H5L_TYPE_HARD)
        return refuse(w, "is a link to another file, which is not followed");
    hid_t object = H5Oopen(group, name, H5P_DEFAULT);
    if (object < 0)
        return library_failed(w, "cannot be opened");
    good = visit_object(w, object);
    H5Oclose(object);
    return good;
}

static herr_t on_link(hid_t group, const char *name, const H5L_info_t *link, void *context) {
    Walk *w = context;
    size_t before = w->length, length = strlen(name), slash = before > 0;
    if (before + slash + length >= sizeof w->path)
        return refuse(w, "holds an object whose path is longer than 1023 bytes") - 1;
    if (slash)
        w->path[before] = '/';
    memcpy(w->path + before + slash, name, length + 1);
    w->length = before + slash + length;
    bool good = visit_link(w, group, name, link);
    w->length = before;
    w->path[before] = '\0';
    return good ? 0 : -1;
}

static bool visit_group(Walk *w, hid_t group, haddr_t address) {
    static const char *const lists[] = {"layer_names", "weight_names", "name", "keras_version"};
    if (w->depth == DEPTH_MAX)
        return refuse(w, "lies deeper than 32 groups");
    if (!enter_group(w, address))
        return false;
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        if (!tell_list(w, group, lists[i]))
            return false;
    w->depth++;
    bool good = H5Literate(group, H5_INDEX_NAME, H5_ITER_INC, NULL, on_link, w) >= 0;
    w->depth--;
    return good || w->refused ? good : library_failed(w, "is a group that cannot be read");
}

static bool visit_object(Walk *w, hid_t object) {
    H5O_info_t info;
    if (H5Oget_info2(object, &info, H5O_INFO_BASIC) < 0)
        return library_failed(w, "cannot be read");
    switch (H5Iget_type(object)) {
    case H5I_GROUP:
        return visit_group(w, object, info.addr);
    case H5I_DATASET:
        return visit_dataset(w, object, info.addr);
    default:
        return refuse(w, "is neither a group nor a data set");
    }
}

bool pare_hdf5_walk(PareHdf5 *h, const PareHdf5Visitor *visitor) {
    Walk w = {.h = h, .v = visitor};
    hid_t root = H5Oopen(h->file, "/", H5P_DEFAULT);
    bool good = root >= 0 ? visit_object(&w, root) : library_failed(&w, "has no root");
    H5Oclose(root);
    pare_free(w.groups);
    return good;
}

/* ---- Reading ---- */

PareHdf5 *pare_hdf5_open_image(const PareHdf5Io *io) {
    PareHdf5 *h = pare_alloc(1, sizeof *h);
    if (h == NULL)
        return NULL;
    h->io = *io;
    hid_t access = access_of(h);
    h->file = access < 0 ? -1 : H5Fopen("file", H5F_ACC_RDONLY, access);
    if (h->file < 0)
        note_complaint();
    H5Pclose(access);
    if (h->file >= 0)
        return h;
    pare_free(h);
    return NULL;
}

void pare_hdf5_close(PareHdf5 *h) {
    if (h == NULL)
        return;
    H5Fclose(h->file);
    pare_free(h);
}

/* How a dataset is cut: along one dimension, `step` at a time. */
typedef struct {
    int dims, along;
    hsize_t shape[H5S_MAX_RANK], step;
    size_t bytes; /* of one step of size 1 */
} Cut;

/* Along the first dimension that has several indexes; no chunk is cut. */
static bool plan_cut(hid_t set, hid_t space, size_t element, Cut *cut) {
    hsize_t chunk[H5S_MAX_RANK] = {0};
    cut->dims = H5Sget_simple_extent_dims(space, cut->shape, NULL);
    cut->bytes = element;
    if (cut->dims < 0)
        return false;
    for (cut->along = 0; cut->along + 1 < cut->dims && cut->shape[cut->along] == 1;)
        cut->along++;
    for (int i = cut->along + 1; i < cut->dims; i++)
        if (!pare_size_mul(cut->bytes, (size_t)cut->shape[i], &cut->bytes))
            return false;
    hid_t creation = H5Dget_create_plist(set);
    if (H5Pget_layout(creation) != H5D_CHUNKED ||
        H5Pget_chunk(creation, H5S_MAX_RANK, chunk) != cut->dims)
        chunk[cut->along] = 1;
    H5Pclose(creation);
    cut->step = chunk[cut->along] == 0 ? 1 : chunk[cut->along];
    hsize_t steps = PIECE_BYTES / (cut->bytes == 0 ? 1 : cut->bytes) / cut->step;
    cut->step *= steps == 0 ? 1 : steps;
    return true;
}

static bool read_piece(hid_t set, hid_t space, hid_t type, const Cut *cut, hsize_t at,
                       hsize_t count, uint8_t *dst) {
    hsize_t start[H5S_MAX_RANK] = {0}, extent[H5S_MAX_RANK];
    memcpy(extent, cut->shape, sizeof extent);
    start[cut->along] = at;
    extent[cut->along] = count;
    hid_t room = H5Screate_simple(cut->dims, extent, NULL);
    bool good = room >= 0 &&
                H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, extent, NULL) >= 0 &&
                H5Dread(set, type, room, space, H5P_DEFAULT, dst) >= 0;
    if (!good)
        note_complaint();
    H5Sclose(room);
    return good;
}

static bool read_set(hid_t set, hid_t space, hid_t type, uint8_t *dst, size_t bytes,
                     bool (*progress)(void *context), void *context) {
    Cut cut;
    size_t total = 0;
    hssize_t points = H5Sget_simple_extent_npoints(space);
    if (points < 0 || !pare_size_mul((size_t)points, H5Tget_size(type), &total) || total != bytes)
        return false; /* not what the walk saw */
    if (H5Sget_simple_extent_ndims(space) == 0)
        return H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, dst) >= 0;
    if (!plan_cut(set, space, H5Tget_size(type), &cut))
        return false;
    for (hsize_t at = 0; bytes > 0 && at < cut.shape[cut.along]; at += cut.step) {
        hsize_t left = cut.shape[cut.along] - at;
        if (!read_piece(set, space, type, &cut, at, left < cut.step ? left : cut.step,
                        dst + at * cut.bytes) ||
            !progress(context))
            return false;
    }
    return true;
}

bool pare_hdf5_read(PareHdf5 *h, const char *path, PareDtype dtype, void *dst, size_t bytes,
                    bool (*progress)(void *context), void *context) {
    hid_t set = H5Dopen2(h->file, path, H5P_DEFAULT);
    complaint[0] = '\0';
    if (set < 0)
        return false;
    hid_t space = H5Dget_space(set), stored = H5Dget_type(set);
    H5T_class_t class = H5Tget_class(stored);
    /* What has no order of bytes is taken as it is. */
    hid_t type =
        class == H5T_ENUM || class == H5T_OPAQUE ? H5Tcopy(stored) : file_type(dtype, false);
    bool good = space >= 0 && type >= 0 && H5Tget_size(type) == pare_dtype_size(dtype) &&
                read_set(set, space, type, dst, bytes, progress, context);
    H5Tclose(type);
    H5Tclose(stored);
    H5Sclose(space);
    H5Dclose(set);
    return good;
}

/* ---- Writing ---- */

/* Nothing is evicted from the cache of metadata, so that nothing must be read back. */
static bool set_cache(hid_t access) {
    H5AC_cache_config_t config = {.version = H5AC__CURR_CACHE_CONFIG_VERSION};
    if (H5Pget_mdc_config(access, &config) < 0)
        return false;
    config.evictions_enabled = 0;
    config.incr_mode = H5C_incr__off;
    config.flash_incr_mode = H5C_flash_incr__off;
    config.decr_mode = H5C_decr__off;
    return H5Pset_mdc_config(access, &config) >= 0;
}

PareHdf5 *pare_hdf5_create(const PareHdf5Io *io) {
    PareHdf5 *h = pare_alloc(1, sizeof *h);
    if (h == NULL)
        return NULL;
    h->io = *io;
    hid_t access = access_of(h), creation = H5Pcreate(H5P_FILE_CREATE);
    bool good = access >= 0 && set_cache(access) && H5Pset_sieve_buf_size(access, 0) >= 0 &&
                H5Pset_libver_bounds(access, H5F_LIBVER_EARLIEST, H5F_LIBVER_V18) >= 0 &&
                H5Pset_obj_track_times(creation, 0) >= 0;
    h->file = good ? H5Fcreate("file", H5F_ACC_TRUNC, creation, access) : -1;
    H5Pclose(creation);
    H5Pclose(access);
    if (h->file >= 0)
        return h;
    pare_free(h);
    return NULL;
}

/* Truth values as h5py writes them. */
static hid_t truth_type(void) {
    const int8_t values[2] = {0, 1};
    hid_t type = H5Tenum_create(H5T_STD_I8LE);
    H5Tenum_insert(type, "FALSE", &values[0]);
    H5Tenum_insert(type, "TRUE", &values[1]);
    return type;
}

static hid_t groups_on_the_way(void) {
    hid_t links = H5Pcreate(H5P_LINK_CREATE);
    H5Pset_create_intermediate_group(links, 1);
    return links;
}

bool pare_hdf5_write_dataset(PareHdf5 *h, const char *path, const PareTensorType *type,
                             const void *elements) {
    hsize_t shape[PARE_MAX_DIMS];
    for (uint32_t d = 0; d < type->dims; d++)
        shape[d] = type->shape[d];
    hid_t stored = type->dtype == PARE_BOOL ? truth_type() : file_type(type->dtype, false);
    hid_t space =
        type->dims == 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple((int)type->dims, shape, NULL);
    hid_t links = groups_on_the_way(), creation = H5Pcreate(H5P_DATASET_CREATE);
    H5Pset_obj_track_times(creation, 0);
    H5Pset_fill_time(creation, H5D_FILL_TIME_NEVER);
    hid_t set = H5Dcreate2(h->file, path, stored, space, links, creation, H5P_DEFAULT);
    bool good = set >= 0 && H5Dwrite(set, stored, H5S_ALL, H5S_ALL, H5P_DEFAULT, elements) >= 0;
    if (!good)
        note_complaint();
    good = H5Dclose(set) >= 0 && good;
    H5Pclose(creation);
    H5Pclose(links);
    H5Sclose(space);
    H5Tclose(stored);
    return good;
}

static hid_t open_or_create_group(PareHdf5 *h, const char *group) {
    hid_t g = H5Gopen2(h->file, *group == '\0' ? "/" : group, H5P_DEFAULT);
    if (g >= 0)
        return g;
    hid_t links = groups_on_the_way();
    g = H5Gcreate2(h->file, group, links, H5P_DEFAULT, H5P_DEFAULT);
    H5Pclose(links);
    return g;
}

bool pare_hdf5_write_texts(PareHdf5 *h, const char *group, const char *name, const char *texts,
                           size_t count, size_t width) {
    hsize_t extent = count;
    hid_t space = count == 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(1, &extent, NULL);
    hid_t object = open_or_create_group(h, group), type = H5Tcopy(H5T_C_S1);
    H5Tset_strpad(type, H5T_STR_NULLPAD);
    bool good = H5Tset_size(type, width) >= 0;
    hid_t attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    good = good && attribute >= 0 && H5Awrite(attribute, type, texts) >= 0;
    if (!good)
        note_complaint();
    H5Aclose(attribute);
    H5Tclose(type);
    H5Gclose(object);
    H5Sclose(space);
    return good;
}

bool pare_hdf5_finish(PareHdf5 *h) {
    bool good = H5Fclose(h->file) >= 0;
    pare_free(h);
    return good;
}
