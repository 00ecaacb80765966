#include "core/backends/chain.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace tally::cpu {
namespace {

// y = x' a for a of (K, K) by rows.
template <class Real>
void multiply(const Real* a, const std::vector<Real>& x, std::vector<Real>& y) {
  const Index K = static_cast<Index>(x.size());
  std::fill(y.begin(), y.end(), Real(0));
  for (Index i = 0; i < K; ++i)
    for (Index j = 0; j < K; ++j) y[j] += x[i] * a[i * K + j];
}

template <class Real>
bool possible(Real scale) {
  return scale >= std::numeric_limits<Real>::min() && scale <= std::numeric_limits<Real>::max();
}

// Scales to a sum of 1 and returns the sum; where that is impossible, zeros and 0.
template <class Real>
Real normalise(std::vector<Real>& values) {
  Real sum = 0;
  for (const Real value : values) sum += value;
  const Real factor = possible(sum) ? 1 / sum : 0;
  for (Real& value : values) value = factor == 0 ? 0 : value * factor;
  return factor == 0 ? 0 : sum;
}

}  // namespace

template <class Real>
void scale_emissions(MatrixView<Real> logits, double* maxima) {
  for (Index t = 0; t < logits.rows; ++t) {
    Real* row = logits.row(t);
    const Real largest = *std::max_element(row, row + logits.cols);
    bool invalid = largest == std::numeric_limits<Real>::infinity();
    for (Index k = 0; k < logits.cols; ++k) invalid = invalid || std::isnan(row[k]);
    maxima[t] = invalid ? std::numeric_limits<double>::quiet_NaN() : static_cast<double>(largest);
    for (Index k = 0; k < logits.cols; ++k)
      row[k] = largest == -std::numeric_limits<Real>::infinity() ? 0 : std::exp(row[k] - largest);
  }
}

template <class Real>
Index chain_forward(const ChainWeights<Real>& weights, std::span<const ChainPiece> pieces, MatrixView<const Real> b,
                    MatrixView<Real> alpha, double* scales) {
  const Index K = weights.states;
  Index impossible = -1;
  std::vector<Real> before(static_cast<std::size_t>(K)), now(before);
  for (const ChainPiece& piece : pieces) {
    if (piece.incoming) before.assign(piece.incoming, piece.incoming + K);
    for (Index t = piece.first; t < piece.first + piece.steps; ++t) {
      if (t == piece.first && !piece.incoming)
        now.assign(weights.start, weights.start + K);
      else
        multiply(weights.transitions, before, now);
      for (Index k = 0; k < K; ++k) now[k] *= b(t, k);
      scales[t] = normalise(now);
      if (scales[t] == 0 && (impossible < 0 || t < impossible)) impossible = t;
      std::copy(now.begin(), now.end(), alpha.row(t));
      if (scales[t] == 0) {
        for (Index later = t + 1; later < piece.first + piece.steps; ++later) {
          std::fill_n(alpha.row(later), K, Real(0));
          scales[later] = 0;
        }
        break;
      }
      std::swap(before, now);
    }
  }
  return impossible;
}

template <class Real>
void chain_backward(const ChainWeights<Real>& weights, std::span<const ChainPiece> pieces, MatrixView<Real> b,
                    MatrixView<const Real> alpha, const double* scales, MatrixView<Real> gamma) {
  const Index K = weights.states;
  std::vector<Real> beta(static_cast<std::size_t>(K)), w(beta);
  for (const ChainPiece& piece : pieces) {
    if (piece.steps == 0) continue;
    const Index last = piece.first + piece.steps - 1;
    double overlap = 0;
    for (Index k = 0; k < K; ++k) overlap += alpha(last, k) * (piece.outgoing ? piece.outgoing[k] : 1.0);
    const bool whole = scales[last] != 0 && overlap > 0;
    for (Index k = 0; k < K; ++k)
      beta[k] = whole ? static_cast<Real>((piece.outgoing ? piece.outgoing[k] : 1.0) / overlap) : Real(0);
    for (Index t = last; t >= piece.first; --t) {
      for (Index k = 0; k < K; ++k) {
        if (!(alpha(t, k) > 0)) beta[k] = 0;
        gamma(t, k) = alpha(t, k) * beta[k];
        w[k] = beta[k] == 0 ? 0 : b(t, k) * beta[k] / static_cast<Real>(scales[t]);
        b(t, k) = t == piece.first && !piece.incoming ? 0 : w[k];
      }
      multiply(weights.transposed, w, beta);
    }
  }
}

