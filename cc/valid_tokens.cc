#include "cc/valid_tokens.h"

#include <string>

namespace tf_fastbert {
namespace {

absl::Status ReadLengths(const int32_t* lengths, int64_t batch, int64_t seq_len, ValidTokens* tokens) {
  for (int64_t b = 0; b < batch; ++b) {
    if (lengths[b] < 0 || lengths[b] > seq_len) {
      return absl::InvalidArgumentError("FastBertEncoder: sequence_length[" + std::to_string(b) +
                                        "] = " + std::to_string(lengths[b]) +
                                        ", but it must be between 0 and seq_len = " + std::to_string(seq_len));
    }
    tokens->num_tokens += lengths[b];
  }
  tokens->sequence_length = lengths;
  return absl::OkStatus();
}

absl::Status ReadMask(tensorflow::OpKernelContext* ctx, const int32_t* mask, int64_t batch, int64_t seq_len,
                      ValidTokens* tokens) {
  tensorflow::AllocatorAttributes on_host;
  on_host.set_on_host(true);
  absl::Status status = ctx->allocate_temp(tensorflow::DT_INT32, tensorflow::TensorShape({batch}), &tokens->counted, on_host);
  if (!status.ok()) return status;
  int32_t* lengths = tokens->counted.flat<int32_t>().data();
  bool prefix = true;
  for (int64_t b = 0; b < batch; ++b) {
    const int32_t* row = mask + b * seq_len;
    int32_t count = 0;
    bool ended = false;
    for (int64_t s = 0; s < seq_len; ++s) {
      const bool valid = row[s] != 0;
      count += valid;
      prefix = prefix && !(valid && ended);
      ended = ended || !valid;
    }
    lengths[b] = count;
    tokens->num_tokens += count;
  }
  tokens->sequence_length = lengths;
  tokens->mask = prefix ? nullptr : mask;
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadValidTokens(tensorflow::OpKernelContext* ctx, const tensorflow::Tensor& input, int64_t batch, int64_t seq_len,
                             ValidTokens* tokens) {
  const auto& shape = input.shape();
  // Not flat(), which ends the process if the tensor is not aligned: one from DLPack need not be.
  const int32_t* values = reinterpret_cast<const int32_t*>(input.tensor_data().data());
  if (shape.dims() == 1 && shape.dim_size(0) == batch) return ReadLengths(values, batch, seq_len, tokens);
  if (shape.dims() == 2 && shape.dim_size(0) == batch && shape.dim_size(1) == seq_len) {
    return ReadMask(ctx, values, batch, seq_len, tokens);
  }
  return absl::InvalidArgumentError("FastBertEncoder: sequence_length has shape " + shape.DebugString() +
                                    ", expected [batch] = [" + std::to_string(batch) + "] (lengths) or [batch, seq_len] = [" +
                                    std::to_string(batch) + "," + std::to_string(seq_len) + "] (a mask)");
}

}  // namespace tf_fastbert
