// The products of fused_gemm.h for some hundred rows: output = activation(rstd (input weight' - mean column_sum) + bias) + residual.
//
// A kernel is short and waits for the one before. So the next kernel's weights are copied while this one runs, and the sum over k is
// shared out among the blocks of a cluster.
//
// - A block is one warpgroup with a tile of its own, 64 x 96 or 64 x 64, and two blocks run on a multiprocessor. A step of k takes
//   such a block about 300 nanoseconds however few columns it has, so what counts is that others run meanwhile. (Tiles of 128 rows,
//   two warpgroups in step, in one of the four products: 438 -> 467 to 477 microseconds a pass of 512 rows.)
// - The weights' rows come in an order (MakePermutedTileMap) in which eight columns side by side are one thread's, so that results
//   are stored from registers. Partial sums go to the same thread of the block that owns them, which needs no rows and columns in
//   shared memory: whole 16-byte vectors without bank conflicts.
// - A row's statistics are of 32 columns, which are four threads'.
// - The epilogue's parts are not volatile and mixed by the compiler: it waited a microsecond a kernel for its own loads.
#ifndef TF_FASTBERT_CUDA_FUSED_GEMM_SMALL_CUH_
#define TF_FASTBERT_CUDA_FUSED_GEMM_SMALL_CUH_

#include <algorithm>
#include <type_traits>

#include "cuda/dependent_launch.cuh"
#include "cuda/fused_gemm_small_rows.cuh"
#include "cuda/wgmma_shared.cuh"

namespace tf_fastbert {
namespace cuda {

// kPairCount: as many pairs of statistics a thread loads ahead.
template <int kColumns, int kPartCount, int kPairCount>
struct SmallGemm {
  static constexpr int kM = kSmallGemmRows, kN = kColumns, kK = kSmallGemmDepth, kParts = kPartCount, kPairs = kPairCount;
  static constexpr int kInputBytes = kM * kK * 2;
  static constexpr int kStageBytes = kInputBytes + kN * kK * 2;
  static constexpr int kBoxBytes = 32 * kK * 2;  // of weights
  static constexpr int kThreads = 128;
  // A thread's sums are units of eight columns of a row, kBlocks in each of two rows. A part owns kOwnBlocks in kOwnRows of them, of
  // kOwnThreads threads: parts share out the two rows, then the blocks, then the warps.
  static constexpr int kBlocks = kN / 32;
  static constexpr int kRowParts = kParts > 1 ? 2 : 1, kBlockParts = kParts > 2 ? 2 : 1;
  static constexpr int kWarpParts = kParts / (kRowParts * kBlockParts);
  static constexpr int kOwnRows = 2 / kRowParts;
  static constexpr int kOwnBlocks = kBlocks / kBlockParts;
  static constexpr int kOwnThreads = kThreads / kWarpParts;
  static constexpr int kOwnUnits = kOwnRows * kOwnBlocks;
  static_assert(kOwnUnits * kOwnThreads * kParts == 2 * kBlocks * kThreads, "parts must share out the units");
  static constexpr int kUnitBytes = kOwnThreads * 8 * 4;
  static constexpr int kOwnBytes = kOwnUnits * kUnitBytes;  // sums that a part gets from each of the others
  static constexpr int kExchangeBytes = (kParts - 1) * kOwnBytes;
  // So that two blocks fit on a multiprocessor.
  static constexpr int kMaxSharedBytes = 113 * 1024;

