// A layer around the encoder on the CPU: threads and workspace from TensorFlow for a call of its backend.
#ifndef TF_FASTBERT_CC_CPU_LAYER_H_
#define TF_FASTBERT_CC_CPU_LAYER_H_

#include <cstddef>

#include "absl/status/status.h"
#include "cc/encoder.h"
#include "cc/tensor_buffers.h"
#include "cc/thread_pool.h"
#include "tensorflow/core/framework/op_kernel.h"

namespace tf_fastbert {

// run(call), with what belongs to the CPU filled in. Call: EmbeddingCall or SpanLogitsCall.
template <typename Call>
absl::Status RunOnCpu(tensorflow::OpKernelContext* ctx, size_t (*workspace_bytes)(int hidden_size, int num_threads),
                      Status (*run)(const Call& call), Call call) {
  const auto* workers = ctx->device()->tensorflow_cpu_worker_threads();
  const ParallelFor parallel_for = MakeParallelFor(workers);
  call.parallel_for = &parallel_for;
  call.num_threads = NumThreads(workers);
  tensorflow::Tensor workspace;
  const size_t bytes = workspace_bytes(call.hidden_size, call.num_threads);
  const absl::Status status = AllocateAligned(ctx, bytes, "workspace", &workspace, &call.workspace);
  return status.ok() ? ToAbsl(run(call)) : status;
}

}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_CPU_LAYER_H_
