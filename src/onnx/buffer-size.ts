/**
 * Sizes of the buffers that ONNX Runtime keeps to use again on WebGPU, in bytes. Larger tensors get a buffer of their own
 * size. Source: `BUCKET_DEFAULT_LIMIT_TABLE` of ONNX Runtime's WebGPU `buffer_manager.cc`.
 */
const keptSizes = [
  64, 128, 256, 512, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144, 524288, 1048576,
  2097152, 4194304, 8388608, 12582912, 16777216, 26214400, 33554432, 44236800, 58982400, 67108864,
  134217728, 167772160,
];

/**
 * Bytes of the buffer that a tensor takes on WebGPU. The runtime's other ways to keep buffers take exactly what a tensor
 * has, but either free nothing before the device has caught up, a whole step later (129 MB for 54 in a small model), or
 * keep what each number of tokens needed for good.
 */
export function bufferBytes(tensorBytes: number): number {
  return keptSizes.find((size) => size >= tensorBytes) ?? tensorBytes;
}
