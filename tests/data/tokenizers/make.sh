#!/bin/sh
# Makes every fixture in this folder afresh: run it here after changing sentences.txt, texts.txt,
# rules.tsv or reference.py. Needs python3 and the package `sentencepiece` (0.1.97).
# sentences.txt and texts.txt are our own inventions.
set -eu
cd "$(dirname "$0")"
mkdir -p unigram bytes suffix pair bpe_model wordpiece cased bpe expected
train() {
    folder=$1; shift
    spm_train --input=sentences.txt --model_prefix=tmp --num_threads=1 --minloglevel=2 \
        --hard_vocab_limit=false "$@" 2>/dev/null
    mv tmp.model "$folder"; rm -f tmp.vocab
}
train unigram/spiece.model --vocab_size=180 --character_coverage=0.99 \
    --normalization_rule_tsv=rules.tsv --pad_id=0 --eos_id=1 --unk_id=2 --bos_id=-1
train bytes/spiece.model --vocab_size=450 --byte_fallback --normalization_rule_name=identity \
    --user_defined_symbols='the ,<tag>,ü' --remove_extra_whitespaces=false
train suffix/spiece.model --vocab_size=160 --treat_whitespace_as_suffix=true \
    --normalization_rule_tsv=rules.tsv --control_symbols='<ctl>'
train bpe_model/spiece.model --model_type=bpe --vocab_size=150 --normalization_rule_name=identity
train pair/source.spm --vocab_size=150 --normalization_rule_tsv=rules.tsv
train pair/target.spm --vocab_size=130 --normalization_rule_tsv=rules.tsv
for m in unigram bytes suffix; do
    spm_encode --model=$m/spiece.model --output_format=id <texts.txt >expected/$m.ids
    spm_decode --model=$m/spiece.model --input_format=id <expected/$m.ids >expected/$m.text
done
for side in source target; do
    spm_encode --model=pair/$side.spm --output_format=piece <texts.txt >expected/$side.pieces
    spm_decode --model=pair/$side.spm --input_format=piece <expected/$side.pieces \
        >expected/$side.text
    spm_export_vocab --model=pair/$side.spm --output=tmp.$side 2>/dev/null
done
python3 reference.py
rm -f tmp.source tmp.target
