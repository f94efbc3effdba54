// The current CUDA device, changed for a while.
#ifndef TF_FASTBERT_CUDA_SCOPED_DEVICE_H_
#define TF_FASTBERT_CUDA_SCOPED_DEVICE_H_

#include <cuda_runtime_api.h>

#include "cuda/status.h"

namespace tf_fastbert {
namespace cuda {

// Makes `device` current for as long as it lives.
class ScopedDevice {
 public:
  explicit ScopedDevice(int device) {
    status_ = CudaStatus(cudaGetDevice(&previous_), "cudaGetDevice");
    if (!status_.ok() || previous_ == device) return;
    status_ = CudaStatus(cudaSetDevice(device), "cudaSetDevice");
    restore_ = status_.ok();
  }
  ~ScopedDevice() {
    if (restore_) cudaSetDevice(previous_);
  }
  const Status& status() const { return status_; }

 private:
  int previous_ = 0;
  bool restore_ = false;
  Status status_;
};

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_SCOPED_DEVICE_H_
