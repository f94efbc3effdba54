// What the layers around the encoder share: rows of a padded batch, and float32 copies of them in the workspace.
#ifndef TF_FASTBERT_CC_CPU_PADDED_ROWS_H_
#define TF_FASTBERT_CC_CPU_PADDED_ROWS_H_

#include <cstddef>
#include <cstdint>

namespace tf_fastbert {
namespace cpu {

constexpr int64_t kRowsPerTask = 16;

// Whether a row of [batch, seq_len] is no padding. The arrays are as in EncoderCall; both null: none is.
inline bool IsValidRow(int64_t row, int seq_len, const int32_t* sequence_length, const int32_t* mask) {
  if (mask != nullptr) return mask[row] != 0;
  return sequence_length == nullptr || row % seq_len < sequence_length[row / seq_len];
}

// Floats from one vector of hidden_size floats to the next: each starts at a multiple of 64 bytes.
inline size_t VectorStride(int hidden_size) { return (static_cast<size_t>(hidden_size) + 15) / 16 * 16; }

}  // namespace cpu
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_CPU_PADDED_ROWS_H_
