// The instructions of AMX and AVX-512 that products.cpp uses, in plain C++: its tests run on processors without them.
//
// In place of the compiler's own header of this name. Results are those of the operations in Intel's manual (Software
// Developer's Manual, volume 2, TDPBF16PS and VCVTNEPS2BF16); of speed it says nothing.

#pragma once

#include <cfloat>
#include <cmath>
#include <cstdint>
#include <cstring>

struct alignas(64) __m512 { float at[16]; };
struct alignas(64) __m512i { uint32_t at[16]; };
struct alignas(32) __m256i { uint16_t at[16]; };
using __m256bh = __m256i;
using __mmask16 = uint16_t;

namespace emulated {

template <typename To, typename From>
To as(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof(To));
  return to;
}

template <typename Vector>
Vector load(const void* from) {
  Vector to;
  std::memcpy(&to, from, sizeof(Vector));
  return to;
}

template <typename Vector, typename Number>
Vector each(Number number) {
  Vector to;
  for (int i = 0; i < 16; i++) to.at[i] = number(i);
  return to;
}

inline float flushed(float x) { return std::fabs(x) < FLT_MIN ? 0 * x : x; }  // nan stays

inline uint16_t to_bfloat16(float x) {
  const uint32_t bits = as<uint32_t>(x);
  if (std::isnan(x)) return bits >> 16 | 0x40;              // quiet
  if (std::fabs(x) < FLT_MIN) return bits >> 16 & 0x8000;  // zero, or denormal
  return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;         // to the nearest, and if two are to the even one
}

inline float from_bfloat16(uint16_t x) { return flushed(as<float>(uint32_t(x) << 16)); }

constexpr int TILES = 8, ROWS = 16, BYTES = 64;

struct Tiles {
  struct alignas(64) Config {
    uint8_t palette, start, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
  } config = {};  // without one, no tile has rows
  alignas(64) uint8_t at[TILES][ROWS][BYTES] = {};
};

inline thread_local Tiles tiles;

}  // namespace emulated

inline void _tile_loadconfig(const void* config) {
  emulated::tiles = {};
  std::memcpy(&emulated::tiles.config, config, 64);
}

inline void _tile_release() { emulated::tiles = {}; }

inline void _tile_zero(int tile) { std::memset(emulated::tiles.at[tile], 0, sizeof emulated::tiles.at[tile]); }

inline void _tile_loadd(int tile, const void* from, int64_t stride) {
  _tile_zero(tile);
  for (int row = 0; row < emulated::tiles.config.rows[tile]; row++)
    std::memcpy(emulated::tiles.at[tile][row], (const char*)from + row * stride, emulated::tiles.config.bytes[tile]);
}

inline void _tile_stored(int tile, void* to, int64_t stride) {
  for (int row = 0; row < emulated::tiles.config.rows[tile]; row++)
    std::memcpy((char*)to + row * stride, emulated::tiles.at[tile][row], emulated::tiles.config.bytes[tile]);
}

// sums += a b: the even and the odd numbers of each line are added up apart, then both, then those to the sums.
inline void _tile_dpbf16ps(int sums, int a, int b) {
  using namespace emulated;
  const Tiles::Config& config = tiles.config;
  const auto numbers = [](int tile, int row) { return reinterpret_cast<uint16_t*>(tiles.at[tile][row]); };
  for (int row = 0; row < config.rows[sums]; row++) {
    float apart[2][ROWS] = {};
    for (int pair = 0; pair < config.bytes[a] / 4; pair++)
      for (int odd = 0; odd < 2; odd++) {
        const float factor = from_bfloat16(numbers(a, row)[2 * pair + odd]);
        for (int column = 0; column < config.bytes[sums] / 4; column++) {
          // products of 8 bits each are exact in float32: rounded once, as by a fused multiplication and addition
          const float product = factor * from_bfloat16(numbers(b, pair)[2 * column + odd]);
          apart[odd][column] = flushed(apart[odd][column] + product);
        }
      }
    float* line = reinterpret_cast<float*>(tiles.at[sums][row]);
    for (int column = 0; column < config.bytes[sums] / 4; column++)
      line[column] = flushed(flushed(line[column]) + flushed(apart[0][column] + apart[1][column]));
  }
}

