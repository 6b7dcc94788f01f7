#include "cuda/element.h"
#include "cuda/launch.h"
#include "ops/activation/activation_device.h"

namespace octavo::cuda {
namespace {

constexpr int kThreads = 256;

// y[row, col] = op(row, packs of the inputs at col); every thread makes one pack.
template <typename T, int kPack, typename Op>
__global__ void __launch_bounds__(kThreads) map_kernel(T* y, std::int64_t y_stride, int packs, unsigned blocks_a_row, Op op) {
  let_next_start();
  wait_for_previous();
  const std::int64_t row = blockIdx.x / blocks_a_row;
  const int pack = static_cast<int>(blockIdx.x % blocks_a_row * kThreads + threadIdx.x), col = pack * kPack;
  if (pack >= packs) return;
  op.template apply<kPack>(row, col).store(y + row * y_stride + col);
}

template <typename T, Gate kGate>
struct GateOp {
  const T* x;
  std::int64_t stride;
  int half_cols;
  Gating gating;

  template <int kPack>
  __device__ Pack<T, kPack> apply(std::int64_t row, int col) const {
    const auto g = Pack<T, kPack>::load(x + row * stride + col), u = Pack<T, kPack>::load(x + row * stride + half_cols + col);
    Pack<T, kPack> y;
#pragma unroll
    for (int i = 0; i < kPack; ++i) y.set(i, gated<kGate>(g[i], u[i], gating));
    return y;
  }
};

// y = f(x), element by element.
template <typename T, typename F>
struct EachOp {
  const T* x;
  std::int64_t stride;
  F f;

  template <int kPack>
  __device__ Pack<T, kPack> apply(std::int64_t row, int col) const {
    const auto a = Pack<T, kPack>::load(x + row * stride + col);
    Pack<T, kPack> y;
#pragma unroll
    for (int i = 0; i < kPack; ++i) y.set(i, f(a[i]));
    return y;
  }
};

template <Activation kActivation>
struct Activate {
  __device__ float operator()(float x) const {
    if constexpr (kActivation == Activation::gelu) return activated<Gate::gelu_erf>(x);
    if constexpr (kActivation == Activation::gelu_tanh) return activated<Gate::gelu_tanh>(x);
    if constexpr (kActivation == Activation::silu) return activated<Gate::silu>(x);
    if constexpr (kActivation == Activation::tanh) return tanhf(x);
    if constexpr (kActivation == Activation::sigmoid) return 1.0f / (1.0f + __expf(-x));
    if constexpr (kActivation == Activation::quick_gelu) return x / (1.0f + __expf(-1.702f * x));
    const float positive = x < 0.0f ? 0.0f : x;  // NaN stays NaN
    return kActivation == Activation::relu ? positive : positive * positive;
  }
};

struct Scale {
  float factor;
  __device__ float operator()(float x) const { return factor * x; }
};

struct Add {
  static __device__ float of(float x, float y) { return x + y; }
};
struct Multiply {
  static __device__ float of(float x, float y) { return x * y; }
};

// out = Join(x, y), element by element.
template <typename T, typename Join>
struct PairOp {
  const T* x;
  std::int64_t x_stride;
  const T* y;
  std::int64_t y_stride;

