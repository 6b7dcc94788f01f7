#include "cuda/check.h"
#include "cuda/element.h"
#include "ops/activation/activation_device.h"

namespace octavo::cuda {
namespace {

constexpr int kThreads = 256;

// y[row, col] = op(row, packs of the inputs at col); every thread makes one pack.
template <typename T, int kPack, typename Op>
__global__ void map_kernel(T* y, std::int64_t y_stride, std::int64_t rows, int packs, Op op) {
  const std::int64_t index = static_cast<std::int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (index >= rows * packs) return;
  const std::int64_t row = index / packs;
  const int col = static_cast<int>(index % packs) * kPack;
  op.template apply<kPack>(row, col).store(y + row * y_stride + col);
}

template <typename T, Gate kGate>
struct GateOp {
  const T* x;
  std::int64_t stride;
  int half_cols;

  template <int kPack>
  __device__ Pack<T, kPack> apply(std::int64_t row, int col) const {
    const auto g = Pack<T, kPack>::load(x + row * stride + col), u = Pack<T, kPack>::load(x + row * stride + half_cols + col);
    Pack<T, kPack> y;
#pragma unroll
    for (int i = 0; i < kPack; ++i) y.set(i, activated<kGate>(g[i]) * u[i]);
    return y;
  }
};

template <typename T>
struct AddOp {
  const T* x;
  std::int64_t x_stride;
  const T* y;
  std::int64_t y_stride;

  template <int kPack>
  __device__ Pack<T, kPack> apply(std::int64_t row, int col) const {
    const auto a = Pack<T, kPack>::load(x + row * x_stride + col), b = Pack<T, kPack>::load(y + row * y_stride + col);
    Pack<T, kPack> sum;
#pragma unroll
    for (int i = 0; i < kPack; ++i) sum.set(i, a[i] + b[i]);
    return sum;
  }
};

template <typename T>
struct SigmoidGateOp {
  const T* x;
  std::int64_t x_stride;
  const T* gate;
  std::int64_t gate_stride;

  template <int kPack>
  __device__ Pack<T, kPack> apply(std::int64_t row, int col) const {
    const auto a = Pack<T, kPack>::load(x + row * x_stride + col);
    const float share = 1.0f / (1.0f + __expf(-to_float(gate[row * gate_stride])));
    Pack<T, kPack> y;
#pragma unroll
    for (int i = 0; i < kPack; ++i) y.set(i, a[i] * share);
    return y;
  }
};

template <typename T>
struct SoftcapOp {
  const T* x;
  std::int64_t x_stride;
  float cap;

  template <int kPack>
  __device__ Pack<T, kPack> apply(std::int64_t row, int col) const {
    const auto a = Pack<T, kPack>::load(x + row * x_stride + col);
    Pack<T, kPack> y;
#pragma unroll
    for (int i = 0; i < kPack; ++i) y.set(i, cap * tanhf(a[i] / cap));
    return y;
  }
};

template <typename T, typename Op>
void map(const char* name, const DeviceMatrix& y, bool vectors, Op op, Stream stream) {
  if (y.rows == 0) return;
  constexpr int kPack = kVectorElements<T>;
  const int packs = static_cast<int>(vectors ? y.cols / kPack : y.cols);
  const auto blocks = static_cast<unsigned>((y.rows * packs + kThreads - 1) / kThreads);
  T* out = static_cast<T*>(y.data);
  if (vectors) {
    map_kernel<T, kPack><<<blocks, kThreads, 0, stream>>>(out, y.stride, y.rows, packs, op);
  } else {
    map_kernel<T, 1><<<blocks, kThreads, 0, stream>>>(out, y.stride, y.rows, packs, op);
  }
  check_launch(name);
}

template <typename T>
const T* data(const DeviceMatrix& x) {
  return static_cast<const T*>(x.data);
}

}  // namespace

void gate_and_mul(Gate gate, const DeviceMatrix& x, const DeviceMatrix& y, Stream stream) {
  require(x.cols == 2 * y.cols, "gate_and_mul: x has ", x.cols, " columns and y ", y.cols);
  dispatch_float(x.type, "gate_and_mul", [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const bool vectors = x.in_vectors() && y.in_vectors();
    const int half_cols = static_cast<int>(y.cols);
    switch (gate) {
      case Gate::silu:
        return map<T>("silu_and_mul", y, vectors, GateOp<T, Gate::silu>{data<T>(x), x.stride, half_cols}, stream);
      case Gate::gelu_tanh:
        return map<T>("gelu_tanh_and_mul", y, vectors, GateOp<T, Gate::gelu_tanh>{data<T>(x), x.stride, half_cols}, stream);
      case Gate::gelu_erf:
        return map<T>("gelu_and_mul", y, vectors, GateOp<T, Gate::gelu_erf>{data<T>(x), x.stride, half_cols}, stream);
    }
  });
}

void add(const DeviceMatrix& x, const DeviceMatrix& y, const DeviceMatrix& out, Stream stream) {
  dispatch_float(x.type, "add", [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    map<T>("add", out, x.in_vectors() && y.in_vectors() && out.in_vectors(), AddOp<T>{data<T>(x), x.stride, data<T>(y), y.stride}, stream);
  });
}

void sigmoid_gate(const DeviceMatrix& x, const DeviceMatrix& gate, const DeviceMatrix& y, Stream stream) {
  dispatch_float(x.type, "sigmoid_gate", [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    map<T>("sigmoid_gate", y, x.in_vectors() && y.in_vectors(), SigmoidGateOp<T>{data<T>(x), x.stride, data<T>(gate), gate.stride}, stream);
  });
}

void softcap(const DeviceMatrix& x, float cap, const DeviceMatrix& y, Stream stream) {
  dispatch_float(x.type, "softcap", [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    map<T>("softcap", y, x.in_vectors() && y.in_vectors(), SoftcapOp<T>{data<T>(x), x.stride, cap}, stream);
  });
}

}  // namespace octavo::cuda
