#include "backends.h"

#include <dlfcn.h>

#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>

#include "../cpu/core/backend.h"

namespace hrsam {

namespace {

// Beside the addon; HRSAM_CUDA_LIBRARY names another, for tests and tools.
std::string cuda_library_path() {
  if (const char* path = std::getenv("HRSAM_CUDA_LIBRARY")) return path;
  Dl_info info{};
  std::string folder;
  if (dladdr(reinterpret_cast<void*>(&cuda_library_path), &info) != 0 &&
      info.dli_fname != nullptr) {
    folder = info.dli_fname;
    folder.erase(folder.find_last_of('/') + 1);
  }
  return folder + "hrsam_cuda.so";
}

const hrsam_backend* load_cuda() {
  const std::string path = cuda_library_path();
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr)
    fail("ERR_DEVICE",
         // A build folder keeps to what it found when it was made.
         "cuda: this build has no CUDA backend (%s). To build it, where a driver and the CUDA "
         "toolkit 12.8 or newer are: in the package's folder remove build/, then npm run "
         "build:native",
         dlerror());
  const auto entry = reinterpret_cast<hrsam_backend_entry_fn>(dlsym(library, HRSAM_BACKEND_ENTRY));
  if (entry == nullptr) fail("ERR_DEVICE", "cuda: %s is not a backend of hrsam", path.c_str());
  const hrsam_backend* found = entry();
  if (found->abi_version != HRSAM_ABI_VERSION)
    fail("ERR_DEVICE", "cuda: %s has ABI version %u, expected %u: rebuild it", path.c_str(),
         found->abi_version, HRSAM_ABI_VERSION);
  return found;
}

}  // namespace

const hrsam_backend* backend(const char* kind) {
  if (std::strcmp(kind, "cpu") == 0) return hrsam_cpu_backend();
  if (std::strcmp(kind, "cuda") != 0)
    fail("ERR_DEVICE", "unknown device '%s'; expected cpu or cuda", kind);
  static std::mutex mutex;
  static const hrsam_backend* cuda = nullptr;
  std::lock_guard<std::mutex> lock(mutex);
  if (cuda == nullptr) cuda = load_cuda();
  return cuda;
}

}  // namespace hrsam
