// Products x W^T of float32's accuracy by AMX, which multiplies bfloat16. Compiled by build.py, called by __init__.py.
//
// A float32 number is the sum of three bfloat16 ones: it rounded, what that leaves rounded, and what is left again, 3 x 8
// bits. A product of two numbers is the sum of the six products of parts above its own rounding, whose terms AMX adds up
// in float32 (Henry, Tang and Heinecke 2019, "Leveraging the bfloat16 artificial intelligence datatype for
// higher-precision computations"). Six products there take less time than one in float32 by AVX-512.

#if !defined(__AMX_BF16__) || !defined(__AVX512BF16__) || !defined(__linux__)

extern "C" int has_linear() { return 0; }

#else

#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>

namespace {

constexpr int64_t TILE = 16;            // rows of a tile, and float32 columns; of bfloat16 it has twice as many
constexpr int64_t SIDE = 2 * TILE;      // of a block of results: four tiles
constexpr int64_t HALF = SIDE * TILE;   // bfloat16 numbers in a tile
constexpr int64_t CELL = 3 * 2 * HALF;  // the three parts of SIDE rows of x, or of W, and SIDE columns
constexpr int64_t DEPTH = 16;           // cells at a time
constexpr int64_t GROUP = 8;            // blocks at a time: so many cells of theirs, 768 KB, stay in a core's cache
constexpr int64_t SLAB = 8 * GROUP;     // blocks that are packed at a time: 6 MB for all threads, however large x is

struct alignas(64) TileConfig {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// How many blocks, panels or cells n rows or columns are.
inline int64_t sides(int64_t n) { return (n + SIDE - 1) / SIDE; }

// 16 numbers as the sum of three times 16.
inline void split(const float* x, __m256i parts[3]) {
  __m512 rest = _mm512_loadu_ps(x);
  for (int i = 0; i < 3; i++) {
    parts[i] = (__m256i)_mm512_cvtneps_pbh(rest);
    rest = _mm512_sub_ps(rest, _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(parts[i]), 16)));
  }
}

// Cuts SIDE x SIDE numbers, in rows `stride` apart, into a cell: (part, half, TILE lines, SIDE numbers). A line of a left
// factor is a row. A right factor W is given as W^T, and a line of it has the pairs that two of these rows make.
template <bool is_left>
void pack_cell(const float* x, int64_t stride, uint16_t* cell) {
  for (int64_t half = 0; half < 2; half++)
    for (int64_t line = 0; line < TILE; line++) {
      const float* first = x + (is_left ? (half * TILE + line) * stride : 2 * line * stride + half * TILE);
      __m256i one[3], other[3];
      split(first, one), split(first + (is_left ? TILE : stride), other);
      for (int64_t part = 0; part < 3; part++) {
        uint16_t* numbers = cell + (part * 2 + half) * HALF + line * SIDE;
        if (is_left) {
          _mm256_storeu_si256((__m256i*)numbers, one[part]);
          _mm256_storeu_si256((__m256i*)(numbers + TILE), other[part]);
        } else {
          const __m512i upper = _mm512_slli_epi32(_mm512_cvtepu16_epi32(other[part]), 16);
          _mm512_storeu_si512(numbers, _mm512_or_si512(_mm512_cvtepu16_epi32(one[part]), upper));
        }
      }
    }
}

// Turns a tile of a left factor into the right factor's of the same numbers, or back: TILE x TILE pairs are transposed.
inline void transpose(uint16_t* tile) {
  __m512i lines[TILE], mixed[TILE];
  for (int64_t i = 0; i < TILE; i++) lines[i] = _mm512_loadu_si512(tile + i * SIDE);
  for (int64_t i = 0; i < TILE; i += 2) {
    mixed[i] = _mm512_unpacklo_epi32(lines[i], lines[i + 1]);
    mixed[i + 1] = _mm512_unpackhi_epi32(lines[i], lines[i + 1]);
  }
  for (int64_t i = 0; i < TILE; i += 4)
    for (int64_t j = 0; j < 2; j++) {
      lines[i + 2 * j] = _mm512_unpacklo_epi64(mixed[i + j], mixed[i + 2 + j]);
      lines[i + 2 * j + 1] = _mm512_unpackhi_epi64(mixed[i + j], mixed[i + 2 + j]);
    }
  for (int64_t i = 0; i < TILE; i += 8)
    for (int64_t j = 0; j < 4; j++) {
      mixed[i + j] = _mm512_shuffle_i32x4(lines[i + j], lines[i + 4 + j], 0x88);
      mixed[i + 4 + j] = _mm512_shuffle_i32x4(lines[i + j], lines[i + 4 + j], 0xdd);
    }
  for (int64_t i = 0; i < 8; i++) {
    _mm512_storeu_si512(tile + i * SIDE, _mm512_shuffle_i32x4(mixed[i], mixed[8 + i], 0x88));
    _mm512_storeu_si512(tile + (8 + i) * SIDE, _mm512_shuffle_i32x4(mixed[i], mixed[8 + i], 0xdd));
  }
}

