// Vectors of float32 whose numbers are read from and written to memory in float32 or bfloat16.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <limits>

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
constexpr float INFINITE = std::numeric_limits<float>::infinity();

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

inline float number(float x) { return x; }
inline float number(BFloat16 x) {
  const uint32_t bits = static_cast<uint32_t>(x) << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// The first `count` numbers, where there are so few, and `rest` in the other lanes.
template <typename T>
inline Vector load_up_to(const T* x, int64_t count, float rest) {
  if (count >= LANES) return load(x);
  Vector v = Vector{} + rest;
  for (int64_t i = 0; i < count; i++) v[i] = number(x[i]);
  return v;
}

template <typename T>
inline void store_up_to(T* x, Vector v, int64_t count) {
  if (count >= LANES) return store(x, v);
  T numbers[LANES];
  store(numbers, v);
  std::copy_n(numbers, count, x);
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

inline float maximum(Vector v) {
  float highest = v[0];
  for (int i = 1; i < LANES; i++) highest = std::max(highest, v[i]);
  return highest;
}

// e^x for x <= 0 as 2^n e^r, |r| <= ln(2) / 2, by Taylor's series of e^r; 0 below -87, nan for nan
inline Vector exponential(Vector x) {
  constexpr float SHIFT = 12582912.0f;  // 1.5 * 2^23: the low bits of a sum with it are the nearest integer
  const Vector shifted = x * 1.44269504f + SHIFT;
  const Integers exponent = reinterpret_cast<Integers>(shifted) << 23;
  const Vector n = shifted - SHIFT, r = x - n * 0.693359375f + n * 2.12194440e-4f;  // ln(2) in two parts
  Vector p = r * (1 / 5040.f) + 1 / 720.f;
  p = p * r + 1 / 120.f;
  p = p * r + 1 / 24.f;
  p = p * r + 1 / 6.f;
  p = p * r + 0.5f;
  p = p * r * r + r + 1.0f;
  return x < -87.0f ? Vector{} : reinterpret_cast<Vector>(reinterpret_cast<Integers>(p) + exponent);
}

}  // namespace
