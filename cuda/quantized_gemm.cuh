// D[M, N] = epilogue(scale[N] * (A[M, K] B[N, K]') + bias[N]) for int8 or E4M3 operands on Hopper, written as float16/bfloat16, or,
// after an activation, quantized to the operands' type.
//
// What cuBLASLt has costs the gain of 8 bits again: int8 products per channel only come as int32 (4 bytes a result), and no bias or
// GELU is fused into a quantized result. So: persistent clusters of two blocks, each block a 128 x kN tile of D. One thread copies
// tiles of 128 bytes of K with the tensor copy engine into a ring of stages; two warpgroups take turns with the block's tiles, so
// that one computes with wgmma while the other is in its epilogue, which for K = 768 takes as long. The two blocks of a cluster lie
// one below the other and share B: each loads half of it into both, as at 8 bits the L2 cache cannot deliver what the tensor cores
// take. B's rows are permuted (QuantizedWeightColumn), so results go from registers to memory in whole 32-byte sectors without a
// detour.
#ifndef TF_FASTBERT_CUDA_QUANTIZED_GEMM_CUH_
#define TF_FASTBERT_CUDA_QUANTIZED_GEMM_CUH_

#include "cuda/dependent_launch.cuh"
#include "cuda/hopper.cuh"
#include "cuda/quantized.cuh"
#include "cuda/quantized_gemm.h"
#include "cuda/quantized_gemm_kernels.h"
#include "cuda/vector.cuh"

namespace tf_fastbert {
namespace cuda {

template <int kN>
struct QuantizedGemmTile {
  static constexpr int kM = 128;
  static constexpr int kK = 128;  // bytes, and elements
  static constexpr int kInputBytes = kM * kK;
  static constexpr int kWeightBytes = kN * kK;
  static constexpr int kStageBytes = kInputBytes + kWeightBytes;
  static constexpr int kMaxStages = 200 * 1024 / kStageBytes;
  static constexpr int kStages = kMaxStages > 7 ? 7 : kMaxStages;
  static constexpr int kParameterBytes = 2 * kN * 4;  // scale and bias of a warpgroup's tile
  static constexpr int kSharedBytes = 1024 + kStages * (kStageBytes + 16) + 2 * kParameterBytes;
  static constexpr int kThreads = 384;
  static constexpr int kCopyRegisters = kN > 128 ? 24 : 40;  // a thread of the copying warpgroup, and of the others
  static constexpr int kRegisters = kN > 128 ? 240 : 232;
  static_assert(kN / 2 % 8 == 0 && kN % 32 == 0, "half the tile must be whole swizzle groups");
};

__device__ __forceinline__ __half2 FastTanh(__half2 x) {
  uint32_t y;
  asm("tanh.approx.f16x2 %0, %1;" : "=r"(y) : "r"(*reinterpret_cast<const uint32_t*>(&x)));
  return *reinterpret_cast<const __half2*>(&y);
}

// scale * activation(v) in 8 bits. In pairs of float16 this takes two thirds of the instructions that float32 does, and for K = 768
// the epilogue takes as long as the products; the error is a fiftieth of a step of the result.
template <typename Format>
__device__ __forceinline__ uint2 ActivateAndQuantize(const float (&v)[8], const Activator& a, float scale) {
  __half2 y[4];
  if (a.gelu) {
    const float half = 0.5f * scale;
    const __half2 c0 = __float2half2_rn(a.c0), c1 = __float2half2_rn(a.c1), c2 = __float2half2_rn(a.c2);
    const __half2 max_square = __float2half2_rn(a.max_square);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const __half2 x = __floats2half2_rn(v[2 * i], v[2 * i + 1]);
      // Far below zero tanh is -1 and the result 0: with -inf here it would be inf - inf.
      const __half2 scaled =
          __hmax2(__floats2half2_rn(v[2 * i] * half, v[2 * i + 1] * half), __float2half2_rn(-65504.0f));
      const __half2 square = __hmin2(__hmul2(x, x), max_square);
      const __half2 tanh = FastTanh(__hmul2(x, __hfma2(square, __hfma2(square, c2, c1), c0)));
      y[i] = __hfma2(scaled, tanh, scaled);
    }
  } else {
#pragma unroll
    for (int i = 0; i < 4; ++i) y[i] = __floats2half2_rn(v[2 * i] * scale, v[2 * i + 1] * scale);
    if (a.relu) {
#pragma unroll
      for (int i = 0; i < 4; ++i) y[i] = __hmax2(y[i], __float2half2_rn(0.0f));
    }
  }
  return Quantizer<Format>::Pack8(y);
}

// Results of one thread: for every 32 columns, eight of them side by side in two rows. parameters: scale[kN], then bias[kN] of the
// tile, in shared memory: loading them here from global memory made the epilogue two or three times as long.
template <typename Format, typename Out, int kN>
__device__ __forceinline__ void StoreResults(const QuantizedGemmProblem& p, const float* parameters, const uint32_t (&d)[kN / 2],
                                             int row, int column) {
  const int lane = threadIdx.x % 4 * 8;
#pragma unroll
  for (int g = 0; g < kN / 32; ++g) {
    if (column + g * 32 >= p.n) break;
    float scale[8], bias[8];
    LoadFloats(parameters + lane + g * 32, scale);
    LoadFloats(parameters + kN + lane + g * 32, bias);
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      if (row + 8 * h >= p.m) continue;
      float v[8];
#pragma unroll
      for (int i = 0; i < 8; ++i) {
        const uint32_t sum = d[g * 16 + i / 2 * 4 + h * 2 + i % 2];
        v[i] = Quantizer<Format>::Accumulated(sum) * scale[i] + bias[i];
      }
      Out* to = static_cast<Out*>(p.output) + static_cast<int64_t>(row + 8 * h) * p.n + column + lane + g * 32;
      if constexpr (sizeof(Out) == 1) {
        *reinterpret_cast<uint2*>(to) = ActivateAndQuantize<Format>(v, p.activation, p.output_scale);
      } else {
        StoreVector(to, v);
      }
    }
  }
}