// Packs a factor: x (rows, columns), in rows `stride` apart, or its transpose; all threads take part.
template <bool is_left, bool is_transposed>
void pack_factor(const float* x, int64_t stride, int64_t rows, int64_t columns, uint16_t* cells) {
  constexpr bool turns = is_left == is_transposed;  // x's columns are what pack_cell takes as rows
  const int64_t down = sides(rows), across = sides(columns);
#pragma omp for collapse(2) schedule(static)
  for (int64_t i = 0; i < down; i++)
    for (int64_t j = 0; j < across; j++) {
      const float* from = x + i * SIDE * stride + j * SIDE;
      uint16_t* cell = cells + (is_transposed ? j * down + i : i * across + j) * CELL;
      const int64_t height = std::min(SIDE, rows - i * SIDE), width = std::min(SIDE, columns - j * SIDE);
      alignas(64) float own[SIDE * SIDE];
      const bool is_whole = height == SIDE && width == SIDE;
      if (!is_whole) {
        std::fill_n(own, SIDE * SIDE, 0);  // where x has ended
        for (int64_t row = 0; row < height; row++) std::copy_n(from + row * stride, width, own + row * SIDE);
      }
      pack_cell<is_left != turns>(is_whole ? from : own, is_whole ? stride : SIDE, cell);
      if (turns)
        for (int64_t tile = 0; tile < CELL; tile += HALF) transpose(cell + tile);
    }
}

// Adds `count` cells' products to the four tiles of results; meanwhile what comes `later` is fetched, `bytes` a cell.
inline void multiply(const uint16_t* x, const uint16_t* w, int64_t count, const char* later, int64_t bytes) {
  for (int64_t i = 0; i < count; i++, x += CELL, w += CELL, later += bytes) {
    for (int64_t at = 0; at < bytes; at += 64) __builtin_prefetch(later + at);
    const auto rows = [x](int64_t part) __attribute__((always_inline)) {
      _tile_loadd(4, x + part * 2 * HALF, 64); _tile_loadd(5, x + (part * 2 + 1) * HALF, 64);
    };
    const auto columns = [w](int64_t part) __attribute__((always_inline)) {
      _tile_loadd(6, w + part * 2 * HALF, 64); _tile_loadd(7, w + (part * 2 + 1) * HALF, 64);
    };
    const auto add = []() __attribute__((always_inline)) {
      _tile_dpbf16ps(0, 4, 6); _tile_dpbf16ps(1, 4, 7); _tile_dpbf16ps(2, 5, 6); _tile_dpbf16ps(3, 5, 7);
    };
    rows(0), columns(2), add();  // parts 0 and 2; then 0 1, 1 1, 1 0, 0 0 and 2 0: the fewest tiles are loaded twice
    columns(1), add();
    rows(1), add();
    columns(0), add();
    rows(0), add();
    rows(2), add();
  }
}

