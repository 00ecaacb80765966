#include "core/exact_sum.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>

#include "core/error.hpp"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "core/exact_sum.cpp"  // NOLINT(readability-identifier-naming): Highway's name
#include <hwy/foreach_target.h>
// After foreach_target.h, which includes this file once for each target.
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace tally {
namespace HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Adding 1.5 * 2^52 rounds a number below 2^51 in magnitude to an integer, ties to even, and leaves that
// integer in the low bits of the sum. It needs no conversion instruction, so every target computes the same,
// at full speed.
constexpr double to_integer = 0x1.8p52;
// The high limb is rounded in two steps, as it has up to 62 bits.
constexpr int step_bits = 21;

// Adds values that lie below the grid's limit to their limbs. Only the rounding of the low limb is not exact:
// a number less its nearest integer is a multiple of the number's last bit, and scaling is by powers of two.
// So it makes no difference whether MulAdd is fused.
template <class D>
HWY_INLINE void add_lanes(D d, hn::Vec<D> value, hn::Vec<D> unit, std::int64_t* HWY_RESTRICT high,
                          std::int64_t* HWY_RESTRICT low) {
  const hn::RebindToSigned<D> di;
  const auto magic = hn::Set(d, to_integer);
  const auto magic_bits = hn::BitCast(di, magic);

  const auto scaled = hn::Mul(value, unit);
  const auto upper = hn::MulAdd(scaled, hn::Set(d, 1.0 / (1 << step_bits)), magic);
  const auto rest = hn::NegMulAdd(hn::Sub(upper, magic), hn::Set(d, 1 << step_bits), scaled);
  const auto middle = hn::Add(rest, magic);
  const auto fraction = hn::Sub(rest, hn::Sub(middle, magic));
  const auto lower =
      hn::MulAdd(fraction, hn::Set(d, static_cast<double>(std::int64_t{1} << grid_low_bits)), magic);

  const auto upper_integer = hn::ShiftLeft<step_bits>(hn::Sub(hn::BitCast(di, upper), magic_bits));
  const auto high_part = hn::Add(upper_integer, hn::Sub(hn::BitCast(di, middle), magic_bits));
  const auto low_part = hn::Sub(hn::BitCast(di, lower), magic_bits);
  hn::StoreU(hn::Add(hn::LoadU(di, high), high_part), di, high);
  hn::StoreU(hn::Add(hn::LoadU(di, low), low_part), di, low);
}

// What the values told so far.
struct Seen {
  Index misfits = 0;
  Index non_finite = 0;
  double largest = 0;
};

void add_one(double value, double limit, double unit, std::int64_t* high, std::int64_t* low, Seen& seen) {
  const double magnitude = std::abs(value);
  if (!std::isfinite(value)) {
    ++seen.non_finite;
    return;
  }
  seen.largest = std::max(seen.largest, magnitude);
  if (magnitude < limit) {
    const hn::CappedTag<double, 1> one;
    add_lanes(one, hn::Set(one, value), hn::Set(one, unit), high, low);
  } else {
    ++seen.misfits;
  }
}

GridReport add_all(double limit, double unit, std::span<const double> values, std::int64_t* high,
                   std::int64_t* low) {
  const hn::ScalableTag<double> d;
  const std::size_t lanes = hn::Lanes(d);
  const auto limits = hn::Set(d, limit);
  const auto units = hn::Set(d, unit);
  auto largest = hn::Zero(d);
  Seen seen;
  std::size_t i = 0;
  for (; i + lanes <= values.size(); i += lanes) {
    const auto value = hn::LoadU(d, values.data() + i);
    const auto magnitude = hn::Abs(value);
    if (HWY_LIKELY(hn::AllTrue(d, hn::Lt(magnitude, limits)))) {
      largest = hn::Max(largest, magnitude);
      add_lanes(d, value, units, high + i, low + i);
    } else {
      for (std::size_t lane = i; lane < i + lanes; ++lane) {
        add_one(values[lane], limit, unit, high + lane, low + lane, seen);
      }
    }
  }
  for (; i < values.size(); ++i) add_one(values[i], limit, unit, high + i, low + i, seen);

  GridReport report{.misfits = seen.misfits, .non_finite = seen.non_finite};
  const double magnitude = std::max(seen.largest, hn::GetLane(hn::MaxOfLanes(d, largest)));
  if (magnitude > 0) report.largest_exponent = std::ilogb(magnitude) + 1;
  return report;
}

}  // namespace HWY_NAMESPACE
}  // namespace tally
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tally {
namespace {

HWY_EXPORT(add_all);

constexpr int smallest_exponent = -1000;

// 128-bit integers are no part of ISO C++, which -Wpedantic would tell.
__extension__ using Int128 = __int128;

int unit_exponent(const Grid& grid) {
  return std::min(62 - grid.headroom_bits - grid.exponent, 1023);
}

}  // namespace

double Grid::unit() const {
  return std::ldexp(1.0, unit_exponent(*this));
}

Grid make_grid(double bound, int headroom_bits) {
  if (!(bound >= 0) || !std::isfinite(bound)) {
    throw UsageError("the bound of an exact sum is " + std::to_string(bound) +
                     ": it must be finite and not negative");
  }
  if (headroom_bits < 0 || headroom_bits > 60) {
    throw UsageError("an exact sum cannot keep " + std::to_string(headroom_bits) +
                     " bits of headroom: 0 to 60");
  }
  const int exponent = bound > 0 ? std::ilogb(bound) + 1 : smallest_exponent;
  return {.exponent = std::max(exponent, smallest_exponent), .headroom_bits = headroom_bits};
}

void GridReport::merge(const GridReport& other) {
  misfits += other.misfits;
  non_finite += other.non_finite;
  largest_exponent = std::max(largest_exponent, other.largest_exponent);
}

GridReport add_to_grid(const Grid& grid, std::span<const double> values, std::int64_t* high,
                       std::int64_t* low) {
  // Infinite where the exponent is 1024: every finite double is below.
  const double limit = std::ldexp(1.0, grid.exponent);
  return HWY_DYNAMIC_DISPATCH(add_all)(limit, grid.unit(), values, high, low);
}

void carry(std::span<std::int64_t> high, std::span<std::int64_t> low) {
  constexpr std::int64_t mask = (std::int64_t{1} << grid_low_bits) - 1;
  for (std::size_t i = 0; i < high.size(); ++i) {
    high[i] += low[i] >> grid_low_bits;
    low[i] &= mask;
  }
}

double grid_value(const Grid& grid, std::int64_t high, std::int64_t low) {
  const Int128 total = static_cast<Int128>(high) * (std::int64_t{1} << grid_low_bits) + low;
  // The conversion is the only rounding: a result that is subnormal has fewer than 53 bits on the grid.
  return std::ldexp(static_cast<double>(total), -(unit_exponent(grid) + grid_low_bits));
}

}  // namespace tally
#endif  // HWY_ONCE
