#include "cuda/persistent_kernel.cuh"

namespace tf_fastbert {
namespace cuda {

const void* PersistentKernel64(int dtype) { return PersistentKernelOf<64>(dtype); }

}  // namespace cuda
}  // namespace tf_fastbert
