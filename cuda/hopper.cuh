// Hopper's own instructions as the products use them: mbarriers, bulk tensor copies (also to both blocks of a cluster) and wgmma on
// operands in shared memory. Only for code compiled for sm_90a.
#ifndef TF_FASTBERT_CUDA_HOPPER_CUH_
#define TF_FASTBERT_CUDA_HOPPER_CUH_

#include <cuda.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "cuda/quantized.cuh"
#include "cuda/wgmma.cuh"

namespace tf_fastbert {
namespace cuda {

__device__ __forceinline__ uint32_t SharedAddress(const void* p) { return static_cast<uint32_t>(__cvta_generic_to_shared(p)); }

__device__ __forceinline__ uint32_t ClusterRank() {
  uint32_t rank;
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(rank));
  return rank;
}

// Both halves: every thread of the cluster's blocks.
__device__ __forceinline__ void ClusterSync() {
  asm volatile("barrier.cluster.arrive.aligned;\n barrier.cluster.wait.aligned;" ::: "memory");
}

// Its two halves; whole warps call them. Arriving says only that this thread has come here, with its barriers initialized
// (BarrierInitFence), and nothing of what else it has written: that would take a fence of the whole GPU's memory.
__device__ __forceinline__ void ClusterArrive() { asm volatile("barrier.cluster.arrive.relaxed.aligned;" ::: "memory"); }
__device__ __forceinline__ void ClusterWait() { asm volatile("barrier.cluster.wait.aligned;" ::: "memory"); }

// The address, in a cluster's shared memory, of what is at `address` in this block's and in block `rank`'s.
__device__ __forceinline__ uint32_t AddressAt(uint32_t address, uint32_t rank) {
  uint32_t remote;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(remote) : "r"(address), "r"(rank));
  return remote;
}

// `bytes` of this block's shared memory to `to` in the cluster's; `barrier`, in the same block, gets the bytes.
__device__ __forceinline__ void CopyToBlock(uint32_t to, uint32_t from, uint32_t bytes, uint32_t barrier) {
  asm volatile("cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to), "r"(from),
               "r"(bytes), "r"(barrier)
               : "memory");
}

__device__ __forceinline__ void BarrierInit(uint32_t barrier, uint32_t arrivals) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(arrivals));
}

__device__ __forceinline__ void BarrierInitFence() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }

__device__ __forceinline__ void BarrierExpect(uint32_t barrier, uint32_t bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}

// Releases what this thread has read and written to whoever waits.
__device__ __forceinline__ void BarrierArrive(uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(barrier) : "memory");
}

// On the barrier at the same place in block `rank` of the cluster. Orders nothing but what wgmma has finished reading.
__device__ __forceinline__ void BarrierArriveAt(uint32_t barrier, uint32_t rank) {
  asm volatile(
      "{\n.reg .b32 remote;\n mapa.shared::cluster.u32 remote, %0, %1;\n"
      "mbarrier.arrive.shared::cluster.b64 _, [remote];\n}" ::"r"(barrier),
      "r"(rank)
      : "memory");
}

// A place in a ring of kSize stages, and the parity that the barriers of its stages have in this round.
template <int kSize>
struct RingPlace {
  int index = 0;
  uint32_t parity = 0;
  __device__ __forceinline__ void Next() {
    if (++index == kSize) {
      index = 0;
      parity ^= 1;
    }
  }
  __device__ __forceinline__ void Skip(int count) {
    index += count;
    while (index >= kSize) {
      index -= kSize;
      parity ^= 1;
    }
  }
};

// Until the barrier's phase of that parity is over.
__device__ __forceinline__ void BarrierWait(uint32_t barrier, uint32_t parity) {
  asm volatile(
      "{\n.reg .pred done;\n again:\n"
      "mbarrier.try_wait.parity.shared::cta.b64 done, [%0], %1;\n"
      "@!done bra again;\n}" ::"r"(barrier),
      "r"(parity)
      : "memory");
}

__device__ __forceinline__ void PrefetchTensorMap(const CUtensorMap* map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
}

