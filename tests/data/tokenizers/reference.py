"""Second implementations, in plain Python, of what the tests of tokenizers expect: WordPiece and
byte-level BPE with their expected ids, tokenizer.json in several spellings, and the common
vocabulary of the pair of sentencepiece models. Run by make.sh."""
import collections
import json
import unicodedata

SENTENCES = open('sentences.txt', encoding='utf-8').read().split('\n')[:-1]
TEXTS = open('texts.txt', encoding='utf-8', newline='\n').read().split('\n')[:-1]
SPACES = {*range(9, 14), 0x20, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F,
          0x205F, 0x3000}


def is_space(c):
    return ord(c) in SPACES


def write(path, text):
    with open(path, 'w', encoding='utf-8', newline='\n') as f:
        f.write(text)


def write_ids(path, lists):
    write(path, ''.join(' '.join(map(str, ids)) + '\n' for ids in lists))


# ---- WordPiece ---------------------------------------------------------------------------------

def is_punctuation(c):
    return (33 <= ord(c) <= 47 or 58 <= ord(c) <= 64 or 91 <= ord(c) <= 96 or
            123 <= ord(c) <= 126 or unicodedata.category(c).startswith('P'))


def is_ideograph(c):
    return any(a <= ord(c) <= b for a, b in [
        (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F),
        (0x2B740, 0x2B81F), (0x2B920, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F)])


def normalize(text, lower, strip):
    out = ''
    for c in text:
        if c in '\0\ufffd' or (c not in '\t\n\r' and
                               unicodedata.category(c) in ('Cc', 'Cf', 'Co')):
            continue
        out += ' ' if is_space(c) else f' {c} ' if is_ideograph(c) else c
    if strip:
        out = ''.join(c for c in unicodedata.normalize('NFD', out)
                      if unicodedata.category(c) != 'Mn')
    if lower:
        out = ''.join(c.lower() for c in out)
    return out


def words(text):
    word = ''
    for c in text + ' ':
        if is_space(c) or is_punctuation(c):
            if word:
                yield word
            if not is_space(c):
                yield c
            word = ''
        else:
            word += c


def wordpiece(text, vocab, lower, strip):
    ids = []
    for word in words(normalize(text, lower, strip)):
        pieces, at = [], 0
        while at < len(word) <= 100:
            for end in range(len(word), at, -1):
                piece = ('##' if at else '') + word[at:end]
                if piece in vocab:
                    pieces.append(vocab[piece])
                    break
            else:
                break
            at = end
        ids += pieces if word and at == len(word) <= 100 else [vocab['[UNK]']]
    return ids


def make_wordpiece(folder, lower, strip):
    counts = collections.Counter()
    letters = set()
    for text in SENTENCES + TEXTS:
        for word in words(normalize(text, lower, strip)):
            counts[word] += 1
    for word in counts:
        for i, c in enumerate(word):
            if ord(c) < 0x3000:
                letters.add(('##' if i else '') + c)
    pieces = ['[PAD]', '[unused0]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'] + sorted(letters)
    pieces += ['##ing', '##s', '##able', 'un', '##aff', '##ord', '漢', 'super']
    pieces += sorted(w for w, n in counts.items() if n > 2 and len(w) > 1)
    pieces = list(dict.fromkeys(pieces))
    write(folder + '/vocab.txt', ''.join(p + '\n' for p in pieces))
    vocab = {p: i for i, p in enumerate(pieces)}
    write_ids(f'expected/{folder}.ids', [wordpiece(t, vocab, lower, strip) for t in TEXTS])
    return vocab


def added(vocab, names, normalized=False):
    return [{'id': vocab[n], 'content': n, 'single_word': False, 'lstrip': False, 'rstrip': False,
             'normalized': normalized, 'special': True} for n in names]


def item(kind, name, type_id):
    return {kind: {'id': name, 'type_id': type_id}}


def make_wordpiece_json(vocab):
    cls, sep = item('SpecialToken', '[CLS]', 0), item('SpecialToken', '[SEP]', 0)
    pair = [cls, item('Sequence', 'A', 0), sep, item('Sequence', 'B', 1),
            item('SpecialToken', '[SEP]', 1)]
    specials = {n: {'id': n, 'ids': [vocab[n]], 'tokens': [n]} for n in ('[CLS]', '[SEP]')}
    full = {
        'version': '1.0', 'truncation': None, 'padding': None,
        'added_tokens': added(vocab, ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]']),
        'normalizer': {'type': 'BertNormalizer', 'clean_text': True, 'handle_chinese_chars': True,
                       'strip_accents': None, 'lowercase': True},
        'pre_tokenizer': {'type': 'BertPreTokenizer'},
        'post_processor': {'type': 'TemplateProcessing', 'single': pair[:3], 'pair': pair,
                           'special_tokens': specials},
        'decoder': {'type': 'WordPiece', 'prefix': '##', 'cleanup': True},
        'model': {'type': 'WordPiece', 'unk_token': '[UNK]', 'continuing_subword_prefix': '##',
                  'max_input_chars_per_word': 100, 'vocab': vocab}}
    dump('wordpiece', full)
    old = json.loads(json.dumps(full))  # another spelling: no type of the model, other parts
    del old['model']['type']
    old['post_processor'] = {'type': 'BertProcessing', 'sep': ['[SEP]', vocab['[SEP]']],
                             'cls': ['[CLS]', vocab['[CLS]']]}
    dump('wordpiece_old', old)


def dump(name, tree):
    write(f'json/{name}.json', json.dumps(tree, ensure_ascii=False) + '\n')


# ---- Byte-level BPE ----------------------------------------------------------------------------