template <class Real>
void chain_compose(const ChainWeights<Real>& weights, MatrixView<const Real> b, MatrixView<double> product,
                   double* log_scales) {
  const Index K = weights.states;
  std::vector<Real> before(static_cast<std::size_t>(K)), now(before);
  for (Index i = 0; i < K; ++i) {
    std::fill(before.begin(), before.end(), Real(0));
    before[i] = 1;
    log_scales[i] = 0;
    for (Index t = 0; t < b.rows; ++t) {
      multiply(weights.transitions, before, now);
      for (Index k = 0; k < K; ++k) now[k] *= b(t, k);
      log_scales[i] += std::log(static_cast<double>(normalise(now)));
      std::swap(before, now);
    }
    std::copy(before.begin(), before.end(), product.row(i));
  }
}

template <class Real>
void chain_backward_message(const ChainWeights<Real>& weights, MatrixView<const Real> b, const double* outgoing,
                            double* message) {
  const Index K = weights.states;
  std::vector<Real> beta(static_cast<std::size_t>(K), Real(1)), w(beta);
  if (outgoing) beta.assign(outgoing, outgoing + K);
  normalise(beta);
  for (Index t = b.rows - 1; t >= 0; --t) {
    for (Index k = 0; k < K; ++k) w[k] = b(t, k) * beta[k];
    multiply(weights.transposed, w, beta);
    normalise(beta);
  }
  std::copy(beta.begin(), beta.end(), message);
}

template <class Real>
void chain_viterbi(const LogChainWeights& weights, MatrixView<const Real> log_b, bool begins, double* delta,
                   MatrixView<BackPointer> from) {
  const Index K = weights.states;
  std::vector<double> before(static_cast<std::size_t>(K));
  for (Index t = 0; t < log_b.rows; ++t) {
    std::copy_n(delta, K, before.begin());
    for (Index j = 0; j < K; ++j) {
      Index best = 0;
      if (t == 0 && begins) {
        delta[j] = weights.start[j];
      } else {
        for (Index i = 0; i < K; ++i) {
          const double candidate = before[i] + weights.transitions[i * K + j];
          if (i == 0 || candidate > delta[j]) delta[j] = candidate, best = i;
        }
      }
      delta[j] += static_cast<double>(log_b(t, j));
      if (from.data) from(t, j) = static_cast<BackPointer>(best);
    }
  }
}

Index chain_backtrack(MatrixView<const BackPointer> from, Index last, std::int32_t* path) {
  for (Index t = from.rows - 1; t >= 0; --t) {
    path[t] = static_cast<std::int32_t>(last);
    last = from(t, last);
  }
  return last;
}

#define TALLY_INSTANTIATE(Real)                                                                                      \
  template void scale_emissions(MatrixView<Real>, double*);                                                          \
  template Index chain_forward(const ChainWeights<Real>&, std::span<const ChainPiece>, MatrixView<const Real>,       \
                               MatrixView<Real>, double*);                                                           \
  template void chain_backward(const ChainWeights<Real>&, std::span<const ChainPiece>, MatrixView<Real>,             \
                               MatrixView<const Real>, const double*, MatrixView<Real>);                             \
  template void chain_compose(const ChainWeights<Real>&, MatrixView<const Real>, MatrixView<double>, double*);       \
  template void chain_backward_message(const ChainWeights<Real>&, MatrixView<const Real>, const double*, double*);   \
  template void chain_viterbi(const LogChainWeights&, MatrixView<const Real>, bool, double*, MatrixView<BackPointer>);
TALLY_INSTANTIATE(float)
TALLY_INSTANTIATE(double)
#undef TALLY_INSTANTIATE

}  // namespace tally::cpu
