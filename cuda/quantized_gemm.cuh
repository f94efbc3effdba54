// D[M, N] = epilogue(scale[N] * (A[M, K] B[N, K]') + bias[N]) for int8 or E4M3 operands on Hopper, written as float16/bfloat16, or,
// after an activation, quantized to the operands' type.
//
// What cuBLASLt has costs the gain of 8 bits again: int8 products per channel only come as int32 (4 bytes a result), and no bias
// or GELU is fused into a quantized result. So: persistent clusters of two blocks, each block a tile of D. One thread copies
// tiles of 128 bytes of K with the tensor copy engine into a ring of stages, which warpgroups multiply with wgmma. Either two
// warpgroups take turns with tiles of 128 rows, so that one computes while the other is in its epilogue, which for K = 768 takes
// as long; or three share each tile of 192 rows, which are fewer: for 768 columns and some thousand rows one for each
// multiprocessor. The two blocks of a cluster lie one below the other and share B: each loads half of it into both, as at 8 bits
// the L2 cache cannot deliver what the tensor cores take. B's rows are permuted (QuantizedWeightColumn), so a thread has eight
// results side by side. They go through shared memory, from where the copy engine stores them (quantized_gemm_epilogue.cuh).
//
// The weights are no other kernel's output: their first tiles are copied before the kernel before has ended.
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

template <typename Out, int kTile>
struct QuantizedGemmTile {
  using Box = ResultBox<Out, kTile>;
  static constexpr int kM = kGemmTiles[kTile].rows;
  static constexpr int kN = kGemmTiles[kTile].columns;
  static constexpr int kK = 128;  // bytes, and elements
  static constexpr bool kTurns = TilesInTurns(kGemmTiles[kTile]);
  static constexpr int kGroups = kTurns ? 2 : kM / 64;
  static constexpr int kTogether = kTurns ? 1 : kGroups;  // warpgroups with the same tile
  static constexpr int kBlocks = kTurns ? 2 : 1;          // of 64 rows, a warpgroup
  static constexpr int kInputBoxBytes = kInputBoxRows * kK;
  static constexpr int kInputBytes = kM * kK;
  static constexpr int kWeightBytes = kN * kK;
  static constexpr int kStageBytes = kInputBytes + kWeightBytes;
  static constexpr int kParameterBytes = 2 * kN * 4;     // scale and bias of a tile
  static constexpr int kParameters = kTurns ? 4 : 2;     // tiles of which they are there: two for each turn
  static constexpr int kBoxBytes = 4 * 2 * Box::kBytes;  // of a warpgroup: two a warp
  static constexpr int kFixedBytes = 1024 + kParameters * (kParameterBytes + 16) + kGroups * kBoxBytes;
  static constexpr int kMaxStages = (227 * 1024 - kFixedBytes) / (kStageBytes + 16);
  static constexpr int kStages = kMaxStages > 7 ? 7 : kMaxStages;
  static constexpr int kSharedBytes = kFixedBytes + kStages * (kStageBytes + 16);
  static constexpr int kThreads = 128 * (kGroups + 1);
  // A thread of the copying warpgroup, and of the others.
  static constexpr int kCopyRegisters = kGroups == 3 ? 56 : kN > 128 ? 24 : 40;
  static constexpr int kRegisters = kGroups == 3 ? 152 : kN > 128 ? 240 : 232;
  static_assert(BlockHasRegisters(kCopyRegisters, kGroups, kRegisters), "");
  static_assert(kN / 2 % 8 == 0 && kN % 32 == 0, "half the tile must be whole swizzle groups");
};

