/* Added tokens ("[MASK]", "<extra_id_0>") are recognised in the text before the model sees it, as
 * the reference's AddedVocabulary does: non-overlapping, leftmost, longest; `single_word` asks for
 * a word boundary on both sides, `lstrip` and `rstrip` swallow the blanks beside the token. */
#include "text/tokenizer_impl.h"

#include "text/unicode.h"

static bool add_key(PareMatcher *m, const char *key, size_t size, int32_t index) {
    if (size == 0) {
        return true;
    }
    m->any = true;
    m->first[(uint8_t)key[0]] = true;
    return pare_trie_insert(&m->trie, key, size, index);
}

/* Tokens that are marked `normalized` are looked for in the normalized text, in their own
 * normalized form; a kind that does not normalize has one text only. */
PareStatus pare_matchers_build(PareTokenizer *t, PareError *err) {
    PareBuffer key = {0};
    bool ok = true;
    for (size_t i = 0; i < t->added_count && ok; i++) {
        size_t size;
        const char *piece = pare_vocab_piece(&t->vocab, t->added[i].id, &size);
        if ((t->added[i].flags & PARE_TOKEN_NORMALIZED) != 0 && t->kind->normalize != NULL) {
            pare_buffer_clear(&key);
            t->kind->normalize(t, piece, size, &key);
            ok = !key.failed && add_key(&t->normalized, key.data, key.size, (int32_t)i);
        } else {
            ok = add_key(&t->raw, piece, size, (int32_t)i);
        }
    }
    pare_buffer_free(&key);
    return ok ? PARE_OK : pare_memory_error(err, "added tokens");
}

void pare_matcher_free(PareMatcher *m) {
    pare_trie_free(&m->trie);
}

static bool word_before(const char *text, size_t at) {
    const char *p = text + at;
    return at > 0 && pare_unicode_is_word(pare_utf8_previous(&p, text));
}

static bool word_behind(const char *text, size_t size, size_t at) {
    const char *p = text + at;
    return at < size && pare_unicode_is_word(pare_utf8_next(&p, text + size));
}

static size_t strip_left(const char *text, size_t from, size_t at) {
    const char *p = text + at;
    while (p > text + from) {
        const char *q = p;
        if (!pare_unicode_is_space(pare_utf8_previous(&q, text))) {
            break;
        }
        p = q;
    }
    return (size_t)(p - text);
}

static size_t strip_right(const char *text, size_t size, size_t at) {
    const char *p = text + at;
    while (p < text + size) {
        const char *q = p;
        if (!pare_unicode_is_space(pare_utf8_next(&q, text + size))) {
            break;
        }
        p = q;
    }
    return (size_t)(p - text);
}

/* The longest token that begins at `at`: its index, or -1; its end in *end. */
static int32_t longest_at(const PareMatcher *m, const char *text, size_t size, size_t at,
                          size_t *end) {
    int32_t found = -1;
    uint32_t node = 0;
    for (size_t i = at; i < size; i++) {
        node = pare_trie_step(&m->trie, node, (uint8_t)text[i]);
        if (node == 0) {
            break;
        }
        if (pare_trie_value(&m->trie, node) >= 0) {
            found = pare_trie_value(&m->trie, node);
            *end = i + 1;
        }
    }
    return found;
}

bool pare_matcher_next(const PareMatcher *m, const PareTokenizer *t, const char *text, size_t size,
                       size_t from, PareMatch *out) {
    if (!m->any) {
        return false;
    }
    size_t at = from;
    while (at < size) {
        size_t end;
        int32_t index = m->first[(uint8_t)text[at]] ? longest_at(m, text, size, at, &end) : -1;
        if (index < 0) {
            at++;
            continue;
        }
        const PareAddedToken *token = &t->added[index];
        if ((token->flags & PARE_TOKEN_SINGLE_WORD) != 0 &&
            (word_before(text, at) || word_behind(text, size, end))) {
            at = end;
            continue;
        }
        out->id = token->id;
        out->begin = (token->flags & PARE_TOKEN_LSTRIP) != 0 ? strip_left(text, from, at) : at;
        out->end = (token->flags & PARE_TOKEN_RSTRIP) != 0 ? strip_right(text, size, end) : end;
        return true;
    }
    return false;
}
