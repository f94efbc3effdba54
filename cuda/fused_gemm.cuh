// The product of fused_gemm.h for many rows: D[M, N] = epilogue(A[M, K] B[N, K]') with float16 or bfloat16 operands on Hopper.
//
// Persistent clusters of two blocks, each block a tile of D. One thread copies tiles of 64 values of K with the tensor copy
// engine into a ring of stages, which warpgroups multiply with wgmma. The two blocks of a cluster lie one below the other and
// share B: each loads half of it into both. Either two or three warpgroups share each tile, 64 rows each, or two take turns with
// the block's tiles, so that one multiplies while the other is in its epilogue. The copying thread's other warps read what the
// epilogue must know of rows and columns into shared memory, a tile ahead. B's rows are permuted by the copy engine: see
// MakePermutedTileMap.
//
// Results go through boxes in shared memory, from where the copy engine stores them while the next tile is multiplied. Of a
// shared tile they are one or two stages that follow in the ring after the last tile of K (before the last ones, where no other
// tile's are copied ahead); a residual is copied there, and the sums take its place. In turns each warp has two small boxes of
// its own, as the ring's stages are the other warpgroup's meanwhile.
//
// The weights are no other kernel's output: their first tiles are copied before the kernel before has ended.
#ifndef TF_FASTBERT_CUDA_FUSED_GEMM_CUH_
#define TF_FASTBERT_CUDA_FUSED_GEMM_CUH_

#include "cuda/dependent_launch.cuh"
#include "cuda/fused_gemm_epilogue.cuh"
#include "cuda/hopper.cuh"
#include "cuda/wgmma_shared.cuh"