template <typename Format, typename Out, int kN>
__global__ void __launch_bounds__(QuantizedGemmTile<kN>::kThreads, 1)
    QuantizedGemmKernel(const __grid_constant__ CUtensorMap input, const __grid_constant__ CUtensorMap weight,
                        const QuantizedGemmProblem p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  using Tile = QuantizedGemmTile<kN>;
  extern __shared__ char unaligned[];
  const uint32_t shared = (SharedAddress(unaligned) + 1023) / 1024 * 1024;
  const uint32_t full = shared + Tile::kStages * Tile::kStageBytes;  // barriers, one a stage: the tiles are there
  const uint32_t empty = full + Tile::kStages * 8;                   // the warpgroups of both blocks are done with them
  const uint32_t rank = ClusterRank();
  if (threadIdx.x == 0) {
    for (int s = 0; s < Tile::kStages; ++s) {
      BarrierInit(full + s * 8, 1);
      BarrierInit(empty + s * 8, 2);
    }
    BarrierInitFence();
    PrefetchTensorMap(&input);
    PrefetchTensorMap(&weight);
  }
  ClusterSync();
  LetNextKernelStart();

  const int tiles_n = (p.n + kN - 1) / kN;
  const int tiles = (p.m + 2 * Tile::kM - 1) / (2 * Tile::kM) * tiles_n;  // of a cluster: two tiles of D
  const int steps = (p.k + Tile::kK - 1) / Tile::kK;
  const int first = blockIdx.x / 2, stride = gridDim.x / 2;

  if (threadIdx.x < 128) {
    GiveRegisters<Tile::kCopyRegisters>();
    if (threadIdx.x == 0) {
      WaitForPreviousKernel();  // the others depend on what this thread copies
      int stage = 0;
      uint32_t parity = 0;
      for (int tile = first; tile < tiles; tile += stride) {
        const int row = (tile / tiles_n * 2 + rank) * Tile::kM;
        const int column = tile % tiles_n * kN + rank * (kN / 2);
        for (int step = 0; step < steps; ++step) {
          BarrierWait(empty + stage * 8, parity ^ 1);
          const uint32_t to = shared + stage * Tile::kStageBytes;
          BarrierExpect(full + stage * 8, Tile::kStageBytes);
          CopyTile(to, &input, full + stage * 8, step * Tile::kK, row);
          CopyTileToBlocks(to + Tile::kInputBytes + rank * (Tile::kWeightBytes / 2), &weight, full + stage * 8, step * Tile::kK,
                           column, 3);
          if (++stage == Tile::kStages) {
            stage = 0;
            parity ^= 1;
          }
        }
      }
    }
  } else {
    TakeRegisters<Tile::kRegisters>();
    const int group = threadIdx.x / 128 - 1;
    const bool leader = threadIdx.x % 128 == 0;
    float* parameters = reinterpret_cast<float*>(unaligned + (shared - SharedAddress(unaligned)) +
                                                 Tile::kStages * (Tile::kStageBytes + 16) + group * Tile::kParameterBytes);
    // Releases a stage to both blocks' copying threads.
    const auto release = [&](int s) {
      if (leader) {
        BarrierArriveAt(empty + s * 8, 0);
        BarrierArriveAt(empty + s * 8, 1);
      }
    };
    // The two warpgroups take turns with the block's tiles.
    int stage = 0;
    uint32_t parity = 0;
    const auto skip = [&](int count) {
      stage += count;
      while (stage >= Tile::kStages) {
        stage -= Tile::kStages;
        parity ^= 1;
      }
    };
    if (group == 1) {
      skip(steps);
      asm volatile("bar.arrive 1, 256;" ::: "memory");
    }
    for (int tile = first + group * stride; tile < tiles; tile += 2 * stride) {
      uint32_t d[2][kN / 2];  // 64 rows each
      int previous = 0;
      const int column = tile % tiles_n * kN;
      asm volatile("bar.sync %0, 128;" ::"r"(3 + group) : "memory");  // the previous tile's parameters have been used
      for (int i = threadIdx.x % 128; i < kN; i += 128) {
        parameters[i] = column + i < p.n ? p.scale[column + i] : 0.0f;
        parameters[kN + i] = column + i < p.n ? p.bias[column + i] : 0.0f;
      }
      asm volatile("bar.sync %0, 256;" ::"r"(1 + group) : "memory");  // this warpgroup's turn
      for (int step = 0; step < steps; ++step) {
        BarrierWait(full + stage * 8, parity);
        const uint32_t from = shared + stage * Tile::kStageBytes;
        const uint64_t a = TileDescriptor(from);
        const uint64_t b = TileDescriptor(from + Tile::kInputBytes);
        KeepInPlace(d[0]);
        KeepInPlace(d[1]);
        WgmmaFence();
#pragma unroll
        for (int k = 0; k < Tile::kK / 32; ++k) {
          Wgmma8<Format, kN>(d[0], a + 2 * k, b + 2 * k, step > 0 || k > 0);
          Wgmma8<Format, kN>(d[1], a + 2 * k + (Tile::kInputBytes / 2 >> 4), b + 2 * k, step > 0 || k > 0);
        }
        WgmmaCommit();
        if (step > 0) {
          WgmmaWait<1>();
          release(previous);
        }
        previous = stage;
        skip(1);
      }
      asm volatile("bar.arrive %0, 256;" ::"r"(2 - group) : "memory");
      WgmmaWait<0>();
      release(previous);
      KeepInPlace(d[0]);
      KeepInPlace(d[1]);
      skip(steps);
      const int row = (tile / tiles_n * 2 + rank) * Tile::kM + threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4;
      StoreResults<Format, Out, kN>(p, parameters, d[0], row, column);
      StoreResults<Format, Out, kN>(p, parameters, d[1], row + 64, column);
    }
  }
  __syncwarp();
  ClusterSync();  // the other block may still be copying into this one's memory
#else
  __trap();  // HasQuantizedGemm keeps callers away
#endif
}

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_QUANTIZED_GEMM_CUH_
