// One product of the persistent encoder, output[T, N] = epilogue(rows[T, K] weights[K, N]), tile by tile: kRows rows of the
// activations stay in shared memory, the weights come through the WeightStream, mma.sync multiplies.
//
// The tiles are small and there are eight warps, so warps share the depth: each works on every kDepthWarps-th step of 16, and the
// partial sums meet in shared memory. That reads each operand from shared memory once (twice for more than 16 rows). In the two
// products with hidden_size columns the blocks of a cluster share the depth as well; each then adds up, in the order of the
// blocks, the partial sums of a quarter of the rows, which the others have stored into its shared memory. So results do not depend
// on timing.
//
// Only the inner loop is compiled for each width of a tile; the rest, being large, is there once.
#ifndef TF_FASTBERT_CUDA_PERSISTENT_PRODUCT_CUH_
#define TF_FASTBERT_CUDA_PERSISTENT_PRODUCT_CUH_

#include "cuda/persistent_rows.cuh"
#include "cuda/persistent_sync.cuh"
#include "cuda/persistent_weights.cuh"

namespace tf_fastbert {
namespace cuda {

__device__ __forceinline__ float PersistentActivate(float x, int activation) {
  if (activation == FASTBERT_RELU) return fmaxf(x, 0.0f);
  if (activation == FASTBERT_GELU_ERF) return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f));
  // 0.5 x (1 + tanh(u)) = x / (1 + e^-2u)
  const float u = 0.79788456080286536f * (x + 0.044715f * x * x * x);
  return __fdividef(x, 1.0f + Exp2(fminf(-2.8853900817779268f * u, 126.0f)));
}

// Shared memory of a block.
struct PersistentShared {
  uint32_t ring;      // weights
  uint32_t rows;      // activations; partial sums after the product, and attention's
  uint32_t received;  // [kPersistentCluster][kRows / kPersistentCluster][column_units][8] floats
  uint32_t bias;      // of the tile
};

// What differs between the four products.
struct ProductTask {
  int product;
  RowSource rows;        // of all tokens; rows, copy_first and copy_step are not set
  const void* bias;      // [N]
  const void* residual;  // [T, N] of a product that splits its depth
  void* output;          // [T, N]
  bool activate;
};

template <typename T>
__device__ __forceinline__ void UnpackPairs(const uint2& bits, float (&values)[4]) {
  const T* elements = reinterpret_cast<const T*>(&bits);
#pragma unroll
  for (int i = 0; i < 4; ++i) values[i] = ToFloat(elements[i]);
}

template <typename T, int kRows>
struct PersistentTile {
  static constexpr int kMaxUnits = kPersistentMaxUnits;
  static constexpr int kRowWarps = kRows >= 32 ? 2 : 1;
  static constexpr int kDepthWarps = kPersistentWarps / kRowWarps;
  static constexpr int kRowTiles = kRows / 16 / kRowWarps;
  static constexpr int kOwnedRows = kRows / kPersistentCluster;
  static constexpr int kOwnedItems = (kOwnedRows * kMaxUnits * 2 + kPersistentThreads - 1) / kPersistentThreads;  // of a thread
  static constexpr int kChunkSteps = kPersistentChunk / 16;
  using Sums = float[kRowTiles][kMaxUnits][4];

  // An odd number of 8 floats: no bank conflicts.
  static __device__ __forceinline__ int SumStride(int units) { return (units | 1) * 32; }

  // Where a product's operands are in shared memory.
  struct Operands {
    uint32_t rows;
    int row_stride;
    uint32_t ring;
    int stage;  // of step 0
    int stages;
    int stage_bytes;
    int steps;  // of 16
  };

