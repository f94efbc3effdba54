// Attention for float16 and bfloat16 on Hopper (sm_90a) over many tokens: context = softmax(scale * Q K^T) V for heads of 64.
//
// qkv [tokens, 3, heads, 64] and context [tokens, heads, 64] are packed. An item of work is up to 192 queries of one sequence and head
// (an entry of `tiles`), 64 for each of three warpgroups, which read the same K and V: a third of what attention_wgmma.cuh reads from
// the L2 cache. One block runs on a multiprocessor; its fourth warpgroup only copies. Bulk tensor copies bring K and V, 64 keys at a
// time, into a ring of stages that runs on from item to item, and Q into two places of each warpgroup; a warpgroup waits for the others
// through the ring alone. Items are sorted by length, and a block takes the next from a counter.
//
// A warpgroup's own work runs on from tile to tile too: the next tile's scores are computed while this one's weights are multiplied by
// V, across the border of two items while the context is stored. As in attention_wgmma.cuh the maximum that is subtracted is only raised
// when the true one is above it by far (2^10). Measured (H100, BERT-base, 24,576 tokens, microseconds a layer): 68, against 77.
#ifndef TF_FASTBERT_CUDA_ATTENTION_STREAM_CUH_
#define TF_FASTBERT_CUDA_ATTENTION_STREAM_CUH_

#include <cmath>

#include "cuda/attention.h"
#include "cuda/attention_store.cuh"
#include "cuda/attention_wgmma.cuh"
#include "cuda/hopper.cuh"
#include "cuda/mma.cuh"
#include "cuda/wgmma.cuh"
#include "cuda/wgmma_shared.cuh"

namespace tf_fastbert {
namespace cuda {

template <typename T>
struct AttentionStream {
  static constexpr int kHead = 64;
  using One = AttentionWgmma<T, kHead>;                // whose tiles are swizzled as the copy engine does it
  static constexpr int kGroups = kStreamQueries / 64;  // warpgroups that compute
  static constexpr int kThreads = (kGroups + 1) * 128;
  static constexpr int kRegisters = 160, kCopyRegisters = 24;
  static constexpr int kQueries = One::kQueries, kKeys = One::kKeys;
  static constexpr int kStages = 9;
  static constexpr int kQueue = 4;  // items between the two copying threads
  static constexpr int kChunks = One::kChunks, kRowBytes = One::kRowBytes, kTileBytes = One::kTileBytes;
  static constexpr float kGrowth = 10.0f;  // binary logarithm of what a weight may be; float16 goes to 2^16

  struct Item {
    int begin, length, query, head;  // length 0: there is no more
  };
  struct Shared {
    alignas(1024) char stages[kStages][2][kTileBytes];  // K, V
    char q[2][kGroups][kTileBytes];
    char out[kGroups][kTileBytes];  // each warp's 16 rows of context
    Item item[kStages];             // that the stage belongs to
    Item queue[kQueue];
    // Barriers: what is there, and what has been read by all who need it.
    uint64_t full[kStages], empty[kStages];
    uint64_t q_full[2 * kGroups], q_empty[2 * kGroups];
    uint64_t queue_full[kQueue], queue_empty[kQueue];
  };

  using Stage = RingPlace<kStages>;

  static __device__ __forceinline__ void InitBarriers(Shared& s) {
    for (int i = 0; i < kStages; ++i) {
      BarrierInit(SharedAddress(&s.full[i]), 1);
      BarrierInit(SharedAddress(&s.empty[i]), 4 * kGroups);  // a warp each
    }
    for (int i = 0; i < 2 * kGroups; ++i) {
      BarrierInit(SharedAddress(&s.q_full[i]), 1);
      BarrierInit(SharedAddress(&s.q_empty[i]), 4);
    }
    for (int i = 0; i < kQueue; ++i) {
      BarrierInit(SharedAddress(&s.queue_full[i]), 1);
      BarrierInit(SharedAddress(&s.queue_empty[i]), 1);
    }
    BarrierInitFence();
  }

  static __device__ __forceinline__ Item GetItem(const AttentionArgs& args, int number) {
    if (number >= args.num_tiles * args.num_heads) return {0, 0, 0, 0};
    const AttentionTile tile = args.tiles[number / args.num_heads];
    return {tile.begin, tile.length, tile.query, number % args.num_heads};
  }

  // How many warpgroups have queries of the item.
  static __device__ __forceinline__ int Groups(const Item& item) {
    return min(kGroups, (item.length - item.query + kQueries - 1) / kQueries);
  }

