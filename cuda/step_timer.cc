#include "cuda/step_timer.h"

#include <string>

#if __has_include(<nvtx3/nvToolsExt.h>)
#include <nvtx3/nvToolsExt.h>
#else  // a CUDA toolkit without NVTX: events alone
#define nvtxRangePushA(name) (void)(name)
#define nvtxRangePop() (void)0
#endif

namespace tf_fastbert {
namespace cuda {
namespace {

constexpr const char* kNames[] = {"nothing",          "layout",     "pack",         "qkv",   "attention",
                                  "attention_output", "layer_norm", "intermediate", "output"};
static_assert(sizeof(kNames) / sizeof(kNames[0]) == FASTBERT_STEP_OUTPUT + 1, "a name for each kind of step");

}  // namespace

StepTimer::~StepTimer() {
  if (in_range_) nvtxRangePop();
  for (const Step& step : steps_) {
    if (step.begin != nullptr) cudaEventDestroy(step.begin);
  }
  if (end_ != nullptr) cudaEventDestroy(end_);
}

void StepTimer::RecordEvent(cudaEvent_t* event) {
  if (error_.ok()) error_ = CudaStatus(cudaEventCreate(event), "cudaEventCreate");
  if (error_.ok()) error_ = CudaStatus(cudaEventRecord(*event, stream_), "cudaEventRecord");
}

void StepTimer::Begin(FastBertStepKind kind, int layer) {
  if (in_range_) nvtxRangePop();
  steps_.push_back({kind, layer, nullptr});
  RecordEvent(&steps_.back().begin);
  nvtxRangePushA(layer < 0 ? kNames[kind] : ("layer " + std::to_string(layer) + " " + kNames[kind]).c_str());
  in_range_ = true;
}

Status StepTimer::Finish(FastBertStep* steps, int capacity, int* num_steps) {
  if (in_range_) nvtxRangePop();
  in_range_ = false;
  RecordEvent(&end_);
  FASTBERT_RETURN_IF_ERROR(error_);
  if (static_cast<int>(steps_.size()) > capacity) {
    return Status::InvalidArgument("capacity = " + std::to_string(capacity) + " steps; this pass has " +
                                   std::to_string(steps_.size()));
  }
  FASTBERT_RETURN_IF_ERROR(CudaStatus(cudaEventSynchronize(end_), "cudaEventSynchronize"));
  for (size_t i = 0; i < steps_.size(); ++i) {
    steps[i].kind = steps_[i].kind;
    steps[i].layer = steps_[i].layer;
    const cudaEvent_t end = i + 1 < steps_.size() ? steps_[i + 1].begin : end_;
    FASTBERT_RETURN_IF_ERROR(
        CudaStatus(cudaEventElapsedTime(&steps[i].milliseconds, steps_[i].begin, end), "cudaEventElapsedTime"));
  }
  *num_steps = static_cast<int>(steps_.size());
  return Status::Ok();
}

}  // namespace cuda
}  // namespace tf_fastbert