// Box at (column, row) of a two-dimensional tensor; `barrier` gets the bytes.
__device__ __forceinline__ void CopyTile(uint32_t to, const CUtensorMap* map, uint32_t barrier, int column, int row) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];" ::"r"(to), "l"(map),
      "r"(barrier), "r"(column), "r"(row)
      : "memory");
}

// The same of a five-dimensional tensor, box at (c[0], ...), innermost first.
__device__ __forceinline__ void CopyBox(uint32_t to, const CUtensorMap* map, uint32_t barrier, const int (&c)[5]) {
  asm volatile(
      "cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4, %5, %6, %7}], [%2];" ::"r"(to),
      "l"(map), "r"(barrier), "r"(c[0]), "r"(c[1]), "r"(c[2]), "r"(c[3]), "r"(c[4])
      : "memory");
}

// CopyTile into the blocks of `blocks` (a bit for each rank), at the same place and with the same barrier of each.
__device__ __forceinline__ void CopyTileToBlocks(uint32_t to, const CUtensorMap* map, uint32_t barrier, int column, int row,
                                                 uint16_t blocks) {
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster "
      "[%0], [%1, {%3, %4}], [%2], %5;" ::"r"(to),
      "l"(map), "r"(barrier), "r"(column), "r"(row), "h"(blocks)
      : "memory");
}

// CopyBox likewise.
__device__ __forceinline__ void CopyBoxToBlocks(uint32_t to, const CUtensorMap* map, uint32_t barrier, const int (&c)[5],
                                                uint16_t blocks) {
  asm volatile(
      "cp.async.bulk.tensor.5d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster "
      "[%0], [%1, {%3, %4, %5, %6, %7}], [%2], %8;" ::"r"(to),
      "l"(map), "r"(barrier), "r"(c[0]), "r"(c[1]), "r"(c[2]), "r"(c[3]), "r"(c[4]), "h"(blocks)
      : "memory");
}

// The other way: a box in shared memory, 128-byte aligned and made visible by FenceForWgmma, to (column, row); what lies beyond the
// tensor is left out.
__device__ __forceinline__ void StoreTile(const CUtensorMap* map, uint32_t from, int column, int row) {
  asm volatile(
      "cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%2, %3}], [%1];\n cp.async.bulk.commit_group;" ::"l"(map),
      "r"(from), "r"(column), "r"(row)
      : "memory");
}

// Until all but the last kPending of this thread's StoreTile have read their boxes, or have stored them all.
template <int kPending>
__device__ __forceinline__ void WaitForStoresToRead() {
  asm volatile("cp.async.bulk.wait_group.read %0;" ::"n"(kPending) : "memory");
}
__device__ __forceinline__ void WaitForStores() { asm volatile("cp.async.bulk.wait_group 0;" ::: "memory"); }

// Whether a block of one warpgroup with `given` registers a thread and `groups` with `taken` has as many. It has what it is launched
// with, and a warpgroup that takes more than the others have left waits for it forever.
constexpr bool BlockHasRegisters(int given, int groups, int taken) {
  const int at_launch = 65536 / (128 * (groups + 1)) / 8 * 8;
  return given + groups * taken <= (groups + 1) * at_launch;
}

template <int kRegisters>
__device__ __forceinline__ void GiveRegisters() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ __forceinline__ void TakeRegisters() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// A tile of rows of 128 bytes in shared memory, K along the row, in the tensor copies' 128-byte swizzle; 1,024-byte aligned.
// Adding k / 16 bytes moves along K.
__device__ __forceinline__ uint64_t TileDescriptor(uint32_t address) {
  return static_cast<uint64_t>((address & 0x3FFFF) >> 4) | uint64_t{1} << 16 | uint64_t{1024 >> 4} << 32 | uint64_t{1} << 62;
}

// Keeps the compiler from moving uses of the accumulators over a WgmmaWait.
template <int kCount>
__device__ __forceinline__ void KeepInPlace(uint32_t (&registers)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) asm volatile("" : "+r"(registers[i])::"memory");
}

