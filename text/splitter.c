/* The split pattern of byte-level BPE, run by PCRE2. The only file that includes pcre2.h.
 *
 * The compiled pattern is shared and never changes; each walk over a text has match data of its
 * own, so that threads may share a tokenizer. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "core/memory.h"
#include "text/tokenizer_impl.h"

/* The reference's pattern; its \s means the property White_Space, written out here because PCRE2's
 * \s also matches U+180E, which lost the property in Unicode 6.3. */
#define SPACE                                                                                      \
    "\\t-\\r \\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}"                \
    "\\x{205f}\\x{3000}"
static const char pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" SPACE
                              "\\p{L}\\p{N}]+|[" SPACE "]+(?![^" SPACE "])|[" SPACE "]+";

struct PareSplitter {
    pcre2_general_context *memory;
    pcre2_code *code;
};

struct PareSplit {
    const PareSplitter *splitter;
    pcre2_match_data *data;
    const char *text;
    size_t size, at;
};

static void *allocate(size_t size, void *unused) {
    (void)unused;
    return pare_alloc(size, 1);
}

static void release(void *p, void *unused) {
    (void)unused;
    pare_free(p);
}

PareStatus pare_splitter_create(PareSplitter **out, PareError *err) {
    PareStatus status = PARE_OK;
    pcre2_compile_context *context = NULL;
    PareSplitter *s = pare_alloc(1, sizeof *s);
    *out = NULL;
    if (s == NULL) {
        return pare_memory_error(err, "a split pattern");
    }
    s->memory = pcre2_general_context_create(allocate, release, NULL);
    context = s->memory != NULL ? pcre2_compile_context_create(s->memory) : NULL;
    if (context == NULL) {
        status = pare_memory_error(err, "a split pattern");
        goto done;
    }
    int error = 0;
    PCRE2_SIZE offset = 0;
    s->code = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP,
                            &error, &offset, context);
    if (s->code == NULL && error == PCRE2_ERROR_HEAP_FAILED) {
        status = pare_memory_error(err, "a split pattern");
        goto done;
    }
    if (s->code == NULL) {
        char message[256];
        pcre2_get_error_message(error, (PCRE2_UCHAR *)message, sizeof message);
        status = pare_error_set(err, PARE_E_UNSUPPORTED,
                                "the PCRE2 library refuses the split pattern: %s", message);
        goto done;
    }
    /* Without a JIT for this CPU the interpreter gives the same matches. */
    (void)pcre2_jit_compile(s->code, PCRE2_JIT_COMPLETE);
    *out = s;
done:
    pcre2_compile_context_free(context);
    if (status != PARE_OK) {
        pare_splitter_free(s);
    }
    return status;
}

void pare_splitter_free(PareSplitter *s) {
    if (s != NULL) {
        pcre2_code_free(s->code);
        pcre2_general_context_free(s->memory);
        pare_free(s);
    }
}

PareSplit *pare_split_begin(const PareSplitter *s, const char *text, size_t size) {
    PareSplit *w = pare_alloc(1, sizeof *w);
    if (w == NULL) {
        return NULL;
    }
    w->data = pcre2_match_data_create(1, s->memory);
    if (w->data == NULL) {
        pare_free(w);
        return NULL;
    }
    w->splitter = s;
    w->text = text;
    w->size = size;
    return w;
}

bool pare_split_next(PareSplit *w, size_t *begin, size_t *end, bool *failed) {
    *failed = false;
    if (w->at >= w->size) {
        return false;
    }
    PCRE2_SPTR text = (PCRE2_SPTR)w->text;
    const pcre2_code *code = w->splitter->code;
    int rc = pcre2_match(code, text, w->size, w->at, PCRE2_NO_UTF_CHECK, w->data, NULL);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) {
        rc = pcre2_match(code, text, w->size, w->at, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, w->data,
                         NULL);
    }
    if (rc < 0 && rc != PCRE2_ERROR_NOMATCH) {
        *failed = true;
        return false;
    }
    const PCRE2_SIZE *range = pcre2_get_ovector_pointer(w->data);
    *begin = w->at;
    if (rc < 0) { /* cannot happen: every character is in some alternative */
        *end = w->size;
    } else {
        *end = range[0] > w->at ? range[0] : range[1];
    }
    w->at = *end;
    return true;
}

void pare_split_end(PareSplit *w) {
    if (w != NULL) {
        pcre2_match_data_free(w->data);
        pare_free(w);
    }
}
