// Whether our own AVX-512 and AMX kernels are in this build: g++ knows AMX and AVX512_BF16 from version 11 on. Elsewhere oneDNN's
// products and kernels_<isa>.cc do the work, as on CPUs without AVX-512.
#ifndef TF_FASTBERT_CC_CPU_OWN_KERNELS_H_
#define TF_FASTBERT_CC_CPU_OWN_KERNELS_H_

#ifndef TF_FASTBERT_OWN_KERNELS
#if defined(__x86_64__) && defined(__linux__) && !defined(__clang__) && __GNUC__ >= 11
#define TF_FASTBERT_OWN_KERNELS 1
#else
#define TF_FASTBERT_OWN_KERNELS 0
#endif
#endif

#endif  // TF_FASTBERT_CC_CPU_OWN_KERNELS_H_
