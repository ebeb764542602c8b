/* Two vocabularies: which tokens are the same, and the ids of one in the other.
 *
 * A token is known by its text: two tokenizers of one kind mean the same by the same piece. That
 * holds whatever the candidate's history is, or says to be: for a vocabulary that was cut, whose
 * tokens keep their pieces, for a model that went through another format, and for the tokens that
 * unrelated models happen to share. Where a piece occurs twice, it is the one that texts lead to.
 * Rows of a table that no token names belong to nothing and are shared with nothing. */
#include <string.h>

#include "core/memory.h"
#include "verify/verify_parts.h"

static uint32_t rows_of(const PareVerify *v, int model) {
    const PareDescription *d = pare_model_description(v->models[model]);
    return d->stacks[pare_description_top(d)].vocabulary;
}

static bool same_tables(const PareVerify *v) {
    const PareDescription *a = pare_model_description(v->models[PARE_VERIFY_REFERENCE]);
    const PareDescription *b = pare_model_description(v->models[PARE_VERIFY_CANDIDATE]);
    for (int s = 0; s < PARE_STACKS; s++)
        if (a->stacks[s].present && a->stacks[s].vocabulary != b->stacks[s].vocabulary)
            return false;
    return true;
}

static PareStatus load(PareVerify *v, int model, PareError *err) {
    const char *path =
        model == PARE_VERIFY_REFERENCE ? v->options->reference : v->options->candidate;
    const void *bytes;
    size_t size;
    if (!pare_file_section(pare_model_file(v->models[model]), PARE_SECTION_TOKENIZER, &bytes,
                           &size))
        return PARE_OK;
    return pare_tokenizer_from_bytes(bytes, size, path, &v->tokenizers[model], err);
}

/* Sets tokens.differ; refuses what cannot be matched. */
static PareStatus check(PareVerify *v, PareError *err) {
    const PareVerifyOptions *o = v->options;
    const void *bytes[PARE_VERIFY_MODELS] = {NULL, NULL};
    size_t sizes[PARE_VERIFY_MODELS] = {0, 0};
    bool has[PARE_VERIFY_MODELS], tables = same_tables(v);
    for (int m = 0; m < PARE_VERIFY_MODELS; m++)
        has[m] = pare_file_section(pare_model_file(v->models[m]), PARE_SECTION_TOKENIZER, &bytes[m],
                                   &sizes[m]);
    if (has[0] != has[1])
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "the models cannot be compared: the tokenizer of %s is %s, and of %s "
                              "%s",
                              o->reference, has[0] ? "there" : "missing", o->candidate,
                              has[1] ? "there" : "missing");
    if (!has[0] && !tables)
        return pare_error_set(err, PARE_E_UNSUPPORTED,
                              "the models cannot be compared: %s has %u tokens and %s %u, and "
                              "neither has a tokenizer that says which are the same",
                              o->reference, rows_of(v, PARE_VERIFY_REFERENCE), o->candidate,
                              rows_of(v, PARE_VERIFY_CANDIDATE));
    v->tokens.differ =
        !tables || sizes[0] != sizes[1] || (sizes[0] && memcmp(bytes[0], bytes[1], sizes[0]) != 0);
    return PARE_OK;
}

/* The id that texts with this piece lead to in the other vocabulary; -1: none. */
static int32_t find_other(const PareVerify *v, int model, int32_t id) {
    const char *piece = pare_tokenizer_piece(v->tokenizers[model], id);
    if (!*piece || pare_tokenizer_id(v->tokenizers[model], piece) != id)
        return -1;
    int32_t found = pare_tokenizer_id(v->tokenizers[!model], piece);
    return found >= 0 && (size_t)found < v->tokens.sizes[!model] ? found : -1;
}

