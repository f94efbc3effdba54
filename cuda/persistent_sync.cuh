// What the blocks of the persistent encoder wait with: a barrier of the whole grid, and stores into the shared memory of
// another block of the cluster.
//
// The grid's barrier is a counter in global memory, zero before the launch, that only grows: each block adds one per step, and
// the step is over when it has reached step * blocks. All blocks are resident, because the launch is cooperative, also where two
// such launches meet on two streams: a grid starts only when all of it fits.
#ifndef TF_FASTBERT_CUDA_PERSISTENT_SYNC_CUH_
#define TF_FASTBERT_CUDA_PERSISTENT_SYNC_CUH_

#include <cstdint>

#include "cuda/hopper.cuh"

namespace tf_fastbert {
namespace cuda {

class GridBarrier {
 public:
  __device__ __forceinline__ explicit GridBarrier(uint32_t* counter) : counter_(counter) {}

  // All threads; the block must have passed __syncthreads() after its last access to global memory.
  __device__ __forceinline__ void Arrive() {
    target_ += gridDim.x;
    if (threadIdx.x == 0) asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(counter_) : "memory");
  }

  // All threads; ends with __syncthreads(). Memory that any block wrote before Arrive() is visible then.
  __device__ __forceinline__ void Wait() {
    if (threadIdx.x == 0) {
      uint32_t count;
      do {
        asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(count) : "l"(counter_) : "memory");
      } while (count < target_);
    }
    __syncthreads();
  }

 private:
  uint32_t* counter_;
  uint32_t target_ = 0;
};

// The address of block `rank`'s shared memory that corresponds to `address` of this block's.
__device__ __forceinline__ uint32_t ClusterAddress(uint32_t address, uint32_t rank) {
  uint32_t mapped;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;" : "=r"(mapped) : "r"(address), "r"(rank));
  return mapped;
}

__device__ __forceinline__ void StoreCluster(uint32_t to, float a, float b, float c, float d) {
  asm volatile("st.shared::cluster.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(to), "f"(a), "f"(b), "f"(c), "f"(d) : "memory");
}

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_PERSISTENT_SYNC_CUH_
