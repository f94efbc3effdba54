// Bias and activation in place over the intermediate product [rows, columns], for what cuBLASLt's epilogues don't have: GELU in
// the erf form, and float32 GELU with an accurate tanh.
//
// Bound by memory: one 16-byte load and store for each vector of elements, in float32 between them.
#include "cuda/activation.h"
#include "cuda/vector.cuh"

namespace tf_fastbert {
namespace cuda {
namespace {

constexpr int kThreads = 256;

template <int kActivation>
__device__ __forceinline__ float Activate(float x) {
  if (kActivation == FASTBERT_RELU) return fmaxf(x, 0.0f);
  if (kActivation == FASTBERT_GELU_ERF) return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
  return 0.5f * x * (1.0f + tanhf(0.79788456080286536f * (x + 0.044715f * x * x * x)));
}

template <typename T, int kActivation>
__global__ void BiasActivationKernel(T* x, const T* bias, int64_t num_vectors, int vectors_in_row) {
  constexpr int kSize = kVectorSize<T>;
  const int64_t v = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (v >= num_vectors) return;
  float values[kSize], add[kSize];
  LoadVector(x + v * kSize, values);
  LoadVector(bias + v % vectors_in_row * kSize, add);
#pragma unroll
  for (int i = 0; i < kSize; ++i) values[i] = Activate<kActivation>(values[i] + add[i]);
  StoreVector(x + v * kSize, values);
}

template <typename T>
void Launch(void* x, const void* bias, int64_t rows, int columns, int activation, cudaStream_t stream) {
  const int vectors_in_row = columns / kVectorSize<T>;
  const int64_t num_vectors = rows * vectors_in_row;
  const unsigned blocks = static_cast<unsigned>((num_vectors + kThreads - 1) / kThreads);
  T* data = static_cast<T*>(x);
  const T* add = static_cast<const T*>(bias);
  switch (activation) {
    case FASTBERT_GELU_TANH:
      BiasActivationKernel<T, FASTBERT_GELU_TANH><<<blocks, kThreads, 0, stream>>>(data, add, num_vectors, vectors_in_row);
      break;
    case FASTBERT_GELU_ERF:
      BiasActivationKernel<T, FASTBERT_GELU_ERF><<<blocks, kThreads, 0, stream>>>(data, add, num_vectors, vectors_in_row);
      break;
    case FASTBERT_RELU:
      BiasActivationKernel<T, FASTBERT_RELU><<<blocks, kThreads, 0, stream>>>(data, add, num_vectors, vectors_in_row);
      break;
  }
}

}  // namespace

Status LaunchBiasActivation(void* x, const void* bias, int64_t rows, int columns, int activation, int dtype,
                            cudaStream_t stream) {
  switch (dtype) {
    case FASTBERT_FLOAT32: Launch<float>(x, bias, rows, columns, activation, stream); break;
    case FASTBERT_FLOAT16: Launch<__half>(x, bias, rows, columns, activation, stream); break;
    case FASTBERT_BFLOAT16: Launch<__nv_bfloat16>(x, bias, rows, columns, activation, stream); break;
  }
  return LaunchStatus("BiasActivationKernel");
}

}  // namespace cuda
}  // namespace tf_fastbert
