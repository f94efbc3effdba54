#include "cuda/persistent_kernel.cuh"

namespace tf_fastbert {
namespace cuda {

const void* PersistentKernel32(int dtype) { return PersistentKernelOf<32>(dtype); }

}  // namespace cuda
}  // namespace tf_fastbert