// Wgmma8<Format, N>(d, a, b, accumulate): d[64, N] (+)= a[64, 32] b[N, 32]', asynchronous. Thread t of the warpgroup has in d[4 j +
// 2 h + i] row t / 32 * 16 + t % 32 / 4 + 8 h, column 8 j + t % 4 * 2 + i.
template <typename Format, int kN>
__device__ __forceinline__ void Wgmma8(uint32_t (&d)[kN / 2], uint64_t a, uint64_t b, int accumulate);

#define FASTBERT_OUT16(i)                                                                                                  \
  "+r"(d[i]), "+r"(d[i + 1]), "+r"(d[i + 2]), "+r"(d[i + 3]), "+r"(d[i + 4]), "+r"(d[i + 5]), "+r"(d[i + 6]), "+r"(d[i + 7]), \
      "+r"(d[i + 8]), "+r"(d[i + 9]), "+r"(d[i + 10]), "+r"(d[i + 11]), "+r"(d[i + 12]), "+r"(d[i + 13]), "+r"(d[i + 14]),    \
      "+r"(d[i + 15])
#define FASTBERT_OUT48 FASTBERT_OUT16(0), FASTBERT_OUT16(16), FASTBERT_OUT16(32)
#define FASTBERT_OUT64 FASTBERT_OUT48, FASTBERT_OUT16(48)
#define FASTBERT_OUT96 FASTBERT_OUT64, FASTBERT_OUT16(64), FASTBERT_OUT16(80)
#define FASTBERT_OUT128 FASTBERT_OUT96, FASTBERT_OUT16(96), FASTBERT_OUT16(112)

#define FASTBERT_TEN(i) "%" #i "0,%" #i "1,%" #i "2,%" #i "3,%" #i "4,%" #i "5,%" #i "6,%" #i "7,%" #i "8,%" #i "9,"
#define FASTBERT_NAMES48 \
  "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9," FASTBERT_TEN(1) FASTBERT_TEN(2) FASTBERT_TEN(3) "%40,%41,%42,%43,%44,%45,%46,%47"
#define FASTBERT_NAMES64 FASTBERT_NAMES48 ",%48,%49," FASTBERT_TEN(5) "%60,%61,%62,%63"
#define FASTBERT_NAMES96 \
  FASTBERT_NAMES64 ",%64,%65,%66,%67,%68,%69," FASTBERT_TEN(7) FASTBERT_TEN(8) "%90,%91,%92,%93,%94,%95"
#define FASTBERT_NAMES128 \
  FASTBERT_NAMES96 ",%96,%97,%98,%99," FASTBERT_TEN(10) FASTBERT_TEN(11) "%120,%121,%122,%123,%124,%125,%126,%127"

#define FASTBERT_WGMMA(FORMAT, N, REGISTERS, A, B, ACCUMULATE, TYPES, SIGNS)                                             \
  template <>                                                                                                            \
  __device__ __forceinline__ void Wgmma8<FORMAT, N>(uint32_t(&d)[N / 2], uint64_t a, uint64_t b, int accumulate) {        \
    asm volatile("{\n.reg .pred p;\n setp.ne.b32 p, %" #ACCUMULATE ", 0;\n wgmma.mma_async.sync.aligned.m64n" #N "k32."   \
                 TYPES " {" FASTBERT_NAMES##REGISTERS "}, %" #A ", %" #B ", p" SIGNS ";\n}"                              \
                 : FASTBERT_OUT##REGISTERS                                                                               \
                 : "l"(a), "l"(b), "r"(accumulate));                                                                     \
  }
#define FASTBERT_WGMMA_FORMATS(N, REGISTERS, A, B, ACCUMULATE)                            \
  FASTBERT_WGMMA(Int8, N, REGISTERS, A, B, ACCUMULATE, "s32.s8.s8", "")                    \
  FASTBERT_WGMMA(E4M3, N, REGISTERS, A, B, ACCUMULATE, "f32.e4m3.e4m3", ", 1, 1")

FASTBERT_WGMMA_FORMATS(96, 48, 48, 49, 50)
FASTBERT_WGMMA_FORMATS(128, 64, 64, 65, 66)
FASTBERT_WGMMA_FORMATS(192, 96, 96, 97, 98)
FASTBERT_WGMMA_FORMATS(256, 128, 128, 129, 130)

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_HOPPER_CUH_