inline __m512 _mm512_loadu_ps(const void* from) { return emulated::load<__m512>(from); }
inline __m512i _mm512_loadu_si512(const void* from) { return emulated::load<__m512i>(from); }
inline void _mm512_storeu_si512(void* to, __m512i x) { std::memcpy(to, &x, sizeof x); }
inline void _mm256_storeu_si256(__m256i* to, __m256i x) { std::memcpy((void*)to, &x, sizeof x); }

inline __m512 _mm512_setzero_ps() { return {}; }
inline __m512 _mm512_castsi512_ps(__m512i x) { return emulated::as<__m512>(x); }

inline __m512 _mm512_add_ps(__m512 x, __m512 y) {
  return emulated::each<__m512>([&](int i) { return x.at[i] + y.at[i]; });
}

inline __m512 _mm512_sub_ps(__m512 x, __m512 y) {
  return emulated::each<__m512>([&](int i) { return x.at[i] - y.at[i]; });
}

inline __m256bh _mm512_cvtneps_pbh(__m512 x) {
  return emulated::each<__m256bh>([&](int i) { return emulated::to_bfloat16(x.at[i]); });
}

inline __m512i _mm512_cvtepu16_epi32(__m256i x) {
  return emulated::each<__m512i>([&](int i) { return x.at[i]; });
}

inline __m512i _mm512_slli_epi32(__m512i x, unsigned bits) {
  return emulated::each<__m512i>([&](int i) { return x.at[i] << bits; });
}

inline __m512i _mm512_or_si512(__m512i x, __m512i y) {
  return emulated::each<__m512i>([&](int i) { return x.at[i] | y.at[i]; });
}

// The halves of each 128 bits of x and y in turns, `width` times 32 bits at a time.
inline __m512i unpacked(__m512i x, __m512i y, int half, int width) {
  return emulated::each<__m512i>([&](int i) {
    const int from = i / 4 * 4 + half * 2 + i % 4 / (2 * width) * width + i % width;
    return (i / width % 2 ? y : x).at[from];
  });
}

inline __m512i _mm512_unpacklo_epi32(__m512i x, __m512i y) { return unpacked(x, y, 0, 1); }
inline __m512i _mm512_unpackhi_epi32(__m512i x, __m512i y) { return unpacked(x, y, 1, 1); }
inline __m512i _mm512_unpacklo_epi64(__m512i x, __m512i y) { return unpacked(x, y, 0, 2); }
inline __m512i _mm512_unpackhi_epi64(__m512i x, __m512i y) { return unpacked(x, y, 1, 2); }

// Two times 128 bits of x, then two of y, which of them by two bits of `which` each.
inline __m512i _mm512_shuffle_i32x4(__m512i x, __m512i y, int which) {
  return emulated::each<__m512i>([&](int i) { return (i < 8 ? x : y).at[(which >> i / 4 * 2 & 3) * 4 + i % 4]; });
}

constexpr int _CMP_LT_OQ = 17;

inline __mmask16 _mm512_cmp_ps_mask(__m512 x, __m512 y, int comparison) {
  __mmask16 mask = 0;
  for (int i = 0; i < 16; i++) mask |= (comparison == _CMP_LT_OQ && x.at[i] < y.at[i]) << i;
  return mask;
}

inline __m512 _mm512_maskz_loadu_ps(__mmask16 mask, const void* from) {
  return emulated::each<__m512>([&](int i) { return mask >> i & 1 ? static_cast<const float*>(from)[i] : 0; });
}

inline void _mm512_mask_storeu_ps(void* to, __mmask16 mask, __m512 x) {
  for (int i = 0; i < 16; i++)
    if (mask >> i & 1) static_cast<float*>(to)[i] = x.at[i];
}

inline __m512 _mm512_maskz_mov_ps(__mmask16 mask, __m512 x) {
  return emulated::each<__m512>([&](int i) { return mask >> i & 1 ? x.at[i] : 0; });
}
