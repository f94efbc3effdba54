#include "cuda/captured_graph.h"

#include <utility>

namespace tf_fastbert {
namespace cuda {

CapturedGraph::~CapturedGraph() {
  if (executable_ != nullptr) cudaGraphExecDestroy(executable_);
}

Status CapturedGraph::Capture(const Launches& launches, std::unique_ptr<CapturedGraph>* graph) {
  cudaStream_t stream = nullptr;
  FASTBERT_RETURN_IF_ERROR(CudaStatus(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags"));
  cudaGraph_t captured = nullptr;
  Status status = CudaStatus(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), "cudaStreamBeginCapture");
  if (status.ok()) {
    status = launches(stream);
    const Status ended = CudaStatus(cudaStreamEndCapture(stream, &captured), "cudaStreamEndCapture");
    if (status.ok()) status = ended;
  }
  std::unique_ptr<CapturedGraph> created(new CapturedGraph);
  if (status.ok()) status = CudaStatus(cudaGraphInstantiate(&created->executable_, captured, 0), "cudaGraphInstantiate");
  if (captured != nullptr) cudaGraphDestroy(captured);
  cudaStreamDestroy(stream);
  if (status.ok()) *graph = std::move(created);
  return status;
}

Status CapturedGraph::Launch(cudaStream_t stream) {
  std::lock_guard<std::mutex> lock(mutex_);  // one executable graph may not be launched by two threads at the same moment
  return CudaStatus(cudaGraphLaunch(executable_, stream), "cudaGraphLaunch");
}

}  // namespace cuda
}  // namespace tf_fastbert
