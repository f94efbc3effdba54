// Runs a backend's parallel loops on TensorFlow's intra-op thread pool.
#ifndef TF_FASTBERT_CC_THREAD_POOL_H_
#define TF_FASTBERT_CC_THREAD_POOL_H_

#include "cc/encoder.h"
#include "tensorflow/core/framework/device_base.h"

namespace tf_fastbert {

// The calling thread takes part and only waits for iterations that have already started on other threads. So a loop that is
// started from one of the pool's own threads cannot deadlock, and a pool that is busy with other work does not delay it.
// `workers` may be null or have one thread: the loop then runs in the caller. It must outlive the result.
ParallelFor MakeParallelFor(const tensorflow::DeviceBase::CpuWorkerThreads* workers);

// How many threads run such a loop at most.
int NumThreads(const tensorflow::DeviceBase::CpuWorkerThreads* workers);

}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_THREAD_POOL_H_
