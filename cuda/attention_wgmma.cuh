// Attention for float16 and bfloat16 on Hopper (sm_90a), flash style: context = softmax(scale * Q K^T) V for heads of up to 64.
//
// qkv [tokens, 3, heads, D] and context [tokens, heads, D] are packed. An item of work is 64 queries of one sequence and head (an
// entry of `tiles`), done by one warpgroup, which walks over that sequence's keys, 64 at a time. All heads of a tile are next to
// each other in the list, so that whole rows of qkv are read at about the same time.
//
// What counts is that every multiprocessor always has loads under way, with few instructions. There are only as many blocks as
// run at once, four on a multiprocessor; each takes one item after the other, and asks for the next tile of keys, of this item or
// the next, before it works on the one at hand. Items are sorted by length and dealt out to and fro, so that all blocks end at
// about the same time. Measured (H100, BERT-base, 24,576 tokens, microseconds a layer): 77, against 93 of attention_mma.cuh; 80
// with a block for each item that loads three tiles at its start; 82 with the loads' state kept apart from the item's, which
// costs instructions; 94 with two tiles ahead and three blocks; 88 with K and V shared by two warpgroups: fewer bytes from the L2
// cache, but eight warps that wait for each other.
//
// Products are wgmma with Q, then P, in registers and K and V in shared memory, where rows are swizzled in 16-byte chunks as
// wgmma wants it. Softmax is float32 in base 2. The maximum that is subtracted only follows the true one when that has grown by
// more than 2^8: the result is the same, since the sum uses the same one, P stays below 2^8, and the accumulators are hardly ever
// rescaled.
#ifndef TF_FASTBERT_CUDA_ATTENTION_WGMMA_CUH_
#define TF_FASTBERT_CUDA_ATTENTION_WGMMA_CUH_

#include <cmath>

#include "cuda/attention.h"
#include "cuda/attention_store.cuh"
#include "cuda/mma.cuh"
#include "cuda/wgmma.cuh"

namespace tf_fastbert {
namespace cuda {

template <typename T, int kHead>
struct AttentionWgmma {
  static constexpr int kThreads = 128;
  static constexpr int kQueries = 64;
  static constexpr int kKeys = 64;
  static constexpr int kBlocks = 4;             // on a multiprocessor: 128 registers a thread
  static constexpr int kChunks = kHead / 8;            // 16-byte chunks in a row
  static constexpr int kRowBytes = kHead * 2;
  static constexpr int kTileBytes = 64 * kRowBytes;          // of Q, K or V
  static constexpr int kSharedBytes = 2 * 3 * kTileBytes;    // two of each
  static constexpr int kCopyRows = kThreads / kChunks;       // rows that all threads copy in one go
  static constexpr float kGrowth = 8.0f;                     // see above

  // Number of this thread in its warpgroup; attention_split.cuh has two in a block.
  static __device__ __forceinline__ int Thread() { return threadIdx.x % kThreads; }

  // Shared address of a 16-byte chunk.
  static __device__ __forceinline__ uint32_t Chunk(uint32_t tile, int row, int chunk) {
    return tile + row * kRowBytes + (chunk ^ (kChunks == 8 ? row & 7 : (row >> 1) & 3)) * 16;
  }

  // Work of a block: queries of one sequence and head.
  struct Item {
    int length;  // of the sequence; 0: there is no such item
    int query;
    const T* q;  // this thread's element of the sequence's first row; K and V are `width` elements further on each
    int64_t context;  // first element of the first query's row
  };

  // Copies 64 rows of a sequence's matrix, `first` and on; those from `length` on become zero.
  static __device__ __forceinline__ void Copy(uint32_t tile, const T* from, int64_t stride, int first, int length, bool in_head) {
    const int row = Thread() / kChunks;
    const uint32_t to = Chunk(tile, row, Thread() % kChunks);  // rows kCopyRows (a multiple of 8) apart are swizzled alike
#pragma unroll
    for (int i = 0; i < 64 / kCopyRows; ++i) {
      const int source = first + row + i * kCopyRows;
      const bool valid = in_head && source < length;
      CopyAsync16(to + i * kCopyRows * kRowBytes, from + (valid ? source : 0) * stride, valid);
    }
  }

  // One warpgroup's queries, 16 of this warp.
  struct Rows {
    uint32_t q[kHead / 16][4];
    float o[kHead / 8][4];
    float max[2];  // of rows lane / 4 and lane / 4 + 8: what is subtracted
    float sum[2];  // this lane's part
  };

