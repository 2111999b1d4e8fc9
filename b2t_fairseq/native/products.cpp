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
constexpr int64_t DEPTH = 16;           // cells at a time: that much of all of x stays in the cache

struct alignas(64) TileConfig {
  uint8_t palette = 1, start = 0, reserved[14] = {};
  uint16_t bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};

// 16 numbers as the sum of three times 16.
inline void split(const float* x, __m256i parts[3]) {
  __m512 rest = _mm512_loadu_ps(x);
  for (int i = 0; i < 3; i++) {
    parts[i] = (__m256i)_mm512_cvtneps_pbh(rest);
    rest = _mm512_sub_ps(rest, _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(parts[i]), 16)));
  }
}

// Cuts SIDE rows, of which there are `rows`, the others being 0, into cells, and gives each 16 numbers of a row to
// store(cell, part, row, which half of the cell's SIDE columns, numbers).
template <typename Store>
void pack_cells(const float* x, int64_t rows, int64_t k, uint16_t* cells, Store store) {
  for (int64_t at = 0; at < k; at += SIDE, cells += CELL)
    for (int64_t row = 0; row < SIDE; row++)
      for (int64_t half = 0; half < 2; half++) {
        __m256i parts[3] = {};
        if (row < rows) split(x + row * k + at + half * TILE, parts);
        for (int64_t part = 0; part < 3; part++) store(cells, part, row, half, parts[part]);
      }
}

// Of x, as a left factor: a cell is (part, half, TILE rows, SIDE columns).
void pack_rows(const float* x, int64_t rows, int64_t k, uint16_t* cells) {
  pack_cells(x, rows, k, cells, [](uint16_t* cell, int64_t part, int64_t row, int64_t half, __m256i numbers) {
    _mm256_storeu_si256((__m256i*)(cell + part * 2 * HALF + row * SIDE + half * TILE), numbers);
  });
}

// Of W, as a right factor: a cell is (part, half, TILE pairs of columns, TILE rows, 2).
void pack_columns(const float* w, int64_t rows, int64_t k, uint16_t* cells) {
  pack_cells(w, rows, k, cells, [](uint16_t* cell, int64_t part, int64_t row, int64_t half, __m256i numbers) {
    alignas(32) uint32_t pairs[TILE / 2];
    _mm256_store_si256((__m256i*)pairs, numbers);
    uint32_t* tile = reinterpret_cast<uint32_t*>(cell + (part * 2 + row / TILE) * HALF);
    for (int64_t j = 0; j < TILE / 2; j++) tile[(half * TILE / 2 + j) * TILE + row % TILE] = pairs[j];
  });
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
    rows(0), columns(2), add();  // parts 0 and 2; then 0 1, 0 0, 1 0, 1 1 and 2 0
    columns(1), add();
    columns(0), add();
    rows(1), add();
    columns(1), add();
    rows(2), columns(0), add();
  }
}

}  // namespace

extern "C" {

// Whether the system lets this process use AMX, which has to be asked.
int has_linear() {
  constexpr int ARCH_REQ_XCOMP_PERM = 0x1023, XFEATURE_XTILEDATA = 18;
  return syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0;
}

// W (n, k) -> packed, (n rounded up to SIDE) * k * 3; k is a multiple of SIDE
void pack(const float* w, int64_t n, int64_t k, uint16_t* packed, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t panel = 0; panel < (n + SIDE - 1) / SIDE; panel++)
    pack_columns(w + panel * SIDE * k, std::min(SIDE, n - panel * SIDE), k, packed + panel * (k / SIDE) * CELL);
}

// y = x W^T + bias, and max(0, y) if relu: x (rows, k), bias (n rounded up to SIDE), y (rows, n);
// scratch: (rows rounded up to SIDE) * k * 3
void linear(const float* x, const uint16_t* packed, const float* bias, int relu, int64_t rows, int64_t k, int64_t n,
            uint16_t* scratch, float* y, int threads) {
  const int64_t blocks = (rows + SIDE - 1) / SIDE, panels = (n + SIDE - 1) / SIDE, cells = k / SIDE;
  const int64_t groups = std::min(blocks, (2 * threads + panels - 1) / panels);  // of blocks: work for all threads
#pragma omp parallel num_threads(threads)
  {
    const TileConfig config;
    _tile_loadconfig(&config);
#pragma omp for schedule(static)
    for (int64_t block = 0; block < blocks; block++)
      pack_rows(x + block * SIDE * k, std::min(SIDE, rows - block * SIDE), k, scratch + block * cells * CELL);
    for (int64_t done = 0; done < cells; done += DEPTH) {
      const int64_t count = std::min(DEPTH, cells - done);
      const bool is_last = done + count == cells;
#pragma omp for schedule(static) nowait
      for (int64_t task = 0; task < panels * groups; task++) {  // a thread has the same ones each time
        const int64_t panel = task / groups, group = task % groups;
        const int64_t from = blocks * group / groups, until = blocks * (group + 1) / groups;
        const uint16_t* w = packed + (panel * cells + done) * CELL;
        const int64_t width = std::min(SIDE, n - panel * SIDE), ahead = CELL * 2 / (until - from) & ~63;
        for (int64_t block = from; block < until; block++) {
          const int64_t height = std::min(SIDE, rows - block * SIDE);
          float* out = y + block * SIDE * n + panel * SIDE;
          alignas(64) float own[SIDE * SIDE];
          const bool is_whole = width == SIDE && height == SIDE;
          float* sums = is_whole ? out : own;  // at the edges y has less room than the tiles
          const int64_t stride = is_whole ? n : SIDE;
          for (int64_t row = 0; done && !is_whole && row < height; row++)
            std::copy_n(out + row * n, width, own + row * SIDE);
          if (done == 0) {
            _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
          } else {
            __asm__ volatile("" ::: "memory");  // the loads of tiles do not tell the compiler that they read
            _tile_loadd(0, sums, stride * 4); _tile_loadd(1, sums + TILE, stride * 4);
            _tile_loadd(2, sums + TILE * stride, stride * 4); _tile_loadd(3, sums + TILE * stride + TILE, stride * 4);
          }
          const char* later = reinterpret_cast<const char*>(w + cells * CELL) + (block - from) * ahead * count;
          multiply(scratch + (block * cells + done) * CELL, w, count, later, ahead);
          _tile_stored(0, sums, stride * 4); _tile_stored(1, sums + TILE, stride * 4);
          _tile_stored(2, sums + TILE * stride, stride * 4); _tile_stored(3, sums + TILE * stride + TILE, stride * 4);
          for (int64_t row = 0; row < height; row++) {
            float* of_row = sums + row * stride;
            if (is_last)  // the bias last, as a product in float32 does: sums of its size would round more
              for (int64_t i = 0; i < SIDE; i += TILE) {
                const __m512 sum = _mm512_add_ps(_mm512_loadu_ps(of_row + i), _mm512_loadu_ps(bias + panel * SIDE + i));
                const __mmask16 is_negative = _mm512_cmp_ps_mask(sum, _mm512_setzero_ps(), _CMP_LT_OQ);
                _mm512_storeu_ps(of_row + i, _mm512_maskz_mov_ps(relu ? ~is_negative : -1, sum));  // nan stays
              }
            if (!is_whole) std::copy_n(of_row, width, out + row * n);
          }
        }
      }
    }
    _tile_release();
  }
}

}  // extern "C"

#endif
