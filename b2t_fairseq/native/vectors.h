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

#ifdef __AVX512F__
constexpr int LANES = 16;  // floats a vector
#else
constexpr int LANES = 8;  // with more, values would not stay in registers
#endif
constexpr int64_t LINE = 64;  // bytes that memory sends at a time

typedef Vectors<LANES>::Floats Vector;
typedef Vectors<LANES>::Integers Integers;
typedef Vectors<LANES>::Bits Bits;
typedef uint16_t BFloat16;  // the upper half of a float's bits

inline Vector load(const float* x) { return *reinterpret_cast<const Vector*>(x); }
inline Vector load(const BFloat16* x) {
  return reinterpret_cast<Vector>(__builtin_convertvector(*reinterpret_cast<const Bits*>(x), Integers) << 16);
}

inline void store(float* x, Vector v) { *reinterpret_cast<Vector*>(x) = v; }
inline void store(BFloat16* x, Vector v) {  // the nearest, ties to even
  const Integers bits = reinterpret_cast<Integers>(v);
  const Integers rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  *reinterpret_cast<Bits*>(x) = __builtin_convertvector(rounded, Bits);
}

template <int COUNT = LANES>
inline float sum(typename Vectors<COUNT>::Floats v) {
  if constexpr (COUNT == 2) {
    return v[0] + v[1];
  } else {
    const union {
      typename Vectors<COUNT>::Floats whole;
      typename Vectors<COUNT / 2>::Floats halves[2];
    } parts{v};
    return sum<COUNT / 2>(parts.halves[0] + parts.halves[1]);
  }
}

}  // namespace
