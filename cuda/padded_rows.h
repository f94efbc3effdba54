// What the layers around the encoder share on the host: the rows of a padded batch [batch, seq_len], and checks of their calls.
#ifndef TF_FASTBERT_CUDA_PADDED_ROWS_H_
#define TF_FASTBERT_CUDA_PADDED_ROWS_H_

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>

#include "cuda/status.h"

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

// Whether all these arrays, whose rows have so many bytes, can be accessed in vectors of 16 bytes.
inline bool VectorsFit(std::initializer_list<const void*> pointers, std::initializer_list<size_t> row_bytes) {
  uintptr_t bits = 0;
  for (const void* pointer : pointers) bits |= reinterpret_cast<uintptr_t>(pointer);
  for (size_t bytes : row_bytes) bits |= bytes;
  return bits % 16 == 0;
}

inline Status CheckRows(const char* layer, int batch, int seq_len) {
  if (batch >= 0 && seq_len >= 0 && int64_t{batch} * seq_len <= INT32_MAX) return Status::Ok();
  return Status::InvalidArgument(std::string(layer) + ": batch * seq_len = " + std::to_string(batch) + " * " +
                                 std::to_string(seq_len) + " is out of range");
}

// FastBertDataType; `name` is the call's field.
inline Status CheckDataType(const char* layer, const char* name, int dtype) {
  if (dtype >= FASTBERT_FLOAT32 && dtype <= FASTBERT_BFLOAT16) return Status::Ok();
  return Status::InvalidArgument(std::string(layer) + ": " + name + " = " + std::to_string(dtype) + " is none");
}

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_PADDED_ROWS_H_
