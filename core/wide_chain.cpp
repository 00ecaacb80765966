#include "core/wide_chain.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace tally {

Wide from_message(double entry) { return entry < 0 ? Wide::of_log(entry) : Wide(entry); }

void write_message(std::span<const Wide> values, std::span<double> message) {
  Wide sum;
  for (const Wide value : values) sum += value;
  for (std::size_t k = 0; k < values.size(); ++k) {
    const Wide relative = sum ? values[k] / sum : Wide();
    const double linear = relative.value();
    message[k] = relative && linear < smallest_in_message ? relative.log() : linear;
  }
}

void WideChain::set_chain(Index states, const double* start, const double* transitions) {
  states_ = states;
  start_.clear();
  transitions_.clear();
  for (Index i = 0; i < states; ++i) start_.emplace_back(start[i]);
  for (Index i = 0; i < states; ++i)
    for (Index j = 0; j < states; ++j)
      if (transitions[i * states + j] > 0) transitions_.push_back({i, j, Wide(transitions[i * states + j])});
}

std::span<Wide> WideChain::row(std::vector<Wide>& values, Index t) const {
  return std::span(values).subspan(static_cast<std::size_t>(t * states_), static_cast<std::size_t>(states_));
}

std::span<const Wide> WideChain::alpha(Index t) const {
  return std::span(alpha_).subspan(static_cast<std::size_t>((t + 1) * states_), static_cast<std::size_t>(states_));
}

Wide WideChain::probability() const {
  Wide product(1);
  for (const Wide scale : scales_) product = product * scale;
  return product;
}

Index WideChain::bytes() const noexcept {
  std::size_t bytes = transitions_.size() * sizeof(Transition) + largest_.capacity() * sizeof(double);
  for (const std::vector<Wide>* values : {&start_, &emissions_, &alpha_, &scales_, &beta_, &w_})
    bytes += values->capacity() * sizeof(Wide);
  return static_cast<Index>(bytes);
}

void WideChain::set_piece(MatrixView<const double> log_b) {
  steps_ = log_b.rows;
  const auto make_room = [](auto& values, Index count) {
    values.reserve(static_cast<std::size_t>(count));  // no more than that, as `resize` alone may take
    values.resize(static_cast<std::size_t>(count));
  };
  make_room(emissions_, steps_ * states_);
  make_room(largest_, steps_);
  for (Index t = 0; t < steps_; ++t) {
    const double largest = *std::max_element(log_b.row(t), log_b.row(t) + states_);
    largest_[static_cast<std::size_t>(t)] = largest;
    const bool possible = std::abs(largest) < std::numeric_limits<double>::infinity();
    for (Index k = 0; k < states_; ++k)
      row(emissions_, t)[static_cast<std::size_t>(k)] = possible ? Wide::of_log(log_b(t, k) - largest) : Wide();
  }
}

Index WideChain::forward(const double* incoming, double* log_scales) {
  begins_ = incoming == nullptr;
  alpha_.assign(static_cast<std::size_t>((steps_ + 1) * states_), Wide());
  scales_.assign(static_cast<std::size_t>(steps_), Wide());
  for (Index k = 0; k < states_ && incoming; ++k) alpha_[static_cast<std::size_t>(k)] = from_message(incoming[k]);
  for (Index t = 0; t < steps_; ++t) {
    const std::span<Wide> before = row(alpha_, t), after = row(alpha_, t + 1), emissions = row(emissions_, t);
    if (t == 0 && begins_) {
      std::copy(start_.begin(), start_.end(), after.begin());
    } else {
      for (const auto& [from, to, probability] : transitions_)
        if (const Wide weight = before[static_cast<std::size_t>(from)]) after[static_cast<std::size_t>(to)] += weight * probability;
    }
    Wide scale;
    for (std::size_t k = 0; k < after.size(); ++k)
      if (after[k]) scale += after[k] = after[k] * emissions[k];
    if (!scale) return t;
    const Wide inverse = Wide(1) / scale;
    for (Wide& value : after) value = value * inverse;
    scales_[static_cast<std::size_t>(t)] = scale;
    log_scales[t] = scale.log() + largest_[static_cast<std::size_t>(t)];
  }
  return -1;
}

void WideChain::backward(const double* outgoing, MatrixView<double> gamma, double weight, std::span<double> sums) {
  beta_.assign(static_cast<std::size_t>(states_), Wide(1));
  w_.resize(static_cast<std::size_t>(states_));
  Wide overlap;
  for (Index k = 0; k < states_; ++k) {
    const auto at_k = static_cast<std::size_t>(k);
    if (outgoing) beta_[at_k] = from_message(outgoing[k]);
    overlap += alpha(steps_ - 1)[at_k] * beta_[at_k];
  }
  if (!overlap) {  // what follows the piece is impossible, as its own piece tells
    for (Index t = 0; t < steps_; ++t) std::fill_n(gamma.row(t), states_, 0.0);
    std::fill(beta_.begin(), beta_.end(), Wide());
    return;
  }
  for (Wide& value : beta_) value = value / overlap;
  for (Index t = steps_ - 1; t >= 0; --t) {
    const Wide inverse = Wide(1) / scales_[static_cast<std::size_t>(t)];
    for (Index k = 0; k < states_; ++k) {
      const auto at_k = static_cast<std::size_t>(k);
      gamma(t, k) = (alpha(t)[at_k] * beta_[at_k]).value();
      w_[at_k] = row(emissions_, t)[at_k] * beta_[at_k] * inverse;
    }
    if (t == 0 && begins_) return;
    std::fill(beta_.begin(), beta_.end(), Wide());
    const std::span<const Wide> before = alpha(t - 1);
    for (const auto& [from, to, probability] : transitions_) {
      const Wide onwards = probability * w_[static_cast<std::size_t>(to)];
      beta_[static_cast<std::size_t>(from)] += onwards;
      sums[static_cast<std::size_t>(from * states_ + to)] += weight * (before[static_cast<std::size_t>(from)] * onwards).value();
    }
  }
}

}  // namespace tally
