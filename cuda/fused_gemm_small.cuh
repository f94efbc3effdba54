// The products of fused_gemm.h for few rows: output = activation(rstd (input weight' - mean column_sum) + bias) + residual.
//
// With up to some hundred rows a layer is five short kernels, each of which waits for the one before. So what counts is not the
// rate of the tensor cores but how little stands between the last store of one kernel and the first of the next:
//
// - The next kernel starts while this one runs (programmatic dependent launch) and copies its weights, which depend on nothing,
//   into shared memory. Once it may read its input only that is left to fetch. Blocks take at most half of a multiprocessor's
//   shared memory where that is possible, so that two kernels fit.
// - The sum over k is shared out among the blocks of a cluster: enough blocks for all multiprocessors, and every block reads only
//   its part of the input's columns (with narrow tiles instead each block would read the whole input, and the L2 cache could not
//   deliver that). The blocks push their partial sums into the shared memory of the one that owns the rows.
// - What the epilogue needs is loaded before the products start.
//
// A block: two warpgroups for the products, and one warp that copies tiles of 64 of k (128 bytes) into a ring of stages.
#ifndef TF_FASTBERT_CUDA_FUSED_GEMM_SMALL_CUH_
#define TF_FASTBERT_CUDA_FUSED_GEMM_SMALL_CUH_

#include <algorithm>

#include "cuda/dependent_launch.cuh"
#include "cuda/fused_gemm_small.h"
#include "cuda/fused_gemm_small_rows.cuh"
#include "cuda/mma.cuh"
#include "cuda/wgmma_shared.cuh"

namespace tf_fastbert {
namespace cuda {

struct SmallGemm {
  static constexpr int kM = kSmallGemmTile, kN = kSmallGemmTile, kK = kSmallGemmDepth;
  static constexpr int kInputBytes = kM * kK * 2;
  static constexpr int kStageBytes = kInputBytes + kN * kK * 2;
  static constexpr int kBarrierBytes = 16;       // of a stage
  static constexpr int kGroupColumns = kN / 2;   // of a warpgroup
  static constexpr int kSumBytes = kM * kN * 4;
  static constexpr int kParameterBytes = 3 * kN * 4;
  static constexpr int kGroupThreads = 256;
  static constexpr int kThreads = kGroupThreads + 32;
  static constexpr int kRowThreads = kSmallGemmRowThreads;  // of a row in the epilogue, each with eight columns
  static constexpr int kRowStep = kGroupThreads / kRowThreads;  // rows between those of one thread
  static constexpr int kMaxRows = kM / kRowStep;                // of one thread
  // So that two blocks fit on a multiprocessor: this kernel's, or one of the next, which then has its weights in time.
  static constexpr int kMaxSharedBytes = 113 * 1024;

  static int SharedBytes(int stages, int parts) {
    return stages * (kStageBytes + kBarrierBytes) + (parts > 1 ? kSumBytes : 0) + kParameterBytes + 8;
  }
};

// Where a row's partial sum of a column is among those of the row: groups of eight change places, so that the rows of a warp's
// accumulators are on different banks.
__device__ __forceinline__ int SumColumn(int row, int column) { return column ^ (row % 4 * 8); }

template <typename T>
__global__ void __launch_bounds__(SmallGemm::kThreads, 2)
    SmallGemmKernel(const __grid_constant__ CUtensorMap input, const __grid_constant__ CUtensorMap weight, const FusedGemmArgs p,
                    int parts, int stages) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  using Tile = SmallGemm;
  extern __shared__ __align__(1024) char small_gemm_shared[];
  const uint32_t shared = SharedAddress(small_gemm_shared);
  const uint32_t sums = shared;  // [kM][kN]: this block's partial sums, in the place of the stages after the products
  // [parts][rows of this block][kN]: the other blocks' partial sums of its rows.
  const uint32_t received = shared + stages * Tile::kStageBytes;
  const uint32_t parameters = received + (parts > 1 ? Tile::kSumBytes : 0);
  const uint32_t full = parameters + Tile::kParameterBytes;  // barriers, one a stage: the tiles are there
  const uint32_t empty = full + stages * 8;                  // both warpgroups are done with them
  const uint32_t summed = empty + stages * 8;                // all blocks' partial sums are there
  const int part = ClusterRank();
  const int all_steps = (p.k + Tile::kK - 1) / Tile::kK;
  const int first = all_steps * part / parts, steps = all_steps * (part + 1) / parts - first;
  const int tile_row = blockIdx.y * Tile::kM, tile_column = blockIdx.x / parts * Tile::kN;

