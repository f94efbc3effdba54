// The rows of a padded batch [batch, seq_len], one after the other, and which of them are padding.
#ifndef TF_FASTBERT_CUDA_PADDED_ROWS_H_
#define TF_FASTBERT_CUDA_PADDED_ROWS_H_

#include <cstdint>

namespace tf_fastbert {
namespace cuda {

// visit(row, valid) for the rows [first, end). The arrays are as in FastBertCall; both null: all rows are valid.
template <typename Visit>
void ForEachRow(int64_t first, int64_t end, int seq_len, const int32_t* sequence_length, const int32_t* mask,
                const Visit& visit) {
  int64_t sequence = first / seq_len;
  int position = static_cast<int>(first % seq_len);
  for (int64_t row = first; row < end; ++row) {
    visit(row, mask != nullptr ? mask[row] != 0 : sequence_length == nullptr || position < sequence_length[sequence]);
    if (++position == seq_len) {
      position = 0;
      ++sequence;
    }
  }
}

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_PADDED_ROWS_H_