static PareStatus match(PareVerify *v, PareError *err) {
    PareVerifyTokens *t = &v->tokens;
    bool alike =
        strcmp(pare_tokenizer_kind(v->tokenizers[0]), pare_tokenizer_kind(v->tokenizers[1])) == 0;
    for (int m = 0; m < PARE_VERIFY_MODELS; m++) {
        size_t size = pare_tokenizer_size(v->tokenizers[m]);
        t->sizes[m] = size < rows_of(v, m) ? size : rows_of(v, m);
        t->other[m] = pare_alloc(t->sizes[m], sizeof *t->other[m]);
        if (!t->other[m])
            return pare_memory_error(err, "the vocabulary");
    }
    for (int m = 0; m < PARE_VERIFY_MODELS; m++)
        for (size_t id = 0; id < t->sizes[m]; id++)
            t->other[m][id] = alike ? find_other(v, m, (int32_t)id) : -1;
    return PARE_OK;
}

static PareStatus list_places(PareVerify *v, PareError *err) {
    PareVerifyTokens *t = &v->tokens;
    size_t size = t->sizes[PARE_VERIFY_CANDIDATE], n = 0;
    for (int m = 0; m < PARE_VERIFY_MODELS; m++)
        if (!(t->places[m] = pare_alloc(size, sizeof *t->places[m])))
            return pare_memory_error(err, "the vocabulary");
    for (size_t id = 0; id < size; id++) {
        int32_t other = t->other[PARE_VERIFY_CANDIDATE][id];
        if (other < 0)
            continue;
        t->places[PARE_VERIFY_REFERENCE][n] = (uint32_t)other;
        t->places[PARE_VERIFY_CANDIDATE][n++] = (uint32_t)id;
    }
    t->shared = n;
    return PARE_OK;
}

PareStatus pare_verify_match_tokens(PareVerify *v, PareError *err) {
    PareVerifyVocabularies *r = &v->report->vocabularies;
    PareStatus status = check(v, err);
    if (!status)
        status = load(v, PARE_VERIFY_REFERENCE, err);
    if (status || !v->tokens.differ)
        return status;
    if (!(status = load(v, PARE_VERIFY_CANDIDATE, err)) && !(status = match(v, err)))
        status = list_places(v, err);
    *r = (PareVerifyVocabularies){
        .differ = true,
        .size = {rows_of(v, PARE_VERIFY_REFERENCE), rows_of(v, PARE_VERIFY_CANDIDATE)},
        .shared = v->tokens.shared};
    return status;
}

void pare_verify_free_tokens(PareVerify *v) {
    for (int m = 0; m < PARE_VERIFY_MODELS; m++) {
        pare_tokenizer_free(v->tokenizers[m]);
        pare_free(v->tokens.other[m]);
        pare_free(v->tokens.places[m]);
    }
}

static int32_t to_candidate(const PareVerify *v, int32_t id) {
    const PareVerifyTokens *t = &v->tokens;
    return id >= 0 && (size_t)id < t->sizes[PARE_VERIFY_REFERENCE]
               ? t->other[PARE_VERIFY_REFERENCE][id]
               : -1;
}

bool pare_verify_same_tokens(const PareVerify *v, const PareIds *reference,
                             const PareIds *candidate) {
    if (reference->count != candidate->count)
        return false;
    for (size_t i = 0; i < reference->count; i++)
        if (to_candidate(v, reference->data[i]) != candidate->data[i])
            return false;
    return true;
}

PareStatus pare_verify_translate_ids(const PareVerify *v, const int32_t *ids, size_t count,
                                     PareIds *out, PareError *err) {
    size_t known = v->tokens.sizes[PARE_VERIFY_REFERENCE];
    for (size_t i = 0; i < count; i++) {
        int32_t id = to_candidate(v, ids[i]);
        bool named = ids[i] >= 0 && (size_t)ids[i] < known;
        if (id < 0)
            return pare_error_set(
                err, PARE_E_FORMAT, "token id %d (\"%.80s\" of %s) is not in the vocabulary of %s",
                ids[i], named ? pare_tokenizer_piece(v->tokenizers[0], ids[i]) : "",
                v->options->reference, v->options->candidate);
        if (!pare_ids_push(out, id))
            return pare_memory_error(err, "token ids");
    }
    return PARE_OK;
}
