// Stands for libcuda.so.1 and our CUDA library on a machine without a GPU: device memory is host memory, work is done when it is
// queued, and the time between two events is always the same. A pass copies its input to its output. Calls that matter to a test are
// printed to stderr.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- driver ----
int cuInit(unsigned flags) { return getenv("FAKE_CUDA_NO_DEVICE") != NULL ? 100 : 0; }
int cuGetErrorName(int error, const char** name) { return *name = "CUDA_ERROR_NO_DEVICE", 0; }
int cuDeviceGetCount(int* count) { return *count = 1, 0; }
int cuDeviceGet(int* device, int index) { return *device = index, 0; }
int cuDevicePrimaryCtxRetain(void** context, int device) { return *context = malloc(1), 0; }
int cuCtxSetCurrent(void* context) { return 0; }
int cuDeviceGetName(char* name, int size, int device) { return snprintf(name, size, "Fake GPU"), 0; }
int cuDeviceGetAttribute(int* value, int attribute, int device) { return *value = attribute == 75 ? 9 : 0, 0; }
int cuDriverGetVersion(int* version) { return *version = 13000, 0; }
int cuStreamCreate(void** stream, unsigned flags) { return *stream = malloc(1), 0; }
int cuStreamSynchronize(void* stream) { return 0; }
int cuStreamBeginCapture_v2(void* stream, int mode) { return 0; }
int cuStreamEndCapture(void* stream, void** graph) { return *graph = malloc(1), 0; }
int cuGraphInstantiateWithFlags(void** executable, void* graph, unsigned long long flags) { return *executable = malloc(1), 0; }
int cuGraphLaunch(void* executable, void* stream) { return 0; }
int cuGraphDestroy(void* graph) { return free(graph), 0; }
int cuGraphExecDestroy(void* executable) { return free(executable), 0; }
int cuEventCreate(void** event, unsigned flags) { return *event = malloc(1), 0; }
int cuEventRecord(void* event, void* stream) { return 0; }
int cuEventSynchronize(void* event) { return 0; }
int cuEventElapsedTime(float* ms, void* begin, void* end) { return *ms = 5 * 0.423f, 0; }  // around five calls
int cuMemAlloc_v2(uint64_t* address, size_t size) { return *address = (uint64_t)malloc(size), *address == 0 ? 2 : 0; }
int cuMemFree_v2(uint64_t address) { return free((void*)address), 0; }
int cuMemcpyHtoD_v2(uint64_t to, const void* from, size_t size) { return memcpy((void*)to, from, size), 0; }
int cuMemcpyDtoH_v2(void* to, uint64_t from, size_t size) { return memcpy(to, (void*)from, size), 0; }
int cuMemcpyDtoDAsync_v2(uint64_t to, uint64_t from, size_t size, void* s) { return memcpy((void*)to, (void*)from, size), 0; }
int cuMemsetD8Async(uint64_t to, unsigned char byte, size_t size, void* stream) {
  return memset((void*)to, byte, size < 4096 ? size : 4096), 0;  // the whole gigabyte of a profile would take a while
}

// ---- cuda/fastbert_cuda.h ----
typedef struct { int32_t num_layers, num_heads, size_per_head, inner_size; float epsilon; int32_t activation, layer_norm, dtype; } Config;
typedef struct { const void* input; void* output; int32_t batch, seq_len; const int32_t* lengths; } Call;
typedef struct { int32_t kind, layer; float milliseconds; } Step;
static char last_error[256];

int fastbert_cuda_create(const Config* config, Config** encoder) {
  if (config->size_per_head % 2 != 0) return snprintf(last_error, sizeof(last_error), "size_per_head is odd"), 1;
  *encoder = malloc(sizeof(Config));
  **encoder = *config;
  return 0;
}
int fastbert_cuda_choose_kernels(Config* encoder, int32_t kernels) { return kernels > 2 ? 1 : 0; }
void fastbert_cuda_destroy(Config* encoder) { free(encoder); }
size_t fastbert_cuda_packed_bytes(const Config* encoder) { return 16; }
int fastbert_cuda_pack_weights(const Config* e, const void* layers, void* buffer, void* s, void** w) { return *w = malloc(1), 0; }
int fastbert_cuda_pack_quantized_weights(const Config* e, const void* layers, const float* ranges, void* b, void* s, void** w) {
  return fprintf(stderr, "attention_input range %g\n", ranges[0]), *w = malloc(1), 0;
}
void fastbert_cuda_free_weights(void* weights) { free(weights); }
size_t fastbert_cuda_workspace_bytes(const Config* e, int32_t b, int32_t s, int32_t t, int32_t remove_padding) { return 256; }
static char entries[1 << 16];  // of all tables; a tuned range of tokens is one entry, a loaded table for this GPU all of its
int fastbert_cuda_tune(const Config* e, const void* w, int32_t num_tokens, void* workspace, size_t size, void* stream) {
  sprintf(entries + strlen(entries), "gemm %d %d\n", e->inner_size, num_tokens);
  return fprintf(stderr, "tune %d\n", num_tokens), 0;
}
int fastbert_cuda_tuned_table(const Config* e, char* buffer, size_t bytes, size_t* needed) {
  char text[sizeof(entries) + 100];
  *needed = 1 + sprintf(text, "tf_fastbert gemm table 1\ngpu Fake GPU\ncublaslt 130100\n%s", entries);
  return *needed <= bytes ? memcpy(buffer, text, *needed), 0 : 0;
}
int fastbert_cuda_load_tuned_table(const char* text) {
  if (strncmp(text, "tf_fastbert gemm table 1\n", 25) != 0) return snprintf(last_error, sizeof(last_error), "line 1 is wrong"), 1;
  const char* before_first = strstr(text, "\ngemm ");
  if (strstr(text, "gpu Fake GPU\n") != NULL && before_first != NULL) strcat(entries, before_first + 1);
  return 0;
}
int fastbert_cuda_forward(const Config* e, const void* w, const Call* call, void* workspace, size_t size, void* stream) {
  const size_t values = (size_t)call->batch * call->seq_len * e->num_heads * e->size_per_head;
  return memcpy(call->output, call->input, values * (e->dtype == 0 ? 4 : 2)), 0;
}
int fastbert_cuda_profile(const Config* e, const void* w, const Call* call, void* workspace, size_t size, void* stream, Step* steps,
                          int32_t capacity, int32_t* num_steps) {
  static const int kinds[] = {3, 4, 5, 6, 7, 8, 6};
  int n = 0;
  for (int kind = 0; kind < 3; ++kind) steps[n++] = (Step){kind, -1, 0.001f + 0.001f * kind};
  for (int layer = 0; layer < e->num_layers; ++layer) {
    for (int i = 0; i < 7; ++i) steps[n++] = (Step){kinds[i], layer, 0.011f};
  }
  return *num_steps = n, 0;
}
const char* fastbert_cuda_last_error(void) { return last_error; }
