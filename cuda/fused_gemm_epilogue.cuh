// What a thread of fused_gemm.cuh does with its part of a tile: eight results side by side in two rows of every 64 rows and 32
// columns (see MakePermutedTileMap), so that everything is read and stored in whole 32-byte sectors without a detour
// through shared memory.
#ifndef TF_FASTBERT_CUDA_FUSED_GEMM_EPILOGUE_CUH_
#define TF_FASTBERT_CUDA_FUSED_GEMM_EPILOGUE_CUH_

#include <type_traits>

#include "cuda/fused_gemm.h"
#include "cuda/mma.cuh"
#include "cuda/quantized.cuh"
#include "cuda/vector.cuh"

namespace tf_fastbert {
namespace cuda {

// kRows: output = activation(rstd (product - mean column_sum) + bias). kSum: output = product + bias + residual, with statistics.
enum class FusedGemmKind { kRows, kSum };

// Of one tile, in shared memory. x scale + shift is a row's value normalized: of the input (kRows) or the residual (kSum).
struct FusedGemmParameters {
  const float2* rows;   // scale, shift
  const float* add;     // of each column: bias; kSum: bias + beta
  const float* factor;  // of each column: column_sum; kSum: gamma
};

// (scale, shift) of a row from its statistics: Chan's formula for parts of the same size, with the means relative to the first, in
// one pass, as each load takes a microsecond.
__device__ __forceinline__ float2 CombineStatistics(const RowStatistics* row, int parts, float epsilon) {
  const float base = row[0].x;
  float sum = 0.0f, squares = 0.0f, within = 0.0f;
#pragma unroll 6
  for (int i = 0; i < parts; ++i) {
    const float2 part = row[i];
    const float mean = part.x - base;
    sum += mean;
    squares = fmaf(mean, mean, squares);
    within += part.y;
  }
  const float mean = sum / parts;
  const float variance = within / (parts * kStatisticsColumns) + fmaxf(squares / parts - mean * mean, 0.0f);
  const float scale = rsqrtf(variance + epsilon);
  return {scale, -(base + mean) * scale};
}

enum class FusedActivation { kNone, kRelu, kGelu };

__device__ __forceinline__ uint32_t TanhPair(uint32_t x) {
  uint32_t y;
  asm("tanh.approx.f16x2 %0, %1;" : "=r"(y) : "r"(x));
  return y;
}

// activation(v) rounded to the type, 16 bytes. GELU is x / 2 (1 + tanh(u)) with tanh to 11 bits, which is float16's precision: there
// pairs of float16 take half the instructions.
template <typename T, FusedActivation kActivation>
__device__ __forceinline__ uint4 Activate(const Activator& a, float (&v)[8]) {
  uint4 bits;
  if constexpr (kActivation == FusedActivation::kGelu && std::is_same<T, __half>::value) {
    __half2* const y = reinterpret_cast<__half2*>(&bits);
    const __half2 c0 = __float2half2_rn(a.c0), c1 = __float2half2_rn(a.c1), c2 = __float2half2_rn(a.c2);
    const __half2 max_square = __float2half2_rn(a.max_square), half = __float2half2_rn(0.5f);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      // Not below -65504: far below zero tanh is -1 and the result 0; with -inf it would be inf - inf.
      const __half2 x = __hmax2(__floats2half2_rn(v[2 * i], v[2 * i + 1]), __float2half2_rn(-65504.0f));
      const __half2 square = __hmin2(__hmul2(x, x), max_square);
      const __half2 u = __hmul2(x, __hfma2(square, __hfma2(square, c2, c1), c0));
      const uint32_t tanh = TanhPair(*reinterpret_cast<const uint32_t*>(&u));
      const __half2 scaled = __hmul2(x, half);
      y[i] = __hfma2(scaled, *reinterpret_cast<const __half2*>(&tanh), scaled);
    }
    return bits;
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    if constexpr (kActivation == FusedActivation::kGelu) {
      const float square = fminf(v[i] * v[i], a.max_square);
      float tanh;
      asm("tanh.approx.f32 %0, %1;" : "=f"(tanh) : "f"(v[i] * fmaf(square, fmaf(square, a.c2, a.c1), a.c0)));
      const float half = 0.5f * v[i];
      v[i] = fmaf(half, tanh, half);
    } else if constexpr (kActivation == FusedActivation::kRelu) {
      v[i] = fmaxf(v[i], 0.0f);
    }
  }
  T* const values = reinterpret_cast<T*>(&bits);
#pragma unroll
  for (int i = 0; i < 8; ++i) values[i] = FromFloat<T>(v[i]);
  return bits;
}

// threadIdx.x, read anew, so that nothing that follows from it takes registers during the products.
__device__ __forceinline__ int ThreadAgain() {
  int thread;
  asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread)::"memory");
  return thread;
}