  // sums += rows weights, this warp's steps.
  template <int kUnits>
  static __device__ __forceinline__ void Multiply(Sums& sums, const Operands& o) {
    constexpr int kWeightRow = (kUnits | 1) * 16;
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const uint32_t rows = o.rows + (warp % kRowWarps * kRowTiles * 16 + lane % 16) * o.row_stride + lane / 16 * 16;
    const uint32_t ring = o.ring + lane % 16 * kWeightRow + lane / 16 * 16;
#pragma unroll 2
    for (int step = warp / kRowWarps; step < o.steps; step += kDepthWarps) {
      uint32_t a[kRowTiles][4];
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) LoadMatrices(a[m], rows + m * 16 * o.row_stride + step * 32);
      int stage = o.stage + step / (kPersistentChunk / 16);
      if (stage >= o.stages) stage -= o.stages;
      const uint32_t weights = ring + stage * o.stage_bytes + step % (kPersistentChunk / 16) * (16 * kWeightRow);
#pragma unroll
      for (int n = 0; n < kUnits; n += 2) {
        uint32_t b[4];
        // Of an odd last pair only half is used; what is read beyond the row is the next row.
        LoadMatricesTransposed(b, weights + n * 16);
#pragma unroll
        for (int m = 0; m < kRowTiles; ++m) {
          Mma<T>(sums[m][n], a[m], b[0], b[1]);
          if (n + 1 < kUnits) Mma<T>(sums[m][n + 1 < kUnits ? n + 1 : n], a[m], b[2], b[3]);
        }
      }
    }
  }

  static __device__ __forceinline__ void Multiply(int units, Sums& sums, const Operands& o) {
    switch (units) {
      case 2: return Multiply<2>(sums, o);
      case 3: return Multiply<3>(sums, o);
      case 4: return Multiply<4>(sums, o);
      case 5: return Multiply<5>(sums, o);
      case 7: return Multiply<7>(sums, o);
      default: return Multiply<9>(sums, o);
    }
  }

  // sums -> shared memory [kDepthWarps][kRows][SumStride]
  static __device__ __forceinline__ void StoreSums(const Sums& sums, int units, uint32_t to) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    const int stride = SumStride(units);
    const int row = warp / kRowWarps * kRows + warp % kRowWarps * kRowTiles * 16 + lane / 4;
    const uint32_t my = to + row * stride + lane % 4 * 8;
#pragma unroll
    for (int n = 0; n < kMaxUnits; ++n) {
      if (n >= units) break;
#pragma unroll
      for (int m = 0; m < kRowTiles; ++m) {
        const uint32_t at = my + m * 16 * stride + n * 32;
        asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(at), "f"(sums[m][n][0]), "f"(sums[m][n][1]) : "memory");
        asm volatile("st.shared.v2.f32 [%0], {%1, %2};" ::"r"(at + 8 * stride), "f"(sums[m][n][2]), "f"(sums[m][n][3])
                     : "memory");
      }
    }
  }

  template <int kParts>
  static __device__ __forceinline__ void AddSums(uint32_t from, int part_stride, float (&total)[4]) {
#pragma unroll
    for (int p = 0; p < kParts; ++p) {
      const uint4 part = LoadShared(from + p * part_stride);
      total[0] = (p == 0 ? 0.0f : total[0]) + __uint_as_float(part.x);
      total[1] = (p == 0 ? 0.0f : total[1]) + __uint_as_float(part.y);
      total[2] = (p == 0 ? 0.0f : total[2]) + __uint_as_float(part.z);
      total[3] = (p == 0 ? 0.0f : total[3]) + __uint_as_float(part.w);
    }
  }

  static __device__ __forceinline__ void AddPairs(uint32_t from, float (&total)[4]) {
    uint2 bits;
    asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(bits.x), "=r"(bits.y) : "r"(from) : "memory");
    float add[4];
    UnpackPairs<T>(bits, add);
