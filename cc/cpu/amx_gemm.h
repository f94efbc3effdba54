// The products of tile_gemm.h with AMX; needs HasAmx().
//
// kBFloat16 and kInt8 as they are; kBFloat16x3 is a float32 product, computed as the six bfloat16 products of the planes that matter
// (1*1, 1*2, 2*1, 2*2, 1*3, 3*1; what is left out is below 2^-26), with float32's error; kBFloat16x2 takes three (2^-16).
#ifndef TF_FASTBERT_CC_CPU_AMX_GEMM_H_
#define TF_FASTBERT_CC_CPU_AMX_GEMM_H_

#include "cc/cpu/tile_gemm.h"

namespace tf_fastbert {
namespace cpu {

// task.weights is task.type; kFloat32 is not among them.
void AmxGemm(const TileGemmTask& task);

}  // namespace cpu
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_CPU_AMX_GEMM_H_
