// Sizes inside the encoder.
//
// Head size, hidden size and inner size are padded to multiples of 8 with zeros, in the weights (once, when they are packed) and
// in the activations. A 16-byte access and every tensor-core kernel then fit any model, zero columns stay zero through each
// operation, and no kernel needs a second form for odd sizes. For the usual sizes, multiples of 8 already, nothing is padded or
// copied.
#ifndef TF_FASTBERT_CUDA_DIMENSIONS_H_
#define TF_FASTBERT_CUDA_DIMENSIONS_H_

#include <cstddef>

#include "cuda/fastbert_cuda.h"

namespace tf_fastbert {
namespace cuda {

inline int RoundUpTo8(int n) { return (n + 7) / 8 * 8; }
inline size_t SizeOf(int dtype) { return dtype == FASTBERT_FLOAT32 ? 4 : 2; }

struct Dimensions {
  explicit Dimensions(const FastBertConfig& config)
      : num_heads(config.num_heads),
        head(config.size_per_head),
        hidden(config.num_heads * config.size_per_head),
        inner(config.inner_size),
        padded_head(RoundUpTo8(head)),
        padded_hidden(RoundUpTo8(hidden)),
        padded_inner(RoundUpTo8(inner)),
        heads(num_heads * padded_head) {}

  int num_heads;
  int head, hidden, inner;
  int padded_head, padded_hidden, padded_inner;
  int heads;  // num_heads * padded_head: columns of Q, of K, of V and of the attention's context
};

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_DIMENSIONS_H_
