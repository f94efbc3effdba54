// sum = projection + bias + residual and normalized = LayerNorm(sum), for packed rows [rows, padded_hidden]; optionally scattered
// to the user's padded output [B * S, hidden] with zeros in the rows of padding.
//
// Each row is read once with 16-byte loads, kept in registers in float32, and written once. Mean and variance take two passes over the
// registers (not E[x^2] - E[x]^2, which cancels). A block takes a row, a thread a vector of it, so that all loads of a row are under way
// at once; bias, gamma and beta, which come from device memory as every layer has its own, are asked for first. Instructions count,
// most of all where there are few rows and each is fetched for the first time: what runs between the products is a version that can
// do nothing else. Fusing the scatter saves one pass over the output, and its zeroes are written here and nowhere else.
//
// Where the rows don't fit the L2 cache, they are worked on from the last to the first: the product before wrote the last ones last,
// and the product after begins with the first (24,576 rows: 46 to 44 microseconds; where they fit, it costs 5 %).
#include <algorithm>

#include "cuda/dependent_launch.cuh"
#include "cuda/dimensions.h"
#include "cuda/layer_norm.h"
#include "cuda/row_sum.cuh"
#include "cuda/vector.cuh"

namespace tf_fastbert {
namespace cuda {
namespace {

constexpr int kMaxThreads = 512;
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

// A block is a row; a thread has at most kVectors 16-byte vectors of it. kPlain: exactly so many, none of them with padded columns, and
// nothing but `normalized` of all three is wanted.
template <typename T, int kVectors, bool kPlain>
__global__ void __launch_bounds__(kMaxThreads) LayerNormKernel(const LayerNormArgs args) {
  constexpr int kSize = kVectorSize<T>;
  __shared__ float shared[2][kMaxThreads / 32];
  LetNextKernelStart();
  const bool add = kPlain || args.projection != nullptr, normalize = kPlain || args.gamma != nullptr;
  const int num_vectors = args.padded_hidden / kSize;
  int vector[kVectors];
  bool has[kVectors];
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    const int v = threadIdx.x + i * blockDim.x;
    has[i] = kPlain || v < num_vectors;
    vector[i] = has[i] ? v : 0;  // loaded, so that no load waits for a branch
  }
  const auto load = [](const void* from, int64_t at) { return static_cast<const uint4*>(from)[at]; };
  uint4 bias[kVectors], gamma[kVectors], beta[kVectors];
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    if (add) bias[i] = load(args.bias, vector[i]);
    if (!normalize) continue;
    gamma[i] = load(args.gamma, vector[i]);
    beta[i] = load(args.beta, vector[i]);
  }
  const float inverse = 1.0f / args.hidden;

  WaitForPreviousKernel();
  const int64_t out_row = args.backwards ? gridDim.x - 1 - blockIdx.x : blockIdx.x;
  const int64_t row = !kPlain && args.token != nullptr ? args.token[out_row] : out_row;
  T* const output = !kPlain && args.output != nullptr ? static_cast<T*>(args.output) + out_row * args.hidden : nullptr;
  if (!kPlain && row < 0) {
    const float zero[kSize] = {};
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      if (has[i]) StoreOutput(output, vector[i] * kSize, args.hidden, zero);
    }
    return;
  }

  uint4 residual[kVectors], projection[kVectors];
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    residual[i] = load(args.residual, row * num_vectors + vector[i]);
    if (add) projection[i] = load(args.projection, row * num_vectors + vector[i]);
  }
  float x[kVectors][kSize], sum = 0.0f;
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    Unpack<T>(residual[i], x[i]);
    if (add) {
      float added[kSize], constant[kSize];
      Unpack<T>(projection[i], added);
      Unpack<T>(bias[i], constant);
#pragma unroll
      for (int j = 0; j < kSize; ++j) x[i][j] += added[j] + constant[j];
    }
    if (!has[i]) continue;
#pragma unroll
    for (int j = 0; j < kSize; ++j) sum += x[i][j];  // columns from `hidden` on are zero
    if (kPlain) continue;
    if (args.sum != nullptr) StoreVector(static_cast<T*>(args.sum) + (row * num_vectors + vector[i]) * kSize, x[i]);
    if (output != nullptr && args.output_is_sum) StoreOutput(output, vector[i] * kSize, args.hidden, x[i]);
  }

  if (!normalize) return;
  const float mean = RowSum(sum, shared[0]) * inverse;
  float squares = 0.0f;
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
#pragma unroll
    for (int j = 0; j < kSize; ++j) {
      x[i][j] -= mean;
      if (kPlain || (has[i] && vector[i] * kSize + j < args.hidden)) squares += x[i][j] * x[i][j];
    }
  }
  const float scale = rsqrtf(RowSum(squares, shared[1]) * inverse + args.epsilon);
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    if (!has[i]) continue;
    float factor[kSize], shift[kSize];  // zero from `hidden` on
    Unpack<T>(gamma[i], factor);
    Unpack<T>(beta[i], shift);
#pragma unroll
    for (int j = 0; j < kSize; ++j) x[i][j] = x[i][j] * scale * factor[j] + shift[j];
    T* const normalized = static_cast<T*>(args.normalized);
    if (kPlain || normalized != nullptr) StoreVector(normalized + (row * num_vectors + vector[i]) * kSize, x[i]);
    if (output != nullptr && !args.output_is_sum) StoreOutput(output, vector[i] * kSize, args.hidden, x[i]);
  }
}

