// LayerNorm into operands in tiles; the LayerNormTask of kernels.h.
#ifndef TF_FASTBERT_CC_CPU_TILES_LAYER_NORM_H_
#define TF_FASTBERT_CC_CPU_TILES_LAYER_NORM_H_

#include "cc/cpu/kernels.h"

namespace tf_fastbert {
namespace cpu {

// task.operand is in tiles, so task.width is a multiple of 64. Needs HasAvx512(), for kBFloat16 and its
// planes HasFastBFloat16().
void TilesLayerNorm(const LayerNormTask& task);

}  // namespace cpu
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_CPU_TILES_LAYER_NORM_H_
