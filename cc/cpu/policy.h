// What each precision is computed with on this CPU.
//
//                      AMX                                AVX-512                                         other
//   float32            3 bfloat16 planes (tf32: 2)        float32                                         float32
//   float16            2 bfloat16 planes                  float32                                         float32
//   bfloat16           bfloat16                           bfloat16 where its dot product is fast (AMD),   float32
//                                                         else float32 with weights kept in bfloat16
//   int8, all types    int8, attention in bfloat16        the same with VNNI (attention in float32        int8 with AVX2's VNNI,
//                                                         without AVX512_BF16), else float32              else float32
//
// AMX and AVX-512 are our own kernels, if hidden and inner size are multiples of 64 and the size per head of 32; oneDNN does the
// rest, with whatever the CPU has.
//
// int8 layers in float32: the weights multiplied by their scales, the inputs not rounded.
// Residual stream, LayerNorm, softmax and activation functions are float32 everywhere. Modes 1 and 2 of int8 differ in the
// weights' scales only, which come with the ranges: keeping the residual stream and the products' outputs in more than int8
// costs nothing here. Attention is not int8 either: bfloat16 is as fast, since the exponentials take the time. fp8 layers are
// computed like those without quantization (their kernels are of the tensors' type), as no CPU multiplies E4M3.
#ifndef TF_FASTBERT_CC_CPU_POLICY_H_
#define TF_FASTBERT_CC_CPU_POLICY_H_

#include "cc/cpu/operand.h"
#include "cc/encoder.h"

namespace tf_fastbert {
namespace cpu {

struct Policy {
  OperandFormat operand;          // the products' inputs
  DataType attention;             // query, key and value: float32 or bfloat16
  bool bfloat16_weights = false;  // of the products, whose operand is float32
};

// Whether the layers' kernels are int8.
inline bool HasInt8Kernels(const EncoderConfig& config) {
  return config.quantization == Quantization::kInt8Mode1 || config.quantization == Quantization::kInt8Mode2;
}

Policy ChoosePolicy(const EncoderConfig& config);

}  // namespace cpu
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_CPU_POLICY_H_
