/* The names that tokenizer.json gives to the parts of a pipeline. They are content of that format:
 * the library that writes it named some parts after the models that first used them. Nothing but
 * the comparison with a file (and a message about it) may use them. */
#ifndef PARE_TEXT_TOKENIZER_JSON_NAMES_H
#define PARE_TEXT_TOKENIZER_JSON_NAMES_H

#define PARE_JSON_FULL_NORMALIZER "BertNormalizer"
#define PARE_JSON_WORD_SPLITTER "BertPreTokenizer"
#define PARE_JSON_CLS_SEP "BertProcessing"
#define PARE_JSON_CLS_SEP_SEP "RobertaProcessing"

#endif
