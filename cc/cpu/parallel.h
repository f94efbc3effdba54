// Tasks over the caller's thread pool.
#ifndef TF_FASTBERT_CC_CPU_PARALLEL_H_
#define TF_FASTBERT_CC_CPU_PARALLEL_H_

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <new>

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

// Of one phase; zero at the beginning.
struct alignas(64) PhaseCounter {
  std::atomic<int64_t> next;
  std::atomic<int64_t> done;
};

// Phases of tasks that follow one another: for each phase p in [0, phases), run(worker, p, i) -> Status once for every i in
// [0, count(p)), as RunTasks does, and no task of a phase before all of the one before are done. One call of parallel_for for all
// phases: its workers wait for one another, first spinning, for phases are short, then asleep, for others may need the core. They
// wait only for tasks that somebody has begun: any one worker gets through alone, so it does not matter
// whether the pool has a thread for each.
// `counters`: memory for `phases` of them.
template <typename Count, typename Run>
Status RunPhases(const ParallelFor* parallel_for, int64_t workers, int phases, PhaseCounter* counters, const Count& count,
                 const Run& run) {
  struct Shared {
    std::atomic<bool> failed{false};
    std::atomic<int> sleepers{0};
    std::mutex mutex;
    std::condition_variable changed;
    Status error;
  } shared;
  for (int p = 0; p < phases; ++p) new (counters + p) PhaseCounter{{0}, {0}};
  const auto work = [&](int64_t worker) {
    const SingleThreadedOpenMp guard;
    for (int p = 0; p < phases; ++p) {
      PhaseCounter& counter = counters[p];
      const int64_t tasks = count(p);
      int64_t begun = counter.next.load(std::memory_order_relaxed);
      while (begun < tasks && (begun = counter.next.fetch_add(1, std::memory_order_relaxed)) < tasks) {
        Status status = run(worker, p, begun);
        if (!status.ok()) {
          std::lock_guard<std::mutex> lock(shared.mutex);
          if (!shared.failed.exchange(true)) shared.error = std::move(status);
        }
        // Either this sees the sleeper, or the sleeper sees that the tasks are done: both are sequentially consistent.
        if ((counter.done.fetch_add(1) + 1 == tasks || shared.failed) && shared.sleepers > 0) {
          std::lock_guard<std::mutex> lock(shared.mutex);
          shared.changed.notify_all();
        }
      }
      const auto over = [&] { return counter.done >= tasks || shared.failed; };
      constexpr int kSpins = 20000;  // some tens of microseconds
      for (int spins = 0; spins < kSpins && !over();) ++spins;
      if (!over()) {
        std::unique_lock<std::mutex> lock(shared.mutex);
        ++shared.sleepers;
        shared.changed.wait(lock, over);
        --shared.sleepers;
      }
      if (shared.failed) return;
    }
  };
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
