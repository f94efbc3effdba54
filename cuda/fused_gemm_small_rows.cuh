// The epilogue of fused_gemm_small.cuh: from a row's sums over k to what is stored, and the statistics on both sides of it.
#ifndef TF_FASTBERT_CUDA_FUSED_GEMM_SMALL_ROWS_CUH_
#define TF_FASTBERT_CUDA_FUSED_GEMM_SMALL_ROWS_CUH_

#include "cuda/fused_gemm_small.h"
#include "cuda/mma.cuh"
#include "cuda/vector.cuh"

namespace tf_fastbert {
namespace cuda {

constexpr int kSmallGemmRowThreads = kSmallGemmTile / 8;  // of a row, each with eight columns

// Sum over the 8 threads that have 64 columns of a row.
__device__ __forceinline__ float SumOf8(float x) {
#pragma unroll
  for (int i = 1; i < 8; i *= 2) x += __shfl_xor_sync(0xffffffffu, x, i);
  return x;
}

// LayerNorm's mean and 1 / standard deviation of a row from its parts, by 8 threads: Load asks for them early, Combine waits for
// them. Chan's formula for parts of equal size.
class StatisticsReader {
 public:
  float mean = 0.0f, rstd = 1.0f;

  __device__ __forceinline__ void Load(const RowStatistics* parts, int columns) {
    const int count = columns / kStatisticsColumns, lane = threadIdx.x % 8;
#pragma unroll
    for (int i = 0; i < 2; ++i) part_[i] = lane + 8 * i < count ? __ldcg(parts + lane + 8 * i) : RowStatistics{0.0f, 0.0f};
  }

  // With the same arguments. Whole warps call it.
  __device__ __forceinline__ void Combine(const RowStatistics* parts, int columns, float epsilon) {
    const int count = columns / kStatisticsColumns, lane = threadIdx.x % 8;
    float sum = part_[0].x + part_[1].x;
    for (int i = lane + 16; i < count; i += 8) sum += __ldcg(parts + i).x;  // beyond 1,024 columns
    mean = __fdividef(SumOf8(sum), static_cast<float>(count));
    float squares = (lane < count ? Squares(part_[0]) : 0.0f) + (lane + 8 < count ? Squares(part_[1]) : 0.0f);
    for (int i = lane + 16; i < count; i += 8) squares += Squares(__ldcg(parts + i));
    rstd = rsqrtf(__fdividef(SumOf8(squares), static_cast<float>(columns)) + epsilon);
  }

 private:
  __device__ __forceinline__ float Squares(const RowStatistics& part) const {
    return part.y + kStatisticsColumns * (part.x - mean) * (part.x - mean);
  }

  RowStatistics part_[2];
};

// x / 2 (1 + tanh(u)) is x / (1 + exp(-2 u)).
__device__ __forceinline__ float Gelu(float x, const Activator& a) {
  const float square = fminf(x * x, a.max_square);
  const float u = x * (a.c0 + square * (a.c1 + square * a.c2));
  return __fdividef(x, 1.0f + Exp2(-2.8853900817779268f * u));
}

// What a thread does with eight columns of its rows.
template <typename T>
class SmallGemmEpilogue {
 public:
  struct Row {
    StatisticsReader statistics;  // of the input or of the residual: no product needs both
    uint4 residual;
  };

  // parameters: [3][columns of the tile] floats in shared memory.
  __device__ __forceinline__ SmallGemmEpilogue(const FusedGemmArgs& args, uint32_t parameters, int tile_column)
      : p_(args), parameters_(parameters), column_in_tile_(threadIdx.x % kSmallGemmRowThreads * 8),
        column_(tile_column + column_in_tile_) {}

  // Copies what does not depend on the kernels before into shared memory.
  __device__ __forceinline__ void CopyParameters() const {
    const int which = threadIdx.x / (kColumns / 4), at = threadIdx.x % (kColumns / 4) * 4;
    const float* const from =
        which == 0 ? p_.bias : which == 1 ? (p_.input_statistics != nullptr ? p_.column_sum : p_.gamma) : which == 2 ? p_.beta : nullptr;
    if (from == nullptr) return;
    StoreShared(parameters_ + (which * kColumns + at) * 4,
                *reinterpret_cast<const uint4*>(from + column_ - column_in_tile_ + at));
  }

