// The epilogue of fused_gemm_small.cuh: what a thread does with eight columns side by side of its two rows, and the statistics on
// both sides of it.
#ifndef TF_FASTBERT_CUDA_FUSED_GEMM_SMALL_ROWS_CUH_
#define TF_FASTBERT_CUDA_FUSED_GEMM_SMALL_ROWS_CUH_

#include "cuda/fused_gemm_epilogue.cuh"
#include "cuda/fused_gemm_small.h"
#include "cuda/mma.cuh"

namespace tf_fastbert {
namespace cuda {

// Columns whose statistics four threads load at a time, two parts each.
constexpr int kSmallColumnsOfPairs = 4 * 2 * kSmallStatisticsColumns;

// LayerNorm's scale and shift of a row from its parts, by four threads: Load asks for them early, as far as they are kAhead pairs a
// thread, Combine waits for them. Chan's formula for parts of equal size.
template <int kAhead>
class SmallStatistics {
 public:
  // row: [columns / kSmallStatisticsColumns], 16-byte aligned, or null: nothing is normalized.
  __device__ __forceinline__ void Load(const RowStatistics* row, int columns) {
    row_ = reinterpret_cast<const float4*>(row);
    pairs_ = row == nullptr ? 0 : columns / (2 * kSmallStatisticsColumns);
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      const int at = threadIdx.x % 4 + 4 * i;
      pair_[i] = at < pairs_ ? __ldcg(row_ + at) : float4{0.0f, 0.0f, 0.0f, 0.0f};
    }
  }

  // A normalized value is x * result.x + result.y. Whole warps call it.
  __device__ __forceinline__ float2 Combine(float epsilon) const {
    if (pairs_ == 0) return {1.0f, 0.0f};
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < kAhead; ++i) sum += pair_[i].x + pair_[i].z;
    for (int at = threadIdx.x % 4 + 4 * kAhead; at < pairs_; at += 4) {
      const float4 pair = __ldcg(row_ + at);
      sum += pair.x + pair.z;
    }
    const float mean = __fdividef(QuadSum(sum), static_cast<float>(2 * pairs_));
    float squares = 0.0f;
#pragma unroll
    for (int i = 0; i < kAhead; ++i) {
      if (static_cast<int>(threadIdx.x % 4) + 4 * i < pairs_) squares += Squares(pair_[i], mean);
    }
    for (int at = threadIdx.x % 4 + 4 * kAhead; at < pairs_; at += 4) squares += Squares(__ldcg(row_ + at), mean);
    const float variance = __fdividef(QuadSum(squares), static_cast<float>(2 * pairs_ * kSmallStatisticsColumns));
    const float scale = rsqrtf(variance + epsilon);
    return {scale, -mean * scale};
  }

 private:
  static __device__ __forceinline__ float Squares(const float4& pair, float mean) {
    const float a = pair.x - mean, b = pair.z - mean;
    return pair.y + pair.w + kSmallStatisticsColumns * (a * a + b * b);
  }

  const float4* row_;
  int pairs_;
  float4 pair_[kAhead];
};

// Into shared memory, for the columns of a tile: what is added to each (bias; with a residual that is normalized also beta), and by
// what its row's shift (of the input: column_sum) or the residual (gamma) is multiplied.
template <bool kSum, int kN>
__device__ __forceinline__ void CopySmallParameters(const FusedGemmArgs& p, float* add, float* factor, int tile_column) {
  const int at = threadIdx.x;
  if (at >= kN) return;
  const int column = min(tile_column + at, p.n - 1);
  float bias = p.bias[column], scale;
  if (kSum) {
    const bool normalized = p.residual_statistics != nullptr;
    scale = normalized ? p.gamma[column] : 1.0f;
    if (normalized) bias += p.beta[column];
  } else {
    scale = p.input_statistics != nullptr ? p.column_sum[column] : 0.0f;
  }
  add[at] = bias;
  factor[at] = scale;
}

// Eight columns side by side that a thread finishes.
struct SmallUnit {
  int row, column;  // of the output
  int column_in_tile;
};

