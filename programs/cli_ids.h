/* Lines of token ids: a JSON object with input_ids (and what may stand beside them) or a bare list.
 */
#ifndef PARE_PROGRAMS_CLI_IDS_H
#define PARE_PROGRAMS_CLI_IDS_H

#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "programs/cli_inputs.h"

/* Fills ids, types, decoder and targets ("labels", as written) of `in`, and which of them are
 * there. Positions that attention_mask or decoder_attention_mask call padding are left out. Labels
 * stand beside the ids where `labels_beside_ids` (a decoder alone), otherwise beside what the
 * decoder reads. `where` begins messages. */
PareStatus pare_ids_parse(const char *line, size_t size, bool labels_beside_ids, const char *where,
                          PareInput *in, PareError *err);

#endif