// d: kBlocks times 64 rows. row, column: of the output, where the tile (of this warpgroup, and of all) begins. Columns and rows that
// the output lacks are computed too, but not stored: a branch for each would keep the compiler from mixing their instructions.
template <typename T, int kN, int kBlocks, FusedActivation kActivation>
__device__ __forceinline__ void FinishRows(const FusedGemmArgs& p, const FusedGemmParameters& parameters,
                                           const uint32_t (&d)[kBlocks][kN / 2], int row, int column) {
  const int thread = ThreadAgain();
  const int lane = thread % 4 * 8;
  const int first = thread % 128 / 32 * 16 + thread % 32 / 4;
  const int columns = p.n - column;
#pragma unroll
  for (int b = 0; b < kBlocks; ++b) {
    float2 normal[2];
    T* output[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int r = first + b * 64 + h * 8;
      normal[h] = parameters.rows[r];
      output[h] = row + r < p.rows ? static_cast<T*>(p.output) + static_cast<int64_t>(row + r) * p.n + column + lane : nullptr;
    }
#pragma unroll
    for (int g = 0; g < kN / 32; ++g) {
      float add[8], factor[8];
      LoadFloats(parameters.add + lane + g * 32, add);
      LoadFloats(parameters.factor + lane + g * 32, factor);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float v[8];
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          const float product = __uint_as_float(d[b][g * 16 + i / 2 * 4 + h * 2 + i % 2]);
          v[i] = fmaf(product, normal[h].x, fmaf(factor[i], normal[h].y, add[i]));
        }
        const uint4 bits = Activate<T, kActivation>(p.activation, v);
        if (output[h] != nullptr && g * 32 < columns) *reinterpret_cast<uint4*>(output[h] + g * 32) = bits;
      }
    }
  }
}

// The residual as FinishSum reads it: what this thread needs for the g-th 32 columns, for g = 0, 1, ..., two of them ahead.
template <typename T, int kN>
struct ResidualAhead {
  static constexpr int kAhead = 2;
  uint4 bits[kAhead][2];
  const T* from[2];
  int columns;

  __device__ __forceinline__ void Start(const FusedGemmArgs& p, int row, int column) {
    columns = p.n - column;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int r = row + threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4 + h * 8;
      from[h] =
          r < p.rows ? static_cast<const T*>(p.residual) + static_cast<int64_t>(r) * p.n + column + threadIdx.x % 4 * 8 : nullptr;
    }
#pragma unroll
    for (int g = 0; g < kAhead; ++g) Load(g);
  }

  __device__ __forceinline__ void Load(int g) {
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      uint4 loaded = {0, 0, 0, 0};
      if (from[h] != nullptr && g * 32 < columns) loaded = *reinterpret_cast<const uint4*>(from[h] + g * 32);
      bits[g % kAhead][h] = loaded;
    }
  }
};

// The same for one block, 64 columns at a time: their sum and then their deviations are summed over the four threads that share a row.
template <typename T, int kN>
__device__ __forceinline__ void FinishSum(const FusedGemmArgs& p, const FusedGemmParameters& parameters,
                                          ResidualAhead<T, kN>& residual, uint32_t (&d)[kN / 2], int row, int column) {
  static_assert(kN % kStatisticsColumns == 0, "");
  const int thread = ThreadAgain();
  const int lane = thread % 4 * 8;
  const int first = thread % 128 / 32 * 16 + thread % 32 / 4;
  const int columns = p.n - column;
  float2 normal[2];
  T* output[2];
  RowStatistics* statistics[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int r = row + first + h * 8;
    normal[h] = parameters.rows[first + h * 8];
    output[h] = r < p.rows ? static_cast<T*>(p.output) + static_cast<int64_t>(r) * p.n + column + lane : nullptr;
    statistics[h] = p.output_statistics + static_cast<int64_t>(r) * (p.n / kStatisticsColumns) + column / kStatisticsColumns;
  }
#pragma unroll
  for (int c = 0; c < kN / 64; ++c) {
    const bool inside = c * 64 < columns;
    float sum[2];
#pragma unroll
    for (int g = 2 * c; g < 2 * c + 2; ++g) {
      float add[8], factor[8];
      LoadFloats(parameters.add + lane + g * 32, add);
      LoadFloats(parameters.factor + lane + g * 32, factor);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const T* values = reinterpret_cast<const T*>(&residual.bits[g % residual.kAhead][h]);
        float part = 0.0f;
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          uint32_t& at = d[g * 16 + i / 2 * 4 + h * 2 + i % 2];
          const float x = fmaf(fmaf(ToFloat(values[i]), normal[h].x, normal[h].y), factor[i], __uint_as_float(at) + add[i]);
          at = __float_as_uint(x);
          part += x;
        }
        sum[h] = g % 2 == 0 ? part : sum[h] + part;
      }
      if (g + residual.kAhead < kN / 32) residual.Load(g + residual.kAhead);
    }
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float mean = QuadSum(sum[h]) / kStatisticsColumns;
      float squares = 0.0f;
#pragma unroll
      for (int g = 2 * c; g < 2 * c + 2; ++g) {
        float v[8];
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          v[i] = __uint_as_float(d[g * 16 + i / 2 * 4 + h * 2 + i % 2]);
          squares = fmaf(v[i] - mean, v[i] - mean, squares);
        }
        if (output[h] != nullptr && inside) StoreVector(output[h] + g * 32, v);
      }
      squares = QuadSum(squares);
      if (thread % 4 == 0 && output[h] != nullptr && inside) statistics[h][c] = {mean, squares};
    }
  }
}

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_FUSED_GEMM_EPILOGUE_CUH_
