// How the workspace of a pass is divided.
#include <algorithm>

#include "cuda/encoder_pass.h"
#include "cuda/quantized_weights.h"

namespace tf_fastbert {
namespace cuda {

size_t Encoder::PlanBuffers(int64_t batch, int64_t seq_len, int64_t num_tokens, int64_t rows, char* workspace,
                            Buffers* buffers) const {
  size_t used = 0;
  const auto take = [&](int64_t bytes) {
    char* p = workspace + used;
    used += (bytes + 255) / 256 * 256;
    return p;
  };
  const Dimensions& d = dimensions_;
  num_tokens = BucketOfTokens(num_tokens);
  rows = BucketOfTokens(rows);
  const int64_t row = rows * SizeOf(config_.dtype);
  buffers->padded_row = reinterpret_cast<int32_t*>(take(num_tokens * sizeof(int32_t)));
  buffers->token = reinterpret_cast<int32_t*>(take(batch * seq_len * sizeof(int32_t)));
  buffers->tiles = reinterpret_cast<AttentionTile*>(
      take(MaxAttentionTiles(static_cast<int>(batch), num_tokens, attention_.tile_size) * sizeof(AttentionTile)));
  buffers->next_item = reinterpret_cast<int*>(take(2 * sizeof(int)));
  buffers->x = take(row * d.padded_hidden);
  buffers->normalized = config_.layer_norm == FASTBERT_PRE_LAYER_NORM ? take(row * d.padded_hidden) : nullptr;
  buffers->projection = take(row * d.padded_hidden);
  const size_t shared_from = used;
  buffers->qkv = take(row * 3 * d.heads);
  buffers->context = take(row * d.heads);
  const size_t after_attention = used;
  used = shared_from;
  buffers->inner = take(row * d.padded_inner);
  used = std::max(used, after_attention);
  buffers->gemm = take(gemms_->workspace_bytes());
  buffers->x8 = RunsQuantized(rows) ? take(rows * d.hidden) : nullptr;
  buffers->context8 = RunsQuantized(rows) ? take(rows * d.hidden) : nullptr;
  return used;
}

size_t Encoder::WorkspaceBytes(int batch, int seq_len, int num_tokens, bool remove_padding) const {
  if (batch <= 0 || seq_len <= 0 || num_tokens <= 0) return 0;
  const int64_t padded_rows = static_cast<int64_t>(batch) * seq_len;
  Buffers buffers;
  return PlanBuffers(batch, seq_len, num_tokens, remove_padding ? num_tokens : padded_rows, nullptr, &buffers);
}

}  // namespace cuda
}  // namespace tf_fastbert
