// sum = projection + bias + residual and normalized = LayerNorm(sum), for packed rows [rows, padded_hidden]; optionally scattered
// to the user's padded output [B * S, hidden] with zeros in the rows of padding.
//
// The work is moving bytes: each row is read once with 16-byte loads, kept in registers in float32, and written once. Mean and
// variance take two passes over the registers (not E[x^2] - E[x]^2, which cancels). Up to 1,024 float32 or 2,048 float16 columns
// one warp owns a row and reduces with shuffles alone; wider rows take a block of 256 threads. Fusing the scatter saves one pass
// over the output, and its zeroes are written here and nowhere else.
//
// With few rows the time is latency: bias, gamma and beta, which come from device memory because every layer has its own, are
// then asked for first (H100, 16 to 512 rows of 768: 4.4 to 3.3 microseconds). With many rows the time is bandwidth, and those
// registers are better spent on more rows at once (24,576 rows: 46 microseconds against 52, or 58 with several rows a warp; 2.4
// TB/s). Where the rows don't fit the L2 cache, they are worked on from the last to the first: the product before wrote the last
// ones last, and the product after begins with the first (46 to 44 microseconds; where they fit, it costs 5 %).
#include "cuda/dependent_launch.cuh"
#include "cuda/dimensions.h"
#include "cuda/layer_norm.h"
#include "cuda/row_sum.cuh"
#include "cuda/vector.cuh"

namespace tf_fastbert {
namespace cuda {
namespace {

constexpr int64_t kEarlyRows = 8192;
constexpr int64_t kBackwardsBytes = 24 << 20;  // of one of the tensors: half of an H100's L2 cache

// A vector of the user's output, whose rows have no padded columns: one 16-byte store if the width allows, else by elements.
template <typename T>
__device__ __forceinline__ void StoreOutput(T* row, int column, int hidden, const float (&values)[kVectorSize<T>]) {
  if (hidden % kVectorSize<T> == 0) {
    if (column < hidden) StoreVector(row + column, values);
    return;
  }
#pragma unroll
  for (int i = 0; i < kVectorSize<T>; ++i) {
    if (column + i < hidden) row[column + i] = FromFloat<T>(values[i]);
  }
}

// Bias, gamma or beta: loaded early into registers, or (with kEarly false) where it is used.
template <typename T, bool kEarly>
__device__ __forceinline__ void LoadParameter(const uint4& early, const void* parameter, int v, float (&values)[kVectorSize<T>]) {
  LoadVector(kEarly ? reinterpret_cast<const T*>(&early) : static_cast<const T*>(parameter) + v * kVectorSize<T>, values);
}

// blockDim = (kThreads, rows in a block); each thread holds kVectors 16-byte vectors of its row.
template <typename T, int kThreads, int kVectors, bool kEarly>
__global__ void LayerNormKernel(const LayerNormArgs args) {
  constexpr int kSize = kVectorSize<T>;
  __shared__ float shared[kThreads / 32];
  const unsigned block = !kEarly && args.backwards ? gridDim.x - 1 - blockIdx.x : blockIdx.x;
  const int64_t out_row = static_cast<int64_t>(block) * blockDim.y + threadIdx.y;
  if (out_row >= (args.output != nullptr ? args.output_rows : args.rows)) {
    WaitForPreviousKernel();
    return;
  }
  const int num_vectors = args.padded_hidden / kSize;
  T* output = args.output != nullptr ? static_cast<T*>(args.output) + out_row * args.hidden : nullptr;

  uint4 early_bias[kVectors], early_gamma[kVectors], early_beta[kVectors];
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int v = threadIdx.x + i * kThreads;
    if (!kEarly || v >= num_vectors) continue;
    if (args.projection != nullptr) early_bias[i] = static_cast<const uint4*>(args.bias)[v];
    if (args.gamma != nullptr) {
      early_gamma[i] = static_cast<const uint4*>(args.gamma)[v];
      early_beta[i] = static_cast<const uint4*>(args.beta)[v];
    }
  }

