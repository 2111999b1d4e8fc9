// Vectors of float32 whose numbers are read from and written to memory in float32 or bfloat16.

#pragma once

#include <cstdint>

namespace {

// Vectors of COUNT numbers, anywhere in memory. Templates take COUNT: of a type they would forget the alignment.
template <int COUNT>
struct Vectors {
  typedef float Floats __attribute__((vector_size(4 * COUNT), aligned(4)));
  typedef int32_t Integers __attribute__((vector_size(4 * COUNT), aligned(4)));
  typedef uint16_t Bits __attribute__((vector_size(2 * COUNT), aligned(2)));
};

constexpr int64_t LANES = 16;  // floats a vector; for processors with narrower ones the compiler takes several

typedef Vectors<LANES>::Floats Vector;
typedef Vectors<LANES / 2>::Floats Half;
typedef Vectors<LANES / 4>::Floats Quarter;
typedef Vectors<LANES>::Integers Integers;
typedef Vectors<LANES>::Bits Bits;
typedef uint16_t BFloat16;  // the upper half of a float's bits

template <int COUNT = LANES>
inline typename Vectors<COUNT>::Floats load(const float* x) {
  return *reinterpret_cast<const typename Vectors<COUNT>::Floats*>(x);
}

template <int COUNT = LANES>
inline typename Vectors<COUNT>::Floats load(const BFloat16* x) {
  const auto bits = *reinterpret_cast<const typename Vectors<COUNT>::Bits*>(x);
  const auto shifted = __builtin_convertvector(bits, typename Vectors<COUNT>::Integers) << 16;
  return reinterpret_cast<typename Vectors<COUNT>::Floats>(shifted);
}

inline void store(float* x, Vector v) { *reinterpret_cast<Vector*>(x) = v; }
inline void store(BFloat16* x, Vector v) {  // the nearest, ties to even
  const Integers bits = reinterpret_cast<Integers>(v);
  const Integers rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  *reinterpret_cast<Bits*>(x) = __builtin_convertvector(rounded, Bits);
}

inline float sum(Half v) {
  const union { Half h; Quarter q[2]; } a{v};
  const Quarter q = a.q[0] + a.q[1];
  return (q[0] + q[2]) + (q[1] + q[3]);
}

inline float sum(Vector v) {
  const union { Vector v; Half h[2]; } a{v};
  return sum(a.h[0] + a.h[1]);
}

}  // namespace