  // The stages, then in their place the sums for the other parts; the other parts' sums; parameters; barriers.
  static int SharedBytes(int stages) {
    return std::max(stages * kStageBytes, kExchangeBytes) + kExchangeBytes + 2 * kN * 4 + stages * 16 + 8;
  }
};

// kSum: with residual and output_statistics.
template <typename T, typename Tile, bool kSum>
__global__ void __launch_bounds__(Tile::kThreads, 2)
    SmallGemmKernel(const __grid_constant__ CUtensorMap input, const __grid_constant__ CUtensorMap weight, const FusedGemmArgs p,
                  int stages) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  constexpr int kParts = Tile::kParts, kOwnBlocks = Tile::kOwnBlocks, kOwnRows = Tile::kOwnRows, kOwnUnits = Tile::kOwnUnits;
  extern __shared__ __align__(1024) char small_gemm_shared[];
  const uint32_t shared = SharedAddress(small_gemm_shared);
  const uint32_t received = shared + max(stages * Tile::kStageBytes, Tile::kExchangeBytes);
  float* const add =
      reinterpret_cast<float*>(small_gemm_shared + (received - shared) + Tile::kExchangeBytes);  // see CopySmallParameters
  float* const factor = add + Tile::kN;
  const uint32_t full = SharedAddress(factor + Tile::kN);  // barriers, one a stage: the tiles are there
  const uint32_t empty = full + stages * 8;                // all warps are done with them
  const uint32_t summed = empty + stages * 8;              // the other parts' sums are there
  const int part = kParts > 1 ? blockIdx.x : 0;
  const int all_steps = (p.k + Tile::kK - 1) / Tile::kK;
  const int first = all_steps * part / kParts, steps = all_steps * (part + 1) / kParts - first;
  const int tile_row = blockIdx.y * Tile::kM, tile_column = blockIdx.z * Tile::kN;

  const auto copy_weight = [&](int step, int stage) {
    BarrierExpect(full + stage * 8, Tile::kStageBytes);
    const uint32_t to = shared + stage * Tile::kStageBytes + Tile::kInputBytes;
#pragma unroll
    for (int j = 0; j < Tile::kBlocks; ++j) {
      CopyBox(to + j * Tile::kBoxBytes, &weight, full + stage * 8, {(first + step) * Tile::kK, 0, 0, 0, tile_column / 32 + j});
    }
  };
  const auto copy_input = [&](int step, int stage) {
    CopyTile(shared + stage * Tile::kStageBytes, &input, full + stage * 8, (first + step) * Tile::kK, tile_row);
  };
  if (threadIdx.x == 0) {
    PrefetchTensorMap(&input);
    for (int s = 0; s < stages; ++s) {
      BarrierInit(full + s * 8, 1);
      BarrierInit(empty + s * 8, Tile::kThreads / 32);
    }
    BarrierInit(summed, 1);
    BarrierInitFence();
    if (kParts > 1) BarrierExpect(summed, Tile::kExchangeBytes);
    for (int s = 0; s < min(steps, stages); ++s) copy_weight(s, s);
  }
  __syncthreads();
  if (kParts > 1) ClusterArrive();
  LetNextKernelStart();

  // What this thread finishes: row_in_tile or the row 8 below it, or both, and kOwnBlocks times eight columns 32 apart.
  const int warps = Tile::kWarpParts == 1 ? 0 : threadIdx.x / Tile::kOwnThreads, in_warps = threadIdx.x - warps * Tile::kOwnThreads;
  const bool owns = Tile::kWarpParts == 1 || warps == part / 2 / Tile::kBlockParts;  // else nothing
  const int row_in_tile = threadIdx.x / 32 * 16 + threadIdx.x % 32 / 4 + (kParts > 1 ? part % 2 * 8 : 0);
  const int column_in_tile = part / 2 % Tile::kBlockParts * kOwnBlocks * 32 + threadIdx.x % 4 * 8;
  SmallUnit unit[kOwnUnits];
#pragma unroll
  for (int u = 0; u < kOwnUnits; ++u) {
    const int column = column_in_tile + u % kOwnBlocks * 32;
    unit[u] = {owns ? tile_row + row_in_tile + u / kOwnBlocks * 8 : p.rows, tile_column + column, column};
  }
  CopySmallParameters<kSum, Tile::kN>(p, add, factor, tile_column);
  WaitForPreviousKernel();
  if (threadIdx.x == 0) {
    for (int s = 0; s < min(steps, stages); ++s) copy_input(s, s);
  }
  __syncwarp();
  SmallStatistics<Tile::kPairs> statistics[kOwnRows];
  uint4 residual[kOwnUnits];
#pragma unroll
  for (int h = 0; h < kOwnRows; ++h) {
    const RowStatistics* const from = kSum ? p.residual_statistics : p.input_statistics;
    const int columns = kSum ? p.n : p.k;
    const int64_t row = min(unit[h * kOwnBlocks].row, p.rows - 1);
    statistics[h].Load(from == nullptr ? nullptr : from + row * (columns / kSmallStatisticsColumns), columns);
  }
  if (kSum) {
#pragma unroll
    for (int u = 0; u < kOwnUnits; ++u) {
      const int64_t row = min(unit[u].row, p.rows - 1);
      const T* const from = static_cast<const T*>(p.residual) + row * p.n + min(unit[u].column, p.n - 8);
      residual[u] = __ldcg(reinterpret_cast<const uint4*>(from));
    }
  }

