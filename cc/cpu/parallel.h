// Tasks over the caller's thread pool.
#ifndef TF_FASTBERT_CC_CPU_PARALLEL_H_
#define TF_FASTBERT_CC_CPU_PARALLEL_H_

#include <algorithm>
#include <atomic>
#include <functional>
#include <mutex>

#include "cc/cpu/onednn.h"
#include "cc/encoder.h"

namespace tf_fastbert {
namespace cpu {

// Calls task(worker, i) -> Status once for every i in [0, num_tasks), from at most `workers` workers at a time; a worker's calls
// follow one another, so that `worker` (in [0, workers)) may index scratch memory. Tasks start in order and go to whoever is
// free. After an error no further task starts; the first error is returned. OpenMP is kept to one thread meanwhile.
template <typename Task>
Status RunTasks(const ParallelFor* parallel_for, int64_t workers, int64_t num_tasks, const Task& task) {
  struct Shared {
    std::atomic<int64_t> next{0};
    std::atomic<bool> failed{false};
    std::mutex mutex;
    Status error;
  } shared;
  const auto work = [&](int64_t worker) {
    const SingleThreadedOpenMp guard;
    for (int64_t i = shared.next++; i < num_tasks && !shared.failed; i = shared.next++) {
      Status status = task(worker, i);
      if (status.ok()) continue;
      std::lock_guard<std::mutex> lock(shared.mutex);
      if (!shared.failed.exchange(true)) shared.error = std::move(status);
    }
  };
  workers = std::min(workers, num_tasks);
  if (parallel_for == nullptr || workers <= 1) {
    work(0);
  } else {
    (*parallel_for)(workers, std::cref(work));
  }
  return shared.error;
}

}  // namespace cpu
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_CPU_PARALLEL_H_
