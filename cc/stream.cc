#include "cc/stream.h"

#ifdef TF_FASTBERT_CUDA
#include "xla/stream_executor/stream.h"
#endif

namespace tf_fastbert {

void* StreamOf(tensorflow::OpKernelContext* ctx, bool on_gpu) {
#ifdef TF_FASTBERT_CUDA
  if (on_gpu) return ctx->op_device_context()->stream()->platform_specific_handle().stream;
#endif
  return nullptr;
}

}  // namespace tf_fastbert
