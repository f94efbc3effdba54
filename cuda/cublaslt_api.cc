#include "cuda/cublaslt_api.h"

#include <dlfcn.h>
#include <link.h>

#include <cstdlib>
#include <set>
#include <string>
#include <vector>

namespace tf_fastbert {
namespace cuda {
namespace {

const char* const kSonames[] = {"libcublasLt.so.13", "libcublasLt.so.12"};

// RTLD_DEEPBIND: cuBLASLt must use its own symbols, not the stubs of the same names that TensorFlow exports.
constexpr int kOpenFlags = RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND;

// Collects the directories "nvidia" of Python's site-packages that belong to libraries of this process: ".../nvidia" of
// ".../nvidia/cuda_runtime/lib/libcudart.so.12", and the one beside ".../tensorflow/libtensorflow_framework.so.2".
int CollectNvidiaDirectories(dl_phdr_info* info, size_t, void* out) {
  auto* directories = static_cast<std::set<std::string>*>(out);
  const std::string path = info->dlpi_name == nullptr ? "" : info->dlpi_name;
  size_t at = path.find("/nvidia/");
  if (at != std::string::npos) directories->insert(path.substr(0, at) + "/nvidia");
  at = path.find("/tensorflow/libtensorflow");
  if (at != std::string::npos) directories->insert(path.substr(0, at) + "/nvidia");
  return 0;
}

void* OpenCublasLt(std::string* tried) {
  auto open = [tried](const std::string& name, int flags) {
    void* library = dlopen(name.c_str(), flags);
    if (library == nullptr && !(flags & RTLD_NOLOAD)) *tried += (tried->empty() ? "" : ", ") + name;
    return library;
  };
  const char* path = std::getenv("TF_FASTBERT_CUBLASLT");
  if (path != nullptr && *path != '\0') return open(path, kOpenFlags);  // "" would open the program itself
  for (const char* soname : kSonames) {
    if (void* library = open(soname, kOpenFlags | RTLD_NOLOAD)) return library;
  }
  for (const char* soname : kSonames) {
    if (void* library = open(soname, kOpenFlags)) return library;
  }
  std::set<std::string> directories;
  dl_iterate_phdr(CollectNvidiaDirectories, &directories);
  for (const std::string& directory : directories) {
    if (void* library = open(directory + "/cu13/lib/libcublasLt.so.13", kOpenFlags)) return library;
    if (void* library = open(directory + "/cublas/lib/libcublasLt.so.12", kOpenFlags)) return library;
  }
  for (const char* soname : kSonames) {
    if (void* library = open(std::string("/usr/local/cuda/lib64/") + soname, kOpenFlags)) return library;
  }
  return nullptr;
}

Status Load(CublasLtApi* api) {
  std::string tried;
  void* library = OpenCublasLt(&tried);
  if (library == nullptr) {
    return Status::Internal("cuBLASLt of CUDA 12 or 13 was not found (tried " + tried +
                            "): install it, or name the file in the environment variable TF_FASTBERT_CUBLASLT");
  }
  std::string missing;
  auto find = [&](const char* name, auto* function) {
    *reinterpret_cast<void**>(function) = dlsym(library, name);
    if (*function == nullptr) missing += std::string(" ") + name;
  };
  find("cublasLtGetVersion", &api->GetVersion);
  find("cublasLtCreate", &api->Create);
  find("cublasLtDestroy", &api->Destroy);
  find("cublasLtMatmulDescCreate", &api->MatmulDescCreate);
  find("cublasLtMatmulDescDestroy", &api->MatmulDescDestroy);
  find("cublasLtMatmulDescSetAttribute", &api->MatmulDescSetAttribute);
  find("cublasLtMatrixLayoutCreate", &api->MatrixLayoutCreate);
  find("cublasLtMatrixLayoutDestroy", &api->MatrixLayoutDestroy);
  find("cublasLtMatmulPreferenceCreate", &api->MatmulPreferenceCreate);
  find("cublasLtMatmulPreferenceDestroy", &api->MatmulPreferenceDestroy);
  find("cublasLtMatmulPreferenceSetAttribute", &api->MatmulPreferenceSetAttribute);
  find("cublasLtMatmulAlgoGetHeuristic", &api->MatmulAlgoGetHeuristic);
  find("cublasLtMatmulAlgoCheck", &api->MatmulAlgoCheck);
  find("cublasLtMatmulAlgoConfigSetAttribute", &api->MatmulAlgoConfigSetAttribute);
  find("cublasLtMatmul", &api->Matmul);
  if (!missing.empty()) return Status::Internal("the cuBLASLt library that was found lacks" + missing);
  return Status::Ok();
}

}  // namespace

Status GetCublasLt(const CublasLtApi** api) {
  struct Loaded {
    CublasLtApi api;
    Status status;
    Loaded() { status = Load(&api); }
  };
  static const Loaded* const loaded = new Loaded;  // kept for the life of the process: encoders may outlive static destructors
  *api = &loaded->api;
  return loaded->status;
}

Status LtError(LtStatus status, const std::string& what) {
  if (status == kLtSuccess) return Status::Ok();
  const char* name = "an unknown status";
  switch (status) {
    case 1: name = "CUBLAS_STATUS_NOT_INITIALIZED"; break;
    case 3: name = "CUBLAS_STATUS_ALLOC_FAILED"; break;
    case kLtInvalidValue: name = "CUBLAS_STATUS_INVALID_VALUE"; break;
    case 8: name = "CUBLAS_STATUS_ARCH_MISMATCH"; break;
    case 11: name = "CUBLAS_STATUS_MAPPING_ERROR"; break;
    case 13: name = "CUBLAS_STATUS_EXECUTION_FAILED"; break;
    case 14: name = "CUBLAS_STATUS_INTERNAL_ERROR"; break;
    case kLtNotSupported: name = "CUBLAS_STATUS_NOT_SUPPORTED"; break;
  }
  return Status::Internal(what + ": " + name + " (" + std::to_string(status) + ")");
}

}  // namespace cuda
}  // namespace tf_fastbert
