// Token index, attention items and padding; see packing.h.
#include "cc/cpu/packing.h"

#include <algorithm>
#include <cstring>
#include <string>

namespace tf_fastbert {
namespace cpu {

Status IndexTokens(const EncoderCall& call, int32_t* sequence_begin, int32_t* row_source) {
  int row = 0;
  for (int b = 0; b < call.batch; ++b) {
    sequence_begin[b] = row;
    const int32_t first = b * call.seq_len;
    const int limit = call.mask == nullptr ? call.sequence_length[b] : call.seq_len;
    for (int s = 0; s < limit; ++s) {
      if (call.mask != nullptr && call.mask[first + s] == 0) continue;
      if (row == call.num_tokens) {
        return Status::Internal("more valid tokens than num_tokens = " + std::to_string(call.num_tokens));
      }
      row_source[row++] = first + s;
    }
  }
  sequence_begin[call.batch] = row;
  if (row == call.num_tokens) return Status::Ok();
  return Status::Internal(std::to_string(row) + " valid tokens, but num_tokens = " + std::to_string(call.num_tokens));
}

int64_t ListAttentionItems(const int32_t* sequence_begin, int batch, int queries_per_task, int32_t* order, AttentionItem* items) {
  const auto length = [sequence_begin](int32_t b) { return sequence_begin[b + 1] - sequence_begin[b]; };
  for (int b = 0; b < batch; ++b) order[b] = b;
  std::sort(order, order + batch, [&](int32_t a, int32_t b) { return length(a) != length(b) ? length(a) > length(b) : a < b; });
  int64_t count = 0;
  for (int i = 0; i < batch; ++i) {
    for (int query = 0; query < length(order[i]); query += queries_per_task) items[count++] = {order[i], query};
  }
  return count;
}

void ZeroPadding(const EncoderCall& call, int sequence, int slabs, int64_t row_bytes) {
  const int64_t first = static_cast<int64_t>(sequence) * call.seq_len;
  for (int slab = 0; slab < slabs; ++slab) {
    char* rows = static_cast<char*>(call.output) + (static_cast<int64_t>(slab) * call.batch * call.seq_len + first) * row_bytes;
    if (call.mask == nullptr) {
      const int64_t valid = call.sequence_length[sequence];
      std::memset(rows + valid * row_bytes, 0, (call.seq_len - valid) * row_bytes);
      continue;
    }
    for (int s = 0; s < call.seq_len; ++s) {
      if (call.mask[first + s] == 0) std::memset(rows + s * row_bytes, 0, row_bytes);
    }
  }
}

}  // namespace cpu
}  // namespace tf_fastbert
