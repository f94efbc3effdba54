#include "cc/valid_tokens.h"

#include <algorithm>
#include <string>

namespace tf_fastbert {
namespace {

// A copy that nobody else can write to: the input may be an array that a session was fed, and what was checked must be what is used.
absl::Status AllocateLengths(tensorflow::OpKernelContext* ctx, int64_t batch, ValidTokens* tokens, int32_t** lengths) {
  tensorflow::AllocatorAttributes on_host;
  on_host.set_on_host(true);
  absl::Status status = ctx->allocate_temp(tensorflow::DT_INT32, tensorflow::TensorShape({batch}), &tokens->lengths, on_host);
  if (!status.ok()) return status;
  *lengths = tokens->lengths.flat<int32_t>().data();
  tokens->sequence_length = *lengths;
  return absl::OkStatus();
}

absl::Status ReadLengths(tensorflow::OpKernelContext* ctx, const int32_t* values, int64_t batch, int64_t seq_len,
                         ValidTokens* tokens) {
  int32_t* lengths = nullptr;
  absl::Status status = AllocateLengths(ctx, batch, tokens, &lengths);
  if (!status.ok()) return status;
  std::copy(values, values + batch, lengths);
  for (int64_t b = 0; b < batch; ++b) {
    if (lengths[b] < 0 || lengths[b] > seq_len) {
      return absl::InvalidArgumentError("sequence_length[" + std::to_string(b) +
                                        "] = " + std::to_string(lengths[b]) +
                                        ", but it must be between 0 and seq_len = " + std::to_string(seq_len));
    }
    tokens->num_tokens += lengths[b];
  }
  return absl::OkStatus();
}

absl::Status ReadMask(tensorflow::OpKernelContext* ctx, const int32_t* mask, int64_t batch, int64_t seq_len,
                      ValidTokens* tokens) {
  int32_t* lengths = nullptr;
  absl::Status status = AllocateLengths(ctx, batch, tokens, &lengths);
  if (!status.ok()) return status;
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
  tokens->mask = prefix ? nullptr : mask;
  return absl::OkStatus();
}

}  // namespace

absl::Status ReadValidTokens(tensorflow::OpKernelContext* ctx, const tensorflow::Tensor& input, int64_t batch, int64_t seq_len,
                             ValidTokens* tokens) {
  const auto& shape = input.shape();
  // Not flat(), which ends the process if the tensor is not aligned: one from DLPack need not be.
  const int32_t* values = reinterpret_cast<const int32_t*>(input.tensor_data().data());
  if (shape.dims() == 1 && shape.dim_size(0) == batch) return ReadLengths(ctx, values, batch, seq_len, tokens);
  if (shape.dims() == 2 && shape.dim_size(0) == batch && shape.dim_size(1) == seq_len) {
    return ReadMask(ctx, values, batch, seq_len, tokens);
  }
  return absl::InvalidArgumentError("sequence_length has shape " + shape.DebugString() +
                                    ", expected [batch] = [" + std::to_string(batch) + "] (lengths) or [batch, seq_len] = [" +
                                    std::to_string(batch) + "," + std::to_string(seq_len) + "] (a mask)");
}

}  // namespace tf_fastbert
