#include "cc/thread_pool.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>

#include "tensorflow/core/lib/core/threadpool.h"

namespace tf_fastbert {
namespace {

// Shared with the helper tasks, which may start only after the loop has ended: then they find no iteration left and never touch
// fn.
struct Loop {
  Loop(int64_t n, const std::function<void(int64_t)>* fn) : n(n), fn(fn) {}

  void Work() {
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < n;) {
      (*fn)(i);
      if (done.fetch_add(1, std::memory_order_acq_rel) + 1 == n) {
        std::lock_guard<std::mutex> lock(mutex);
        all_done.notify_one();
      }
    }
  }

  bool Done() const { return done.load(std::memory_order_acquire) == n; }

  void Wait() {
    // Iterations are short and of similar length: most often the others finish while we spin, which is cheaper than sleeping.
    for (int spin = 0; spin < 2000; ++spin) {
      if (Done()) return;
    }
    std::unique_lock<std::mutex> lock(mutex);
    all_done.wait(lock, [this] { return Done(); });
  }

  const int64_t n;
  const std::function<void(int64_t)>* const fn;
  std::atomic<int64_t> next{0};
  std::atomic<int64_t> done{0};
  std::mutex mutex;
  std::condition_variable all_done;
};

}  // namespace

int NumThreads(const tensorflow::DeviceBase::CpuWorkerThreads* workers) {
  return workers == nullptr || workers->workers == nullptr ? 1 : std::max(1, workers->workers->NumThreads());
}

ParallelFor MakeParallelFor(const tensorflow::DeviceBase::CpuWorkerThreads* workers) {
  const int num_threads = NumThreads(workers);
  return [workers, num_threads](int64_t n, const std::function<void(int64_t)>& fn) {
    const int64_t helpers = std::min<int64_t>(n, num_threads) - 1;
    if (helpers <= 0) {
      for (int64_t i = 0; i < n; ++i) fn(i);
      return;
    }
    auto loop = std::make_shared<Loop>(n, &fn);
    for (int64_t h = 0; h < helpers; ++h) workers->workers->Schedule([loop] { loop->Work(); });
    loop->Work();
    loop->Wait();
  };
}

}  // namespace tf_fastbert
