// What training passes over memory for several times with torch's operations, in one or two: dropout, the softmax of
// attention with its mask and dropout, the loss. Numbers are read and written in float32 or bfloat16 and computed in
// float32. Compiled by build.py, called by __init__.py; OpenMP is torch's, as in kernels.cpp.

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "vectors.h"

namespace {

// A mask of dropout: `scale` where bits >= threshold, else 0; without bits 1.
struct Kept {
  const int16_t* bits;
  int threshold;
  float scale;

  Vector at(int64_t i, int64_t count) const {
    typedef int16_t Shorts __attribute__((vector_size(2 * LANES), aligned(2)));
    if (!bits) return Vector{} + 1.0f;
    Shorts drawn = {};
    if (count >= LANES)
      drawn = *reinterpret_cast<const Shorts*>(bits + i);
    else
      for (int64_t j = 0; j < count; j++) drawn[j] = bits[i + j];
    return __builtin_convertvector(drawn, Integers) >= threshold ? Vector{} + scale : Vector{};
  }
};

template <typename X, typename Y>
void drop(const void* x, const Kept& kept, int64_t count, void* y, int threads) {
  const X* from = static_cast<const X*>(x);
  Y* to = static_cast<Y*>(y);
#pragma omp parallel for num_threads(threads) schedule(static) if (count > 8192)
  for (int64_t i = 0; i < count; i += LANES)
    store_up_to(to + i, load_up_to(from + i, count - i, 0) * kept.at(i, count - i), count - i);
}

}  // namespace

// The softmax of attention, of scores (batch, heads, queries, keys). __init__.py has the same fields.
struct Softmax {
  void* scores;
  float scale;  // that they are multiplied by
  float* mask;  // added then; null: none
  int64_t mask_sentence, mask_row;  // from sentence to sentence, and from query to query of it; 0: the same for all
  int64_t batch, heads, queries, keys;
  int16_t* bits;  // of the dropout on the probabilities, as many as scores; null: none
  int threshold;
  float kept;
  float* norms;  // (batch, heads, queries, 2): of each row p = e^(score - first) * second
};

namespace {

// Calls with_row(number of a row, its scaled and masked scores, -inf behind the last one) for all rows.
template <typename T, typename Function>
void for_rows(const Softmax& x, int threads, Function with_row) {
#pragma omp parallel num_threads(threads)
  {
    std::vector<float> scores(x.keys + LANES);
#pragma omp for schedule(static)
    for (int64_t row = 0; row < x.batch * x.heads * x.queries; row++) {
      const T* at = static_cast<const T*>(x.scores) + row * x.keys;
      const float* mask =
          x.mask ? x.mask + row / (x.heads * x.queries) * x.mask_sentence + row % x.queries * x.mask_row : nullptr;
      for (int64_t j = 0; j < x.keys; j += LANES) {
        const Vector scaled = load_up_to(at + j, x.keys - j, -INFINITE) * x.scale;
        store(scores.data() + j, mask ? scaled + load_up_to(mask + j, x.keys - j, 0) : scaled);
      }
      with_row(row, scores.data());
    }
  }
}

// y: the probabilities after dropout.
template <typename T>
void probabilities(const Softmax& x, void* y, int threads) {
  const Kept kept{x.bits, x.threshold, x.kept};
  for_rows<T>(x, threads, [&](int64_t row, float* scores) {
    Vector highest = load(scores), total = {};
    for (int64_t j = LANES; j < x.keys; j += LANES) highest = load(scores + j) > highest ? load(scores + j) : highest;
    const float top = maximum(highest);
    for (int64_t j = 0; j < x.keys; j += LANES) {
      const Vector e = exponential(load(scores + j) - top);
      store(scores + j, e);
      total += e;
    }
    const float share = 1 / sum(total);
    x.norms[2 * row] = top, x.norms[2 * row + 1] = share;
    T* to = static_cast<T*>(y) + row * x.keys;
    for (int64_t j = 0; j < x.keys; j += LANES)
      store_up_to(to + j, load(scores + j) * share * kept.at(row * x.keys + j, x.keys - j), x.keys - j);
  });
}

// y: the gradient of the scores as they came, from that of the probabilities after dropout.
template <typename T>
void of_scores(const Softmax& x, const void* gradient, void* y, int threads) {
  const Kept kept{x.bits, x.threshold, x.kept};
  for_rows<T>(x, threads, [&](int64_t row, float* scores) {
    const T* from = static_cast<const T*>(gradient) + row * x.keys;
    T* to = static_cast<T*>(y) + row * x.keys;
    const auto of_probability = [&](int64_t j) {
      return load_up_to(from + j, x.keys - j, 0) * kept.at(row * x.keys + j, x.keys - j);
    };
    Vector total = {};
    for (int64_t j = 0; j < x.keys; j += LANES) {
      const Vector p = exponential(load(scores + j) - x.norms[2 * row]) * x.norms[2 * row + 1];
      store(scores + j, p);
      total += p * of_probability(j);
    }
    const float mean = sum(total);
    for (int64_t j = 0; j < x.keys; j += LANES)
      store_up_to(to + j, load(scores + j) * (of_probability(j) - mean) * x.scale, x.keys - j);
  });
}

template <typename T>
void sums_of_rows(const void* x, const int64_t* target, int64_t rows, int64_t n, float* norms, float* totals,
                  float* nll, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t row = 0; row < rows; row++) {
    const T* at = static_cast<const T*>(x) + row * n;
    const int64_t whole = n - n % LANES;
    Vector highest = Vector{} - INFINITE, total = {}, exponentials = {};
    float rest[LANES];  // the last lanes, which may be fewer
    store(rest, load_up_to(at + whole, n - whole, -INFINITE));
    for (int64_t j = 0; j < whole; j += LANES) {
      const Vector v = load(at + j);
      highest = v > highest ? v : highest;
      total += v;
    }
    highest = load(rest) > highest ? load(rest) : highest;
    const float top = maximum(highest);
    for (int64_t j = 0; j < whole; j += LANES) exponentials += exponential(load(at + j) - top);
    exponentials += exponential(load(rest) - top);
    norms[row] = top + std::log(sum(exponentials));
    totals[row] = std::accumulate(rest, rest + n - whole, sum(total));
    nll[row] = norms[row] - number(at[target[row]]);
  }
}