  uint32_t d[Tile::kN / 2];
  int stage = 0;
  uint32_t parity = 0;
  for (int step = 0; step < steps; ++step) {
    BarrierWait(full + stage * 8, parity);
    const uint64_t a = TileDescriptor(shared + stage * Tile::kStageBytes);
    const uint64_t b = TileDescriptor(shared + stage * Tile::kStageBytes + Tile::kInputBytes);
    KeepInPlace(d);
    WgmmaFence();
#pragma unroll
    for (int k = 0; k < Tile::kK / 16; ++k) WgmmaShared<T, Tile::kN>(d, a + 2 * k, b + 2 * k, step > 0 || k > 0);
    WgmmaCommit();
    if (step > 0 && step - 1 + stages < steps) {
      // Refills the stage of the step before, with this step's products under way.
      WgmmaWait<1>();
      const int freed = stage == 0 ? stages - 1 : stage - 1;
      if (threadIdx.x % 32 == 0) BarrierArrive(empty + freed * 8);
      if (threadIdx.x == 0) {
        BarrierWait(empty + freed * 8, stage == 0 ? parity ^ 1 : parity);
        copy_weight(step - 1 + stages, freed);
        copy_input(step - 1 + stages, freed);
      }
      __syncwarp();
    }
    if (++stage == stages) {
      stage = 0;
      parity ^= 1;
    }
  }
  float2 normal[kOwnRows];
#pragma unroll
  for (int h = 0; h < kOwnRows; ++h) normal[h] = statistics[h].Combine(p.epsilon);
  WgmmaWait<0>();
  KeepInPlace(d);
  __syncthreads();  // all warps are done with the stages, and the parameters are there

  float own[kOwnUnits][8];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
#pragma unroll
    for (int b = 0; b < Tile::kBlocks; ++b) {
      const int owner = kParts == 1 ? 0 : h + (b / kOwnBlocks + warps * Tile::kBlockParts) * 2;
      const int u = (kParts == 1 ? h * kOwnBlocks : 0) + b % kOwnBlocks;
      const auto value = [&](int i) { return d[b * 16 + i / 2 * 4 + h * 2 + i % 2]; };
      if (owner == part) {
#pragma unroll
        for (int i = 0; i < 8; ++i) own[u][i] = __uint_as_float(value(i));
      } else {
        const uint32_t to = shared + (owner - (owner > part)) * Tile::kOwnBytes + u * Tile::kUnitBytes + in_warps * 16;
        StoreShared(to, uint4{value(0), value(1), value(2), value(3)});
        StoreShared(to + Tile::kUnitBytes / 2, uint4{value(4), value(5), value(6), value(7)});
      }
    }
  }
  if constexpr (kParts > 1) {
    FenceForWgmma();  // for the copies
    ClusterWait();    // all blocks have started
    __syncthreads();
    if (threadIdx.x < kParts - 1) {
      const int to = threadIdx.x + (static_cast<int>(threadIdx.x) >= part);
      CopyToBlock(AddressAt(received + (part - (part > to)) * Tile::kOwnBytes, to), shared + threadIdx.x * Tile::kOwnBytes,
                  Tile::kOwnBytes, AddressAt(summed, to));
    }
    __syncwarp();
    BarrierWait(summed, 0);
    ClusterArrive();
    const float4* const from = reinterpret_cast<const float4*>(small_gemm_shared + (received - shared)) + in_warps;
#pragma unroll
    for (int other = 0; other < kParts - 1; ++other) {
#pragma unroll
      for (int u = 0; u < kOwnUnits; ++u) {
        const int at = other * (Tile::kOwnBytes / 16) + u * 2 * Tile::kOwnThreads;
        const float4 low = from[at], high = from[at + Tile::kOwnThreads];
        own[u][0] += low.x, own[u][1] += low.y, own[u][2] += low.z, own[u][3] += low.w;
        own[u][4] += high.x, own[u][5] += high.y, own[u][6] += high.z, own[u][7] += high.w;
      }
    }
  }