  // One thread: which items, and their K and V. The last tile of a sequence ends with it, so that its rows are the sequence's own but
  // for sequences of less than a tile.
  static __device__ __forceinline__ void CopyKeys(const AttentionArgs& args, int* next_item, const CUtensorMap* qkv, Shared& s) {
    const int width = args.num_heads * kHead;
    Stage stage;
    RingPlace<kQueue> entry;
    Item item = GetItem(args, blockIdx.x);
    for (;;) {
      BarrierWait(SharedAddress(&s.queue_empty[entry.index]), entry.parity ^ 1);
      s.queue[entry.index] = item;
      BarrierArrive(SharedAddress(&s.queue_full[entry.index]));
      entry.Next();
      Item next = {0, 0, 0, 0};
      if (item.length > 0) next = GetItem(args, gridDim.x + atomicAdd(next_item, 1));
      for (int key = 0; key == 0 || key < item.length; key += kKeys) {
        const uint32_t full = SharedAddress(&s.full[stage.index]);
        BarrierWait(SharedAddress(&s.empty[stage.index]), stage.parity ^ 1);
        s.item[stage.index] = item;
        if (item.length == 0) {
          BarrierArrive(full);
          return;
        }
        const int row = item.begin + min(key, max(item.length - kKeys, 0));
        BarrierExpect(full, 2 * kTileBytes);
        CopyTile(SharedAddress(s.stages[stage.index][0]), qkv, full, width + item.head * kHead, row);
        CopyTile(SharedAddress(s.stages[stage.index][1]), qkv, full, 2 * width + item.head * kHead, row);
        stage.Next();
      }
      item = next;
    }
  }

  // One thread of another warp: the items' Q, to the warpgroups in turn.
  static __device__ __forceinline__ void CopyQueries(const CUtensorMap* qkv, Shared& s) {
    RingPlace<kQueue> entry;
    RingPlace<2 * kGroups> place;
    for (;;) {
      BarrierWait(SharedAddress(&s.queue_full[entry.index]), entry.parity);
      const Item item = s.queue[entry.index];
      BarrierArrive(SharedAddress(&s.queue_empty[entry.index]));
      entry.Next();
      if (item.length == 0) return;
      for (int i = 0; i < Groups(item); ++i) {
        const uint32_t full = SharedAddress(&s.q_full[place.index]);
        BarrierWait(SharedAddress(&s.q_empty[place.index]), place.parity ^ 1);
        BarrierExpect(full, kTileBytes);
        CopyTile(SharedAddress(s.q[0][0]) + place.index * kTileBytes, qkv, full, item.head * kHead,
                 item.begin + item.query + i * kQueries);
        place.Next();
      }
    }
  }

  // A warpgroup's queries, 16 of this warp: lane / 4 and lane / 4 + 8 of them are this thread's.
  struct Rows {
    float o[kHead / 8][4];
    float max[2];  // what is subtracted
    float sum[2];  // this lane's part
  };
  using Scores = float[kKeys / 8][4];
  using Weights = uint32_t[kKeys / 16][4];

  static __device__ __forceinline__ void MultiplyKeys(Scores& scores, uint32_t q_tile, uint32_t k_tile) {
    const uint64_t q = WgmmaTile<kRowBytes>(UniformInWarp(q_tile)), k = WgmmaTile<kRowBytes>(UniformInWarp(k_tile));
    WgmmaFence();
#pragma unroll
    for (int i = 0; i < kHead / 16; ++i) {
      WgmmaShared<T, kKeys>(reinterpret_cast<uint32_t (&)[kKeys / 2]>(scores), WgmmaAdvance(q, i * 32), WgmmaAdvance(k, i * 32),
                            i > 0);
    }
    WgmmaCommit();
  }

  static __device__ __forceinline__ void MultiplyValues(Rows& x, const Weights& weights, uint32_t v_tile, bool accumulate) {
    const uint64_t v = WgmmaTile<kRowBytes>(v_tile);
    WgmmaFence();
#pragma unroll
    for (int i = 0; i < kKeys / 16; ++i) {
      Wgmma<T, kHead>::template Run<true>(x.o, weights[i], WgmmaAdvance(v, i * 16 * kRowBytes), accumulate || i > 0);
    }
    WgmmaCommit();
  }