template <typename T>
void of_sums(const void* x, const int64_t* target, const float* norms, const float* factors, float share,
             float of_target, int64_t rows, int64_t n, void* y, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (int64_t row = 0; row < rows; row++) {
    const T* at = static_cast<const T*>(x) + row * n;
    T* out = static_cast<T*>(y) + row * n;
    const auto gradient = [&](Vector v, float less) {
      return (exponential(v - norms[row]) - share) * factors[row] - less * factors[row];
    };
    for (int64_t j = 0; j < n; j += LANES) store_up_to(out + j, gradient(load_up_to(at + j, n - j, 0), 0), n - j);
    store_up_to(out + target[row], gradient(Vector{} + number(at[target[row]]), of_target), 1);
  }
}

}  // namespace

extern "C" {

// y[i] = x[i] * (bits[i] >= threshold ? scale : 0)
void dropout(const void* x, int x_is_bf16, const int16_t* bits, int64_t count, int threshold, float scale, void* y,
             int y_is_bf16, int threads) {
  static constexpr decltype(&drop<float, float>) KERNELS[2][2] = {
      {drop<float, float>, drop<float, BFloat16>}, {drop<BFloat16, float>, drop<BFloat16, BFloat16>}};
  KERNELS[x_is_bf16][y_is_bf16](x, {bits, threshold, scale}, count, y, threads);
}

// Without a gradient y is the probabilities, which are of the scores' type; with one, the gradient of the scores.
void softmax(const Softmax* x, int is_bf16, const void* gradient, void* y, int threads) {
  if (gradient)
    (is_bf16 ? of_scores<BFloat16> : of_scores<float>)(*x, gradient, y, threads);
  else
    (is_bf16 ? probabilities<BFloat16> : probabilities<float>)(*x, y, threads);
}

// For each row of x (rows, n): log(sum_j e^x[j]), sum_j x[j], and the first minus x[target].
void log_sums(const void* x, int is_bf16, const int64_t* target, int64_t rows, int64_t n, float* norms, float* totals,
              float* nll, int threads) {
  (is_bf16 ? sums_of_rows<BFloat16> : sums_of_rows<float>)(x, target, rows, n, norms, totals, nll, threads);
}

// y (rows, n) = factor[row] * (e^(x - norm[row]) - share), and factor * of_target less at the row's target.
void softmax_minus(const void* x, int is_bf16, const int64_t* target, const float* norms, const float* factors,
                   float share, float of_target, int64_t rows, int64_t n, void* y, int threads) {
  (is_bf16 ? of_sums<BFloat16> : of_sums<float>)(x, target, norms, factors, share, of_target, rows, n, y, threads);
}

}  // extern "C"
