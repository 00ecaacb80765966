#pragma once
#include <span>

#include "algorithms/model.hpp"

namespace tally {

// A model some of whose free parameters stay at 0 where a fit starts them at 0.
class KeepsZeros {
 public:
  // How many do.
  virtual Index kept_zeros(std::span<const double> start) const = 0;

 protected:
  ~KeepsZeros() = default;
};

// Free parameters as BIC and AIC count them, of a fit from this start.
inline Index free_parameters_from(const Model& model, std::span<const double> start) {
  const auto* const keeping = dynamic_cast<const KeepsZeros*>(&model);
  return model.free_parameters() - (keeping ? keeping->kept_zeros(start) : 0);
}

}  // namespace tally
