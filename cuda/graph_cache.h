// CUDA graphs of the layer loop, kept for calls that repeat.
//
// A forward pass is some ninety launches; below a few thousand tokens the host needs longer to queue them than the GPU to run
// them. A graph is one launch. It holds addresses and sizes, so its key is everything that the captured launches depend on:
// TensorFlow's allocator hands out the same addresses again in a steady loop, token counts are rounded up to a bucket (see
// encoder_pass.h), and lengths are read from device memory that is filled before the graph starts. A key is captured when it is seen
// for the second time, so that calls which never repeat pay nothing.
#ifndef TF_FASTBERT_CUDA_GRAPH_CACHE_H_
#define TF_FASTBERT_CUDA_GRAPH_CACHE_H_

#include <cuda_runtime_api.h>

#include <array>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>

#include "cuda/captured_graph.h"
#include "cuda/status.h"

namespace tf_fastbert {
namespace cuda {

class GraphCache {
 public:
  using Key = std::array<int64_t, 8>;

  // Runs `launches` on `stream`: as a graph where the key has one by now, else directly. A stream that is being captured gets the
  // launches themselves. Thread-safe; waits for nothing on the device.
  Status Run(const Key& key, const Launches& launches, cudaStream_t stream);

 private:
  struct Entry {
    Key key;
    std::shared_ptr<CapturedGraph> graph;  // null: seen once
    bool refused = false;          // capturing failed: launched directly from then on
  };
  // Least recently used last. Long enough for a server's usual sizes; a graph takes some 100 KB.
  static constexpr size_t kCapacity = 64;

  std::mutex mutex_;
  std::list<Entry> entries_;
};

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_GRAPH_CACHE_H_
