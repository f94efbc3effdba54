// Ranges of row counts that share an algorithm.
#ifndef TF_FASTBERT_CUDA_GEMM_BUCKET_H_
#define TF_FASTBERT_CUDA_GEMM_BUCKET_H_

#include <cstdint>

namespace tf_fastbert {
namespace cuda {

// Buckets of M end at 16, 32, 48, 64, then at four steps per doubling: 80, 96, 112, 128, 160, 192, ...
inline void FindBucket(int64_t num_rows, int* index, int64_t* last) {
  if (num_rows <= 64) {
    *index = static_cast<int>((num_rows - 1) / 16);
    *last = (*index + 1) * 16;
    return;
  }
  int log2 = 6;
  while ((int64_t{2} << log2) < num_rows) ++log2;
  const int64_t step = int64_t{1} << (log2 - 2);
  const int64_t quarter = (num_rows - 1 - (int64_t{1} << log2)) / step;
  *index = static_cast<int>(4 + (log2 - 6) * 4 + quarter);
  *last = (int64_t{1} << log2) + (quarter + 1) * step;
}

// The largest row count of a bucket.
inline int64_t LastRowOfBucket(int index) {
  if (index < 4) return (index + 1) * 16;
  const int log2 = 6 + (index - 4) / 4;
  return (int64_t{1} << log2) + ((index - 4) % 4 + 1) * (int64_t{1} << (log2 - 2));
}

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_GEMM_BUCKET_H_