namespace tf_fastbert {
namespace cuda {

// kTurns: two warpgroups with tiles of 128 rows of their own; else kGroups warpgroups with 64 rows each of one tile.
template <int kColumns, int kWarpgroups, bool kTakeTurns = false>
struct FusedGemmTile {
  static constexpr int kN = kColumns;
  static constexpr int kGroups = kWarpgroups;
  static constexpr bool kTurns = kTakeTurns;
  static constexpr int kBlocks = kTurns ? 2 : 1;  // of 64 rows, a warpgroup
  static constexpr int kM = kTurns ? 128 : 64 * kGroups;
  static constexpr int kSharing = kTurns ? 1 : kGroups;  // warpgroups that read a stage
  static constexpr int kK = 64;
  static constexpr int kBoxBytes = 64 * kK * 2;  // of A
  static constexpr int kInputBytes = kM * kK * 2;
  static constexpr int kWeightBytes = kN * kK * 2;
  static constexpr int kStageBytes = kInputBytes + kWeightBytes;
  static constexpr int kParameterBytes = kM * 8 + 2 * kN * 4;
  static constexpr int kWarpBoxBytes = kTurns ? 2 * kResultRows * kResultColumns * 2 : 0;
  static constexpr int kOtherBytes = 1024 + 2 * kParameterBytes + kGroups * 4 * kWarpBoxBytes + 4 * 8;
  static constexpr int kMaxStages = (227 * 1024 - kOtherBytes) / (kStageBytes + 16);
  static constexpr int kStages = kMaxStages > 7 ? 7 : kMaxStages;
  static constexpr int kSharedBytes = kOtherBytes + kStages * (kStageBytes + 16);
  // The results, in boxes of kM rows and 32 columns that lie one after the other in kResultStages stages.
  static constexpr int kResultBoxBytes = kM * kResultColumns * 2;
  static constexpr int kResultStages = kTurns ? 0 : (kM * kN * 2 + kStageBytes - 1) / kStageBytes;
  static constexpr int kBoxesInStage = kTurns ? 1 : (kN / kResultColumns + kResultStages - 1) / kResultStages;
  static constexpr int kThreads = 128 * (kGroups + 1);
  // A thread of the copying warpgroup, and of the others.
  static constexpr int kCopyRegisters = kTurns ? 24 : kGroups == 3 ? 56 : 72;
  static constexpr int kRegisters = kTurns ? 240 : kGroups == 3 ? 152 : 216;
  static_assert(BlockHasRegisters(kCopyRegisters, kGroups, kRegisters), "");
  static constexpr int kFillThreads = 96;
  static_assert(kN % kStatisticsColumns == 0, "");
  static_assert(!kTurns || kGroups == 2, "");
  static_assert(kBoxesInStage * kResultBoxBytes <= kStageBytes && kResultStages < kStages, "");
};

// Rows and columns of one tile into shared memory, by kFillThreads threads.
template <FusedGemmKind kKind, typename Tile>
__device__ __forceinline__ void FillParameters(const FusedGemmArgs& p, float2* rows, float* add, float* factor, int row,
                                               int column) {
  constexpr bool kSum = kKind == FusedGemmKind::kSum;
  const int warp = threadIdx.x / 32 - 1, thread = threadIdx.x - 32;
  const RowStatistics* statistics = kSum ? p.residual_statistics : p.input_statistics;
  const int parts = (kSum ? p.n : p.k) / kStatisticsColumns;
#pragma unroll 1
  for (int r = thread; warp < 2 && r < Tile::kM; r += 64) {
    rows[r] = statistics != nullptr && row + r < p.rows
                  ? CombineStatistics(statistics + static_cast<int64_t>(row + r) * parts, parts, p.epsilon)
                  : make_float2(1.0f, 0.0f);
  }
#pragma unroll 2
  for (int i = thread - 64; warp == 2 && i < Tile::kN; i += 32) {
    const int c = column + i;
    float a = 0.0f, f = kSum ? 1.0f : 0.0f;
    if (c < p.n) {
      a = p.bias[c];
      if (statistics != nullptr) {
        f = kSum ? p.gamma[c] : p.column_sum[c];
        if (kSum) a += p.beta[c];
      }
    }
    add[i] = a;
    factor[i] = f;
  }
}

template <typename T, FusedGemmKind kKind, typename Tile>
__global__ void __launch_bounds__(Tile::kThreads, 1)
    FusedGemmKernel(const __grid_constant__ CUtensorMap input, const __grid_constant__ CUtensorMap weight,
                    const __grid_constant__ CUtensorMap residual, const __grid_constant__ CUtensorMap output,
                    const __grid_constant__ FusedGemmArgs p) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  constexpr int kN = Tile::kN, kStages = Tile::kStages;
  constexpr bool kSum = kKind == FusedGemmKind::kSum;
  extern __shared__ char unaligned[];
  const uint32_t shared = (SharedAddress(unaligned) + 1023) / 1024 * 1024;
  char* const stages = unaligned + (shared - SharedAddress(unaligned));
  char* const warp_boxes = stages + kStages * Tile::kStageBytes;
  char* const parameters = warp_boxes + Tile::kGroups * 4 * Tile::kWarpBoxBytes;  // two tiles'
  const uint32_t full = SharedAddress(parameters) + 2 * Tile::kParameterBytes;    // barriers, one a stage: tiles are there
  const uint32_t empty = full + kStages * 8;    // the warpgroups of both blocks are done with them
  const uint32_t filled = empty + kStages * 8;  // barriers of the two tiles' parameters
  const uint32_t used = filled + 2 * 8;
  const uint32_t rank = ClusterRank();
  if (threadIdx.x == 0) {
    for (int s = 0; s < kStages; ++s) {
      BarrierInit(full + s * 8, 1);
      BarrierInit(empty + s * 8, 2 * Tile::kSharing);
    }
    for (int i = 0; i < 2; ++i) {
      BarrierInit(filled + i * 8, Tile::kFillThreads);
      BarrierInit(used + i * 8, 128 * Tile::kSharing);
    }
    BarrierInitFence();
    PrefetchTensorMap(&input);
    PrefetchTensorMap(&weight);
    PrefetchTensorMap(&output);
    if (kSum) PrefetchTensorMap(&residual);
  }
  ClusterSync();
  LetNextKernelStart();

  const int tiles_n = (p.n + kN - 1) / kN;
  const int tiles = (p.rows + 2 * Tile::kM - 1) / (2 * Tile::kM) * tiles_n;  // of a cluster: two tiles of D
  const int steps = (p.k + Tile::kK - 1) / Tile::kK;
  const int first = blockIdx.x / 2, stride = gridDim.x / 2;
  const auto rows_of = [&](int i) { return reinterpret_cast<float2*>(parameters + i * Tile::kParameterBytes); };
  const auto columns_of = [&](int i) { return reinterpret_cast<float*>(parameters + i * Tile::kParameterBytes + Tile::kM * 8); };

