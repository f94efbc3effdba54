// What every use of oneDNN here shares: the engine, one thread per call, and errors as Status.
#ifndef TF_FASTBERT_CC_CPU_ONEDNN_H_
#define TF_FASTBERT_CC_CPU_ONEDNN_H_

#include <new>
#include <string>

#include "cc/encoder.h"
#include "dnnl.hpp"

namespace tf_fastbert {
namespace cpu {

// The process's CPU engine. Throws dnnl::error.
const dnnl::engine& CpuEngine();

// The calling thread's stream. Throws dnnl::error.
dnnl::stream& CpuStream();

// While it lives, OpenMP regions opened by the calling thread have one thread, so that oneDNN computes in the calling thread: the
// caller's pool is the only thread team. Holds for creating primitives too, which plan for the number of threads they see.
class SingleThreadedOpenMp {
 public:
  SingleThreadedOpenMp();
  ~SingleThreadedOpenMp();
  SingleThreadedOpenMp(const SingleThreadedOpenMp&) = delete;
  SingleThreadedOpenMp& operator=(const SingleThreadedOpenMp&) = delete;

 private:
  int saved_;
};

// True where bfloat16 matrix products are fast: from AVX512_BF16 on (DNNL_MAX_CPU_ISA is obeyed).
bool HasFastBFloat16();

// True where int8 matrix products are fast and exact: from VNNI on. Without it oneDNN adds pairs of products in 16 bits, where
// they saturate.
bool HasFastInt8();

// Whether our own kernels run here (own_kernels.h): AVX-512 with F, BW, DQ and VL, and VNNI beside it. DNNL_MAX_CPU_ISA is obeyed.
bool HasAvx512();
bool HasAvx512Vnni();

// Runs function() -> Status; what it throws becomes a Status that names `what`.
template <typename Function>
Status CatchErrors(const char* what, const Function& function) {
  try {
    return function();
  } catch (const dnnl::error& error) {
    const std::string message = std::string("oneDNN, ") + what + ": " + error.message;
    return error.status == dnnl_out_of_memory ? Status::ResourceExhausted(message) : Status::Internal(message);
  } catch (const std::bad_alloc&) {
    return Status::ResourceExhausted(std::string("out of memory: ") + what);
  } catch (const std::exception& error) {
    return Status::Internal(std::string(what) + ": " + error.what());
  }
}

}  // namespace cpu
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_CPU_ONEDNN_H_