  // Scores become weights. True: the maximum was raised, and `o` is to be multiplied by `correction`.
  static __device__ __forceinline__ bool Soften(Scores& s, Rows& x, float (&correction)[2], float scale, int keys_left,
                                                int length) {
    if (keys_left < kKeys) {  // the valid ones come last, of short sequences first
      const int skip = length >= kKeys ? kKeys - keys_left : 0;
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int key = n * 8 + threadIdx.x % 4 * 2 + i % 2 - skip;
          if (static_cast<unsigned>(key) >= static_cast<unsigned>(keys_left)) s[n][i] = -INFINITY;
        }
      }
    }
    float max[2];
    bool raise = keys_left == length;
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      max[r] = fmaxf(s[0][2 * r], s[0][2 * r + 1]);
#pragma unroll
      for (int n = 1; n < kKeys / 8; ++n) max[r] = fmaxf(max[r], fmaxf(s[n][2 * r], s[n][2 * r + 1]));
      raise |= (max[r] - x.max[r]) * scale > kGrowth;
    }
    raise = __any_sync(0xffffffffu, raise);
    if (raise) {
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const float m = fmaxf(QuadMax(max[r]), x.max[r]);
        correction[r] = Exp2((x.max[r] - m) * scale);
        x.max[r] = m;
        x.sum[r] *= correction[r];
      }
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float offset = x.max[r] * scale;
      float part = 0.0f;
#pragma unroll
      for (int n = 0; n < kKeys / 8; ++n) {
        s[n][2 * r] = Exp2(s[n][2 * r] * scale - offset);
        s[n][2 * r + 1] = Exp2(s[n][2 * r + 1] * scale - offset);
        part += s[n][2 * r] + s[n][2 * r + 1];
      }
      x.sum[r] += part;
    }
    return raise;
  }

  static __device__ __forceinline__ void Pack(Weights& weights, const Scores& s) {
#pragma unroll
    for (int n = 0; n < kKeys / 8; ++n) {
#pragma unroll
      for (int r = 0; r < 2; ++r) weights[n / 2][n % 2 * 2 + r] = PackPair<T>(s[n][2 * r], s[n][2 * r + 1]);
    }
  }

  // Rows of a V tile from `first` on: they are another sequence's, whose weights are zero; but zero times infinity is not.
  static __device__ __forceinline__ void ClearRows(uint32_t tile, int first, int group) {
    for (int i = threadIdx.x % 128; i < (kKeys - first) * kChunks; i += 128) {
      StoreShared(tile + first * kRowBytes + i * 16, make_uint4(0, 0, 0, 0));
    }
    FenceForWgmma();
    SyncWarpgroup(group);
  }

  // What a warpgroup is at work on.
  struct Task {
    Item item;
    int query;  // this warp's first
  };

  // Goes on to the warpgroup's next task, whose first tile is then there at `stage`; false: there is none. Stages of items in which it
  // has no part are let go.
  static __device__ __forceinline__ bool NextTask(Shared& s, int group, Stage& stage, int& turn, Task& task) {
#pragma unroll 1
    for (;;) {
      BarrierWait(SharedAddress(&s.full[stage.index]), stage.parity);
      task.item = s.item[stage.index];
      task.item.length = UniformInWarp(task.item.length);
      task.item.query = UniformInWarp(task.item.query);
      if (task.item.length == 0) return false;
      const int groups = Groups(task.item), mine = (group - turn + kGroups) % kGroups;
      turn = (turn + groups) % kGroups;
      if (mine < groups) {
        task.query = task.item.query + mine * kQueries + threadIdx.x / 32 % 4 * 16;
        return true;
      }
#pragma unroll 1
      for (int key = 0; key < task.item.length; key += kKeys) {
        BarrierWait(SharedAddress(&s.full[stage.index]), stage.parity);
        if (threadIdx.x % 32 == 0) BarrierArrive(SharedAddress(&s.empty[stage.index]));
        stage.Next();
      }
    }
  }

  static __device__ __forceinline__ void Normalize(uint32_t (&context)[kHead / 8][2], const Rows& x) {
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float inverse = __fdividef(1.0f, QuadSum(x.sum[r]));
#pragma unroll
      for (int n = 0; n < kHead / 8; ++n) context[n][r] = PackPair<T>(x.o[n][2 * r] * inverse, x.o[n][2 * r + 1] * inverse);
    }
    // Now, not when it is stored: the accumulators are the next product's by then.