// v: sums over k. normal: of each row, which has kBlocks units. Nothing here is volatile, so that the compiler mixes the units'
// instructions.
template <typename T, FusedActivation kActivation, int kBlocks, int kUnits>
__device__ __forceinline__ void StoreSmallRows(const FusedGemmArgs& p, const float* add, const float* factor,
                                             const SmallUnit (&unit)[kUnits], const float2 (&normal)[kUnits / kBlocks],
                                             float (&v)[kUnits][8]) {
#pragma unroll
  for (int u = 0; u < kUnits; ++u) {
    float bias[8], scale[8];
    LoadFloats(add + unit[u].column_in_tile, bias);
    LoadFloats(factor + unit[u].column_in_tile, scale);
    const float2 row = normal[u / kBlocks];
#pragma unroll
    for (int i = 0; i < 8; ++i) v[u][i] = fmaf(v[u][i], row.x, fmaf(scale[i], row.y, bias[i]));
    const uint4 bits = Activate<T, kActivation>(p.activation, v[u]);
    if (unit[u].row < p.rows && unit[u].column < p.n) {
      *reinterpret_cast<uint4*>(static_cast<T*>(p.output) + static_cast<int64_t>(unit[u].row) * p.n + unit[u].column) = bits;
    }
  }
}

// The same with residuals, and the statistics of the 32 columns that four threads have. Whole warps call it.
template <typename T, int kBlocks, int kUnits>
__device__ __forceinline__ void StoreSmallSums(const FusedGemmArgs& p, const float* add, const float* factor,
                                             const SmallUnit (&unit)[kUnits], const float2 (&normal)[kUnits / kBlocks],
                                             const uint4 (&residual)[kUnits], float (&v)[kUnits][8]) {
  float mean[kUnits], squares[kUnits];
#pragma unroll
  for (int u = 0; u < kUnits; ++u) {
    float bias[8], gamma[8];
    LoadFloats(add + unit[u].column_in_tile, bias);
    LoadFloats(factor + unit[u].column_in_tile, gamma);
    const T* const x = reinterpret_cast<const T*>(&residual[u]);
    uint4 bits;
    T* const values = reinterpret_cast<T*>(&bits);
    const float2 row = normal[u / kBlocks];
    mean[u] = 0.0f;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      values[i] = FromFloat<T>(v[u][i] + fmaf(fmaf(ToFloat(x[i]), row.x, row.y), gamma[i], bias[i]));
      v[u][i] = ToFloat(values[i]);  // of what is stored
      mean[u] += v[u][i];
    }
    if (unit[u].row < p.rows && unit[u].column < p.n) {
      *reinterpret_cast<uint4*>(static_cast<T*>(p.output) + static_cast<int64_t>(unit[u].row) * p.n + unit[u].column) = bits;
    }
  }
#pragma unroll
  for (int u = 0; u < kUnits; ++u) mean[u] += __shfl_xor_sync(0xffffffffu, mean[u], 1);
#pragma unroll
  for (int u = 0; u < kUnits; ++u) {
    mean[u] = (mean[u] + __shfl_xor_sync(0xffffffffu, mean[u], 2)) * (1.0f / kSmallStatisticsColumns);
    squares[u] = 0.0f;
#pragma unroll
    for (int i = 0; i < 8; ++i) squares[u] += (v[u][i] - mean[u]) * (v[u][i] - mean[u]);
  }
#pragma unroll
  for (int u = 0; u < kUnits; ++u) squares[u] += __shfl_xor_sync(0xffffffffu, squares[u], 1);
#pragma unroll
  for (int u = 0; u < kUnits; ++u) {
    squares[u] += __shfl_xor_sync(0xffffffffu, squares[u], 2);
    if (unit[u].row < p.rows && unit[u].column < p.n && threadIdx.x % 4 == 0) {
      p.output_statistics[static_cast<int64_t>(unit[u].row) * (p.n / kSmallStatisticsColumns) +
                          unit[u].column / kSmallStatisticsColumns] = {mean[u], squares[u]};
    }
  }
}

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_FUSED_GEMM_SMALL_ROWS_CUH_
