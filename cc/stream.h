// The CUDA stream of a kernel's call, with no CUDA header.
#ifndef TF_FASTBERT_CC_STREAM_H_
#define TF_FASTBERT_CC_STREAM_H_

#include "tensorflow/core/framework/op_kernel.h"

namespace tf_fastbert {

// A cudaStream_t on a GPU, null on a CPU.
void* StreamOf(tensorflow::OpKernelContext* ctx, bool on_gpu);

}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_STREAM_H_
