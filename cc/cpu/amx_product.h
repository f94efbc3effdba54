// The encoder's products by our own AMX kernels.
#ifndef TF_FASTBERT_CC_CPU_AMX_PRODUCT_H_
#define TF_FASTBERT_CC_CPU_AMX_PRODUCT_H_

#include "cc/cpu/product.h"

namespace tf_fastbert {
namespace cpu {

// Takes operands in tiles. Needs HasAmx(), k % 64 == 0 and n % 32 == 0.
class AmxProduct : public Product {
 public:
  using Product::Product;
  int granularity() const override;
  bool divides_depth() const override { return true; }
  size_t PackedBytes() const override;
  Status Pack(const void* source, void* packed) const override;
  Status ScratchBytes(int rows, size_t* bytes) const override;
  Status Run(const ProductWeights& weights, const ProductCall& call) const override;
};

}  // namespace cpu
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_CPU_AMX_PRODUCT_H_