// Of a block that goes through a row of so many 16-byte vectors.
int ThreadsOf(int vectors) { return std::min((vectors + 31) / 32 * 32, kMaxThreads); }

// An error is left for LaunchStatus to find.
template <typename Args>
void LaunchMaybeDependent(void (*kernel)(Args), unsigned blocks, dim3 block, const Args& args, cudaStream_t stream) {
  if (args.dependent) {
    LaunchDependent(kernel, blocks, block, 1, 0, stream, args);
  } else {
    kernel<<<blocks, block, 0, stream>>>(args);
  }
}

template <typename T>
void LaunchForType(const LayerNormArgs& args, cudaStream_t stream) {
  const int vectors = args.padded_hidden / kVectorSize<T>;
  const bool plain = args.projection != nullptr && args.gamma != nullptr && args.normalized != nullptr && args.sum == nullptr &&
                     args.output == nullptr && args.hidden == args.padded_hidden && vectors % 32 == 0 && vectors <= kMaxThreads;
  const auto kernel = plain                    ? LayerNormKernel<T, 1, true>
                      : vectors <= kMaxThreads ? LayerNormKernel<T, 1, false>
                                               : LayerNormKernel<T, kMaxHiddenSize / kVectorSize<T> / kMaxThreads, false>;
  const int64_t rows = args.output != nullptr ? args.output_rows : args.rows;
  LaunchMaybeDependent(kernel, static_cast<unsigned>(rows), ThreadsOf(vectors), args, stream);
}

// A block has so many rows; its threads go through their columns.
constexpr int kPackedRows = 2;

template <typename T>
__global__ void __launch_bounds__(kMaxThreads) PackRowsKernel(const PackRowsArgs args) {
  constexpr int kSize = kVectorSize<T>;
  LetNextKernelStart();
  WaitForPreviousKernel();
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kPackedRows;
  int64_t from[kPackedRows];
#pragma unroll
  for (int r = 0; r < kPackedRows; ++r) {
    const int64_t row = first + r;
    from[r] = row >= args.num_tokens ? -1 : args.padded_row != nullptr ? args.padded_row[row] : row;
  }
  const uint4 zero = {};
  for (int c = threadIdx.x * kSize; c < args.padded_hidden; c += blockDim.x * kSize) {
    uint4 bits[kPackedRows];
#pragma unroll
    for (int r = 0; r < kPackedRows; ++r) {
      bits[r] = zero;
      if (from[r] < 0 || c >= args.hidden) continue;
      const T* const input = static_cast<const T*>(args.input) + from[r] * args.hidden + c;
      if (args.hidden % kSize == 0) {
        bits[r] = *reinterpret_cast<const uint4*>(input);
      } else {
        for (int i = 0; i < kSize && c + i < args.hidden; ++i) reinterpret_cast<T*>(&bits[r])[i] = input[i];
      }
    }
#pragma unroll
    for (int r = 0; r < kPackedRows; ++r) {
      if (first + r >= args.rows) continue;
      *reinterpret_cast<uint4*>(static_cast<T*>(args.packed) + (first + r) * args.padded_hidden + c) = bits[r];
    }
  }
  for (int r = 0; r < kPackedRows; ++r) {
    if (from[r] >= 0 || first + r >= args.rows) continue;
    T* const other = static_cast<T*>(args.also_zero) + (first + r) * args.also_zero_columns;
    for (int c = threadIdx.x * kSize; c < args.also_zero_columns; c += blockDim.x * kSize) {
      *reinterpret_cast<uint4*>(other + c) = zero;
    }
  }
}

}  // namespace

Status LaunchLayerNorm(const LayerNormArgs& args_in, int dtype, cudaStream_t stream) {
  LayerNormArgs args = args_in;
  args.backwards = args.rows * args.padded_hidden * static_cast<int64_t>(SizeOf(dtype)) > kBackwardsBytes;
  switch (dtype) {
    case FASTBERT_FLOAT32: LaunchForType<float>(args, stream); break;
    case FASTBERT_FLOAT16: LaunchForType<__half>(args, stream); break;
    case FASTBERT_BFLOAT16: LaunchForType<__nv_bfloat16>(args, stream); break;
  }
  return LaunchStatus("LayerNormKernel");
}

Status LaunchPackRows(const PackRowsArgs& args, int dtype, cudaStream_t stream) {
  const dim3 block = ThreadsOf(static_cast<int>(args.padded_hidden * SizeOf(dtype) / 16));
  const unsigned blocks = static_cast<unsigned>((args.rows + kPackedRows - 1) / kPackedRows);
  switch (dtype) {
    case FASTBERT_FLOAT32: LaunchMaybeDependent(PackRowsKernel<float>, blocks, block, args, stream); break;
    case FASTBERT_FLOAT16: LaunchMaybeDependent(PackRowsKernel<__half>, blocks, block, args, stream); break;
    case FASTBERT_BFLOAT16: LaunchMaybeDependent(PackRowsKernel<__nv_bfloat16>, blocks, block, args, stream); break;
  }
  return LaunchStatus("PackRowsKernel");
}

}  // namespace cuda
}  // namespace tf_fastbert
