// What happens to the accumulators of quantized_gemm.cuh: scale and bias, activation, rounding, and the way to memory.
//
// A warp has 16 rows of each block of 64 that its warpgroup has. It writes them, eight columns a thread, to a box in shared
// memory that the copy engine stores while the warp goes on with the next box: stores of its own, 16 or 8 bytes in eight rows at
// a time, took longer than the products. The engine also leaves out what lies beyond the matrix, so nothing here asks where it
// ends.
#ifndef TF_FASTBERT_CUDA_QUANTIZED_GEMM_EPILOGUE_CUH_
#define TF_FASTBERT_CUDA_QUANTIZED_GEMM_EPILOGUE_CUH_

#include <cuda_fp16.h>

#include "cuda/hopper.cuh"
#include "cuda/quantized.cuh"
#include "cuda/quantized_gemm_kernels.h"
#include "cuda/vector.cuh"

namespace tf_fastbert {
namespace cuda {

// What the copy engine stores at a time.
template <typename Out, int kTile>
struct ResultBox {
  using Value = Out;
  static constexpr int kN = kGemmTiles[kTile].columns;
  static constexpr int kRows = kResultBoxRows;
  static constexpr int kColumns = ResultBoxColumns(kGemmTiles[kTile], sizeof(Out));
  static constexpr int kBytes = kRows * kColumns * sizeof(Out);
  static_assert(kColumns % 32 == 0 && kN % kColumns == 0 && kBytes % 128 == 0, "boxes divide the tile, and begin at 128 bytes");
};

enum class QuantizedActivation { kNone, kRelu, kGeluTanh, kGelu };  // kGeluTanh: Activator's c2 = 0 and max_square without effect

// scale * activation(v) in 8 bits; without GELU v is scaled already. In pairs of float16 this takes less than two thirds of the
// instructions that float32 does; the error is a twentieth of a step of the result.
template <typename Format, QuantizedActivation kActivation>
__device__ __forceinline__ uint2 ActivateAndQuantize(const float (&v)[8], const Activator& a, float scale) {
  __half2 y[4];
  if constexpr (kActivation == QuantizedActivation::kGelu || kActivation == QuantizedActivation::kGeluTanh) {
    const __half2 half = __float2half2_rn(fminf(0.5f * scale, 65504.0f));
    const __half2 c0 = __float2half2_rn(a.c0), c1 = __float2half2_rn(a.c1), c2 = __float2half2_rn(a.c2);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const __half2 x = __floats2half2_rn(v[2 * i], v[2 * i + 1]);
      // Far below zero tanh is -1 and the result 0: with -inf here it would be inf - inf.
      const __half2 scaled = __hmax2(__hmul2(x, half), __float2half2_rn(-65504.0f));
      __half2 square = __hmul2(x, x), factor;
      if constexpr (kActivation == QuantizedActivation::kGeluTanh) {
        factor = __hfma2(square, c1, c0);
      } else {
        square = __hmin2(square, __float2half2_rn(a.max_square));
        factor = __hfma2(square, __hfma2(square, c2, c1), c0);
      }
      y[i] = __hfma2(scaled, TanhPair(__hmul2(x, factor)), scaled);
    }
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      y[i] = __floats2half2_rn(v[2 * i], v[2 * i + 1]);
      if constexpr (kActivation == QuantizedActivation::kRelu) y[i] = __hmax2(y[i], __float2half2_rn(0.0f));
    }
  }
  return Quantizer<Format>::Pack8(y);
}

// d: kBlocks times 64 rows. parameters: scale[kN], then bias[kN] of the tile, in shared memory: loading them here from global
// memory made the epilogue two or three times as long. row, column: of the warp's first result; boxes: two for this warp, taken
// in turns.
//
// A second block runs through the same instructions, in the first one's registers: between two other kernels they are not in the
// instruction cache, and fetching them takes as long as executing them.
template <typename Format, typename Box, int kBlocks, QuantizedActivation kActivation>
__device__ __forceinline__ void StoreActivated(const QuantizedGemmProblem& p, const CUtensorMap* output, const float* parameters,
                                               uint32_t (&d)[kBlocks][Box::kN / 2], char* boxes, int row, int column) {
  using Out = typename Box::Value;
  constexpr int kN = Box::kN;
  constexpr int kParts = kN / Box::kColumns;
  const int lane = threadIdx.x % 32;
  const int first = lane % 4 * 8;
  if (lane == 0) WaitForStoresToRead<0>();  // of the tile before, whose last box may have been this one's first
#pragma unroll 1
  for (int block = 0; block < kBlocks; ++block) {
#pragma unroll
    for (int part = 0; part < kParts; ++part) {
      char* const box = boxes + (block * kParts + part) % 2 * Box::kBytes;
      if (lane == 0) WaitForStoresToRead<1>();
      __syncwarp();
#pragma unroll
      for (int g = 0; g < Box::kColumns / 32; ++g) {
        const int group = part * (Box::kColumns / 32) + g;
        float scale[8], bias[8];
        LoadFloats(parameters + first + group * 32, scale);
        LoadFloats(parameters + kN + first + group * 32, bias);
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          float v[8];
#pragma unroll
          for (int i = 0; i < 8; ++i) {
            const uint32_t sum = d[0][group * 16 + i / 2 * 4 + h * 2 + i % 2];
            v[i] = Quantizer<Format>::Accumulated(sum) * scale[i] + bias[i];
          }
          Out* const to = reinterpret_cast<Out*>(box) + (lane / 4 + 8 * h) * Box::kColumns + g * 32 + first;
          if constexpr (sizeof(Out) == 1) {
            *reinterpret_cast<uint2*>(to) = ActivateAndQuantize<Format, kActivation>(v, p.activation, p.output_scale);
          } else {
            StoreVector(to, v);
          }
        }
      }
      FenceForWgmma();  // for the copy engine
      __syncwarp();
      if (lane == 0) StoreTile(output, SharedAddress(box), column + part * Box::kColumns, row + block * 64);
    }
#pragma unroll
    for (int i = 0; i < kN / 2; ++i) d[0][i] = d[kBlocks - 1][i];
  }
}

// The activation is chosen once for a tile.
template <typename Format, typename Box, int kBlocks>
__device__ __forceinline__ void StoreResults(const QuantizedGemmProblem& p, const CUtensorMap* output, const float* parameters,
                                             uint32_t (&d)[kBlocks][Box::kN / 2], char* boxes, int row, int column) {
  using A = QuantizedActivation;
  if constexpr (sizeof(typename Box::Value) == 1) {
    if (p.activation.gelu && p.activation.c2 == 0.0f) {
      return StoreActivated<Format, Box, kBlocks, A::kGeluTanh>(p, output, parameters, d, boxes, row, column);
    }
    if (p.activation.gelu) return StoreActivated<Format, Box, kBlocks, A::kGelu>(p, output, parameters, d, boxes, row, column);
    if (p.activation.relu) return StoreActivated<Format, Box, kBlocks, A::kRelu>(p, output, parameters, d, boxes, row, column);
  }
  StoreActivated<Format, Box, kBlocks, A::kNone>(p, output, parameters, d, boxes, row, column);
}

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_QUANTIZED_GEMM_EPILOGUE_CUH_
