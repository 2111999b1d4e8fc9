// Attention of a step of decoding, which torch's operations do in several passes over memory, in one, on a CPU.
// Compiled by build.py, called by __init__.py.
//
// OpenMP is torch's own: this library is linked with none, and finds the symbols of the one that torch has loaded, so
// that there is a single pool of threads.

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "vectors.h"

namespace {

constexpr float LOWEST = std::numeric_limits<float>::lowest();

// Lane i of the result is the sum of v[i]. Two vectors at a time become one with half of the sums of either.
template <int COUNT = LANES>
inline Vector sums(Vector* v) {
  if constexpr (COUNT == 1) {
    return v[0];
  } else {
    constexpr int HALF = COUNT / 2;
    Integers first, second;
    for (int lane = 0; lane < LANES; lane++) {
      first[lane] = lane & HALF ? LANES + lane - HALF : lane;
      second[lane] = lane & HALF ? LANES + lane : lane + HALF;
    }
    for (int i = 0; i < HALF; i++)
      v[i] = __builtin_shuffle(v[i], v[i + HALF], first) + __builtin_shuffle(v[i], v[i + HALF], second);
    return sums<HALF>(v);
  }
}

}  // namespace

// One step of attention, for the rows of several sentences, `beam` each. __init__.py has the same fields.
struct Step {
  void *q, *new_k, *new_v;   // (sentences * beam, heads * d)
  int64_t stride;            // from row to row of these
  void *k, *v;               // (sentences, heads, capacity, d), k of cross-attention (sentences, heads, d, capacity)
  int64_t capacity, length;  // positions there are, and that a row attends to
  int64_t written;           // new_k and new_v are first written to the positions from here on, one for each row
  int64_t* index;            // (sentences * beam, length): the positions of each row; null: 0...length-1
  uint8_t* hidden;           // (sentences, length): positions that take no part; null: none
  int64_t sentences, beam, heads, d;
  void* out;  // (sentences * beam, heads * d)
};

