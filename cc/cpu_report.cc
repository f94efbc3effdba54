// DescribeCpuEncoder() as a C function, for Python's ctypes.
#include <string>

#include "cc/encoder.h"

extern "C" __attribute__((visibility("default"))) const char* tf_fastbert_cpu_report() {
  static const std::string* const text = new std::string(tf_fastbert::DescribeCpuEncoder());
  return text->c_str();
}