  WaitForPreviousKernel();
  const int64_t row = args.token != nullptr ? args.token[out_row] : out_row;
  if (row < 0) {
    const float zero[kSize] = {};
    for (int v = threadIdx.x; v < num_vectors; v += kThreads) StoreOutput(output, v * kSize, args.hidden, zero);
    return;
  }

  const int64_t offset = row * args.padded_hidden;
  float x[kVectors][kSize];
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int v = threadIdx.x + i * kThreads;
    if (v >= num_vectors) continue;
    LoadVector(static_cast<const T*>(args.residual) + offset + v * kSize, x[i]);
    if (args.projection != nullptr) {
      float projection[kSize], bias[kSize];
      LoadVector(static_cast<const T*>(args.projection) + offset + v * kSize, projection);
      LoadParameter<T, kEarly>(early_bias[i], args.bias, v, bias);
#pragma unroll
      for (int j = 0; j < kSize; ++j) x[i][j] += projection[j] + bias[j];
    }
#pragma unroll
    for (int j = 0; j < kSize; ++j) sum += x[i][j];  // columns from `hidden` on are zero
    if (args.sum != nullptr) StoreVector(static_cast<T*>(args.sum) + offset + v * kSize, x[i]);
    if (output != nullptr && args.output_is_sum) StoreOutput(output, v * kSize, args.hidden, x[i]);
  }

  if (args.gamma == nullptr) return;
  const float mean = RowSum<kThreads>(sum, shared) / args.hidden;
  float squares = 0.0f;
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int column = (threadIdx.x + i * kThreads) * kSize;
#pragma unroll
    for (int j = 0; j < kSize; ++j) {
      if (column + j < args.hidden) {
        x[i][j] -= mean;
        squares += x[i][j] * x[i][j];
      }
    }
  }
  const float scale = rsqrtf(RowSum<kThreads>(squares, shared) / args.hidden + args.epsilon);
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int v = threadIdx.x + i * kThreads;
    if (v >= num_vectors) continue;
    float gamma[kSize], beta[kSize];  // zero from `hidden` on
    LoadParameter<T, kEarly>(early_gamma[i], args.gamma, v, gamma);
    LoadParameter<T, kEarly>(early_beta[i], args.beta, v, beta);
#pragma unroll
    for (int j = 0; j < kSize; ++j) x[i][j] = x[i][j] * scale * gamma[j] + beta[j];
    if (args.normalized != nullptr) StoreVector(static_cast<T*>(args.normalized) + offset + v * kSize, x[i]);
    if (output != nullptr && !args.output_is_sum) StoreOutput(output, v * kSize, args.hidden, x[i]);
  }
}

// An error is left for LaunchStatus to find.
template <typename Args>
void LaunchMaybeDependent(void (*kernel)(Args), unsigned blocks, dim3 block, const Args& args, cudaStream_t stream) {
  if (args.dependent) {
    LaunchDependent(kernel, blocks, block, 1, 0, stream, args);
  } else {
    kernel<<<blocks, block, 0, stream>>>(args);
  }
}

template <typename T, int kThreads, int kVectors>
void Launch(const LayerNormArgs& args, cudaStream_t stream) {
  const int64_t rows = args.output != nullptr ? args.output_rows : args.rows;
  // Few rows are spread over as many multiprocessors as there are; many share blocks.
  const int rows_in_block = kThreads == 32 && rows >= 1024 ? 4 : 1;
  const unsigned blocks = static_cast<unsigned>((rows + rows_in_block - 1) / rows_in_block);
  const dim3 block(kThreads, rows_in_block);
  if constexpr (kThreads == 32 && kVectors <= 6) {
    if (rows < kEarlyRows) return LaunchMaybeDependent(LayerNormKernel<T, kThreads, kVectors, true>, blocks, block, args, stream);
  }
  LaunchMaybeDependent(LayerNormKernel<T, kThreads, kVectors, false>, blocks, block, args, stream);
}

