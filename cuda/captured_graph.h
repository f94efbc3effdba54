// The launches of some code as one CUDA graph.
#ifndef TF_FASTBERT_CUDA_CAPTURED_GRAPH_H_
#define TF_FASTBERT_CUDA_CAPTURED_GRAPH_H_

#include <cuda_runtime_api.h>

#include <functional>
#include <memory>
#include <mutex>

#include "cuda/status.h"

namespace tf_fastbert {
namespace cuda {

// Queues some launches on `stream`.
using Launches = std::function<Status(cudaStream_t stream)>;

class CapturedGraph {
 public:
  // A graph that is still running may be destroyed: CUDA frees it when it is over.
  ~CapturedGraph();
  CapturedGraph(const CapturedGraph&) = delete;
  CapturedGraph& operator=(const CapturedGraph&) = delete;

  // Captures on a stream of its own, in a mode that neither forbids other threads anything nor minds what they do. Runs nothing.
  static Status Capture(const Launches& launches, std::unique_ptr<CapturedGraph>* graph);

  // Thread-safe.
  Status Launch(cudaStream_t stream);

 private:
  CapturedGraph() = default;

  std::mutex mutex_;
  cudaGraphExec_t executable_ = nullptr;
};

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_CAPTURED_GRAPH_H_