#pragma unroll
    for (int n = 0; n < kHead / 8; ++n) asm volatile("" : "+r"(context[n][0]), "+r"(context[n][1])::"memory");
  }

  // Sixteen whole rows go by the copy engine.
  static __device__ __forceinline__ void Store(char* out, const uint32_t (&context)[kHead / 8][2], const Task& task,
                                               const AttentionArgs& args, const CUtensorMap* map) {
    const int lane = threadIdx.x % 32;
    const uint32_t rows = SharedAddress(out) + threadIdx.x / 32 % 4 * 16 * kRowBytes;
    if (lane == 0) WaitForStoresToRead<0>();
    __syncwarp();
#pragma unroll
    for (int n = 0; n < kHead / 8; n += 2) {
      StoreMatrices(One::Chunk(rows, lane % 16, n + lane / 16), context[n][0], context[n][1], context[n + 1][0],
                    context[n + 1][1]);
    }
    if (task.query + 16 <= task.item.length && args.quantize == AttentionArgs::kNotQuantized) {
      FenceForWgmma();
      __syncwarp();
      if (lane == 0) StoreTile(map, rows, task.item.head * kHead, task.item.begin + task.query);
      return;
    }
    __syncwarp();
    const int64_t width = args.num_heads * kHead;
    const int chunks = min(16, task.item.length - task.query) * kChunks;
#pragma unroll 1
    for (int i = lane; i < chunks; i += 32) {
      const int row = i / kChunks, chunk = i % kChunks;
      StoreContext<T>(args, (task.item.begin + task.query + row) * width + task.item.head * kHead + chunk * 8,
                      LoadShared(One::Chunk(rows, row, chunk)));
    }
  }

  static __device__ __forceinline__ void Attend(const AttentionArgs& args, const CUtensorMap* context_map, Shared& s, int group) {
    const int lane = threadIdx.x % 32;
    const float scale = args.scale * kLog2E;
    Stage stage;
    RingPlace<2> q_place;
    int turn = 0;  // the warpgroup that takes an item's first queries
    Task task;
    if (!NextTask(s, group, stage, turn, task)) return;
    Rows x;
    Scores scores;
    Weights weights;
    float correction[2];
    int keys_left = 0, previous = 0;
    uint32_t q_tile = 0;

    // A task's first scores are under way, and nothing else.
    const auto start = [&] {
      const int place = q_place.index * kGroups + group;
      BarrierWait(SharedAddress(&s.q_full[place]), q_place.parity);
      q_tile = SharedAddress(s.q[q_place.index][group]);
      MultiplyKeys(scores, q_tile, SharedAddress(s.stages[stage.index][0]));
      WgmmaCommit();  // stands for the product with V that is under way within a task
    };
    const auto clear = [&] {
      keys_left = task.item.length;
      x.max[0] = x.max[1] = -INFINITY;
      x.sum[0] = x.sum[1] = 0.0f;
    };
    start();
    clear();
#pragma unroll 1
    for (;;) {
      WgmmaWait<1>();
      WgmmaPin(scores);
      const bool first = keys_left == task.item.length;
      bool raised = false;
      if (task.query < task.item.length) raised = Soften(scores, x, correction, scale, keys_left, task.item.length);
      WgmmaWait<0>();
      WgmmaPin(x.o);
      WgmmaPin(scores);
      if (lane == 0 && !first) BarrierArrive(SharedAddress(&s.empty[previous]));
      Pack(weights, scores);
      if (raised && !first) {
#pragma unroll
        for (int n = 0; n < kHead / 8; ++n) {
#pragma unroll
          for (int i = 0; i < 4; ++i) x.o[n][i] *= correction[i / 2];
        }
      }
      WgmmaPin(x.o);
      const uint32_t v_tile = UniformInWarp(SharedAddress(s.stages[stage.index][1]));
      previous = stage.index;
      stage.Next();
      keys_left -= kKeys;
      if (keys_left > 0) {
        BarrierWait(SharedAddress(&s.full[stage.index]), stage.parity);
        MultiplyKeys(scores, q_tile, SharedAddress(s.stages[stage.index][0]));
        MultiplyValues(x, weights, v_tile, !first);
        continue;
      }
      if (task.item.length < kKeys) ClearRows(v_tile, task.item.length, group);
      MultiplyValues(x, weights, v_tile, !first);
      WgmmaWait<0>();
      WgmmaPin(x.o);
      if (lane == 0) {
        BarrierArrive(SharedAddress(&s.empty[previous]));
        BarrierArrive(SharedAddress(&s.q_empty[q_place.index * kGroups + group]));
      }
      q_place.Next();
      uint32_t context[kHead / 8][2];
      Normalize(context, x);
      const Task done = task;
      if (!NextTask(s, group, stage, turn, task)) {
        Store(s.out[group], context, done, args, context_map);
        break;
      }
      start();
      Store(s.out[group], context, done, args, context_map);
      clear();
    }
    if (lane == 0) WaitForStores();
  }
};

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_ATTENTION_STREAM_CUH_