  static __device__ __forceinline__ void Clear(Rows& x) {
#pragma unroll
    for (int n = 0; n < kHead / 8; ++n) x.o[n][0] = x.o[n][1] = x.o[n][2] = x.o[n][3] = 0.0f;
    x.max[0] = x.max[1] = -INFINITY;
    x.sum[0] = x.sum[1] = 0.0f;
  }

  static __device__ __forceinline__ void LoadQueries(Rows& x, uint32_t q_tile) {
    const int warp = Thread() / 32, lane = threadIdx.x % 32;
#pragma unroll
    for (int k = 0; k < kHead / 16; ++k) LoadMatrices(x.q[k], Chunk(q_tile, warp * 16 + lane % 16, 2 * k + lane / 16));
  }

  // One tile of keys: o, max and sum take up softmax(q k^T) v. kN: keys that are looked at; kTail: only keys_left of them are
  // valid. `active`: this warp has queries at all.
  template <int kN, bool kTail>
  static __device__ __forceinline__ void Step(Rows& x, uint32_t k_tile, uint32_t v_tile, float scale, int keys_left,
                                              bool active) {
    const int lane = threadIdx.x % 32;
    float s[kN / 8][4];
    const uint64_t k = WgmmaTile<kRowBytes>(k_tile);
    WgmmaFence();
#pragma unroll
    for (int i = 0; i < kHead / 16; ++i) Wgmma<T, kN>::template Run<false>(s, x.q[i], WgmmaAdvance(k, i * 32), i > 0);
    WgmmaCommit();
    WgmmaWait<0>();
    WgmmaPin(s);
    WgmmaPin(x.o);

    uint32_t p[kN / 16][4] = {};
    if (active) {
      if (kTail) {
#pragma unroll
        for (int n = 0; n < kN / 8; ++n) {
#pragma unroll
          for (int i = 0; i < 4; ++i) {
            if (n * 8 + lane % 4 * 2 + i % 2 >= keys_left) s[n][i] = -INFINITY;
          }
        }
      }
      float new_max[2];
      bool grown = false;
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        float m = fmaxf(s[0][2 * r], s[0][2 * r + 1]);
#pragma unroll
        for (int n = 1; n < kN / 8; ++n) m = fmaxf(m, fmaxf(s[n][2 * r], s[n][2 * r + 1]));
        new_max[r] = fmaxf(QuadMax(m), x.max[r]);
        grown |= (new_max[r] - x.max[r]) * scale > kGrowth;
      }
      if (__any_sync(0xffffffffu, grown)) {
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          const float correction = Exp2((x.max[r] - new_max[r]) * scale);
          x.max[r] = new_max[r];
          x.sum[r] *= correction;
#pragma unroll
          for (int n = 0; n < kHead / 8; ++n) {
            x.o[n][2 * r] *= correction;
            x.o[n][2 * r + 1] *= correction;
          }
        }
      }
#pragma unroll
      for (int r = 0; r < 2; ++r) {
        const float offset = x.max[r] * scale;
#pragma unroll
        for (int n = 0; n < kN / 8; ++n) {
          const float low = Exp2(s[n][2 * r] * scale - offset), high = Exp2(s[n][2 * r + 1] * scale - offset);
          x.sum[r] += low + high;
          p[n / 2][n % 2 * 2 + r] = PackPair<T>(low, high);
        }
      }
    }

    const uint64_t v = WgmmaTile<kRowBytes>(v_tile);
    WgmmaPin(x.o);
    WgmmaFence();
#pragma unroll
    for (int i = 0; i < kN / 16; ++i) Wgmma<T, kHead>::template Run<true>(x.o, p[i], WgmmaAdvance(v, i * 16 * kRowBytes), true);
    WgmmaCommit();
    WgmmaWait<0>();
    WgmmaPin(x.o);
  }

  // The Step for a stage, K and behind it V, of which at most keys_left keys are valid.
  static __device__ __forceinline__ void TakeUp(Rows& x, uint32_t stage, float scale, int keys_left, bool active) {
    if (keys_left >= kKeys) {
      Step<64, false>(x, stage, stage + kTileBytes, scale, keys_left, active);
    } else if (keys_left > 32) {
      Step<64, true>(x, stage, stage + kTileBytes, scale, keys_left, active);
    } else {
      Step<32, true>(x, stage, stage + kTileBytes, scale, keys_left, active);
    }
  }

  // The block's work number `round`: the list is dealt out to and fro, so that no block gets the longer ones every time.
  static __device__ __forceinline__ Item GetItemOfRound(const AttentionArgs& args, int round, bool in_head) {
    return GetItem(args, round * gridDim.x + (round % 2 == 0 ? blockIdx.x : gridDim.x - 1 - blockIdx.x), in_head);
  }

