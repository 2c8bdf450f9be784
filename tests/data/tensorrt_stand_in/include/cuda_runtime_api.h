// Stands for CUDA's header in tests: memory of the host, and streams that do at once what they are
// told.
#pragma once

#include <cstdlib>
#include <cstring>

struct CUstream_st {};
typedef CUstream_st* cudaStream_t;
enum cudaError_t { cudaSuccess, cudaErrorMemoryAllocation = 2, cudaErrorNoDevice = 100 };
enum cudaMemcpyKind { cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost };

inline char const* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorNoDevice ? "no CUDA-capable device is detected" : "out of memory";
}
inline bool cuda_has_a_device() { return std::getenv("STAND_IN_WITHOUT_GPU") == nullptr; }
inline cudaError_t cudaMalloc(void** address, std::size_t bytes) {
  *address = std::malloc(bytes);
  return *address == nullptr ? cudaErrorMemoryAllocation : cudaSuccess;
}
inline cudaError_t cudaFree(void* address) {
  std::free(address);
  return cudaSuccess;
}
inline cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  if (!cuda_has_a_device()) return cudaErrorNoDevice;
  *stream = new CUstream_st;
  return cudaSuccess;
}
inline cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  delete stream;
  return cudaSuccess;
}
inline cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
inline cudaError_t cudaMemcpyAsync(void* to, void const* from, std::size_t bytes, cudaMemcpyKind,
                                   cudaStream_t) {
  std::memcpy(to, from, bytes);
  return cudaSuccess;
}
