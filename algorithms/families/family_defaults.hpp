#pragma once
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "algorithms/model.hpp"

namespace tally {

// What most families have alike; one that has another hides it.
class FamilyDefaults {
 public:
  Index components() const noexcept { return components_; }
  Index columns() const noexcept { return columns_; }
  std::map<std::string, std::string> options() const { return {}; }
  Scaling scaling() const noexcept { return Scaling::none; }
  void set_standardisation(const Standardisation&) {}
  std::function<double(const double*)> log_base_measure() const { return nullptr; }

  // How wide T is.
  Index width() const noexcept { return width_; }
  void add_statistics(Layout& layout) const { layout.add("moments", {components_, width_}); }
  std::vector<double> bounds(const DataSummary&) const { return {1}; }
  double objective_in_user_units(double objective, double) const { return objective; }
  std::vector<std::string> warnings(const DataSummary&) const { return {}; }

  // Writes a value (D) of component k, in the user's units, to `out`.
  using DrawValue = std::function<void(Index k, RandomKey key, Index row, double* out)>;

  Index coefficient_stride() const noexcept { return width_; }
  Index coefficient_count() const noexcept { return components_ * width_; }

 protected:
  FamilyDefaults(Index components, Index columns, Index width)
      : components_(components), columns_(columns), width_(width) {}

  Index components_, columns_;

 private:
  Index width_;
};

}  // namespace tally