// Adds to y (rows, n) the products of `count` cells of x and as many of W's `cells`; y begins with the first ones, and
// the last ones get bias and relu. All threads take part.
void multiply_slab(const uint16_t* x, const uint16_t* packed, int64_t count, int64_t cells, bool is_first, bool is_last,
                   const float* bias, int relu, int64_t rows, int64_t n, float* y, int threads) {
  const int64_t blocks = sides(rows), panels = sides(n);
  const int64_t least = std::min(blocks, (2 * threads + panels - 1) / panels);  // groups: work for all threads
  const int64_t groups = std::max(least, (blocks + GROUP - 1) / GROUP);
#pragma omp for schedule(static)
  for (int64_t task = 0; task < groups * panels; task++) {  // a thread has the same ones each time
    const int64_t group = task / panels, panel = task % panels;
    const int64_t from = blocks * group / groups, until = blocks * (group + 1) / groups;
    const uint16_t* w = packed + panel * cells * CELL;
    const int64_t width = std::min(SIDE, n - panel * SIDE), ahead = CELL * 2 / (until - from) & ~63;
    for (int64_t block = from; block < until; block++) {
      const char* later = reinterpret_cast<const char*>(w + cells * CELL) + (block - from) * ahead * count;
      _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
      multiply(x + block * count * CELL, w, count, later, ahead);
      alignas(64) float sums[SIDE * SIDE];  // of these cells alone: added up apart, long sums round less
      _tile_stored(0, sums, SIDE * 4); _tile_stored(1, sums + TILE, SIDE * 4);
      _tile_stored(2, sums + TILE * SIDE, SIDE * 4); _tile_stored(3, sums + TILE * SIDE + TILE, SIDE * 4);
      float* out = y + block * SIDE * n + panel * SIDE;
      for (int64_t row = 0; row < std::min(SIDE, rows - block * SIDE); row++)
        for (int64_t i = 0; i < width; i += TILE) {
          const __mmask16 there = width - i < TILE ? (1 << (width - i)) - 1 : -1;
          __m512 sum = _mm512_loadu_ps(sums + row * SIDE + i);
          if (!is_first) sum = _mm512_add_ps(_mm512_maskz_loadu_ps(there, out + row * n + i), sum);
          if (is_last && bias)  // the bias last, as a product in float32 does: sums of its size would round more
            sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(there, bias + panel * SIDE + i));
          if (is_last && relu)  // nan stays
            sum = _mm512_maskz_mov_ps(~_mm512_cmp_ps_mask(sum, _mm512_setzero_ps(), _CMP_LT_OQ), sum);
          _mm512_mask_storeu_ps(out + row * n + i, there, sum);
        }
    }
  }
}

}  // namespace

extern "C" {

// Whether the system lets this process use AMX, which has to be asked.
int has_linear() {
  constexpr int ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18;
  return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

// W (rows, columns), or if it is transposed W^T, as a right factor: rows * columns * 3, both rounded up to SIDE
void pack(const float* w, int64_t rows, int64_t columns, int is_transposed, uint16_t* packed, int threads) {
#pragma omp parallel num_threads(threads)
  {
    if (is_transposed)
      pack_factor<false, true>(w, columns, rows, columns, packed);
    else
      pack_factor<false, false>(w, columns, rows, columns, packed);
  }
}

// y = x W^T + bias, if there is one, and then max(0, y) if relu.
// x: (rows, k), or if it is transposed x^T (k, rows); packed: W (n, k); bias: (n); y: (rows, n);
// scratch: rows * k * 3, both rounded up to SIDE, at most SLAB and DEPTH of it
void linear(const float* x, int is_transposed, const uint16_t* packed, const float* bias, int relu, int64_t rows,
            int64_t k, int64_t n, uint16_t* scratch, float* y, int threads) {
  const int64_t cells = sides(k);
#pragma omp parallel num_threads(threads)
  {
    const TileConfig config;
    _tile_loadconfig(&config);
    for (int64_t top = 0; top < rows; top += SLAB * SIDE)
      for (int64_t done = 0; done < cells; done += DEPTH) {
        const int64_t height = std::min(SLAB * SIDE, rows - top), depth = std::min(DEPTH * SIDE, k - done * SIDE);
        if (is_transposed)
          pack_factor<true, true>(x + done * SIDE * rows + top, rows, depth, height, scratch);
        else
          pack_factor<true, false>(x + top * k + done * SIDE, k, height, depth, scratch);
        multiply_slab(scratch, packed + done * CELL, sides(depth), cells, done == 0, done + DEPTH >= cells, bias, relu,
                      height, n, y + top * n, threads);
      }
    _tile_release();
  }
}

}  // extern "C"

#endif
