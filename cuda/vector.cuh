// 16-byte vectors of float, float16 and bfloat16 values, with arithmetic in float32.
#ifndef TF_FASTBERT_CUDA_VECTOR_CUH_
#define TF_FASTBERT_CUDA_VECTOR_CUH_

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace tf_fastbert {
namespace cuda {

template <typename T>
__device__ __forceinline__ float ToFloat(T x) {
  return static_cast<float>(x);
}

template <typename T>
__device__ __forceinline__ T FromFloat(float x);
template <>
__device__ __forceinline__ float FromFloat<float>(float x) {
  return x;
}
template <>
__device__ __forceinline__ __half FromFloat<__half>(float x) {
  return __float2half_rn(x);
}
template <>
__device__ __forceinline__ __nv_bfloat16 FromFloat<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}

// tanh of both, to 11 bits.
__device__ __forceinline__ __half2 TanhPair(__half2 x) {
  uint32_t y;
  asm("tanh.approx.f16x2 %0, %1;" : "=r"(y) : "r"(*reinterpret_cast<const uint32_t*>(&x)));
  return *reinterpret_cast<const __half2*>(&y);
}

// Elements of a 16-byte vector.
template <typename T>
constexpr int kVectorSize = 16 / sizeof(T);

template <typename T>
__device__ __forceinline__ void Unpack(const uint4& bits, float (&values)[kVectorSize<T>]) {
  const T* elements = reinterpret_cast<const T*>(&bits);
#pragma unroll
  for (int i = 0; i < kVectorSize<T>; ++i) values[i] = ToFloat(elements[i]);
}

// Both need 16-byte aligned pointers.
template <typename T>
__device__ __forceinline__ void LoadVector(const T* from, float (&values)[kVectorSize<T>]) {
  const uint4 bits = *reinterpret_cast<const uint4*>(from);  // one load; by reference it would be one for each element
  Unpack<T>(bits, values);
}

template <typename T>
__device__ __forceinline__ void StoreVector(T* to, const float (&values)[kVectorSize<T>]) {
  uint4 bits;
  T* elements = reinterpret_cast<T*>(&bits);
#pragma unroll
  for (int i = 0; i < kVectorSize<T>; ++i) elements[i] = FromFloat<T>(values[i]);
  *reinterpret_cast<uint4*>(to) = bits;
}

// Columns [column, column + kVectorSize) of a row of `hidden`, as a vector or one by one; zero from `hidden` on.
template <typename T>
__device__ __forceinline__ void LoadColumns(const T* row, int column, int hidden, bool vectors, float (&values)[kVectorSize<T>]) {
  if (vectors) return LoadVector(row + column, values);
#pragma unroll
  for (int i = 0; i < kVectorSize<T>; ++i) values[i] = column + i < hidden ? ToFloat(row[column + i]) : 0.0f;
}

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_VECTOR_CUH_
