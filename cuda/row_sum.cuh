// Sums over the threads that share a row.
#ifndef TF_FASTBERT_CUDA_ROW_SUM_CUH_
#define TF_FASTBERT_CUDA_ROW_SUM_CUH_

namespace tf_fastbert {
namespace cuda {

// Over a warp; every lane gets it.
__device__ __forceinline__ float WarpSum(float value) {
#pragma unroll
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}

// Over kThreads threads (0: blockDim.x), a warp or a block of one dimension; every thread gets it. shared: [threads / 32], another one
// for each call; not used by one warp.
template <int kThreads = 0>
__device__ __forceinline__ float RowSum(float value, float* shared) {
  const int threads = kThreads > 0 ? kThreads : blockDim.x;
  constexpr int kUnroll = kThreads > 0 ? kThreads / 32 : 1;
  value = WarpSum(value);
  if (threads == 32) return value;
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  value = 0.0f;
#pragma unroll kUnroll
  for (int w = 0; w < threads / 32; ++w) value += shared[w];
  return value;
}

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_ROW_SUM_CUH_
