// The encoder's products by our own kernels, with AMX or AVX-512.
#ifndef TF_FASTBERT_CC_CPU_TILE_PRODUCT_H_
#define TF_FASTBERT_CC_CPU_TILE_PRODUCT_H_

#include "cc/cpu/product.h"
#include "cc/cpu/tile_gemm.h"

namespace tf_fastbert {
namespace cpu {

// Takes operands in tiles: with HasAmx() all types but kFloat32, otherwise those that avx512_gemm.h has. Needs k % 64 == 0 and
// n % 32 == 0.
class TileProduct : public Product {
 public:
  explicit TileProduct(const ProductShape& shape);
  int granularity() const override;
  bool divides_depth() const override { return true; }
  size_t PackedBytes() const override { return TileWeightsBytes(weights_, shape_.k, shape_.n); }
  Status Pack(const void* source, void* packed) const override;
  Status ScratchBytes(int rows, int depth, size_t* bytes) const override;
  Status Run(const ProductWeights& weights, const ProductCall& call) const override;

 private:
  const bool amx_;
  const OperandType weights_;
};

}  // namespace cpu
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_CPU_TILE_PRODUCT_H_
