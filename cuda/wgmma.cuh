// Wrappers of Hopper's warpgroup matrix products (wgmma) for float16 and bfloat16; they exist only in code compiled for sm_90a.
//
// A warpgroup (128 threads, its first warp's index a multiple of 4) multiplies A [64, 16] in registers by B [16, N] in shared
// memory into D [64, N] in registers. Warp w of the group holds rows 16 w to 16 w + 15 of A and D, each in the layout of Mma in
// mma.cuh; d[j] are columns 8 j to 8 j + 7.
//
// The product runs on its own after it was issued: A's and D's registers are in use until WgmmaWait, and must be written before
// WgmmaFence.
#ifndef TF_FASTBERT_CUDA_WGMMA_CUH_
#define TF_FASTBERT_CUDA_WGMMA_CUH_

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>

namespace tf_fastbert {
namespace cuda {

// Describes a tile of rows of kRowBytes (128 or 64), swizzled in 16-byte chunks over whole rows, as the operand B: its rows are
// B's columns (K in Q K^T), or, with kTransposed in Wgmma, B's rows (V in P V). The tile's address is a multiple of 8 rows.
template <int kRowBytes>
__device__ __forceinline__ uint64_t WgmmaTile(uint32_t tile) {
  static_assert(kRowBytes == 128 || kRowBytes == 64, "");
  constexpr uint64_t kSwizzle = kRowBytes == 128 ? 1 : 2;
  constexpr uint64_t kEightRows = 8 * kRowBytes;
  return kSwizzle << 62 | (kEightRows >> 4) << 32 | uint64_t{1} << 16 | (tile & 0x3FFFF) >> 4;
}

// The same, `bytes` (a multiple of 16) further on.
__device__ __forceinline__ uint64_t WgmmaAdvance(uint64_t tile, int bytes) { return tile + (bytes >> 4); }

// x, which is the same in all lanes of a warp: so the compiler knows it, too.
template <typename V>
__device__ __forceinline__ V UniformInWarp(V x) {
  return __shfl_sync(0xffffffffu, x, 0);
}

// All warps of the block's warpgroup number `group`, which must be below 15.
__device__ __forceinline__ void SyncWarpgroup(int group) { asm volatile("bar.sync %0, 128;" ::"r"(group + 1) : "memory"); }

__device__ __forceinline__ void WgmmaFence() {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
}

// Ends a group of products.
__device__ __forceinline__ void WgmmaCommit() {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#endif
}

// Waits until at most kPending of this warpgroup's groups are under way.
template <int kPending>
__device__ __forceinline__ void WgmmaWait() {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
#endif
}

// Keeps the compiler from moving reads and writes of these registers over the fence or wait beside it.
template <int kBlocks>
__device__ __forceinline__ void WgmmaPin(float (&d)[kBlocks][4]) {
#pragma unroll
  for (int j = 0; j < kBlocks; ++j) {
    asm volatile("" : "+f"(d[j][0]), "+f"(d[j][1]), "+f"(d[j][2]), "+f"(d[j][3])::"memory");
  }
}

// Makes this thread's ordinary writes of shared memory, and those it has seen, visible to products issued later.
__device__ __forceinline__ void FenceForWgmma() {
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

// Wgmma<T, N>::Run<kTransposed>(d, a, b, accumulate): d = a b, or d += a b.
template <typename T, int kN>
struct Wgmma;

#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define FASTBERT_WGMMA_D(j) "+f"(d[j][0]), "+f"(d[j][1]), "+f"(d[j][2]), "+f"(d[j][3])
#define FASTBERT_WGMMA_32(type)                                                                                         \
  asm volatile(                                                                                                         \
      "{ .reg .pred p; setp.ne.b32 p, %21, 0; wgmma.mma_async.sync.aligned.m64n32k16.f32." type "." type                \
      " {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15}, {%16, %17, %18, %19}, %20, p, 1, 1, "   \
      "%22; }"                                                                                                          \
      : FASTBERT_WGMMA_D(0), FASTBERT_WGMMA_D(1), FASTBERT_WGMMA_D(2), FASTBERT_WGMMA_D(3)                              \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(accumulate)), "n"(kTransposed ? 1 : 0) \
      : "memory")
#define FASTBERT_WGMMA_64(type)                                                                                         \
  asm volatile(                                                                                                         \
      "{ .reg .pred p; setp.ne.b32 p, %37, 0; wgmma.mma_async.sync.aligned.m64n64k16.f32." type "." type                \
      " {%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, %16, %17, %18, %19, %20, %21, %22, %23, " \
      "%24, %25, %26, %27, %28, %29, %30, %31}, {%32, %33, %34, %35}, %36, p, 1, 1, %38; }"                             \
      : FASTBERT_WGMMA_D(0), FASTBERT_WGMMA_D(1), FASTBERT_WGMMA_D(2), FASTBERT_WGMMA_D(3), FASTBERT_WGMMA_D(4),        \
        FASTBERT_WGMMA_D(5), FASTBERT_WGMMA_D(6), FASTBERT_WGMMA_D(7)                                                   \
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(accumulate)), "n"(kTransposed ? 1 : 0) \
      : "memory")
#else
#define FASTBERT_WGMMA_32(type) __trap()
#define FASTBERT_WGMMA_64(type) __trap()
#endif

#define FASTBERT_WGMMA_OF(T, type, n)                                                                                           \
  template <>                                                                                                                   \
  struct Wgmma<T, n> {                                                                                                          \
    template <bool kTransposed>                                                                                                 \
    static __device__ __forceinline__ void Run(float (&d)[n / 8][4], const uint32_t (&a)[4], uint64_t b, bool accumulate) {     \
      FASTBERT_WGMMA_##n(type);                                                                                                 \
    }                                                                                                                           \
  };
FASTBERT_WGMMA_OF(__half, "f16", 32)
FASTBERT_WGMMA_OF(__half, "f16", 64)
FASTBERT_WGMMA_OF(__nv_bfloat16, "bf16", 32)
FASTBERT_WGMMA_OF(__nv_bfloat16, "bf16", 64)
#undef FASTBERT_WGMMA_OF
#undef FASTBERT_WGMMA_64
#undef FASTBERT_WGMMA_32
#undef FASTBERT_WGMMA_D

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_WGMMA_CUH_