namespace {

// Turns scores into e^(score - highest), and returns their sum.
float exponentials(float* scores, int64_t length) {
  std::fill_n(scores + length, -length & (LANES - 1), -INFINITE);
  Vector highest = load(scores), total = {};
  for (int64_t t = LANES; t < length; t += LANES) highest = load(scores + t) > highest ? load(scores + t) : highest;
  const float top = maximum(highest);
  for (int64_t t = 0; t < length; t += LANES) {
    const Vector e = exponential(load(scores + t) - top);
    store(scores + t, e);
    total += e;
  }
  return sum(total);
}

// Self-attention of a row in one head of width D: out = sum_t p[t] value[i(t)], where
// p = softmax(q . key[i(t)] / sqrt(D)). What stands `next_head` behind is fetched meanwhile.
template <int D, typename T>
void attend_to_ancestors(const T* q, const T* key, const T* value, int64_t length, int64_t next_head,
                         const int64_t* index, float* p, T* out) {
  constexpr int WIDTH = D / LANES;
  const float scale = 1 / std::sqrt(static_cast<float>(D));
  Vector query[WIDTH], result[WIDTH] = {};
  for (int w = 0; w < WIDTH; w++) query[w] = load(q + w * LANES) * scale;
  for (int64_t t = 0; t < length; t += LANES) {
    Vector products[LANES];
    for (int64_t i = 0; i < LANES; i++) {
      const int64_t last = std::min(t + i, length - 1);
      const T* at = key + (index ? index[last] : last) * D;
      products[i] = query[0] * load(at);
      for (int w = 1; w < WIDTH; w++) products[i] += query[w] * load(at + w * LANES);
      for (int i = 0; i < D; i += LINE / sizeof(T)) __builtin_prefetch(at + next_head + i);
    }
    store(p + t, sums(products));
  }
  const float norm = 1 / exponentials(p, length);
  for (int64_t t = 0; t < length; t++) {
    const T* at = value + (index ? index[t] : t) * D;
    for (int i = 0; i < D; i += LINE / sizeof(T)) __builtin_prefetch(at + next_head + i);
    for (int w = 0; w < WIDTH; w++) result[w] += p[t] * load(at + w * LANES);
  }
  for (int w = 0; w < WIDTH; w++) store(out + w * LANES, result[w] * norm);
}

// Cross-attention of ROWS rows of a sentence in one head of width D; key is (D, capacity).
template <int D, int ROWS, typename T>
void attend_to_source(const Step& x, const T* q, const T* key, const T* value, const uint8_t* hidden, float* p, T* out) {
  constexpr int STRIP = std::min(D, LANES == 16 ? 64 : 16);  // of the results: it stays in registers
  const float scale = 1 / std::sqrt(static_cast<float>(D));
  const int64_t room = x.length + LANES;
  float query[ROWS][D], norm[ROWS];
  for (int r = 0; r < ROWS; r++)
    for (int i = 0; i < D; i += LANES) store(query[r] + i, load(q + r * x.stride + i) * scale);
  for (int64_t t = 0; t < x.length; t += LANES) {
    Vector scores[ROWS] = {};
    for (int i = 0; i < D; i++) {
      const Vector keys = load(key + i * x.capacity + t);
      __builtin_prefetch(key + (D + i) * x.capacity + t);
      for (int r = 0; r < ROWS; r++) scores[r] += query[r][i] * keys;
    }
    for (int r = 0; r < ROWS; r++) store(p + r * room + t, scores[r]);
  }
  for (int r = 0; r < ROWS; r++) {
    for (int64_t t = 0; hidden && t < x.length; t++)
      if (hidden[t]) p[r * room + t] = LOWEST;
    norm[r] = 1 / exponentials(p + r * room, x.length);
  }
  for (int strip = 0; strip < D; strip += STRIP) {
    Vector result[ROWS][STRIP / LANES] = {};
    for (int64_t t = 0; t < x.length; t++) {
      for (int i = 0; i < STRIP; i += LINE / sizeof(T)) __builtin_prefetch(value + (x.length + t) * D + strip + i);
      for (int w = 0; w < STRIP / LANES; w++) {
        const Vector values = load(value + t * D + strip + w * LANES);
        for (int r = 0; r < ROWS; r++) result[r][w] += p[r * room + t] * values;
      }
    }
    for (int r = 0; r < ROWS; r++)
      for (int w = 0; w < STRIP / LANES; w++)
        store(out + r * x.heads * D + strip + w * LANES, result[r][w] * norm[r]);
  }
}

// All heads of all rows: self-attention where there are new keys, else cross-attention.
template <int D, typename T>
void attend_all(const Step& x, int threads) {
  const T *new_k = static_cast<T*>(x.new_k), *new_v = static_cast<T*>(x.new_v);
#pragma omp parallel num_threads(threads)
  {
    std::vector<float> p(4 * (x.length + LANES));
#pragma omp for schedule(static)
    for (int64_t task = 0; task < x.sentences * x.heads; task++) {
      const int64_t s = task / x.heads, h = task % x.heads, rows = s * x.beam;
      T* key = static_cast<T*>(x.k) + task * x.capacity * D;
      T* value = static_cast<T*>(x.v) + task * x.capacity * D;
      const T* q = static_cast<T*>(x.q) + rows * x.stride + h * D;
      T* out = static_cast<T*>(x.out) + (rows * x.heads + h) * D;
      if (new_k) {
        for (int64_t j = 0; j < x.beam; j++) {
          std::copy_n(new_k + (rows + j) * x.stride + h * D, D, key + (x.written + j) * D);
          std::copy_n(new_v + (rows + j) * x.stride + h * D, D, value + (x.written + j) * D);
        }
        for (int64_t j = 0; j < x.beam; j++)
          attend_to_ancestors<D>(q + j * x.stride, key, value, x.length, x.capacity * D,
                                     x.index ? x.index + (rows + j) * x.length : nullptr, p.data(),
                                     out + j * x.heads * D);
      } else {
        static constexpr decltype(&attend_to_source<D, 1, T>) FOR_ROWS[] = {
            nullptr, attend_to_source<D, 1, T>, attend_to_source<D, 2, T>, attend_to_source<D, 3, T>,
            attend_to_source<D, 4, T>};
        value = static_cast<T*>(x.v) + task * x.length * D;
        for (int64_t j = 0; j < x.beam; j += 4)
          FOR_ROWS[std::min<int64_t>(4, x.beam - j)](x, q + j * x.stride, key, value,
                                                     x.hidden ? x.hidden + s * x.length : nullptr, p.data(),
                                                     out + j * x.heads * D);
      }
    }
  }
}

}  // namespace

extern "C" {

void attend(const Step* step, int is_bf16, int threads) {
  static constexpr void (*KERNELS[][2])(const Step&, int) = {{attend_all<16, float>, attend_all<16, BFloat16>},
                                                             {attend_all<32, float>, attend_all<32, BFloat16>},
                                                             {attend_all<64, float>, attend_all<64, BFloat16>},
                                                             {attend_all<128, float>, attend_all<128, BFloat16>}};
  const int which = step->d == 16 ? 0 : step->d == 32 ? 1 : step->d == 64 ? 2 : 3;
  KERNELS[which][is_bf16](*step, threads);
}

}  // extern "C"