  if (threadIdx.x == Tile::kGroupThreads) {
    PrefetchTensorMap(&input);
    PrefetchTensorMap(&weight);
    for (int s = 0; s < stages; ++s) {
      BarrierInit(full + s * 8, 1);
      BarrierInit(empty + s * 8, 2);
    }
    BarrierInit(summed, 1);
    BarrierInitFence();
    BarrierExpect(summed, Tile::kSumBytes / parts * (parts - 1));
  }
  __syncthreads();
  if (parts > 1) ClusterArrive();
  LetNextKernelStart();

  if (threadIdx.x >= Tile::kGroupThreads) {
    if (threadIdx.x == Tile::kGroupThreads) {
      const auto copy_weight = [&](int step, int stage) {
        BarrierExpect(full + stage * 8, Tile::kStageBytes);
        CopyTile(shared + stage * Tile::kStageBytes + Tile::kInputBytes, &weight, full + stage * 8, (first + step) * Tile::kK,
                 tile_column);
      };
      const auto copy_input = [&](int step, int stage) {
        CopyTile(shared + stage * Tile::kStageBytes, &input, full + stage * 8, (first + step) * Tile::kK, tile_row);
      };
      const int ahead = min(steps, stages);
      for (int s = 0; s < ahead; ++s) copy_weight(s, s);
      WaitForPreviousKernel();
      for (int s = 0; s < ahead; ++s) copy_input(s, s);
      uint32_t parity = 0;
      for (int step = ahead, stage = 0; step < steps; ++step) {
        BarrierWait(empty + stage * 8, parity);
        copy_weight(step, stage);
        copy_input(step, stage);
        if (++stage == stages) {
          stage = 0;
          parity ^= 1;
        }
      }
    }
    __syncwarp();
    if (parts > 1) ClusterWait();
    return;
  }

  const int group = threadIdx.x / 128;
  const int block_rows = Tile::kM / parts;  // of the tile, whose sums this block puts together
  const int own_row = threadIdx.x / Tile::kRowThreads;  // and every kRowStep-th after it
  const int first_row = tile_row + part * block_rows;
  // Whole warps stay together in what follows: a warp has four rows, and block_rows is a multiple of that.
  const SmallGemmEpilogue<T> epilogue(p, parameters, tile_column);
  epilogue.CopyParameters();
  typename SmallGemmEpilogue<T>::Row rows[Tile::kMaxRows];
  WaitForPreviousKernel();
#pragma unroll
  for (int i = 0; i < Tile::kMaxRows; ++i) {
    const int row = own_row + i * Tile::kRowStep;
    if (row < block_rows) epilogue.LoadRow(first_row + row, &rows[i]);
  }

  uint32_t d[2][Tile::kGroupColumns / 2];  // two chains, as each of these short products would wait for the one before
  int stage = 0;
  uint32_t parity = 0;
  for (int step = 0; step < steps; ++step) {
    BarrierWait(full + stage * 8, parity);
    const uint32_t from = shared + stage * Tile::kStageBytes;
    const uint64_t a = TileDescriptor(from);
    const uint64_t b = TileDescriptor(from + Tile::kInputBytes + group * Tile::kGroupColumns * Tile::kK * 2);
    KeepInPlace(d[0]);
    KeepInPlace(d[1]);
    WgmmaFence();
#pragma unroll
    for (int k = 0; k < Tile::kK / 16; ++k) {
      WgmmaShared<T, Tile::kGroupColumns>(d[k % 2], a + 2 * k, b + 2 * k, step > 0 || k >= 2);
    }
    WgmmaCommit();
    if (steps > stages && step > 0) {
      WgmmaWait<1>();
      if (threadIdx.x % 128 == 0) BarrierArriveAt(empty + (stage == 0 ? stages - 1 : stage - 1) * 8, part);
    }
    if (++stage == stages) {
      stage = 0;
      parity ^= 1;
    }
  }
#pragma unroll
  for (int i = 0; i < Tile::kMaxRows; ++i) {
    const int row = own_row + i * Tile::kRowStep;
    if (row < block_rows) epilogue.CombineRow(first_row + row, &rows[i]);
  }
  WgmmaWait<0>();
  KeepInPlace(d[0]);
  KeepInPlace(d[1]);