  // Asks for what the row needs; for the last row's, where there is no such row.
  __device__ __forceinline__ void LoadRow(int row, Row* r) const {
    const int64_t at = min(row, p_.rows - 1);
    if (p_.residual != nullptr) {
      r->residual = __ldcg(reinterpret_cast<const uint4*>(static_cast<const T*>(p_.residual) + at * p_.n + column_));
    }
    if (p_.input_statistics != nullptr) {
      r->statistics.Load(p_.input_statistics + at * (p_.k / kStatisticsColumns), p_.k);
    } else if (p_.residual_statistics != nullptr) {
      r->statistics.Load(p_.residual_statistics + at * (p_.n / kStatisticsColumns), p_.n);
    }
  }

  // Whole warps call it.
  __device__ __forceinline__ void CombineRow(int row, Row* r) const {
    const int64_t at = min(row, p_.rows - 1);
    if (p_.input_statistics != nullptr) {
      r->statistics.Combine(p_.input_statistics + at * (p_.k / kStatisticsColumns), p_.k, p_.epsilon);
    } else if (p_.residual_statistics != nullptr) {
      r->statistics.Combine(p_.residual_statistics + at * (p_.n / kStatisticsColumns), p_.n, p_.epsilon);
    }
  }

  // Likewise. v: sums over k.
  __device__ __forceinline__ void Store(int row, const Row& r, float (&v)[8]) const {
    const float mean = r.statistics.mean, rstd = r.statistics.rstd;
    float bias[8], scale[8];
    Parameters(0, bias);
    Parameters(1, scale);  // column_sum or gamma
    if (p_.input_statistics != nullptr) {
#pragma unroll
      for (int i = 0; i < 8; ++i) v[i] = (v[i] - mean * scale[i]) * rstd;
    }
#pragma unroll
    for (int i = 0; i < 8; ++i) v[i] += bias[i];
    if (p_.activation.gelu) {
#pragma unroll
      for (int i = 0; i < 8; ++i) v[i] = Gelu(v[i], p_.activation);
    } else if (p_.activation.relu) {
#pragma unroll
      for (int i = 0; i < 8; ++i) v[i] = fmaxf(v[i], 0.0f);
    }
    if (p_.residual != nullptr) {
      const T* x = reinterpret_cast<const T*>(&r.residual);
      if (p_.residual_statistics != nullptr) {
        float beta[8];
        Parameters(2, beta);
#pragma unroll
        for (int i = 0; i < 8; ++i) v[i] += (ToFloat(x[i]) - mean) * rstd * scale[i] + beta[i];
      } else {
#pragma unroll
        for (int i = 0; i < 8; ++i) v[i] += ToFloat(x[i]);
      }
    }
    if (row < p_.rows) StoreVector(static_cast<T*>(p_.output) + static_cast<int64_t>(row) * p_.n + column_, v);
    if (p_.output_statistics == nullptr) return;
    // Of what was stored.
    float sum = 0.0f, squares = 0.0f;
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      v[i] = ToFloat(FromFloat<T>(v[i]));
      sum += v[i];
    }
    const float new_mean = SumOf8(sum) / kStatisticsColumns;
#pragma unroll
    for (int i = 0; i < 8; ++i) squares += (v[i] - new_mean) * (v[i] - new_mean);
    squares = SumOf8(squares);
    if (row < p_.rows && threadIdx.x % 8 == 0) {
      p_.output_statistics[static_cast<int64_t>(row) * (p_.n / kStatisticsColumns) + column_ / kStatisticsColumns] = {new_mean, squares};
    }
  }

 private:
  __device__ __forceinline__ void Parameters(int which, float (&to)[8]) const {
#pragma unroll
    for (int i = 0; i < 8; i += 4) {
      const uint4 v = LoadShared(parameters_ + (which * kColumns + column_in_tile_ + i) * 4);
      to[i] = __uint_as_float(v.x), to[i + 1] = __uint_as_float(v.y);
      to[i + 2] = __uint_as_float(v.z), to[i + 3] = __uint_as_float(v.w);
    }
  }

  static constexpr int kColumns = kSmallGemmTile;
  const FusedGemmArgs& p_;
  const uint32_t parameters_;
  const int column_in_tile_, column_;
};

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_FUSED_GEMM_SMALL_ROWS_CUH_
