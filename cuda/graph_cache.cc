#include "cuda/graph_cache.h"

#include <algorithm>
#include <utility>

namespace tf_fastbert {
namespace cuda {

Status GraphCache::Run(const Key& key, const Launches& launches, cudaStream_t stream) {
  cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
  if (cudaStreamIsCapturing(stream, &capture) != cudaSuccess) {
    cudaGetLastError();  // the legacy stream, while another one is being captured
    return launches(stream);
  }
  if (capture != cudaStreamCaptureStatusNone) return launches(stream);

  std::shared_ptr<CapturedGraph> graph;
  {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = std::find_if(entries_.begin(), entries_.end(), [&](const Entry& e) { return e.key == key; });
    if (found == entries_.end()) {
      entries_.push_front({key});
      if (entries_.size() > kCapacity) entries_.pop_back();
    } else {
      entries_.splice(entries_.begin(), entries_, found);
      Entry& entry = entries_.front();
      if (entry.graph == nullptr && !entry.refused) {
        std::unique_ptr<CapturedGraph> captured;
        entry.refused = !CapturedGraph::Capture(launches, &captured).ok();
        entry.graph = std::move(captured);
      }
      graph = entry.graph;
    }
  }
  return graph == nullptr ? launches(stream) : graph->Launch(stream);
}

}  // namespace cuda
}  // namespace tf_fastbert
