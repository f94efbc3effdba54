/* The CPU encoder without TensorFlow, for benchmarks/cpu_peers.py: one model, one call at a time, threads of its own.
 *
 * Functions that return int give 0, or 1 and a message in `error`. Post-LN, tanh-GELU, padding removed. */
#ifndef TF_FASTBERT_CC_CPU_C_API_H_
#define TF_FASTBERT_CC_CPU_C_API_H_

#include <stddef.h>
#include <stdint.h>

#define FASTBERT_CPU_API __attribute__((visibility("default")))

#ifdef __cplusplus
extern "C" {
#endif

typedef struct FastBertCpu FastBertCpu;

/* Enumerations as in cc/encoder.h. */
typedef struct FastBertCpuConfig {
  int32_t num_layers, num_heads, size_per_head, inner_size;
  int32_t dtype;        /* 0: float32, 1: float16, 2: bfloat16; of weights, input and output */
  int32_t quantization; /* 0: none, 1: int8 mode 1, 2: int8 mode 2 */
} FastBertCpuConfig;

/* LayerWeights of cc/encoder.h. */
typedef struct FastBertCpuWeights {
  const void* tensors[16];
} FastBertCpuWeights;

/* LayerRanges of cc/encoder.h. */
typedef struct FastBertCpuRanges {
  float amax[16];
  const float* kernels[6];
} FastBertCpuRanges;

/* `layers`: num_layers of them; not needed afterwards. `ranges`: the same, null without quantization. */
FASTBERT_CPU_API int fastbert_cpu_create(const FastBertCpuConfig* config, const FastBertCpuWeights* layers,
                                         const FastBertCpuRanges* ranges, int threads, FastBertCpu** created, char* error,
                                         size_t error_bytes);

/* input, output: [batch, seq_len, H]; lengths: [batch], valid tokens of each sequence. */
FASTBERT_CPU_API int fastbert_cpu_run(FastBertCpu* bert, const void* input, void* output, int batch, int seq_len,
                                      const int32_t* lengths, char* error, size_t error_bytes);

FASTBERT_CPU_API void fastbert_cpu_destroy(FastBertCpu* bert);

/* What the encoder computes with on this CPU, for people: "AMX", "AVX512_BF16", "VNNI" or "AVX2 or less". */
FASTBERT_CPU_API const char* fastbert_cpu_instructions(void);

#ifdef __cplusplus
}
#endif

#endif /* TF_FASTBERT_CC_CPU_C_API_H_ */
