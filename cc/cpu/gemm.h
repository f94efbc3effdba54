// One matrix product of the encoder, out [rows, n] = epilogue(in [rows, k] * weights [k, n] + bias [n]), by oneDNN, in the
// calling thread, for any number of rows.
#ifndef TF_FASTBERT_CC_CPU_GEMM_H_
#define TF_FASTBERT_CC_CPU_GEMM_H_

#include <cstddef>
#include <map>
#include <memory>
#include <shared_mutex>

#include "cc/cpu/onednn.h"
#include "cc/encoder.h"
#include "dnnl.hpp"

namespace tf_fastbert {
namespace cpu {

enum class Epilogue { kNone, kGeluTanh, kGeluErf, kRelu, kAccumulate };  // kAccumulate: out += ...

struct GemmShape {
  const char* name;  // for messages
  int k;
  int n;
  DataType in;  // of input and weights: float32 or bfloat16
  DataType out;
  Epilogue epilogue;
};

// One layer's weights and bias, in oneDNN's terms. The bias is float32.
struct GemmWeights {
  dnnl::memory kernel;
  dnnl::memory bias;
};

// A compiled product for one number of rows.
struct GemmKernel {
  dnnl::matmul primitive;
  dnnl::memory::desc in, out, scratchpad;
  size_t scratchpad_bytes;
};

class Gemm {
 public:
  static Status Create(const GemmShape& shape, std::unique_ptr<Gemm>* gemm);

  const GemmShape& shape() const { return shape_; }
  size_t PackedBytes() const { return packed_.get_size(); }

  // `source` [k, n], row-major, of shape().in -> `packed`, the layout that every GemmKernel of this object reads.
  // `packed` (64-byte aligned) and `bias` must outlive the result.
  Status Pack(const void* source, void* packed, const float* bias, GemmWeights* weights) const;

  // Compiled on first use. The result lives as long as this object.
  Status Find(int rows, const GemmKernel** kernel) const;

  // Holds no lock. `scratchpad` has kernel.scratchpad_bytes bytes, 64-byte aligned. Throws dnnl::error.
  static void Run(const GemmKernel& kernel, const GemmWeights& weights, const void* in, void* out, void* scratchpad);

 private:
  explicit Gemm(const GemmShape& shape) : shape_(shape) {}
  std::unique_ptr<GemmKernel> Compile(int rows, const dnnl::memory::desc& weights, dnnl::memory::desc* chosen) const;

  const GemmShape shape_;
  dnnl::memory::desc packed_;
  mutable std::shared_mutex mutex_;
  mutable std::map<int, std::unique_ptr<GemmKernel>> kernels_;
};

}  // namespace cpu
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_CPU_GEMM_H_
