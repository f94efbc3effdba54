// One matrix product of the encoder, out [rows, n] = epilogue(in [rows, k] * weights [k, n] + bias [n]), in the calling thread,
// for any number of rows and any range of columns that `granularity` divides. Two implementations: by oneDNN on every CPU, and by
// our own kernels for AMX and AVX-512 (tile_gemm.h).
#ifndef TF_FASTBERT_CC_CPU_PRODUCT_H_
#define TF_FASTBERT_CC_CPU_PRODUCT_H_

#include <cstddef>
#include <memory>

#include "cc/cpu/operand.h"
#include "cc/encoder.h"

namespace tf_fastbert {
namespace cpu {

// kStore: rows of `ProductShape::out`. kAccumulate: added to rows of floats. The rest: into the next product's operand.
enum class Epilogue { kStore, kAccumulate, kGeluTanh, kGeluErf, kRelu };

struct ProductShape {
  const char* name;  // for messages
  int k;
  int n;
  OperandFormat in;  // kInt8: the weights are int8 too
  Epilogue epilogue;
  DataType out;  // of kStore: float32 or bfloat16
  bool bfloat16_weights = false;  // kFloat32 in tiles: weights, which are bfloat16 values, are kept as such
};

// One layer's weights, as the product packed them, with float32 vectors [n] beside them.
struct ProductWeights {
  const void* packed = nullptr;
  const float* bias = nullptr;
  const float* scales = nullptr;  // kInt8: what one unit of the integer sum is worth
};

struct ProductCall {
  const void* in;  // rows of k columns (or of `depth`, see below)
  int rows;        // multiple of 16
  int first_column, columns;
  void* out;                // kStore, kAccumulate: row 0, column 0
  Operand out_operand;      // the activations: row 0, column `operand_column`
  int out_group = 0;        // own products, kStore: 0 for rows of n columns, or a multiple of 32: every so many columns are a matrix
  int64_t out_group_stride = 0;  // of their own, so many values apart
  int operand_column = 0;   // the product's column that is column 0 of out_operand
  int first_depth = 0;      // rows [first_depth, first_depth + depth) of the weights only, without bias unless first_depth is 0;
  int depth = 0;            // 0: all of them
  void* scratch;            // ScratchBytes(rows, depth) bytes, 64-byte aligned
};

class Product {
 public:
  explicit Product(const ProductShape& shape) : shape_(shape) {}
  virtual ~Product() = default;
  Product(const Product&) = delete;
  Product& operator=(const Product&) = delete;

  const ProductShape& shape() const { return shape_; }

  // first_column and columns of a call are multiples of this.
  virtual int granularity() const = 0;
  // Whether a call may take a part of the depth.
  virtual bool divides_depth() const = 0;

  virtual size_t PackedBytes() const = 0;
  // `source` [k, n], row-major: int8 for kInt8, bfloat16 for kBFloat16, else float (also with bfloat16_weights). `packed` is 64-byte aligned.
  virtual Status Pack(const void* source, void* packed) const = 0;

  // Prepares for calls with so many rows, and says how much scratch they need if they take up to `depth` of k.
  virtual Status ScratchBytes(int rows, int depth, size_t* bytes) const = 0;
  // After ScratchBytes.
  virtual Status Run(const ProductWeights& weights, const ProductCall& call) const = 0;

 protected:
  const ProductShape shape_;
};

// The implementation for shape.in: our own for tiles, else oneDNN.
Status CreateProduct(const ProductShape& shape, std::unique_ptr<Product>* product);

}  // namespace cpu
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_CPU_PRODUCT_H_
