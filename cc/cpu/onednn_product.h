// The encoder's products by oneDNN's matmul primitive.
#ifndef TF_FASTBERT_CC_CPU_ONEDNN_PRODUCT_H_
#define TF_FASTBERT_CC_CPU_ONEDNN_PRODUCT_H_

#include <map>
#include <memory>
#include <shared_mutex>

#include "cc/cpu/onednn.h"
#include "cc/cpu/product.h"
#include "dnnl.hpp"

namespace tf_fastbert {
namespace cpu {

// Takes row-major operands. The columns are divided into equal parts with weights and a primitive execution of their own, so that
// threads can share a product.
class OneDnnProduct : public Product {
 public:
  static Status Create(const ProductShape& shape, std::unique_ptr<Product>* product);

  int granularity() const override { return part_; }
  bool divides_depth() const override { return false; }
  size_t PackedBytes() const override;
  Status Pack(const void* source, void* packed) const override;
  Status ScratchBytes(int rows, int depth, size_t* bytes) const override;
  Status Run(const ProductWeights& weights, const ProductCall& call) const override;

 private:
  // A part's product, compiled for one number of rows.
  struct Kernel {
    dnnl::matmul primitive;
    dnnl::memory::desc in, out, scratchpad;
    size_t scratchpad_bytes;
  };

  explicit OneDnnProduct(const ProductShape& shape);
  std::unique_ptr<Kernel> Compile(int rows, const dnnl::memory::desc& weights, dnnl::memory::desc* chosen) const;
  Status Find(int rows, const Kernel** kernel) const;
  bool quantized() const { return shape_.in.type == OperandType::kInt8; }
  bool has_operand_output() const { return shape_.epilogue != Epilogue::kStore && shape_.epilogue != Epilogue::kAccumulate; }
  size_t part_bytes() const { return (packed_.get_size() + 63) / 64 * 64; }

  const int part_;  // columns
  dnnl::memory::desc packed_;
  mutable std::shared_mutex mutex_;
  mutable std::map<int, std::unique_ptr<Kernel>> kernels_;
};

}  // namespace cpu
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_CPU_ONEDNN_PRODUCT_H_
