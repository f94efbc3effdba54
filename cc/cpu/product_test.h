// Tests of product.h for encoder_test.cc.
#ifndef TF_FASTBERT_CC_CPU_PRODUCT_TEST_H_
#define TF_FASTBERT_CC_CPU_PRODUCT_TEST_H_

namespace tf_fastbert {
namespace cpu {

// Returns the number of failures, each of which is printed.
int TestProducts();

}  // namespace cpu
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_CPU_PRODUCT_TEST_H_
