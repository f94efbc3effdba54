// Tests of the kernels alone, for encoder_test.cc: an encoder uses the best instruction set only, so the others are tested here.
#ifndef TF_FASTBERT_CC_CPU_KERNELS_TEST_H_
#define TF_FASTBERT_CC_CPU_KERNELS_TEST_H_

namespace tf_fastbert {
namespace cpu {

// Prints what fails and returns how many did.
int TestKernels();

}  // namespace cpu
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_CPU_KERNELS_TEST_H_
