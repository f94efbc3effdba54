// What a thread of fused_gemm.cuh does with its part of a tile: eight results side by side in two rows of every 64 rows and 32
// columns (see MakePermutedTileMap). They go through boxes in shared memory, from where the copy engine stores them: stores of
// their own held up the products twice as long.
#ifndef TF_FASTBERT_CUDA_FUSED_GEMM_EPILOGUE_CUH_
#define TF_FASTBERT_CUDA_FUSED_GEMM_EPILOGUE_CUH_

#include <type_traits>

#include "cuda/fused_gemm.h"
#include "cuda/fused_gemm_kernels.h"
#include "cuda/hopper.cuh"
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
      const __half2 scaled = __hmul2(x, half);
      y[i] = __hfma2(scaled, TanhPair(u), scaled);
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

// This thread's eight columns in one of a box's rows.
__device__ __forceinline__ char* InBox(char* box, int row, int lane) { return box + row * (kResultColumns * 2) + lane * 2; }

// A box of a warp's 16 rows, which all its threads have written, to (column, row).
__device__ __forceinline__ void StoreWarpBox(const CUtensorMap* output, const char* box, int column, int row) {
  if (threadIdx.x % 32 == 0) StoreTile(output, SharedAddress(box), column, row);
}

// d: kBlocks times 64 rows; row, column: of the output, where they begin. box_of(g): where this warp puts 16 rows of the g-th 32
// columns. What the output lacks is computed too, and left out by the copy engine.
//
// The second block of rows runs through the same instructions, in the first one's registers: what the loop unrolled adds to the code is
// fetched anew in each layer.
template <typename T, int kN, int kBlocks, FusedActivation kActivation, typename BoxOf>
__device__ __forceinline__ void FinishRows(const FusedGemmArgs& p, const FusedGemmParameters& parameters,
                                           uint32_t (&d)[kBlocks][kN / 2], const BoxOf& box_of, const CUtensorMap* output,
                                           int row, int column) {
  const int thread = ThreadAgain();
  const int lane = thread % 4 * 8, in_warp = thread % 32 / 4;
  const int first = thread % 128 / 32 * 16;
#pragma unroll 1
  for (int b = 0; b < kBlocks; ++b) {
    float2 normal[2];
#pragma unroll
    for (int h = 0; h < 2; ++h) normal[h] = parameters.rows[first + b * 64 + in_warp + h * 8];
#pragma unroll
    for (int g = 0; g < kN / kResultColumns; ++g) {
      char* const box = box_of(g);
      float add[8], factor[8];
      LoadFloats(parameters.add + lane + g * 32, add);
      LoadFloats(parameters.factor + lane + g * 32, factor);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        float v[8];
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          const float product = __uint_as_float(d[0][g * 16 + i / 2 * 4 + h * 2 + i % 2]);
          v[i] = fmaf(product, normal[h].x, fmaf(factor[i], normal[h].y, add[i]));
        }
        *reinterpret_cast<uint4*>(InBox(box, in_warp + h * 8, lane)) = Activate<T, kActivation>(p.activation, v);
      }
      FenceForWgmma();  // for the copy engine
      __syncwarp();
      StoreWarpBox(output, box, column + g * kResultColumns, row + b * 64 + first);
    }
    if constexpr (kBlocks == 2) {
#pragma unroll
      for (int i = 0; i < kN / 2; ++i) d[0][i] = d[1][i];
    }
  }
}

// The same, 64 columns at a time: their sum and then their deviations are summed over the four threads that share a row. The boxes
// hold the residual.
template <typename T, int kN, typename BoxOf>
__device__ __forceinline__ void FinishSum(const FusedGemmArgs& p, const FusedGemmParameters& parameters, uint32_t (&d)[kN / 2],
                                          const BoxOf& box_of, const CUtensorMap* output, int row, int column) {
  const int thread = ThreadAgain();
  const int lane = thread % 4 * 8;
  const int in_warp = thread % 32 / 4, first = thread % 128 / 32 * 16 + in_warp;
  float2 normal[2];
  RowStatistics* statistics[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int r = row + first + h * 8;
    normal[h] = parameters.rows[first + h * 8];
    statistics[h] = thread % 4 == 0 && r < p.rows
                        ? p.output_statistics + static_cast<int64_t>(r) * (p.n / kStatisticsColumns) + column / kStatisticsColumns
                        : nullptr;
  }
#pragma unroll
  for (int c = 0; c < kN / 64; ++c) {
    char* box[2];
    float sum[2] = {0.0f, 0.0f};
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const int g = 2 * c + j;
      box[j] = box_of(g);
      float add[8], factor[8];
      LoadFloats(parameters.add + lane + g * 32, add);
      LoadFloats(parameters.factor + lane + g * 32, factor);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const uint4 bits = *reinterpret_cast<const uint4*>(InBox(box[j], in_warp + h * 8, lane));
        const T* const values = reinterpret_cast<const T*>(&bits);
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          uint32_t& at = d[g * 16 + i / 2 * 4 + h * 2 + i % 2];
          const float x = fmaf(fmaf(ToFloat(values[i]), normal[h].x, normal[h].y), factor[i], __uint_as_float(at) + add[i]);
          at = __float_as_uint(x);
          sum[h] += x;
        }
      }
    }
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const float mean = QuadSum(sum[h]) / kStatisticsColumns;
      float squares = 0.0f;
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        float v[8];
#pragma unroll
        for (int i = 0; i < 8; ++i) {
          v[i] = __uint_as_float(d[(2 * c + j) * 16 + i / 2 * 4 + h * 2 + i % 2]);
          squares = fmaf(v[i] - mean, v[i] - mean, squares);
        }
        StoreVector(reinterpret_cast<T*>(InBox(box[j], in_warp + h * 8, lane)), v);
      }
      squares = QuadSum(squares);
      if (statistics[h] != nullptr && column + c * 64 < p.n) statistics[h][c] = {mean, squares};
    }
    FenceForWgmma();  // for the copy engine
    __syncwarp();
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      StoreWarpBox(output, box[j], column + c * 64 + j * kResultColumns, row + first - in_warp);
    }
  }
}

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_FUSED_GEMM_EPILOGUE_CUH_
