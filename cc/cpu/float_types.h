// bfloat16 and float16 <-> float32 on bit patterns, round to nearest even.
//
// Free of branches, so that loops over them vectorize on every instruction set, and free of denormal float32 intermediates, so
// that they are right under flush-to-zero too (TensorFlow's threads run with it).
#ifndef TF_FASTBERT_CC_CPU_FLOAT_TYPES_H_
#define TF_FASTBERT_CC_CPU_FLOAT_TYPES_H_

#include <cstdint>
#include <cstring>

namespace tf_fastbert {
namespace cpu {

#define TF_FASTBERT_ALWAYS_INLINE inline __attribute__((always_inline))

TF_FASTBERT_ALWAYS_INLINE uint32_t FloatBits(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof(bits));
  return bits;
}

TF_FASTBERT_ALWAYS_INLINE float BitsFloat(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, sizeof(x));
  return x;
}

TF_FASTBERT_ALWAYS_INLINE float BFloat16ToFloat(uint16_t x) { return BitsFloat(static_cast<uint32_t>(x) << 16); }

TF_FASTBERT_ALWAYS_INLINE uint16_t FloatToBFloat16(float x) {
  const uint32_t bits = FloatBits(x);
  const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const uint32_t nan = (bits >> 16) | 0x40;
  return static_cast<uint16_t>((bits & 0x7fffffff) > 0x7f800000 ? nan : rounded);
}

TF_FASTBERT_ALWAYS_INLINE float HalfToFloat(uint16_t x) {
  const uint32_t magnitude = static_cast<uint32_t>(x & 0x7fff) << 13;
  const uint32_t exponent = magnitude & 0x0f800000;
  const uint32_t rebias = 112u << 23;
  const uint32_t normal = magnitude + rebias;
  const uint32_t denormal = FloatBits(BitsFloat(normal + (1u << 23)) - BitsFloat(113u << 23));
  const uint32_t infinite = normal + rebias;
  const uint32_t bits = exponent == 0 ? denormal : (exponent == 0x0f800000 ? infinite : normal);
  return BitsFloat(bits | (static_cast<uint32_t>(x & 0x8000) << 16));
}

TF_FASTBERT_ALWAYS_INLINE uint16_t FloatToHalf(float x) {
  const uint32_t bits = FloatBits(x);
  const uint32_t magnitude = bits & 0x7fffffff;
  const uint32_t sign = (bits >> 16) & 0x8000;
  const uint32_t overflow = magnitude > 0x7f800000 ? 0x7e00u : 0x7c00u;
  // Adding 0.5 puts the last bit of a float16 denormal at the last bit of the sum, so that the addition rounds.
  const uint32_t denormal = FloatBits(BitsFloat(magnitude) + 0.5f) - FloatBits(0.5f);
  const uint32_t normal = (magnitude - (112u << 23) + 0xfff + ((magnitude >> 13) & 1)) >> 13;
  const uint32_t result = magnitude >= 0x47800000 ? overflow : (magnitude < 0x38800000 ? denormal : normal);
  return static_cast<uint16_t>(result | sign);
}

}  // namespace cpu
}  // namespace tf_fastbert

#endif  // TF_FASTBERT_CC_CPU_FLOAT_TYPES_H_
