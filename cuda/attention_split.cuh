// Attention as in attention_wgmma.cuh, for so little work that all of it runs at once: what counts then is how long
// one item takes. Two warpgroups do it together, each every other tile of 64 keys with loads of its own, two tiles ahead; the second's
// sums are added to the first's at the end. Measured (H100, BERT-base, microseconds a layer): 7.0 against 8.3 for 3 sequences of 576
// tokens together, 4.4 against 4.7 for 8 of 512, the same for one of 192.
#ifndef TF_FASTBERT_CUDA_ATTENTION_SPLIT_CUH_
#define TF_FASTBERT_CUDA_ATTENTION_SPLIT_CUH_

#include "cuda/attention_wgmma.cuh"

namespace tf_fastbert {
namespace cuda {

template <typename T, int kHead>
struct AttentionSplit {
  using One = AttentionWgmma<T, kHead>;
  static constexpr int kGroups = 2;
  static constexpr int kThreads = kGroups * One::kThreads;
  static constexpr int kBlocks = 2;  // on a multiprocessor
  static constexpr int kStages = 3;  // of K and V
  static constexpr int kStageBytes = 2 * One::kTileBytes;
  static constexpr int kGroupBytes = One::kTileBytes + kStages * kStageBytes;
  static constexpr int kSharedBytes = kGroups * kGroupBytes;
  static constexpr int kSums = kHead / 2 + 4;  // floats of a thread's Rows without Q
  static_assert(kSums * One::kThreads * 4 <= kStages * kStageBytes, "the second warpgroup's sums lie where its K and V were");

  // One value after the other: each at the same place in all threads, so that a warp's lie side by side.
  template <typename Visit>
  static __device__ __forceinline__ void ForEachSum(typename One::Rows& x, const Visit& visit) {
#pragma unroll
    for (int i = 0; i < kHead / 2; ++i) visit(i, x.o[i / 4][i % 4]);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      visit(kHead / 2 + r, x.max[r]);
      visit(kHead / 2 + 2 + r, x.sum[r]);
    }
  }

  // x = both together.
  static __device__ __forceinline__ void Merge(typename One::Rows& x, const typename One::Rows& y, float scale) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float max = fmaxf(x.max[r], y.max[r]);
      const float of_x = Exp2((x.max[r] - max) * scale), of_y = Exp2((y.max[r] - max) * scale);
      x.sum[r] = x.sum[r] * of_x + y.sum[r] * of_y;
#pragma unroll
      for (int n = 0; n < kHead / 8; ++n) {
#pragma unroll
        for (int i = 2 * r; i < 2 * r + 2; ++i) x.o[n][i] = x.o[n][i] * of_x + y.o[n][i] * of_y;
      }
    }
  }

  static __device__ __forceinline__ void Run(const AttentionArgs& args, char* memory) {
    const int group = UniformInWarp(threadIdx.x / One::kThreads);
    const uint32_t q_tile = static_cast<uint32_t>(__cvta_generic_to_shared(memory)) + group * kGroupBytes;
    const uint32_t stages = q_tile + One::kTileBytes;
    const int width = args.num_heads * args.head_size;
    const int64_t stride = 3 * static_cast<int64_t>(width);
    const float scale = args.scale * kLog2E;
    const bool in_head = One::Thread() % One::kChunks * 8 < args.head_size;
    const auto item = One::GetItem(args, blockIdx.x, in_head);
    if (item.length == 0) return;
    const bool active = item.query + One::Thread() / 32 * 16 < item.length;

    const auto copy = [&](int stage, int key) {
      if (key < item.length) {
        const uint32_t to = stages + stage * kStageBytes;
        One::Copy(to, item.q + width, stride, key, item.length, in_head);
        One::Copy(to + One::kTileBytes, item.q + 2 * width, stride, key, item.length, in_head);
      }
      CommitCopies();
    };
    constexpr int kStride = kGroups * One::kKeys;  // from one of this warpgroup's tiles to its next
    int key = group * One::kKeys;
    One::Copy(q_tile, item.q, stride, item.query, item.length, in_head);
#pragma unroll
    for (int i = 0; i < kStages - 1; ++i) copy(i, key + i * kStride);

    typename One::Rows x;
    One::Clear(x);
    int stage = 0;
#pragma unroll 1
    for (bool first = true; key < item.length; key += kStride, first = false) {
      WaitForCopies<kStages - 2>();
      FenceForWgmma();
      SyncWarpgroup(group);  // this tile is there for all warps, and all have done with the one before
      const int free = stage == 0 ? kStages - 1 : stage - 1;
      copy(free, key + (kStages - 1) * kStride);
      if (first) One::LoadQueries(x, q_tile);
      One::TakeUp(x, stages + stage * kStageBytes, scale, item.length - key, active);
      stage = stage + 1 == kStages ? 0 : stage + 1;
    }

    if (item.length > One::kKeys) {
      float* const sums = reinterpret_cast<float*>(memory + kGroupBytes + One::kTileBytes) + One::Thread();
      if (group == 1) {
        WaitForCopies<0>();
        SyncWarpgroup(group);  // all have done with K and V
        ForEachSum(x, [&](int i, float value) { sums[i * One::kThreads] = value; });
      }
      __syncthreads();
      if (group == 0) {
        typename One::Rows y;
        ForEachSum(y, [&](int i, float& value) { value = sums[i * One::kThreads]; });
        Merge(x, y, scale);
      }
    }
    if (group == 0 && active) One::Store(x, q_tile, item, args);
  }
};

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_ATTENTION_SPLIT_CUH_