#pragma unroll
    for (int e = 0; e < 4; ++e) total[e] += add[e];
  }

  static __device__ __forceinline__ void Store(T* to, const float (&values)[4]) {
    *reinterpret_cast<uint2*>(to) = make_uint2(PackPair<T>(values[0], values[1]), PackPair<T>(values[2], values[3]));
  }

  // All tiles of one product of this block. Waits for the step before, if there is one, before it reads activations.
  static __device__ __forceinline__ void Run(const PersistentArgs& args, const ProductTask& task, const PersistentShared& shared,
                                             uint32_t rank, WeightStream& stream, GridBarrier& barrier, bool wait) {
    const PersistentTiling& tiling = args.tiling[task.product];
    const bool split = SplitsDepth(task.product);
    const int columns = tiling.columns, column_units = tiling.column_units, column_tiles = tiling.column_tiles;
    const int row_stride = tiling.depth * 2 + 16;
    const int halves = column_units * 2;  // of a unit: four columns of one row are what a thread finishes at a time
    const int tile_step = TileStep(task.product);
    int tile = FirstTile(task.product);
    if (tile >= tiling.num_tiles && wait) barrier.Wait();
#pragma unroll 1
    for (; tile < tiling.num_tiles; tile += tile_step) {
      const bool more = tile + tile_step < tiling.num_tiles;
      const int row_tile = tile / column_tiles;
      const int column_tile = tile % column_tiles;
      const int first_row = row_tile * kRows;
      const int rows = min(kRows, args.num_tokens - first_row);
      const int first_unit = column_tile * column_units;
      const int units = min(column_units, columns / 8 - first_unit);

      // Loaded before waiting for the step before, used after.
      uint4 bias = make_uint4(0, 0, 0, 0);
      if (threadIdx.x < units) bias = __ldg(static_cast<const uint4*>(task.bias) + first_unit + threadIdx.x);
      RowPart gamma, beta;
      if (task.rows.gamma != nullptr) {
        gamma.Load(task.rows.gamma, task.rows.vectors);
        beta.Load(task.rows.beta, task.rows.vectors);
      }
      if (wait) barrier.Wait();
      wait = false;

      RowSource source = task.rows;
      if (source.map != nullptr) {
        source.map += first_row;
      } else {
        source.from = static_cast<const T*>(source.from) + static_cast<int64_t>(first_row) * source.stride;
      }
      source.rows = rows;
      if (source.copy != nullptr) {
        source.copy = static_cast<T*>(source.copy) + static_cast<int64_t>(first_row) * source.stride;
        source.copy_step = min(column_tiles, kRows);
        source.copy_first = column_tile;
      }
      LoadRows<T, kRows>(source, gamma, beta, shared.rows, row_stride);
      if (threadIdx.x < units) StoreShared(shared.bias + threadIdx.x * 16, bias);

      const int64_t corner = static_cast<int64_t>(first_row) * columns + first_unit * 8;
      T* output = static_cast<T*>(task.output) + corner;
      uint2 residual[kOwnedItems];
      if (split) {
        const T* from = static_cast<const T*>(task.residual) + corner;
#pragma unroll
        for (int i = 0; i < kOwnedItems; ++i) {
          const int item = threadIdx.x + i * kPersistentThreads;
          const int row = (item * tiling.half_divisor) >> 16, half = item - row * halves, tile_row = rank * kOwnedRows + row;
          if (row < kOwnedRows && tile_row < rows && half < units * 2) {
            residual[i] = __ldcg(reinterpret_cast<const uint2*>(from + tile_row * columns + half * 4));
          }
        }
      }

      Sums sums = {};
      int steps = tiling.depth / 16;
      Operands operands = {shared.rows, row_stride, shared.ring, 0, args.stages, args.stage_bytes, 0};
#pragma unroll 1
      while (steps > 0) {
        if (stream.Filled() == 0) {
          __syncthreads();
          stream.Refill();
        }
        const int chunks = min((steps + kChunkSteps - 1) / kChunkSteps, stream.Filled());
        stream.Wait(chunks);
        __syncthreads();
        operands.stage = stream.stage();
        operands.steps = min(steps, chunks * kChunkSteps);
        Multiply(column_units, sums, operands);
        stream.Read(chunks);
        steps -= operands.steps;
        operands.rows += operands.steps * 32;
      }
      __syncthreads();
      StoreSums(sums, column_units, shared.rows);
      __syncthreads();

      const int sum_stride = SumStride(column_units);
#pragma unroll 1
      for (int item = threadIdx.x; item < kRows * halves; item += kPersistentThreads) {
        const int row = (item * tiling.half_divisor) >> 16, half = item - row * halves;
        if (row >= rows || half >= units * 2) continue;
        float total[4];
        AddSums<kDepthWarps>(shared.rows + row * sum_stride + half * 16, kRows * sum_stride, total);
        if (split) {
          const uint32_t slot = (rank * kOwnedRows + row % kOwnedRows) * halves + half;
          StoreCluster(ClusterAddress(shared.received + slot * 16, row / kOwnedRows), total[0], total[1], total[2], total[3]);
          continue;
        }
        AddPairs(shared.bias + half * 8, total);
        if (task.activate) {
#pragma unroll
          for (int e = 0; e < 4; ++e) total[e] = PersistentActivate(total[e], args.activation);
        }
        Store(output + row * columns + half * 4, total);
      }
      if (split) {
        ClusterSync();
#pragma unroll
        for (int i = 0; i < kOwnedItems; ++i) {
          const int item = threadIdx.x + i * kPersistentThreads;
          const int row = (item * tiling.half_divisor) >> 16, half = item - row * halves, tile_row = rank * kOwnedRows + row;
          if (row >= kOwnedRows || tile_row >= rows || half >= units * 2) continue;
          float total[4], add[4];
          AddSums<kPersistentCluster>(shared.received + item * 16, kOwnedRows * halves * 16, total);
          AddPairs(shared.bias + half * 8, total);
          UnpackPairs<T>(residual[i], add);
#pragma unroll
          for (int e = 0; e < 4; ++e) total[e] += add[e];
          Store(output + tile_row * columns + half * 4, total);
        }
        // The next tile's partial sums may not be stored over these before all have read them; after the last tile the grid's
        // barrier sees to that.
        if (more) ClusterSync();
      }
      __syncthreads();
      if (!more) barrier.Arrive();
      stream.Refill();  // after the last tile this is done while the other blocks arrive
      if (!more) return;
    }
    barrier.Arrive();
  }
};

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_PERSISTENT_PRODUCT_CUH_