  asm volatile("bar.sync 1, 256;" ::: "memory");  // both warpgroups have done with the stages
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int row = threadIdx.x % 128 / 32 * 16 + threadIdx.x % 32 / 4 + 8 * h;
    const int column = group * Tile::kGroupColumns + threadIdx.x % 4 * 2;
#pragma unroll
    for (int j = 0; j < Tile::kGroupColumns / 8; ++j) {
      const int at = 4 * j + 2 * h;
      StoreShared(sums + (row * Tile::kN + SumColumn(row, column + 8 * j)) * 4,
                  __float_as_uint(__uint_as_float(d[0][at]) + __uint_as_float(d[1][at])),
                  __float_as_uint(__uint_as_float(d[0][at + 1]) + __uint_as_float(d[1][at + 1])));
    }
  }
  if (parts > 1) {
    FenceForWgmma();  // for the copies
    ClusterWait();    // all blocks have started
  }
  asm volatile("bar.sync 1, 256;" ::: "memory");
  const uint32_t block_bytes = block_rows * Tile::kN * 4;
  if (parts > 1) {
    if (threadIdx.x < parts && threadIdx.x != part) {
      CopyToBlock(AddressAt(received + part * block_bytes, threadIdx.x), sums + threadIdx.x * block_bytes, block_bytes,
                  AddressAt(summed, threadIdx.x));
    }
    BarrierWait(summed, 0);
    __syncwarp();
    ClusterArrive();  // what the others sent here has been read there
  }

#pragma unroll
  for (int i = 0; i < Tile::kMaxRows; ++i) {
    const int row = own_row + i * Tile::kRowStep;
    if (row >= block_rows) break;
    float v[8] = {};
    const uint32_t at = (row * Tile::kN + SumColumn(row, threadIdx.x % Tile::kRowThreads * 8)) * 4;
#pragma unroll 4
    for (int other = 0; other < parts; ++other) {
      const uint32_t from = (other == part ? sums : received) + other * block_bytes;
#pragma unroll
      for (int j = 0; j < 8; j += 4) {
        const uint4 x = LoadShared(from + at + j * 4);
        v[j] += __uint_as_float(x.x), v[j + 1] += __uint_as_float(x.y);
        v[j + 2] += __uint_as_float(x.z), v[j + 3] += __uint_as_float(x.w);
      }
    }
    epilogue.Store(first_row + row, rows[i], v);
  }
  if (parts > 1) {
    // No block ends before the copies out of its shared memory are over. The copying warp has ended, which counts as arrived.
    __syncwarp();
    ClusterWait();
  }
#else
  __trap();  // HasSmallGemm keeps callers away
#endif
}

template <typename T>
cudaError_t LaunchSmallGemmOf(int parts, const CUtensorMap& input, const CUtensorMap& weight, const FusedGemmArgs& args,
                              cudaStream_t stream) {
  using Tile = SmallGemm;
  const int steps = ((args.k + Tile::kK - 1) / Tile::kK + parts - 1) / parts;
  const int stages = std::min(steps, (Tile::kMaxSharedBytes - Tile::SharedBytes(0, parts)) / (Tile::kStageBytes + Tile::kBarrierBytes));
  const auto kernel = SmallGemmKernel<T>;
  const cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, Tile::kMaxSharedBytes);
  if (error != cudaSuccess) return error;
  const dim3 grid(args.n / Tile::kN * parts, (args.rows + Tile::kM - 1) / Tile::kM);
  return LaunchDependent(kernel, grid, Tile::kThreads, parts, Tile::SharedBytes(stages, parts), stream, input, weight, args, parts,
                         stages);
}

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_FUSED_GEMM_SMALL_CUH_