  static __device__ __forceinline__ Item GetItem(const AttentionArgs& args, unsigned number, bool in_head) {
    Item item = {0, 0, nullptr, 0};
    if (number >= static_cast<unsigned>(args.num_tiles) * args.num_heads) return item;
    const int head = number % static_cast<unsigned>(args.num_heads);
    const AttentionTile tile = args.tiles[number / static_cast<unsigned>(args.num_heads)];
    const int64_t width = args.num_heads * args.head_size;
    item.length = tile.length;
    item.query = tile.query;
    item.q = static_cast<const T*>(args.qkv) + tile.begin * 3 * width + head * args.head_size +
             (in_head ? Thread() % kChunks * 8 : 0);
    item.context = (tile.begin + tile.query) * width + head * args.head_size;
    return item;
  }

  static __device__ __forceinline__ void Run(const AttentionArgs& args, char* memory) {
    const uint32_t shared = static_cast<uint32_t>(__cvta_generic_to_shared(memory));
    const int width = args.num_heads * args.head_size;
    const int64_t stride = 3 * static_cast<int64_t>(width);
    const int warp = threadIdx.x / 32;
    const float scale = args.scale * kLog2E;
    const bool in_head = threadIdx.x % kChunks * 8 < args.head_size;
    uint32_t q_tile = shared, next_q_tile = shared + kTileBytes;
    uint32_t stage = shared + 2 * kTileBytes, next_stage = stage + 2 * kTileBytes;  // each K, then V

    Item item = GetItemOfRound(args, 0, in_head);
    Copy(q_tile, item.q, stride, item.query, item.length, in_head);
    Copy(stage, item.q + width, stride, 0, item.length, in_head);
    Copy(stage + kTileBytes, item.q + 2 * width, stride, 0, item.length, in_head);
    CommitCopies();

#pragma unroll 1
    for (int round = 1; item.length > 0; ++round) {
      const Item next = GetItemOfRound(args, round, in_head);
      const bool active = item.query + warp * 16 < item.length;
      Rows x;
      Clear(x);

#pragma unroll 1
      for (int keys_left = item.length; keys_left > 0; keys_left -= kKeys) {
        WaitForCopies<0>();
        FenceForWgmma();
        __syncthreads();  // this tile is there for all warps, and all have done with the one before
        if (keys_left > kKeys) {
          const int first = item.length - keys_left + kKeys;
          Copy(next_stage, item.q + width, stride, first, item.length, in_head);
          Copy(next_stage + kTileBytes, item.q + 2 * width, stride, first, item.length, in_head);
        } else if (next.length > 0) {
          Copy(next_q_tile, next.q, stride, next.query, next.length, in_head);
          Copy(next_stage, next.q + width, stride, 0, next.length, in_head);
          Copy(next_stage + kTileBytes, next.q + 2 * width, stride, 0, next.length, in_head);
        }
        CommitCopies();
        if (keys_left == item.length) LoadQueries(x, q_tile);
        TakeUp(x, stage, scale, keys_left, active);
        const uint32_t used = stage;
        stage = next_stage;
        next_stage = used;
      }
      if (active) Store(x, q_tile, item, args);
      const uint32_t used = q_tile;
      q_tile = next_q_tile;
      next_q_tile = used;
      item = next;
    }
  }

  // Through this warp's own rows of the Q tile, so that the stores to memory are 16 bytes wide.
  static __device__ __forceinline__ void Store(const Rows& x, uint32_t q_tile, const Item& item, const AttentionArgs& args) {
    const int warp = Thread() / 32, lane = threadIdx.x % 32;
    const int64_t width = args.num_heads * args.head_size;
    __syncwarp();  // all lanes have read Q
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const float inverse = 1.0f / QuadSum(x.sum[r]);
#pragma unroll
      for (int n = 0; n < kHead / 8; ++n) {
        StoreShared(Chunk(q_tile, warp * 16 + lane / 4 + 8 * r, n) + lane % 4 * 4,
                    PackPair<T>(x.o[n][2 * r] * inverse, x.o[n][2 * r + 1] * inverse));
      }
    }
    __syncwarp();
#pragma unroll
    for (int i = lane; i < 16 * kChunks; i += 32) {
      const int row = warp * 16 + i / kChunks, chunk = i % kChunks;
      if (item.query + row < item.length && chunk * 8 < args.head_size) {
        StoreContext<T>(args, item.context + row * width + chunk * 8, LoadShared(Chunk(q_tile, row, chunk)));
      }
    }
  }
};

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_ATTENTION_WGMMA_CUH_
