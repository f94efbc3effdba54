// Values between float32 and the 8-bit types: int8 (clamp(round_half_even(x), -127, 127)) and E4M3 (round to nearest, saturating).
#ifndef TF_FASTBERT_CUDA_QUANTIZED_CUH_
#define TF_FASTBERT_CUDA_QUANTIZED_CUH_

#include <cuda_fp16.h>
#include <cuda_fp8.h>
#include <cuda_runtime.h>

#include <cstdint>

namespace tf_fastbert {
namespace cuda {

struct Int8 {};  // products accumulate in int32
struct E4M3 {};  // products accumulate in float32

__device__ __forceinline__ void LoadFloats(const float* from, float (&values)[8]) {
  const float4 low = *reinterpret_cast<const float4*>(from);
  const float4 high = *(reinterpret_cast<const float4*>(from) + 1);
  values[0] = low.x, values[1] = low.y, values[2] = low.z, values[3] = low.w;
  values[4] = high.x, values[5] = high.y, values[6] = high.z, values[7] = high.w;
}

template <typename Format>
struct Quantizer;

template <>
struct Quantizer<Int8> {
  static __device__ __forceinline__ float Accumulated(uint32_t sum) { return static_cast<float>(static_cast<int>(sum)); }

  // As the low byte: adding 1.5 * 2^23 rounds to even and leaves the integer in the lowest bits.
  static __device__ __forceinline__ uint32_t Round(float x) {
    return __float_as_uint(fminf(fmaxf(x, -127.0f), 127.0f) + 12582912.0f);
  }
  static __device__ __forceinline__ uint32_t Pack4(float a, float b, float c, float d) {
    const uint32_t low = __byte_perm(Round(a), Round(b), 0x0040);
    const uint32_t high = __byte_perm(Round(c), Round(d), 0x0040);
    return __byte_perm(low, high, 0x5410);
  }
  static __device__ __forceinline__ uint2 Pack8(const float (&v)[8]) {
    return {Pack4(v[0], v[1], v[2], v[3]), Pack4(v[4], v[5], v[6], v[7])};
  }
  // From float16: adding 1.5 * 2^10 does the same there. 11 bits round a value between two integers to the wrong side only if it is
  // within 1/32 of the middle.
  static __device__ __forceinline__ uint2 Pack8(const __half2 (&v)[4]) {
    uint32_t bits[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const __half2 clamped = __hmin2(__hmax2(v[i], __float2half2_rn(-127.0f)), __float2half2_rn(127.0f));
      const __half2 shifted = __hadd2(clamped, __float2half2_rn(1536.0f));
      bits[i] = *reinterpret_cast<const uint32_t*>(&shifted);
    }
    return {__byte_perm(bits[0], bits[1], 0x6420), __byte_perm(bits[2], bits[3], 0x6420)};
  }
  // A byte with its sign flipped, put into the lowest bits of 2^23, is 2^23 + 128 + x: a permutation and a sum, where a conversion
  // takes as long as four of them.
  static __device__ __forceinline__ void Unpack8(uint2 bits, float (&v)[8]) {
    const uint32_t flipped[2] = {bits.x ^ 0x80808080u, bits.y ^ 0x80808080u};
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      v[i] = __uint_as_float(__byte_perm(flipped[i / 4], 0x4B000000u, 0x7440 + i % 4)) - 8388736.0f;
    }
  }
};

template <>
struct Quantizer<E4M3> {
  static __device__ __forceinline__ float Accumulated(uint32_t sum) { return __uint_as_float(sum); }

  static __device__ __forceinline__ uint32_t Pack4(float a, float b, float c, float d) {
    const uint32_t low = __nv_cvt_float2_to_fp8x2(make_float2(a, b), __NV_SATFINITE, __NV_E4M3);
    const uint32_t high = __nv_cvt_float2_to_fp8x2(make_float2(c, d), __NV_SATFINITE, __NV_E4M3);
    return low | high << 16;
  }
  static __device__ __forceinline__ uint2 Pack8(const float (&v)[8]) {
    return {Pack4(v[0], v[1], v[2], v[3]), Pack4(v[4], v[5], v[6], v[7])};
  }
  static __device__ __forceinline__ uint2 Pack8(const __half2 (&v)[4]) {
    uint32_t bits[4];
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      bits[i] = __nv_cvt_halfraw2_to_fp8x2(static_cast<__half2_raw>(v[i]), __NV_SATFINITE, __NV_E4M3);
    }
    return {bits[0] | bits[1] << 16, bits[2] | bits[3] << 16};
  }
};

}  // namespace cuda
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CUDA_QUANTIZED_CUH_