template <typename Format, typename Out, typename Tile>
__global__ void __launch_bounds__(Tile::kThreads, 1)
    QuantizedGemmKernel(const __grid_constant__ CUtensorMap input, const __grid_constant__ CUtensorMap weight,
                        const __grid_constant__ CUtensorMap output, const QuantizedGemmProblem p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  constexpr int kN = Tile::kN;
  extern __shared__ char unaligned[];
  const uint32_t shared = (SharedAddress(unaligned) + 1023) / 1024 * 1024;
  const uint32_t boxes = shared + Tile::kStages * Tile::kStageBytes;
  const uint32_t full = boxes + Tile::kGroups * Tile::kBoxBytes;  // barriers, one a stage: the tiles are there
  const uint32_t empty = full + Tile::kStages * 8;                // the warpgroups of both blocks are done with them
  const uint32_t ready = empty + Tile::kStages * 8;               // parameters: they are there, and used
  const uint32_t used = ready + Tile::kParameters * 8;
  float* const parameters = reinterpret_cast<float*>(unaligned + (used + Tile::kParameters * 8 - SharedAddress(unaligned)));
  const uint32_t rank = ClusterRank();
  if (threadIdx.x == 0) {
    for (int s = 0; s < Tile::kStages; ++s) {
      BarrierInit(full + s * 8, 1);
      BarrierInit(empty + s * 8, 2 * Tile::kTogether);
    }
    for (int i = 0; i < Tile::kParameters; ++i) {
      BarrierInit(ready + i * 8, 32);
      BarrierInit(used + i * 8, 4 * Tile::kTogether);
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
      const auto copy_weight = [&](int stage, int step, int column) {
        BarrierExpect(full + stage * 8, Tile::kStageBytes);
        CopyTileToBlocks(shared + stage * Tile::kStageBytes + Tile::kInputBytes + rank * (Tile::kWeightBytes / 2), &weight,
                         full + stage * 8, step * Tile::kK, column + rank * (kN / 2), 3);
      };
      const auto copy_input = [&](int stage, int step, int row) {
#pragma unroll
        for (int i = 0; i < Tile::kM / kInputBoxRows; ++i) {
          CopyTile(shared + stage * Tile::kStageBytes + i * Tile::kInputBoxBytes, &input, full + stage * 8, step * Tile::kK,
                   row + i * kInputBoxRows);
        }
      };
      int step = first < tiles ? min(Tile::kStages, steps) : 0;
#pragma unroll 1
      for (int s = 0; s < step; ++s) copy_weight(s, s, first % tiles_n * kN);
      WaitForPreviousKernel();  // the others depend on what this thread copies
#pragma unroll 1
      for (int s = 0; s < step; ++s) copy_input(s, s, (first / tiles_n * 2 + rank) * Tile::kM);
      RingPlace<Tile::kStages> stage = {step % Tile::kStages, static_cast<uint32_t>(step / Tile::kStages)};
      for (int tile = first; tile < tiles; tile += stride, step = 0) {
        const int row = (tile / tiles_n * 2 + rank) * Tile::kM;
        const int column = tile % tiles_n * kN;
#pragma unroll 1
        for (; step < steps; ++step) {
          BarrierWait(empty + stage.index * 8, stage.parity ^ 1);
          copy_weight(stage.index, step, column);
          copy_input(stage.index, step, row);
          stage.Next();
        }
      }
    } else if (threadIdx.x / 32 == 1) {
      // This warp has the parameters there in time: where a warpgroup loaded its own, that held up its products.
      const float factor = sizeof(Out) == 1 && !p.activation.gelu ? p.output_scale : 1.0f;
      int count = 0;
      for (int tile = first; tile < tiles; tile += stride, ++count) {
        const int column = tile % tiles_n * kN;
        const int buffer = count % Tile::kParameters;
        BarrierWait(used + buffer * 8, (count / Tile::kParameters % 2) ^ 1);
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
    const int group = UniformInWarp(threadIdx.x / 128 - 1);
    const bool leader = threadIdx.x % 128 == 0;
    const int warp = threadIdx.x % 128 / 32;
    char* const warp_boxes = unaligned + (boxes - SharedAddress(unaligned)) + (group * 4 + warp) * 2 * Tile::Box::kBytes;
    // Releases a stage to both blocks' copying threads.
    const auto release = [&](int s) {
      if (leader) {
        BarrierArriveAt(empty + s * 8, 0);
        BarrierArriveAt(empty + s * 8, 1);
      }
    };
    RingPlace<Tile::kStages> stage;
    if (Tile::kTurns && group == 1) {
      stage.Skip(steps);
      asm volatile("bar.arrive 1, 256;" ::: "memory");
    }
    constexpr int kTurn = Tile::kTurns ? 2 : 1;
    int count = Tile::kTurns ? group : 0;  // the how manieth tile of this block
    for (int tile = first + count * stride; tile < tiles; tile += kTurn * stride, count += kTurn) {
      uint32_t d[Tile::kBlocks][kN / 2];  // 64 rows each
      int previous = 0;
      const int column = tile % tiles_n * kN;
      if (Tile::kTurns) asm volatile("bar.sync %0, 256;" ::"r"(1 + group) : "memory");  // this warpgroup's turn
      for (int step = 0; step < steps; ++step) {
        BarrierWait(full + stage.index * 8, stage.parity);
        const uint32_t from = shared + stage.index * Tile::kStageBytes;
        const uint64_t a = TileDescriptor(from + (Tile::kTurns ? 0 : group * Tile::kInputBoxBytes));
        const uint64_t b = TileDescriptor(from + Tile::kInputBytes);
#pragma unroll
        for (int block = 0; block < Tile::kBlocks; ++block) KeepInPlace(d[block]);
        WgmmaFence();
#pragma unroll
        for (int k = 0; k < Tile::kK / 32; ++k) {
#pragma unroll
          for (int block = 0; block < Tile::kBlocks; ++block) {
            Wgmma8<Format, kN>(d[block], a + 2 * k + block * (Tile::kInputBoxBytes >> 4), b + 2 * k, step > 0 || k > 0);
          }
        }
        WgmmaCommit();
        if (step > 0) {
          WgmmaWait<1>();
          release(previous);
        }
        previous = stage.index;
        stage.Next();
      }
      if (Tile::kTurns) asm volatile("bar.arrive %0, 256;" ::"r"(2 - group) : "memory");
      WgmmaWait<0>();
      release(previous);
#pragma unroll
      for (int block = 0; block < Tile::kBlocks; ++block) KeepInPlace(d[block]);
      if (Tile::kTurns) stage.Skip(steps);
      const int buffer = count % Tile::kParameters;
      BarrierWait(ready + buffer * 8, count / Tile::kParameters % 2);
      const int row = (tile / tiles_n * 2 + rank) * Tile::kM + (Tile::kTurns ? 0 : group * 64) + warp * 16;
      StoreResults<Format, typename Tile::Box>(p, &output, parameters + buffer * 2 * kN, d, warp_boxes, row, column);
      __syncwarp();
      if (threadIdx.x % 32 == 0) BarrierArrive(used + buffer * 8);
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
