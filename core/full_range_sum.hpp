#pragma once
#include <array>
#include <cstdint>
#include <span>

namespace tally {

// An exact sum of any finite doubles, for the few sums that have no bound known in advance: a fixed-point
// number from 2^-1074 up, 32 bits a limb (U. Kulisch, Computer Arithmetic and Validity, 2008). Limbs of
// several sums may be added element by element, as an allreduce does, so the result depends on no order.
class FullRangeSum {
 public:
  // Up to 2^1070 and a sign: at least 2^45 of the largest doubles.
  static constexpr int limb_count = 67;

  // Adds a value exactly; an infinity or NaN is refused: returns false and changes nothing.
  bool add(double value);
  void merge(const FullRangeSum& other);

  // Leaves each limb but the last (which has the sign) within 0 to 2^32 - 1, so that the limbs of up to 2^20
  // sums may be added element by element. Call it before such a sum, and after it before more is added.
  void carry();
  // Limb i counts 2^(32 i - 1074).
  std::span<std::int64_t> limbs() { return limbs_; }
  std::span<const std::int64_t> limbs() const { return limbs_; }

  // The sum rounded once to double, ties to even; an infinity where it is beyond the range of double.
  double value() const;

 private:
  std::array<std::int64_t, limb_count> limbs_{};
  std::int64_t uncarried_additions_ = 0;
};

}  // namespace tally
