#include "core/full_range_sum.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>
#include <type_traits>

namespace tally {
namespace {

static_assert(std::is_trivially_copyable_v<FullRangeSum>);

constexpr int limb_bits = 32;
constexpr std::int64_t limb_mask = (std::int64_t{1} << limb_bits) - 1;
constexpr int lowest_exponent = -1074;
// An addition changes a limb by less than 2^32, so limbs stay below 2^62 and a carry within 64 bits.
constexpr std::int64_t additions_between_carries = std::int64_t{1} << 29;

using Limbs = std::array<std::int64_t, FullRangeSum::limb_count>;

void carry_limbs(Limbs& limbs) {
  std::int64_t carried = 0;
  for (std::size_t i = 0; i + 1 < limbs.size(); ++i) {
    const std::int64_t limb = limbs[i] + carried;
    limbs[i] = limb & limb_mask;
    carried = limb >> limb_bits;
  }
  limbs.back() += carried;
}

}  // namespace

bool FullRangeSum::add(double value) {
  constexpr int mantissa_bits = 52;
  constexpr int infinite_exponent = 0x7FF;
  const auto bits = std::bit_cast<std::uint64_t>(value);
  const int exponent = static_cast<int>(bits >> mantissa_bits) & infinite_exponent;
  if (exponent == infinite_exponent) return false;
  if (uncarried_additions_ == additions_between_carries) carry();
  ++uncarried_additions_;

  const std::uint64_t fraction = bits & ((std::uint64_t{1} << mantissa_bits) - 1);
  const std::uint64_t mantissa = exponent == 0 ? fraction : fraction | std::uint64_t{1} << mantissa_bits;
  const int position = exponent == 0 ? 0 : exponent - 1;
  const int shift = position % limb_bits;
  const std::uint64_t upper = mantissa >> (limb_bits - shift);
  const std::int64_t pieces[3] = {static_cast<std::int64_t>(mantissa << shift) & limb_mask,
                                  static_cast<std::int64_t>(upper) & limb_mask,
                                  static_cast<std::int64_t>(upper >> limb_bits)};
  std::int64_t* limb = limbs_.data() + position / limb_bits;
  for (const std::int64_t piece : pieces) *limb++ += std::signbit(value) ? -piece : piece;
  return true;
}

void FullRangeSum::merge(const FullRangeSum& other) {
  carry();
  for (std::size_t i = 0; i < limbs_.size(); ++i) limbs_[i] += other.limbs_[i];
  carry();
}

void FullRangeSum::carry() {
  carry_limbs(limbs_);
  uncarried_additions_ = 0;
}

double FullRangeSum::value() const {
  Limbs magnitude = limbs_;
  carry_limbs(magnitude);
  const bool negative = magnitude.back() < 0;
  if (negative) {
    for (std::int64_t& limb : magnitude) limb = -limb;
    carry_limbs(magnitude);
  }

  std::size_t top = magnitude.size() - 1;
  while (top > 0 && magnitude[top] == 0) --top;
  // The highest 64 bits, the last of them also standing for all bits below: it decides ties.
  int shift = static_cast<int>(top) * limb_bits;
  auto leading = static_cast<std::uint64_t>(magnitude[top]);
  bool bits_below = false;
  for (std::size_t i = top; i-- > 0;) {
    const auto limb = static_cast<std::uint64_t>(magnitude[i]);
    const int room = std::min(std::countl_zero(leading), limb_bits);
    leading = room == 0 ? leading : leading << room | limb >> (limb_bits - room);
    shift -= room;
    bits_below |= (limb & ((std::uint64_t{1} << (limb_bits - room)) - 1)) != 0;
  }
  const double rounded =
      std::ldexp(static_cast<double>(leading | (bits_below ? 1 : 0)), shift + lowest_exponent);
  return negative ? -rounded : rounded;
}

}  // namespace tally
