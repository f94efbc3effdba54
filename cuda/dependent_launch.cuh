// Kernels that may start while the one before them on the stream still runs (programmatic dependent launch, Hopper and newer): the
// start of each, a microsecond or two, then hides behind the end of the other. In return such a kernel calls
// WaitForPreviousKernel before it touches memory that an earlier kernel reads or writes, and every one of its blocks does.
#ifndef TF_FASTBERT_CUDA_DEPENDENT_LAUNCH_CUH_
#define TF_FASTBERT_CUDA_DEPENDENT_LAUNCH_CUH_

#include <cuda_runtime.h>

namespace tf_fastbert {
namespace cuda {

// Until all earlier kernels are over and their writes can be seen.
__device__ __forceinline__ void WaitForPreviousKernel() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

// From now on the next kernel's blocks may take what room there is.
__device__ __forceinline__ void LetNextKernelStart() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// cluster: blocks in a cluster, which divides the grid.
template <typename... Parameters, typename... Arguments>
cudaError_t LaunchDependent(void (*kernel)(Parameters...), dim3 grid, dim3 block, dim3 cluster, size_t shared_bytes,
                            cudaStream_t stream, const Arguments&... arguments) {
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim.x = cluster.x;
  attributes[1].val.clusterDim.y = cluster.y;
  attributes[1].val.clusterDim.z = cluster.z;
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = cluster.x * cluster.y * cluster.z > 1 ? 2 : 1;
  return cudaLaunchKernelEx(&config, kernel, arguments...);
}

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_DEPENDENT_LAUNCH_CUH_
