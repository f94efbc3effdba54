// Between the padded tensors [batch, seq_len, H] and the packed rows that the encoder works on.
#ifndef TF_FASTBERT_CC_CPU_PACKING_H_
#define TF_FASTBERT_CC_CPU_PACKING_H_

#include <cstdint>

#include "cc/cpu/plan.h"
#include "cc/encoder.h"

namespace tf_fastbert {
namespace cpu {

// Valid tokens in order of batch, then position. sequence_begin [batch + 1]; row_source [num_tokens] gets b * seq_len + s.
// The status is an error if the lengths or the mask do not add up to call.num_tokens.
Status IndexTokens(const EncoderCall& call, int32_t* sequence_begin, int32_t* row_source);

// Sequences longest first, divided into `queries_per_task` queries; empty ones are left out. `order` [batch] is scratch.
// Returns the number of items written.
int64_t ListAttentionItems(const int32_t* sequence_begin, int batch, int queries_per_task, int32_t* order, AttentionItem* items);

// Zeroes the rows of sequence `sequence` that hold no valid token, in all `slabs` outputs [batch, seq_len, row_bytes].
void ZeroPadding(const EncoderCall& call, int sequence, int slabs, int64_t row_bytes);

}  // namespace cpu
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_CPU_PACKING_H_
