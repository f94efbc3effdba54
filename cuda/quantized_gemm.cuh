// D[M, N] = epilogue(scale[N] * (A[M, K] B[N, K]') + bias[N]) for int8 or E4M3 operands on Hopper, written as float16/bfloat16, or,
// after an activation, quantized to the operands' type.
//
// What cuBLASLt has costs the gain of 8 bits again: int8 products per channel only come as int32 (4 bytes a result), and no bias or
// GELU is fused into a quantized result. So: persistent clusters of two blocks, each block a 128 x kN tile of D. One thread copies
// tiles of 128 bytes of K with the tensor copy engine into a ring of stages; two warpgroups take turns with the block's tiles, so
// that one computes with wgmma while the other is in its epilogue, which for K = 768 takes as long. The two blocks of a cluster lie
// one below the other and share B: each loads half of it into both, as at 8 bits the L2 cache cannot deliver what the tensor cores
// take. B's rows are permuted (QuantizedWeightColumn), so a thread has eight results side by side. They go through shared memory, from
// where the copy engine stores them (quantized_gemm_epilogue.cuh).
#ifndef TF_FASTBERT_CUDA_QUANTIZED_GEMM_CUH_
#define TF_FASTBERT_CUDA_QUANTIZED_GEMM_CUH_

#include "cuda/dependent_launch.cuh"
#include "cuda/hopper.cuh"
#include "cuda/quantized.cuh"
#include "cuda/quantized_gemm.h"
#include "cuda/quantized_gemm_epilogue.cuh"
#include "cuda/quantized_gemm_kernels.h"

namespace tf_fastbert {
namespace cuda {

template <typename Out, int kN>
struct QuantizedGemmTile {
  static constexpr int kM = 128;
  static constexpr int kK = 128;  // bytes, and elements
  static constexpr int kInputBytes = kM * kK;
  static constexpr int kWeightBytes = kN * kK;
  static constexpr int kStageBytes = kInputBytes + kWeightBytes;
  static constexpr int kParameterBytes = 2 * kN * 4;  // scale and bias of a tile: two for each warpgroup, taken in turns
  static constexpr int kBoxBytes = 4 * 2 * ResultBox<Out, kN>::kBytes;  // of a warpgroup: two a warp
  static constexpr int kFixedBytes = 1024 + 2 * (2 * kParameterBytes + kBoxBytes) + 64;
  static constexpr int kMaxStages = (227 * 1024 - kFixedBytes) / (kStageBytes + 16);
  static constexpr int kStages = kMaxStages > 7 ? 7 : kMaxStages;
  static constexpr int kSharedBytes = kFixedBytes + kStages * (kStageBytes + 16);
  static constexpr int kThreads = 384;
  static constexpr int kCopyRegisters = kN > 128 ? 24 : 40;  // a thread of the copying warpgroup, and of the others
  static constexpr int kRegisters = kN > 128 ? 240 : 232;
  static_assert(kN / 2 % 8 == 0 && kN % 32 == 0, "half the tile must be whole swizzle groups");
};

template <typename Format, typename Out, int kN>
__global__ void __launch_bounds__(QuantizedGemmTile<Out, kN>::kThreads, 1)
    QuantizedGemmKernel(const __grid_constant__ CUtensorMap input, const __grid_constant__ CUtensorMap weight,
                        const __grid_constant__ CUtensorMap output, const QuantizedGemmProblem p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  using Tile = QuantizedGemmTile<Out, kN>;
  extern __shared__ char unaligned[];
  const uint32_t shared = (SharedAddress(unaligned) + 1023) / 1024 * 1024;
  const uint32_t boxes = shared + Tile::kStages * Tile::kStageBytes;
  const uint32_t full = boxes + 2 * Tile::kBoxBytes;                 // barriers, one a stage: the tiles are there
  const uint32_t empty = full + Tile::kStages * 8;                   // the warpgroups of both blocks are done with them
  const uint32_t ready = empty + Tile::kStages * 8;  // parameters: they are there, and used
  const uint32_t used = ready + 32;
  float* const parameters = reinterpret_cast<float*>(unaligned + (used + 32 - SharedAddress(unaligned)));
  const uint32_t rank = ClusterRank();
  if (threadIdx.x == 0) {
    for (int s = 0; s < Tile::kStages; ++s) {
      BarrierInit(full + s * 8, 1);
      BarrierInit(empty + s * 8, 2);
    }
    for (int i = 0; i < 4; ++i) {
      BarrierInit(ready + i * 8, 32);
      BarrierInit(used + i * 8, 4);
    }
    BarrierInitFence();
    PrefetchTensorMap(&input);
    PrefetchTensorMap(&weight);
    PrefetchTensorMap(&output);
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
    } else if (threadIdx.x / 32 == 1) {
      // This warp has the parameters there in time: where a warpgroup loaded its own, that held up its products.
      const float factor = sizeof(Out) == 1 && !p.activation.gelu ? p.output_scale : 1.0f;
      int count = 0;
      for (int tile = first; tile < tiles; tile += stride, ++count) {
        const int column = tile % tiles_n * kN;
        const int buffer = count % 2 * 2 + count / 2 % 2;
        BarrierWait(used + buffer * 8, (count / 4 % 2) ^ 1);
        float* const to = parameters + buffer * 2 * kN;
        for (int i = threadIdx.x % 32; i < kN; i += 32) {
          to[i] = column + i < p.n ? p.scale[column + i] * factor : 0.0f;
          to[kN + i] = column + i < p.n ? p.bias[column + i] * factor : 0.0f;
        }
        BarrierArrive(ready + buffer * 8);
      }
    }
  } else {
    TakeRegisters<Tile::kRegisters>();
    const int group = threadIdx.x / 128 - 1;
    const bool leader = threadIdx.x % 128 == 0;
    const int warp = threadIdx.x % 128 / 32;
    char* const warp_boxes = unaligned + (boxes - SharedAddress(unaligned)) + (group * 4 + warp) * 2 * ResultBox<Out, kN>::kBytes;
    // Releases a stage to both blocks' copying threads.
    const auto release = [&](int s) {
      if (leader) {
        BarrierArriveAt(empty + s * 8, 0);
        BarrierArriveAt(empty + s * 8, 1);
      }
    };
    // The two warpgroups take turns with the block's tiles.
    int stage = 0, turn = 0;
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
      const int buffer = group * 2 + turn % 2;
      BarrierWait(ready + buffer * 8, turn / 2 % 2);
      const int row = (tile / tiles_n * 2 + rank) * Tile::kM + warp * 16;
      StoreResults<Format, Out, kN>(p, &output, parameters + buffer * 2 * kN, d, warp_boxes, row, column);
      __syncwarp();
      if (threadIdx.x % 32 == 0) BarrierArrive(used + buffer * 8);
      ++turn;
    }
    WaitForStores();
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
