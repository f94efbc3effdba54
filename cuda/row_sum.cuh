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

// Over kThreads threads, a warp or a block of one dimension; every thread gets it. shared: [kThreads / 32], not used by one warp.
template <int kThreads>
__device__ __forceinline__ float RowSum(float value, float* shared) {
  value = WarpSum(value);
  if (kThreads == 32) return value;
  __syncthreads();  // the previous sum has been read
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  value = 0.0f;
#pragma unroll
  for (int w = 0; w < kThreads / 32; ++w) value += shared[w];
  return value;
}

// Over a block of one dimension, of any number of warps; every thread gets it. shared: [warps], another one for each call.
__device__ __forceinline__ float BlockSum(float value, float* shared) {
  value = WarpSum(value);
  if (blockDim.x == 32) return value;
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  value = 0.0f;
#pragma unroll 1
  for (int w = 0; w < static_cast<int>(blockDim.x) / 32; ++w) value += shared[w];
  return value;
}

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_ROW_SUM_CUH_