  template <int kPack>
  __device__ Pack<T, kPack> apply(std::int64_t row, int col) const {
    const auto a = Pack<T, kPack>::load(x + row * x_stride + col), b = Pack<T, kPack>::load(y + row * y_stride + col);
    Pack<T, kPack> sum;
#pragma unroll
    for (int i = 0; i < kPack; ++i) sum.set(i, Join::of(a[i], b[i]));
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
void map(const DeviceMatrix& y, bool vectors, Op op, Stream stream) {
  if (y.rows == 0) return;
  constexpr int kPack = kVectorElements<T>;
  const int packs = static_cast<int>(vectors ? y.cols / kPack : y.cols);
  const auto blocks_a_row = static_cast<unsigned>((packs + kThreads - 1) / kThreads);
  const auto kernel = vectors ? map_kernel<T, kPack, Op> : map_kernel<T, 1, Op>;
  launch_kernel(kernel, static_cast<unsigned>(y.rows) * blocks_a_row, kThreads, 0, stream, static_cast<T*>(y.data), y.stride, packs,
                blocks_a_row, op);
}

template <typename T>
const T* data(const DeviceMatrix& x) {
  return static_cast<const T*>(x.data);
}

template <typename Join>
void join(const char* name, const DeviceMatrix& x, const DeviceMatrix& y, const DeviceMatrix& out, Stream stream) {
  dispatch_float(x.type, name, [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const PairOp<T, Join> op{data<T>(x), x.stride, data<T>(y), y.stride};
    map<T>(out, x.in_vectors() && y.in_vectors() && out.in_vectors(), op, stream);
  });
}

}  // namespace

void gate_and_mul(const Gating& gating, const DeviceMatrix& x, const DeviceMatrix& y, Stream stream) {
  require(x.cols == 2 * y.cols, "gate_and_mul: x has ", x.cols, " columns and y ", y.cols);
  dispatch_float(x.type, "gate_and_mul", [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    dispatch_gate(gating.gate, [&](auto gate) {
      const GateOp<T, decltype(gate)::value> op{data<T>(x), x.stride, static_cast<int>(y.cols), gating};
      map<T>(y, x.in_vectors() && y.in_vectors(), op, stream);
    });
  });
}

void activate(Activation activation, const DeviceMatrix& x, const DeviceMatrix& y, Stream stream) {
  dispatch_float(x.type, "activate", [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    const auto run = [&](auto f) { map<T>(y, x.in_vectors() && y.in_vectors(), EachOp<T, decltype(f)>{data<T>(x), x.stride, f}, stream); };
    switch (activation) {
      case Activation::gelu:
        return run(Activate<Activation::gelu>{});
      case Activation::gelu_tanh:
        return run(Activate<Activation::gelu_tanh>{});
      case Activation::quick_gelu:
        return run(Activate<Activation::quick_gelu>{});
      case Activation::sigmoid:
        return run(Activate<Activation::sigmoid>{});
      case Activation::silu:
        return run(Activate<Activation::silu>{});
      case Activation::relu:
        return run(Activate<Activation::relu>{});
      case Activation::relu_squared:
        return run(Activate<Activation::relu_squared>{});
      case Activation::tanh:
        return run(Activate<Activation::tanh>{});
    }
  });
}

void scale(const DeviceMatrix& x, float factor, const DeviceMatrix& y, Stream stream) {
  dispatch_float(x.type, "scale", [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    map<T>(y, x.in_vectors() && y.in_vectors(), EachOp<T, Scale>{data<T>(x), x.stride, {factor}}, stream);
  });
}

void add(const DeviceMatrix& x, const DeviceMatrix& y, const DeviceMatrix& out, Stream stream) { join<Add>("add", x, y, out, stream); }

void mul(const DeviceMatrix& x, const DeviceMatrix& y, const DeviceMatrix& out, Stream stream) { join<Multiply>("mul", x, y, out, stream); }

void sigmoid_gate(const DeviceMatrix& x, const DeviceMatrix& gate, const DeviceMatrix& y, Stream stream) {
  dispatch_float(x.type, "sigmoid_gate", [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    map<T>(y, x.in_vectors() && y.in_vectors(), SigmoidGateOp<T>{data<T>(x), x.stride, data<T>(gate), gate.stride}, stream);
  });
}

void softcap(const DeviceMatrix& x, float cap, const DeviceMatrix& y, Stream stream) {
  dispatch_float(x.type, "softcap", [&](auto* tag) {
    using T = std::remove_pointer_t<decltype(tag)>;
    map<T>(y, x.in_vectors() && y.in_vectors(), SoftcapOp<T>{data<T>(x), x.stride, cap}, stream);
  });
}

}  // namespace octavo::cuda
