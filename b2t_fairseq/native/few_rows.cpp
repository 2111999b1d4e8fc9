// Products x W^T of few rows, as decoding a sentence or two needs them. They take as long as reading W does, so each
// number of W is read once, and the next ones are fetched meanwhile. Compiled by build.py, called by __init__.py.

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <vector>

#include "vectors.h"

namespace {

constexpr int64_t ROWS = 4, COLUMNS = 3;  // of a tile of results, which stays in registers
constexpr int64_t FEWEST_WEIGHTS = 1 << 15;  // for a second thread

struct Sizes {
  int64_t rows, k, n;  // x (rows, k), W (n, k)
  int64_t stride;      // from row to row of y
  int relu;
};

inline void write(float* y, float x) { *y = x; }
inline void write(BFloat16* y, float x) {  // the nearest, ties to even
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  *y = x == x ? (bits + 0x7fff + ((bits >> 16) & 1)) >> 16 : 0x7fc0;
}

// A tile of y. FETCHES: the W of the next tile is fetched meanwhile.
template <int R, int C, bool FETCHES, typename T>
void tile(const float* x, const T* w, const T* bias, const Sizes& s, T* y) {
  const int64_t k = s.k, whole = k - k % LANES;
  Vector sums[R][C] = {}, columns[C];
  for (int64_t i = 0; i < whole; i += LANES) {
    for (int c = 0; c < C; c++) {
      if (FETCHES && i * sizeof(T) % LINE == 0) __builtin_prefetch(w + (C + c) * k + i);
      columns[c] = load(w + c * k + i);
    }
    for (int r = 0; r < R; r++)
      for (int c = 0; c < C; c++) sums[r][c] += load(x + r * k + i) * columns[c];
  }
  for (int r = 0; r < R; r++)
    for (int c = 0; c < C; c++) {
      float total = sum(sums[r][c]);
      for (int64_t i = whole; i < k; i++) total += x[r * k + i] * number(w[c * k + i]);
      if (bias) total += number(bias[c]);
      write(y + r * s.stride + c, s.relu && total < 0 ? 0 : total);  // nan stays
    }
}

// C columns of y.
template <int C, typename T>
void panel(const float* x, const T* w, const T* bias, const Sizes& s, T* y) {
  typedef decltype(&tile<1, C, true, T>) Tile;
  static constexpr Tile FIRST[] = {tile<1, C, true, T>, tile<2, C, true, T>, tile<3, C, true, T>, tile<4, C, true, T>};
  static constexpr Tile LATER[] = {tile<1, C, false, T>, tile<2, C, false, T>, tile<3, C, false, T>,
                                   tile<4, C, false, T>};
  for (int64_t row = 0; row < s.rows; row += ROWS) {
    const Tile* tiles = row ? LATER : FIRST;
    const int64_t height = std::min(ROWS, s.rows - row);
    tiles[height - 1](x + row * s.k, w, bias, s, y + row * s.stride);
  }
}

template <typename T>
void multiply(const T* x, const T* w, const T* bias, const Sizes& s, T* y, int threads) {
  std::vector<float> widened;
  const float* numbers;
  if constexpr (std::is_same_v<T, float>) {
    numbers = x;
  } else {
    widened.resize(s.rows * s.k);
    std::transform(x, x + s.rows * s.k, widened.begin(), [](T one) { return number(one); });
    numbers = widened.data();
  }
#pragma omp parallel for num_threads(threads) schedule(static) if (s.n * s.k >= FEWEST_WEIGHTS)
  for (int64_t column = 0; column < s.n; column += COLUMNS) {
    const T *from = w + column * s.k, *added = bias ? bias + column : nullptr;
    if (column + COLUMNS <= s.n)
      panel<COLUMNS>(numbers, from, added, s, y + column);
    else
      for (int64_t c = 0; c < s.n - column; c++)
        panel<1>(numbers, from + c * s.k, bias ? added + c : nullptr, s, y + column + c);
  }
}

}  // namespace

// y = x W^T + bias, and max(0, y) if relu: x (rows, k), W (n, k), bias (n) or null, y (rows, n of `stride`)
extern "C" void few_rows(const void* x, const void* w, const void* bias, int is_bf16, int relu, int64_t rows, int64_t k,
                         int64_t n, int64_t stride, void* y, int threads) {
  const Sizes sizes{rows, k, n, stride, relu};
  if (is_bf16)
    multiply((const BFloat16*)x, (const BFloat16*)w, (const BFloat16*)bias, sizes, (BFloat16*)y, threads);
  else
    multiply((const float*)x, (const float*)w, (const float*)bias, sizes, (float*)y, threads);
}