  if constexpr (kSum) {
    StoreSmallSums<T, kOwnBlocks>(p, add, factor, unit, normal, residual, own);
  } else if (p.activation.gelu) {
    StoreSmallRows<T, FusedActivation::kGelu, kOwnBlocks>(p, add, factor, unit, normal, own);
  } else if (p.activation.relu) {
    StoreSmallRows<T, FusedActivation::kRelu, kOwnBlocks>(p, add, factor, unit, normal, own);
  } else {
    StoreSmallRows<T, FusedActivation::kNone, kOwnBlocks>(p, add, factor, unit, normal, own);
  }
  if (kParts > 1) ClusterWait();  // nobody ends before the copies out of its shared memory are over
#else
  __trap();  // HasSmallGemm keeps callers away
#endif
}

template <typename T, int kN, int kParts, bool kSum, int kPairs>
cudaError_t LaunchSmallGemmTile(const CUtensorMap& input, const CUtensorMap& weight, const FusedGemmArgs& args,
                                cudaStream_t stream) {
  using Tile = SmallGemm<kN, kParts, kPairs>;
  const int steps = ((args.k + Tile::kK - 1) / Tile::kK + kParts - 1) / kParts;
  int stages = 1;
  while (stages < steps && Tile::SharedBytes(stages + 1) <= Tile::kMaxSharedBytes) ++stages;
  const auto kernel = SmallGemmKernel<T, Tile, kSum>;
  const cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Tile::kMaxSharedBytes);
  if (error != cudaSuccess) return error;
  const dim3 grid(kParts, (args.rows + Tile::kM - 1) / Tile::kM, (args.n + kN - 1) / kN);
  return LaunchDependent(kernel, grid, Tile::kThreads, kParts, Tile::SharedBytes(stages), stream, input, weight, args, stages);
}

template <typename T, int kPairs>
cudaError_t LaunchSmallGemmParts(int parts, const CUtensorMap& input, const CUtensorMap& weight, const FusedGemmArgs& args,
                                 cudaStream_t stream) {
  constexpr int kRows = kSmallGemmColumns, kSum = kSmallGemmSumColumns;
  const bool sum = args.output_statistics != nullptr;
  const auto launch = !sum         ? (parts == 1 ? LaunchSmallGemmTile<T, kRows, 1, false, kPairs>
                                                 : LaunchSmallGemmTile<T, kRows, 2, false, kPairs>)
                      : parts == 1 ? LaunchSmallGemmTile<T, kSum, 1, true, kPairs>
                      : parts == 2 ? LaunchSmallGemmTile<T, kSum, 2, true, kPairs>
                      : parts == 4 ? LaunchSmallGemmTile<T, kSum, 4, true, kPairs>
                                   : LaunchSmallGemmTile<T, kSum, 8, true, kPairs>;
  return launch(input, weight, args, stream);
}

template <typename T>
cudaError_t LaunchSmallGemmOf(int parts, const CUtensorMap& input, const CUtensorMap& weight, const FusedGemmArgs& args,
                              cudaStream_t stream) {
  // As many as there are, for BERT-base and BERT-large: what is loaded later is waited for.
  const int normalized = args.output_statistics != nullptr ? args.n : args.k;
  const auto launch = normalized <= 3 * kSmallColumnsOfPairs ? LaunchSmallGemmParts<T, 3> : LaunchSmallGemmParts<T, 4>;
  return launch(parts, input, weight, args, stream);
}

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_FUSED_GEMM_SMALL_CUH_
