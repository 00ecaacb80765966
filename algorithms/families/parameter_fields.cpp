#include "algorithms/families/parameter_fields.hpp"

#include <cmath>
#include <string>
#include <vector>

#include "core/error.hpp"

namespace tally {

void describe_field(const Field& field, std::span<const double> parameters, NamedArrays& arrays) {
  const auto values = field.in(parameters);
  arrays[field.name] = {field.shape, {values.begin(), values.end()}};
}

const Array* find_given(const NamedArrays& arrays, const Field& field) {
  const auto found = arrays.find(field.name);
  if (found == arrays.end()) return nullptr;
  const Array& given = found->second;
  std::vector<Index> without_columns = field.shape;
  if (field.shape.size() > 1 && field.shape[1] == 1) without_columns.erase(without_columns.begin() + 1);
  if (given.shape != field.shape && given.shape != without_columns) {
    std::string shape;
    for (const Index extent : field.shape) shape += (shape.empty() ? "" : ", ") + std::to_string(extent);
    throw DataError("start parameter '" + field.name + "' has the wrong shape: (" + shape + ") is needed");
  }
  for (const double value : given.values)
    if (!std::isfinite(value)) throw DataError("start parameter '" + field.name + "' has a value that is not finite");
  return &given;
}

void soften(MatrixView<double> values, std::span<const double> overall) {
  for (Index k = 0; k < values.rows; ++k)
    for (Index d = 0; d < values.cols; ++d)
      values(k, d) += start_softening * (overall[static_cast<std::size_t>(d)] - values(k, d));
}

void borrow_unobserved(MatrixView<double> moments, Index columns) {
  for (Index d = 0; d < columns; ++d) {
    const Index one = 1 + d, other = 1 + columns + d;
    double ones = 0, others = 0;
    for (Index k = 0; k < moments.rows; ++k) {
      ones += moments(k, one);
      others += moments(k, other);
    }
    for (Index k = 0; k < moments.rows; ++k) {
      if (moments(k, one) + moments(k, other) > 0) continue;
      moments(k, one) = ones;
      moments(k, other) = others;
    }
  }
}

}  // namespace tally
