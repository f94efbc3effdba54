// Times the steps of one forward pass on the GPU, for fastbert_cuda_profile: an event before each step and one at the end, and an
// NVTX range around each step's launches for whoever watches with an external profiler. A pass that is not profiled has no timer.
#ifndef TF_FASTBERT_CUDA_STEP_TIMER_H_
#define TF_FASTBERT_CUDA_STEP_TIMER_H_

#include <cuda_runtime_api.h>

#include <vector>

#include "cuda/fastbert_cuda.h"
#include "cuda/status.h"

namespace tf_fastbert {
namespace cuda {

class StepTimer {
 public:
  explicit StepTimer(cudaStream_t stream) : stream_(stream) {}
  ~StepTimer();
  StepTimer(const StepTimer&) = delete;
  StepTimer& operator=(const StepTimer&) = delete;

  // What is queued from here on belongs to this step; the step before is over. Errors are kept for Finish.
  void Begin(FastBertStepKind kind, int layer);

  // Ends the last step, waits for the stream and writes the steps in their order. Fails if there are more than `capacity`.
  Status Finish(FastBertStep* steps, int capacity, int* num_steps);

 private:
  struct Step {
    FastBertStepKind kind;
    int layer;
    cudaEvent_t begin;
  };

  void RecordEvent(cudaEvent_t* event);

  const cudaStream_t stream_;
  std::vector<Step> steps_;
  cudaEvent_t end_ = nullptr;
  bool in_range_ = false;
  Status error_;
};

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_STEP_TIMER_H_
