// Hopper's warpgroup products of float16 and bfloat16 with both operands in shared memory.
//
// WgmmaShared<T, N>(d, a, b, accumulate): d[64, N] (+)= a[64, 16] b[N, 16]', asynchronous, a and b by TileDescriptor. d holds
// floats' bits; thread t of the warpgroup has in d[4 j + 2 h + i] row t / 32 * 16 + t % 32 / 4 + 8 h, column 8 j + t % 4 * 2 + i.
// Only for code compiled for sm_90a.
#ifndef TF_FASTBERT_CUDA_WGMMA_SHARED_CUH_
#define TF_FASTBERT_CUDA_WGMMA_SHARED_CUH_

#include "cuda/hopper.cuh"

namespace tf_fastbert {
namespace cuda {

template <typename T, int kN>
__device__ __forceinline__ void WgmmaShared(uint32_t (&d)[kN / 2], uint64_t a, uint64_t b, int accumulate);

#define FASTBERT_NAMES16 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9," "%10,%11,%12,%13,%14,%15"
#define FASTBERT_NAMES32 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9," FASTBERT_TEN(1) FASTBERT_TEN(2) "%30,%31"
#define FASTBERT_OUT32 FASTBERT_OUT16(0), FASTBERT_OUT16(16)

#define FASTBERT_WGMMA_SHARED(T, TYPE, N, REGISTERS, OUT, A, B, ACCUMULATE)                                               \
  template <>                                                                                                             \
  __device__ __forceinline__ void WgmmaShared<T, N>(uint32_t(&d)[N / 2], uint64_t a, uint64_t b, int accumulate) {        \
    asm volatile("{\n.reg .pred p;\n setp.ne.b32 p, %" #ACCUMULATE ", 0;\n wgmma.mma_async.sync.aligned.m64n" #N "k16."   \
                 "f32." TYPE "." TYPE " {" FASTBERT_NAMES##REGISTERS "}, %" #A ", %" #B ", p, 1, 1, 0, 0;\n}"             \
                 : OUT                                                                                                    \
                 : "l"(a), "l"(b), "r"(accumulate));                                                                      \
  }
#define FASTBERT_WGMMA_SHARED_SIZES(T, TYPE)                                       \
  FASTBERT_WGMMA_SHARED(T, TYPE, 32, 16, FASTBERT_OUT16(0), 16, 17, 18)            \
  FASTBERT_WGMMA_SHARED(T, TYPE, 64, 32, FASTBERT_OUT32, 32, 33, 34)               \
  FASTBERT_WGMMA_SHARED(T, TYPE, 96, 48, FASTBERT_OUT48, 48, 49, 50)               \
  FASTBERT_WGMMA_SHARED(T, TYPE, 128, 64, FASTBERT_OUT64, 64, 65, 66)              \
  FASTBERT_WGMMA_SHARED(T, TYPE, 192, 96, FASTBERT_OUT96, 96, 97, 98)              \
  FASTBERT_WGMMA_SHARED(T, TYPE, 256, 128, FASTBERT_OUT128, 128, 129, 130)
FASTBERT_WGMMA_SHARED_SIZES(__half, "f16")
FASTBERT_WGMMA_SHARED_SIZES(__nv_bfloat16, "bf16")

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_WGMMA_SHARED_CUH_
