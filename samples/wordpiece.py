"""BERT's uncased WordPiece, and a simple way to choose its vocabulary from a text.

The splitting follows BasicTokenizer and WordpieceTokenizer of Hugging Face transformers with
do_lower_case. CJK spacing and control characters are left out: the samples have none.
"""
import collections
import unicodedata

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def is_punctuation(char):
    ascii_symbol = char.isascii() and char.isprintable() and not char.isalnum() and char != " "
    return ascii_symbol or unicodedata.category(char).startswith("P")


def split_words(text):
    """Lower case, no accents, every punctuation mark a word of its own."""
    text = unicodedata.normalize("NFD", text.lower())
    text = "".join(char for char in text if unicodedata.category(char) != "Mn")
    return "".join(f" {char} " if is_punctuation(char) else char for char in text).split()


def split_word(word, vocabulary):
    """The longest piece first; a word that cannot be spelled is [UNK] as a whole."""
    pieces, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = ("##" if start else "") + word[start:end]
            if piece in vocabulary:
                break
        else:
            return ["[UNK]"]
        pieces.append(piece)
        start = end
    return pieces


def encode(text, ids):
    """A text to token ids with [CLS] and [SEP]; ids maps a piece to its number."""
    pieces = [piece for word in split_words(text) for piece in split_word(word, ids)]
    return [ids[piece] for piece in ["[CLS]", *pieces, "[SEP]"]]


def choose_vocabulary(texts, words, endings):
    """Special pieces, all characters, the most frequent words, then frequent ends of the others."""
    counts = collections.Counter(word for text in texts for word in split_words(text))
    characters = sorted({char for word in counts for char in word})
    pieces = SPECIALS + characters + ["##" + char for char in characters]
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    frequent = [word for word in ranked if len(word) > 1][:words]
    pieces += frequent
    ends = collections.Counter()
    for word in set(counts) - set(frequent):
        for length in range(2, min(5, len(word))):
            ends["##" + word[-length:]] += counts[word] * (length - 1)
    pieces += sorted(ends, key=lambda end: (-ends[end], end))[:endings]
    return pieces