def alphabet():
    keep = [*range(33, 127), *range(161, 173), *range(174, 256)]
    chars, n = {b: chr(b) for b in keep}, 0
    for b in range(256):
        if b not in chars:
            chars[b] = chr(256 + n)
            n += 1
    return chars


BYTES = alphabet()


def split(text):
    """'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"""
    def kind(c):
        return 'S' if is_space(c) else unicodedata.category(c)[0]
    at = 0
    while at < len(text):
        for ending in ("'s", "'t", "'re", "'ve", "'m", "'ll", "'d"):
            if text.startswith(ending, at):
                end = at + len(ending)
                break
        else:
            first = at + 1 if text[at] == ' ' and at + 1 < len(text) and \
                not is_space(text[at + 1]) else at
            def same(a, b):
                a, b = (k if k in 'LN' else 'S' if is_space(c) else 'O'
                        for k, c in ((kind(a), a), (kind(b), b)))
                return a == b
            end = first + 1
            while end < len(text) and same(text[first], text[end]):
                end += 1
            if is_space(text[first]) and end < len(text) and end - at > 1:
                end -= 1
        yield text[at:end]
        at = end


def bpe(word, ranks):
    pieces = list(word)
    while len(pieces) > 1:
        rank, i = min((ranks.get(p, 1 << 30), i) for i, p in enumerate(zip(pieces, pieces[1:])))
        if rank == 1 << 30:
            break
        pieces[i:i + 2] = [pieces[i] + pieces[i + 1]]
    return pieces


def encode_bpe(text, vocab, ranks):
    return [vocab[p] for w in split(text)
            for p in bpe([BYTES[b] for b in w.encode()], ranks)]


def make_bpe():
    corpus = collections.Counter(tuple(BYTES[b] for b in w.encode())
                                 for s in SENTENCES for w in split(s))
    merges = []
    for _ in range(200):
        pairs = collections.Counter()
        for word, n in corpus.items():
            for pair in zip(word, word[1:]):
                pairs[pair] += n
        best = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append(best)
        corpus = collections.Counter({tuple(bpe(list(w), {best: 0})): n
                                      for w, n in corpus.items()})
    pieces = ['<s>', '<pad>', '</s>', '<unk>'] + [BYTES[b] for b in range(256)]
    pieces += [a + b for a, b in merges] + ['<mask>', '<|end|>']
    vocab = {p: i for i, p in enumerate(dict.fromkeys(pieces))}
    ranks = {m: i for i, m in enumerate(merges)}
    write('bpe/vocab.json', json.dumps(vocab, ensure_ascii=False) + '\n')
    write('bpe/merges.txt', '#version: 0.2\n' + ''.join(f'{a} {b}\n' for a, b in merges))
    write_ids('expected/bpe.ids', [encode_bpe(t, vocab, ranks) for t in TEXTS])
    make_bpe_json(vocab, merges)


def make_bpe_json(vocab, merges):
    full = {
        'version': '1.0', 'truncation': None, 'padding': None,
        'added_tokens': added(vocab, ['<s>', '<pad>', '</s>', '<unk>', '<mask>', '<|end|>']),
        'normalizer': None,
        'pre_tokenizer': {'type': 'ByteLevel', 'add_prefix_space': False, 'trim_offsets': True,
                          'use_regex': True},
        'post_processor': {'type': 'RobertaProcessing', 'sep': ['</s>', vocab['</s>']],
                           'cls': ['<s>', vocab['<s>']], 'trim_offsets': True,
                           'add_prefix_space': False},
        'decoder': {'type': 'ByteLevel', 'add_prefix_space': True, 'trim_offsets': True},
        'model': {'type': 'BPE', 'dropout': None, 'unk_token': None,
                  'continuing_subword_prefix': '', 'end_of_word_suffix': '', 'fuse_unk': False,
                  'vocab': vocab, 'merges': [f'{a} {b}' for a, b in merges]}}
    full['added_tokens'][4]['lstrip'] = True
    dump('bpe', full)
    new = json.loads(json.dumps(full))
    new['model']['merges'] = [list(m) for m in merges]
    new['model'].update(byte_fallback=False, ignore_merges=False)
    new['post_processor'] = {'type': 'ByteLevel', 'trim_offsets': False}
    dump('bpe_new', new)


# ---- The pair of sentencepiece models ----------------------------------------------------------

def make_pair():
    names = [line.split('\t')[0] for side in ('source', 'target')
             for line in open('tmp.' + side, encoding='utf-8').read().split('\n')[:-1]]
    pieces = ['</s>', '<unk>'] + sorted(set(names) - {'<s>', '</s>', '<unk>'}, reverse=True)
    pieces += ['漢字とかな', '>>xx<<', '<pad>']
    pieces.remove('▁bridge') if '▁bridge' in pieces else pieces.remove('▁the')
    vocab = {p: i for i, p in enumerate(pieces)}
    write('pair/vocab.json', json.dumps(vocab, ensure_ascii=False) + '\n')
    for side in ('source', 'target'):
        lines = open(f'expected/{side}.pieces', encoding='utf-8').read().split('\n')[:-1]
        write_ids(f'expected/{side}.ids', [[vocab.get(p, 1) for p in line.split(' ') if p]
                                           for line in lines])


if __name__ == '__main__':
    import os
    os.makedirs('json', exist_ok=True)
    make_wordpiece_json(make_wordpiece('wordpiece', True, True))
    make_wordpiece('cased', False, False)
    write('wordpiece/tokenizer_config.json', json.dumps(
        {'do_lower_case': True, 'unk_token': '[UNK]', 'cls_token': {'content': '[CLS]'},
         'model_max_length': 64, 'clean_up_tokenization_spaces': True}) + '\n')
    write('cased/tokenizer_config.json', json.dumps({'do_lower_case': False}) + '\n')
    make_bpe()
    make_pair()
