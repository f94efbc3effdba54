// What the op's sequence_length input says: lengths or a mask, checked and brought into the form backends take.
#ifndef TF_FASTBERT_CC_VALID_TOKENS_H_
#define TF_FASTBERT_CC_VALID_TOKENS_H_

#include <cstdint>

#include "absl/status/status.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace tf_fastbert {

struct ValidTokens {
  const int32_t* sequence_length = nullptr;  // [batch], how many tokens of each sequence are valid
  const int32_t* mask = nullptr;             // [batch, seq_len], or null: the valid tokens come first in every sequence
  int num_tokens = 0;
  tensorflow::Tensor lengths;  // holds sequence_length
};

// `input` (host memory): int32 [batch] with values in [0, seq_len], or int32 [batch, seq_len], nonzero = valid. `mask` points
// into `input`. Requires batch * seq_len to fit an int.
absl::Status ReadValidTokens(tensorflow::OpKernelContext* ctx, const tensorflow::Tensor& input, int64_t batch, int64_t seq_len,
                             ValidTokens* tokens);

}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_VALID_TOKENS_H_
