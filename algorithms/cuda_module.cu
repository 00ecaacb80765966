// The module libtally_cuda.so: every model on NVIDIA GPUs.
#include <memory>
#include <string>

#include <cublas_v2.h>
#include <cuda_runtime.h>

#include "algorithms/module_models.hpp"
#include "core/backends/check_cuda.hpp"
#include "core/backends/cuda_lane.hpp"
#include "core/backends/device_sums.hpp"
#include "core/gpu_blocks.hpp"
#if defined(TALLY_NCCL)
#include "core/backends/nccl_sum.hpp"
#endif

#define TALLY_TEXT_OF(x) #x
#define TALLY_TEXT(x) TALLY_TEXT_OF(x)

namespace tally::module {

#if defined(TALLY_NCCL)
// A connection and the sum that runs over it, if one does.
struct Link {
  NcclConnection connection;
  CudaStream stream = make_cuda_stream();
  std::unique_ptr<NcclSum> sum;

  Link(const unsigned char* id, int rank, int size) : connection(id, rank, size) { connection.start(); }
};
#endif

namespace {

// "13.0" of 13000.
std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::string run_time_versions() {
  int driver = 0, runtime = 0;
  check_cuda(cudaDriverGetVersion(&driver));
  check_cuda(cudaRuntimeGetVersion(&runtime));
  std::string text = "driver for CUDA " + version_text(driver) + ", CUDA " + version_text(runtime) + ", cuBLAS ";
  int parts[3] = {0, 0, 0};
  for (int i = 0; i < 3; ++i)
    check_cublas(cublasGetProperty(static_cast<libraryPropertyType>(i), &parts[i]));
  text += std::to_string(parts[0]) + "." + std::to_string(parts[1]) + "." + std::to_string(parts[2]);
#if defined(TALLY_NCCL)
  int nccl = 0;
  check_nccl(ncclGetVersion(&nccl));
  text += ", NCCL " + std::to_string(nccl / 10000) + "." + std::to_string(nccl / 100 % 100) + "." +
          std::to_string(nccl % 100);
#else
  text += ", without NCCL";
#endif
  return text;
}

std::int32_t count_devices() {
  int count = 0;
  const cudaError_t code = cudaGetDeviceCount(&count);
  if (code == cudaErrorNoDevice) return 0;
  check_cuda(code);
  return count;
}

// Why a device cannot be used, or nothing. Begins to use it.
std::string why_unusable(int device, const cudaDeviceProp& properties) {
  int mode = 0;
  check_cuda(cudaDeviceGetAttribute(&mode, cudaDevAttrComputeMode, device));
  if (mode == cudaComputeModeProhibited) return "its compute mode prohibits it";
  cudaError_t code = cudaSetDevice(device);
  if (code == cudaSuccess) code = cudaFree(nullptr);
  cudaFuncAttributes attributes{};
  if (code == cudaSuccess) code = cudaFuncGetAttributes(&attributes, cuda::for_each_index<generic::CopyIntegers>);
  if (code == cudaErrorNoKernelImageForDevice || code == cudaErrorInvalidDeviceFunction)
    return "this module was not built for compute capability " + std::to_string(properties.major) + "." +
           std::to_string(properties.minor) + "; set TALLY_CUDA_ARCHITECTURES";
  return code == cudaSuccess ? "" : cudaGetErrorString(code);
}

void describe(std::int32_t device, DeviceInfo& info) {
  cudaDeviceProp properties{};
  check_cuda(cudaGetDeviceProperties(&properties, device));
  copy_text(properties.name, info.name, sizeof info.name);
  check_cuda(cudaDeviceGetPCIBusId(info.identity, static_cast<int>(sizeof info.identity), device));
  info.memory_bytes = static_cast<std::int64_t>(properties.totalGlobalMem);
  info.major = properties.major;
  info.minor = properties.minor;
  info.multiprocessors = properties.multiProcessorCount;
  copy_text(why_unusable(device, properties), info.unusable, sizeof info.unusable);
  if (info.unusable[0] != 0) return;
  std::size_t available = 0, total = 0;
  check_cuda(cudaMemGetInfo(&available, &total));
  info.free_bytes = static_cast<std::int64_t>(available);
}

Registry make_registry() {
  Registry registry;
  add_builtin_models(registry);
  return registry;
}

Interface make_interface() {
  Interface interface{};
  interface.version = interface_version;
  interface.backend = "cuda";
  interface.build = "CUDA " TALLY_TEXT(__CUDACC_VER_MAJOR__) "." TALLY_TEXT(__CUDACC_VER_MINOR__)
                    " for " TALLY_CUDA_ARCHITECTURES;
  interface.versions = [](char* text, std::int64_t size, Status* status) {
    guarded(status, [&] { copy_text(run_time_versions(), text, static_cast<std::size_t>(size)); });
  };
  interface.device_count = [](Status* status) { return guarded(status, [] { return count_devices(); }); };
  interface.describe_device = [](std::int32_t device, DeviceInfo* info, Status* status) {
    guarded(status, [&] { describe(device, *info); });
  };
  interface.reaches = [](std::int32_t from, std::int32_t to, Status* status) {
    return guarded(status, [&] {
      int reaches = 0;
      check_cuda(cudaDeviceCanAccessPeer(&reaches, from, to));
      return std::int32_t{reaches};
    });
  };
  interface.block_rows = [](std::int64_t columns) { return gpu_block_rows_for(columns); };
  interface.open = [](const Request* request, Status* status) {
    static const Registry registry = make_registry();
    return guarded(status, [&] {
      check_cuda(cudaSetDevice(request->device));
      return open_model(registry, *request);
    });
  };
  add_model_functions(interface);
#if defined(TALLY_NCCL)
  interface.id_size = NcclConnection::id_bytes;
  interface.make_id = [](unsigned char* id, Status* status) { guarded(status, [&] { NcclConnection::make_id(id); }); };
  interface.connect = [](std::int32_t device, const unsigned char* id, std::int32_t rank, std::int32_t size,
                         Status* status) {
    return guarded(status, [&] {
      check_cuda(cudaSetDevice(device));
      return new Link(id, rank, size);
    });
  };
  interface.poll_connect = [](Link* link, Status* status) {
    return guarded(status, [&] { return static_cast<std::int32_t>(link->connection.poll()); });
  };
  interface.start_sum = [](Link* link, Model* model, Status* status) {
    guarded(status, [&] {
      const std::span<std::int64_t> buffer = model->engine().buffer();
      link->sum = std::make_unique<NcclSum>(link->connection, link->stream.get(), buffer.data(), buffer.size());
      link->sum->start();
    });
  };
  interface.poll_sum = [](Link* link, Status* status) {
    return guarded(status, [&] { return static_cast<std::int32_t>(link->sum->poll()); });
  };
  interface.abort = [](Link* link) { link->connection.abort(); };
  interface.disconnect = [](Link* link) { delete link; };
#endif
  return interface;
}

}  // namespace
}  // namespace tally::module

extern "C" __attribute__((visibility("default"))) const tally::module::Interface* tally_module_interface() {
  static const tally::module::Interface interface = tally::module::make_interface();
  return &interface;
}
