// How attention kernels store their context: as it is, or in 8 bits for a quantized product behind them.
#ifndef TF_FASTBERT_CUDA_ATTENTION_STORE_CUH_
#define TF_FASTBERT_CUDA_ATTENTION_STORE_CUH_

#include "cuda/attention.h"
#include "cuda/quantized.cuh"
#include "cuda/vector.cuh"

namespace tf_fastbert {
namespace cuda {

// Eight values of T, at element `at` of the context, a multiple of 8.
template <typename T>
__device__ __forceinline__ void StoreContext(const AttentionArgs& args, int64_t at, uint4 values) {
  if (args.quantize == AttentionArgs::kNotQuantized) {
    *reinterpret_cast<uint4*>(static_cast<T*>(args.context) + at) = values;
    return;
  }
  const T* elements = reinterpret_cast<const T*>(&values);
  float scaled[8];
#pragma unroll
  for (int i = 0; i < 8; ++i) scaled[i] = ToFloat(elements[i]) * args.context_scale;
  *reinterpret_cast<uint2*>(static_cast<char*>(args.context) + at) =
      args.quantize == AttentionArgs::kInt8 ? Quantizer<Int8>::Pack8(scaled) : Quantizer<E4M3>::Pack8(scaled);
}

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_ATTENTION_STORE_CUH_
