#include "algorithms/families/given_parameters.hpp"

#include <cmath>
#include <string>

#include "core/error.hpp"

namespace tally {

const Array* find_given(const NamedArrays& arrays, const Field& field) {
  const auto found = arrays.find(field.name);
  if (found == arrays.end()) return nullptr;
  const Array& given = found->second;
  const bool one_column = field.shape.size() == 2 && field.shape[1] == 1 && given.shape.size() == 1 &&
                          given.shape[0] == field.shape[0];
  if (given.shape != field.shape && !one_column) {
    std::string shape;
    for (const Index extent : field.shape) shape += (shape.empty() ? "" : ", ") + std::to_string(extent);
    throw DataError("start parameter '" + field.name + "' has the wrong shape: (" + shape + ") is needed");
  }
  for (const double value : given.values)
    if (!std::isfinite(value)) throw DataError("start parameter '" + field.name + "' has a value that is not finite");
  return &given;
}

}  // namespace tally
