#include "cuda/persistent_kernel.cuh"

namespace tf_fastbert {
namespace cuda {

const void* PersistentKernel16(int dtype) { return PersistentKernelOf<16>(dtype); }

}  // namespace cuda
}  // namespace tf_fastbert
