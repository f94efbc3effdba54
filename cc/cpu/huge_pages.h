// Large memory in large pages.
#ifndef TF_FASTBERT_CC_CPU_HUGE_PAGES_H_
#define TF_FASTBERT_CC_CPU_HUGE_PAGES_H_

#include <cstddef>

namespace tf_fastbert {
namespace cpu {

// Asks the kernel to back what is not yet touched of the memory by huge pages, as far as they fit into it. Reading hundreds of
// megabytes of weights in pages of 4 KB means a walk through the page tables every few hundred cycles, which a virtual machine makes
// twice as long. Does nothing where the kernel has no such pages.
void AdviseHugePages(void* memory, size_t bytes);

}  // namespace cpu
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_CPU_HUGE_PAGES_H_
