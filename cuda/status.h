// Result of every internal function of the CUDA backend: a code of the C ABI and a message that names the culprit.
#ifndef TF_FASTBERT_CUDA_STATUS_H_
#define TF_FASTBERT_CUDA_STATUS_H_

#include <cuda_runtime_api.h>

#include <string>
#include <utility>

#include "cuda/fastbert_cuda.h"

namespace tf_fastbert {
namespace cuda {

struct Status {
  FastBertStatus code = FASTBERT_OK;
  std::string message;

  bool ok() const { return code == FASTBERT_OK; }
  static Status Ok() { return {}; }
  static Status InvalidArgument(std::string m) { return {FASTBERT_INVALID_ARGUMENT, std::move(m)}; }
  static Status Unimplemented(std::string m) { return {FASTBERT_UNIMPLEMENTED, std::move(m)}; }
  static Status Internal(std::string m) { return {FASTBERT_INTERNAL, std::move(m)}; }
};

// `what` is a literal that says which call failed. The error is also removed from the runtime, so that it can't surface in
// whatever CUDA call comes next.
inline Status CudaStatus(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return {};
  cudaGetLastError();
  return {error == cudaErrorMemoryAllocation ? FASTBERT_OUT_OF_MEMORY : FASTBERT_INTERNAL,
          std::string(what) + ": " + cudaGetErrorName(error) + " (" + cudaGetErrorString(error) + ")"};
}

// To be called after a kernel launch.
inline Status LaunchStatus(const char* kernel) { return CudaStatus(cudaGetLastError(), kernel); }

}  // namespace cuda
}  // namespace tf_fastbert

#define FASTBERT_RETURN_IF_ERROR(expression)            \
  do {                                                  \
    ::tf_fastbert::cuda::Status status_ = (expression); \
    if (!status_.ok()) return status_;                  \
  } while (0)

#endif  // TF_FASTBERT_CUDA_STATUS_H_
