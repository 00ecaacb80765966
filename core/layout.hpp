#pragma once
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/error.hpp"
#include "core/view.hpp"

namespace tally {

// One named array inside a flat buffer: its shape and where it begins.
struct Field {
  std::string name;
  std::vector<Index> shape;
  Index offset = 0;
  Index size = 0;

  template <class T>
  std::span<T> in(std::span<T> flat) const {
    return flat.subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(size));
  }
  // The field as a matrix: its first axis by the product of the others.
  template <class T>
  MatrixView<T> matrix(std::span<T> flat) const {
    const Index rows = shape.empty() ? 1 : shape.front();
    return MatrixView<T>(in(flat).data(), rows, rows == 0 ? 0 : size / rows);
  }
};

// The fields of a flat buffer, named once: gives every consumer (sums, messages, files) the same picture.
class Layout {
 public:
  // Throws UsageError where the buffer would be larger than any memory.
  Layout& add(std::string name, std::vector<Index> shape) {
    constexpr Index largest = Index{1} << 50;
    Index size = 1;
    for (const Index extent : shape) {
      if (extent > 0 && size > (largest - size_) / extent)
        throw UsageError("the array " + name + " would be larger than any memory; use fewer components or columns");
      size *= extent;
    }
    fields_.push_back({std::move(name), std::move(shape), size_, size});
    size_ += size;
    return *this;
  }
  Index size() const noexcept { return size_; }
  const std::vector<Field>& fields() const noexcept { return fields_; }
  const Field& operator[](std::string_view name) const {
    for (const Field& field : fields_)
      if (field.name == name) return field;
    throw Error("no field is called " + std::string(name));
  }

 private:
  std::vector<Field> fields_;
  Index size_ = 0;
};

}  // namespace tally
