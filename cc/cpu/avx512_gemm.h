// The products of tile_gemm.h with AVX-512, for CPUs without AMX.
//
// kFloat32 with weights in float32 or bfloat16 (half the memory to read; the arithmetic is float32): needs HasAvx512(). kBFloat16 by
// AVX512_BF16's dot product: needs HasFastBFloat16(). kInt8 by VNNI, with weights packed `shifted`: needs HasAvx512Vnni().
//
// kFloat32 with weights in float32, from 48 rows on: seven multiplications instead of eight (avx512_strassen.inc), if the columns are
// pairs of panels; from 128 rows on, if rows and columns divide into quarters, 49 instead of 64. A row's last bits then depend on
// the rows beside it.
#ifndef TF_FASTBERT_CC_CPU_AVX512_GEMM_H_
#define TF_FASTBERT_CC_CPU_AVX512_GEMM_H_

#include "cc/cpu/tile_gemm.h"

namespace tf_fastbert {
namespace cpu {

void Avx512Gemm(const TileGemmTask& task);

// Whether AVX512_BF16's dot product does more than float32 arithmetic in the same time: it does on AMD, but Intel's CPUs run it at
// half the rate of two multiply-adds. Measured once, in some microseconds. Needs HasFastBFloat16().
bool Bfloat16DotIsFast();

}  // namespace cpu
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_CPU_AVX512_GEMM_H_