  RingPlace<kStages> stage;
  // Before which step the stages for results come. A residual takes a while, so it is asked for two steps early if there are stages
  // enough for these steps all the same; but behind it nothing can be copied ahead, so only in the last tile, and not among the
  // stages that are filled before the kernel before has ended.
  const auto results_before = [&](int tile) {
    return kSum && kStages > 4 && tile + stride >= tiles && steps - 2 >= kStages ? steps - 2 : steps;
  };
  if (threadIdx.x < 128) {
    GiveRegisters<Tile::kCopyRegisters>();
    if (threadIdx.x == 0) {
      const auto copy_weight = [&](int to_stage, int step, int column) {
        const uint32_t to = shared + to_stage * Tile::kStageBytes + Tile::kInputBytes;
        BarrierExpect(full + to_stage * 8, Tile::kStageBytes);
#pragma unroll
        for (int j = 0; j < (kN / 32 + 1) / 2; ++j) {
          const int i = rank + 2 * j;
          if (i >= kN / 32) break;
          CopyBoxToBlocks(to + i * (32 * Tile::kK * 2), &weight, full + to_stage * 8, {step * Tile::kK, 0, 0, 0, column / 32 + i},
                          3);
        }
      };
      // The stages for results: free, and with the residual.
      const auto fill_result_stages = [&](int row, int column) {
#pragma unroll 1
        for (int box = 0; box < Tile::kResultStages * Tile::kBoxesInStage; box += Tile::kBoxesInStage) {
          BarrierWait(empty + stage.index * 8, stage.parity ^ 1);
          if constexpr (kSum) {
            const int boxes = min(Tile::kBoxesInStage, kN / kResultColumns - box);
            BarrierExpect(full + stage.index * 8, boxes * Tile::kResultBoxBytes);
            for (int i = 0; i < boxes; ++i) {
              CopyTile(shared + stage.index * Tile::kStageBytes + i * Tile::kResultBoxBytes, &residual, full + stage.index * 8,
                       column + (box + i) * kResultColumns, row);
            }
          } else {
            BarrierArrive(full + stage.index * 8);
          }
          stage.Next();
        }
      };
      int early = first < tiles ? min(kStages, steps) : 0;
#pragma unroll 1
      for (int s = 0; s < early; ++s) copy_weight(s, s, first % tiles_n * kN);
      WaitForPreviousKernel();
      for (int tile = first; tile < tiles; tile += stride) {
        const int row = (tile / tiles_n * 2 + rank) * Tile::kM;
        const int column = tile % tiles_n * kN;
        const int results_at = results_before(tile);
#pragma unroll 1
        for (int step = 0; step < steps; ++step) {
          if (step == results_at) fill_result_stages(row, column);
          if (early > 0) {
            --early;
          } else {
            BarrierWait(empty + stage.index * 8, stage.parity ^ 1);
            copy_weight(stage.index, step, column);
          }
          for (int i = 0; i < Tile::kM / 64; ++i) {
            CopyTile(shared + stage.index * Tile::kStageBytes + i * Tile::kBoxBytes, &input, full + stage.index * 8,
                     step * Tile::kK, row + i * 64);
          }
          stage.Next();
        }
        if (results_at == steps) fill_result_stages(row, column);
      }
    } else if (threadIdx.x >= 32) {
      WaitForPreviousKernel();
#pragma unroll 1
      for (int tile = first, i = 0; tile < tiles; tile += stride, ++i) {
        const int row = (tile / tiles_n * 2 + rank) * Tile::kM;
        const int column = tile % tiles_n * kN;
        BarrierWait(used + i % 2 * 8, (i / 2 & 1) ^ 1);
        FillParameters<kKind, Tile>(p, rows_of(i % 2), columns_of(i % 2), columns_of(i % 2) + kN, row, column);
        BarrierArrive(filled + i % 2 * 8);
      }
    }
  } else {
    TakeRegisters<Tile::kRegisters>();
    WaitForPreviousKernel();
    const int group = UniformInWarp(threadIdx.x / 128 - 1);
    const bool leader = threadIdx.x % 128 == 0;
    // Releases a stage to both blocks' copying threads.
    const auto release = [&](int s) {
      if (leader) {
        BarrierArriveAt(empty + s * 8, 0);
        BarrierArriveAt(empty + s * 8, 1);
      }
    };
    const FusedActivation activation = p.activation.gelu   ? FusedActivation::kGelu
                                       : p.activation.relu ? FusedActivation::kRelu
                                                           : FusedActivation::kNone;
    if (Tile::kTurns && group == 1) {
      stage.Skip(steps);
      asm volatile("bar.arrive 1, 256;" ::: "memory");
    }
    char* const own_boxes = warp_boxes + (threadIdx.x / 32 - 4) * Tile::kWarpBoxBytes;
    RingPlace<kStages> results;  // the first stage for the results of a tile, or the one before
    const auto take_result_stages = [&] {
      results = stage;
      stage.Skip(Tile::kResultStages);
    };
    int i = Tile::kTurns ? group : 0;  // the how manieth tile of this block
    for (int tile = first + i * stride; tile < tiles; tile += (Tile::kTurns ? 2 : 1) * stride, i += Tile::kTurns ? 2 : 1) {
      uint32_t d[Tile::kBlocks][kN / 2];  // 64 rows each
      int previous = 0;
      if (Tile::kTurns) asm volatile("bar.sync %0, 256;" ::"r"(1 + group) : "memory");  // this warpgroup's turn
      const int results_at = results_before(tile);
      for (int step = 0; step < steps; ++step) {
        if (kSum && step == results_at) take_result_stages();
        BarrierWait(full + stage.index * 8, stage.parity);
        const uint32_t from = shared + stage.index * Tile::kStageBytes;
        const uint64_t a = TileDescriptor(from + (Tile::kTurns ? 0 : group * Tile::kBoxBytes));
        const uint64_t b = TileDescriptor(from + Tile::kInputBytes);
#pragma unroll
        for (int block = 0; block < Tile::kBlocks; ++block) KeepInPlace(d[block]);
        WgmmaFence();
#pragma unroll
        for (int k = 0; k < Tile::kK / 16; ++k) {
#pragma unroll
          for (int block = 0; block < Tile::kBlocks; ++block) {
            WgmmaShared<T, kN>(d[block], a + 2 * k + block * (Tile::kBoxBytes >> 4), b + 2 * k, step > 0 || k > 0);
          }
        }
        WgmmaCommit();
        if (step > 0) {
          WgmmaWait<1>();
          release(previous);
        } else if (!Tile::kTurns && i > 0) {
          // Here, behind a step's products, nobody waits for the copy engine.
          WaitForStoresToRead<0>();
          SyncWarpgroup(group);
#pragma unroll
          for (int s = 0; s < Tile::kResultStages; ++s) release((results.index + s) % kStages);
        }
        previous = stage.index;
        stage.Next();
      }
      if (Tile::kTurns) asm volatile("bar.arrive %0, 256;" ::"r"(2 - group) : "memory");
      const int in_tile = Tile::kTurns ? 0 : group * 64;
      const int row = (tile / tiles_n * 2 + rank) * Tile::kM + in_tile;
      const int column = tile % tiles_n * kN;
      WgmmaWait<0>();
      release(previous);
#pragma unroll
      for (int block = 0; block < Tile::kBlocks; ++block) KeepInPlace(d[block]);
      if (Tile::kTurns) stage.Skip(steps);
      BarrierWait(filled + i % 2 * 8, i / 2 & 1);
      const FusedGemmParameters of_tile = {rows_of(i % 2) + in_tile, columns_of(i % 2), columns_of(i % 2) + kN};
      if (results_at == steps) take_result_stages();
      static_assert(Tile::kResultStages <= 2, "");
      // Where the results of the 32 columns from 32 g on are put, 16 rows a warp: g grows by one with each call.
      const auto box_of = [&](int g) {
        if constexpr (Tile::kTurns) {
          if (threadIdx.x % 32 == 0) WaitForStoresToRead<1>();
          __syncwarp();
          return own_boxes + g % 2 * (Tile::kWarpBoxBytes / 2);
        } else {
          const bool second = g >= Tile::kBoxesInStage, wraps = results.index + 1 == kStages;
          const int s = second ? (wraps ? 0 : results.index + 1) : results.index;
          if (g % Tile::kBoxesInStage == 0) BarrierWait(full + s * 8, second && wraps ? results.parity ^ 1 : results.parity);
          return stages + s * Tile::kStageBytes + g % Tile::kBoxesInStage * Tile::kResultBoxBytes +
                 (threadIdx.x / 32 - 4) * (kResultRows * kResultColumns * 2);
        }
      };
      if constexpr (kSum) {
        FinishSum<T, kN>(p, of_tile, d[0], box_of, &output, row, column);
      } else {
        // Chosen here and not for each value: the results of one group of columns are then computed while others are stored.
        switch (activation) {
          case FusedActivation::kNone:
            FinishRows<T, kN, Tile::kBlocks, FusedActivation::kNone>(p, of_tile, d, box_of, &output, row, column);
            break;
          case FusedActivation::kRelu:
            FinishRows<T, kN, Tile::kBlocks, FusedActivation::kRelu>(p, of_tile, d, box_of, &output, row, column);
            break;
          case FusedActivation::kGelu:
            FinishRows<T, kN, Tile::kBlocks, FusedActivation::kGelu>(p, of_tile, d, box_of, &output, row, column);
            break;
        }
      }
      BarrierArrive(used + i % 2 * 8);
    }
    WaitForStores();
  }
  __syncwarp();
  ClusterSync();  // the other block may still be copying into this one's memory
#else
  __trap();  // HasFusedGemm keeps callers away
#endif
}

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_FUSED_GEMM_CUH_