template <typename T>
void LaunchForWidth(const LayerNormArgs& args, cudaStream_t stream) {
  const int vectors = args.padded_hidden / kVectorSize<T>;
  if (vectors <= 32) return Launch<T, 32, 1>(args, stream);
  if (vectors <= 64) return Launch<T, 32, 2>(args, stream);
  if (vectors <= 96) return Launch<T, 32, 3>(args, stream);
  if (vectors <= 128) return Launch<T, 32, 4>(args, stream);
  if (vectors <= 192) return Launch<T, 32, 6>(args, stream);
  if (vectors <= 256) return Launch<T, 32, 8>(args, stream);
  if (vectors <= 512) return Launch<T, 256, 2>(args, stream);
  if (vectors <= 1024) return Launch<T, 256, 4>(args, stream);
  Launch<T, 256, kMaxHiddenSize / 256 / kVectorSize<T>>(args, stream);
}

// One warp a row.
template <typename T>
__global__ void PackRowsKernel(const PackRowsArgs args) {
  constexpr int kSize = kVectorSize<T>;
  const int64_t row = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y;
  WaitForPreviousKernel();
  if (row >= args.rows) return;
  const float zero[kSize] = {};
  T* packed = static_cast<T*>(args.packed) + row * args.padded_hidden;
  if (row >= args.num_tokens) {
    for (int c = threadIdx.x * kSize; c < args.padded_hidden; c += 32 * kSize) StoreVector(packed + c, zero);
    T* other = static_cast<T*>(args.also_zero) + row * args.also_zero_columns;
    for (int c = threadIdx.x * kSize; c < args.also_zero_columns; c += 32 * kSize) StoreVector(other + c, zero);
    return;
  }
  const int64_t from = args.padded_row != nullptr ? args.padded_row[row] : row;
  const T* input = static_cast<const T*>(args.input) + from * args.hidden;
  for (int c = threadIdx.x * kSize; c < args.padded_hidden; c += 32 * kSize) {
    if (args.hidden % kSize == 0) {
      if (c < args.hidden) {
        *reinterpret_cast<uint4*>(packed + c) = *reinterpret_cast<const uint4*>(input + c);
      } else {
        StoreVector(packed + c, zero);
      }
    } else {
      for (int i = 0; i < kSize; ++i) packed[c + i] = c + i < args.hidden ? input[c + i] : FromFloat<T>(0.0f);
    }
  }
}

}  // namespace

Status LaunchLayerNorm(const LayerNormArgs& args_in, int dtype, cudaStream_t stream) {
  LayerNormArgs args = args_in;
  args.backwards = args.rows * args.padded_hidden * static_cast<int64_t>(SizeOf(dtype)) > kBackwardsBytes;
  switch (dtype) {
    case FASTBERT_FLOAT32: LaunchForWidth<float>(args, stream); break;
    case FASTBERT_FLOAT16: LaunchForWidth<__half>(args, stream); break;
    case FASTBERT_BFLOAT16: LaunchForWidth<__nv_bfloat16>(args, stream); break;
  }
  return LaunchStatus("LayerNormKernel");
}

Status LaunchPackRows(const PackRowsArgs& args, int dtype, cudaStream_t stream) {
  const dim3 block(32, 4);
  const unsigned blocks = static_cast<unsigned>((args.rows + block.y - 1) / block.y);
  switch (dtype) {
    case FASTBERT_FLOAT32: LaunchMaybeDependent(PackRowsKernel<float>, blocks, block, args, stream); break;
    case FASTBERT_FLOAT16: LaunchMaybeDependent(PackRowsKernel<__half>, blocks, block, args, stream); break;
    case FASTBERT_BFLOAT16: LaunchMaybeDependent(PackRowsKernel<__nv_bfloat16>, blocks, block, args, stream); break;
  }
  return LaunchStatus("PackRowsKernel");
}

}  // namespace cuda
}  // namespace tf_fastbert
