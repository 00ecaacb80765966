#pragma once
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>

#include "core/backends/generic_nearest.hpp"
#include "core/backends/groups.hpp"
#include "core/backends/nearest.hpp"
#include "core/view.hpp"

// The search of nearest.hpp as a group kernel whose scores come from tensor cores.
namespace tally::generic {

// The two best scores of a row among some centres, whose they are (-1: nobody's), and the third best.
struct BestThree {
  float best, second, third;
  std::int32_t label, other;

  TALLY_HD static bool is_ahead(float a, std::int32_t of_a, float b, std::int32_t of_b) {
    return a > b || (a == b && of_a < of_b);
  }
  TALLY_HD void take(float score, std::int32_t k) {
    if (is_ahead(score, k, best, label)) {
      third = second;
      second = best;
      other = label;
      best = score;
      label = k;
    } else if (is_ahead(score, k, second, other)) {
      third = second;
      second = score;
      other = k;
    } else if (score > third) {
      third = score;
    }
  }
};
struct MergeThree {
  TALLY_HD BestThree operator()(const BestThree& a, const BestThree& b) const {
    BestThree result = a;
    result.take(b.best, b.label);
    result.take(b.second, b.other);
    if (b.third > result.third) result.third = b.third;
    return result;
  }
};

// Each 32 threads score 32 rows against `tiles` times 8 centres, x . c - |c|^2 / 2 with x and c rounded to TF32, in
// registers. Where only the two best centres come within twice the bound of the best, both are measured in double; where
// a third does, or something may have overflowed, all centres are.
template <int tiles>
struct NearestRowsTf32 {
  static constexpr int threads = 128, groups_at_once = 3;
  static constexpr int lanes = 4;         // threads that share a row
  static constexpr int strips = 2;        // of 16 rows
  static constexpr int rows = 2 * strips;  // of a thread
  static constexpr int group_rows = threads / 32 * 16 * strips;
  static constexpr int width = 8 * tiles;
  static constexpr int depth = 16, packs = depth / 4;  // dimensions staged at a time
  static_assert(cpu::panel_width % width == 0 && 2 * tiles <= 16 && rows <= 16);

  // A thread's four dimensions of 16 are neighbours, so that one load brings its part of two products of 8; that is in
  // another order than the tiles', the same for rows and centres.
  struct Stage {
    Pack<float, 4> x[group_rows][packs];
    Pack<float, 4> centres[width][packs];
  };
  struct Shared {
    Stage stages[2];  // in turn: one barrier a stage
    std::uint32_t unsure[threads / lanes];  // for each row of a thread a bit: two centres left; 16 bits on: more
    Candidate nearest[threads / 32];
  };
  struct Own {
    float sums[strips][tiles][4];
    Pack<float, 4> x[rows], centre;
    BestThree found[rows];
    double squares[rows], distance[rows], other_distance[rows];
    Candidate nearest;
  };

  MatrixView<const float> x;
  cpu::Centres<float> centres;
  cpu::RowTerms terms;
  std::int32_t* labels;     // (rows)
  double* row_sums;         // (rows): receives the row's share of the objective
  double bound_share = 1;   // of the bound on rounding; less than 1 finds wrong centres, as a test shows

  Index groups() const { return (x.rows + group_rows - 1) / group_rows; }

  template <class Group>
  TALLY_HD void operator()(Index index, Group& group, Shared& shared) const {
    const Index first_row = index * group_rows, K = centres.exact.rows, D = x.cols;
    int turn = 0;
    for (Index first = 0; first < K; first += width) {
      for (Index d = 0; d < D; d += depth) {
        Stage& stage = shared.stages[turn];
        turn = 1 - turn;
        group.each([&](int thread, Own& own) {
          if (first == 0 && d == 0) forget(own);
          if (d == 0) begin_panel(first, thread, own);
          stage_rows(first_row, d, thread, stage);
          stage_centres(first, d, thread, stage);
        });
        add_products(group, stage);
      }
      group.each_alone([&](int thread, Own& own) { take_scores(first, thread % lanes, own); });
    }
    TALLY_UNROLL
    for (int r = 0; r < rows; ++r)
      group.template combine<lanes>([r](Own& own) -> BestThree& { return own.found[r]; }, MergeThree{});
    group.each_alone([&](int thread, Own& own) { measure_best(first_row, thread, own); });
    add_up(group, [](Own& own, int r) -> double& { return own.squares[r]; });
    add_up(group, [](Own& own, int r) -> double& { return own.distance[r]; });
    group.each([&](int thread, Own& own) {
      if (thread % lanes == 0) shared.unsure[thread / lanes] = write_sure_rows(first_row, thread, own);
    });
    settle(first_row, group, shared);
  }

 private:
  static constexpr float lowest = -std::numeric_limits<float>::max();
  static constexpr std::uint32_t slot_bits = 15;  // of a score, that hold whose of a thread's it is

  TALLY_HD static Index row_of(int thread, int r) {
    return thread / 32 * (16 * strips) + r / 2 * 16 + r % 2 * 8 + thread % 32 / lanes;
  }
  // See NearestRows.
  TALLY_HD const float* panel_row(Index first, Index d) const {
    const Index within = first % cpu::panel_width;
    return centres.panels + (first - within) * (1 + x.cols) + d * cpu::panel_width + within;
  }
  template <class T>
  TALLY_HD static bool is_packed(const MatrixView<const T>& matrix) {
    return matrix.cols % 4 == 0 && matrix.stride % 4 == 0 && reinterpret_cast<std::uintptr_t>(matrix.data) % 16 == 0;
  }

  TALLY_HD void forget(Own& own) const {
    TALLY_UNROLL
    for (int r = 0; r < rows; ++r) own.found[r] = {lowest, lowest, lowest, -1, -1};
  }

  // Columns beyond the last centre start at the lowest score, which unlike an infinity has bits to spare.
  TALLY_HD void begin_panel(Index first, int thread, Own& own) const {
    const float* minus_half_norms = panel_row(first, 0);
    TALLY_UNROLL
    for (int n = 0; n < tiles; ++n) {
      TALLY_UNROLL
      for (int i = 0; i < 4; ++i) {
        const float start = fmaxf(minus_half_norms[8 * n + TileOf{thread % 32}.c_column(i)], lowest);
        TALLY_UNROLL
        for (int s = 0; s < strips; ++s) own.sums[s][n][i] = start;
      }
    }
  }

  // Rows beyond the last are zeros, and so are dimensions.
  TALLY_HD void stage_rows(Index first_row, Index first_d, int thread, Stage& stage) const {
    const bool packed = is_packed(x);
    const Index d = first_d + thread % packs * 4;
    TALLY_UNROLL
    for (int i = 0; i < group_rows * packs / threads; ++i) {
      const int local = i * (threads / packs) + thread / packs;
      const Index row = first_row + local;
      Pack<float, 4> values = {{0, 0, 0, 0}};
      if (row < x.rows && d < x.cols) values = load(x.row(row), d, packed);
      TALLY_UNROLL
      for (float& value : values.values) value = to_tf32(value);
      stage.x[local][thread % packs] = values;
    }
  }
  TALLY_HD void stage_centres(Index first, Index first_d, int thread, Stage& stage) const {
    constexpr int count = depth * (width / 4);
    const int j = thread % depth;
    const Index d = first_d + j;
    TALLY_UNROLL
    for (int i = 0; i < (count + threads - 1) / threads; ++i) {
      const int c = (i * threads + thread) / depth * 4;
      if (c >= width) continue;
      Pack<float, 4> values = {{0, 0, 0, 0}};
      if (d < x.cols) values = *reinterpret_cast<const Pack<float, 4>*>(panel_row(first, 1 + d) + c);
      TALLY_UNROLL
      for (int of = 0; of < 4; ++of) stage.centres[c + of][j / 4].values[j % 4] = to_tf32(values.values[of]);
    }
  }
  // Dimensions d to d + 3 of a row, zeros beyond the last.
  TALLY_HD Pack<float, 4> load(const float* row, Index d, bool packed) const {
    if (packed) return *reinterpret_cast<const Pack<float, 4>*>(row + d);
    Pack<float, 4> values;
    TALLY_UNROLL
    for (int i = 0; i < 4; ++i) values.values[i] = d + i < x.cols ? row[d + i] : 0.0F;
    return values;
  }

  template <class Group>
  TALLY_HD void add_products(Group& group, const Stage& stage) const {
    group.each_alone([&](int thread, Own& own) {
      TALLY_UNROLL
      for (int r = 0; r < rows; ++r) own.x[r] = stage.x[row_of(thread, r)][thread % packs];
    });
    TALLY_UNROLL
    for (int n = 0; n < tiles; ++n) {
      group.each_alone([&](int thread, Own& own) { own.centre = stage.centres[8 * n + thread % 32 / 4][thread % packs]; });
      TALLY_UNROLL
      for (int half = 0; half < 2; ++half) {
        TALLY_UNROLL
        for (int s = 0; s < strips; ++s)
          group.multiply_tf32(
              [=](Own& own) -> Pack<float, 4> {
                const float(&upper)[4] = own.x[2 * s].values, (&lower)[4] = own.x[2 * s + 1].values;
                return {{upper[2 * half], lower[2 * half], upper[2 * half + 1], lower[2 * half + 1]}};
              },
              [=](Own& own) -> Pack<float, 2> {
                return {{own.centre.values[2 * half], own.centre.values[2 * half + 1]}};
              },
              [=](Own& own) -> float(&)[4] { return own.sums[s][n]; });
      }
    }
  }

  // The best three of a panel, each with its place among the thread's in its last bits: 4 operations a score.
  TALLY_HD void take_scores(Index first, int lane, Own& own) const {
    TALLY_UNROLL
    for (int r = 0; r < rows; ++r) {
      float best = lowest, second = lowest, third = lowest;
      TALLY_UNROLL
      for (int slot = 0; slot < 2 * tiles; ++slot) {
        const float sum = own.sums[r / 2][slot / 2][r % 2 * 2 + slot % 2];
        const auto marked = (std::bit_cast<std::uint32_t>(sum) & ~slot_bits) | static_cast<std::uint32_t>(slot);
        const auto score = std::bit_cast<float>(marked);
        const float beaten = fminf(best, score);
        best = fmaxf(best, score);
        third = fmaxf(third, fminf(second, beaten));
        second = fmaxf(second, beaten);
      }
      own.found[r].take(best, centre_of(first, lane, best));
      own.found[r].take(second, centre_of(first, lane, second));
      own.found[r].third = fmaxf(own.found[r].third, third);
    }
  }
  TALLY_HD std::int32_t centre_of(Index first, int lane, float score) const {
    const auto slot = static_cast<int>(std::bit_cast<std::uint32_t>(score) & slot_bits);
    return static_cast<std::int32_t>(first) + slot / 2 * 8 + lane * 2 + slot % 2;
  }

  // A row of those given to the group; beyond the last that one again.
  TALLY_HD Index real_row(Index row) const { return row < x.rows ? row : x.rows - 1; }
  TALLY_HD const double* centre(std::int32_t label) const {
    return centres.exact.row(label >= 0 && label < centres.exact.rows ? label : 0);
  }
  // Calls visit(values, coordinates) for each pack of four dimensions that a lane has of the row and the centre.
  template <class Visit>
  TALLY_HD void for_each_pack(Index row, std::int32_t label, int lane, const Visit& visit) const {
    const bool packed = is_packed(x) && is_packed(centres.exact);
    const float* values = x.row(real_row(row));
    const double* coordinates = centre(label);
    TALLY_UNROLL_BY(1)
    for (Index d = lane * 4; d < x.cols; d += depth) {
      double of_centre[4] = {0, 0, 0, 0};
      if (packed) {
        TALLY_UNROLL
        for (int i = 0; i < 2; ++i) {
          const auto two = *reinterpret_cast<const Pack<double, 2>*>(coordinates + d + 2 * i);
          of_centre[2 * i] = two.values[0];
          of_centre[2 * i + 1] = two.values[1];
        }
      } else {
        TALLY_UNROLL
        for (int i = 0; i < 4; ++i)
          if (d + i < x.cols) of_centre[i] = coordinates[d + i];
      }
      visit(load(values, d, packed), of_centre);
    }
  }
  TALLY_HD static void add_distance(const Pack<float, 4>& values, const double (&coordinates)[4], double& distance) {
    TALLY_UNROLL
    for (int i = 0; i < 4; ++i) {
      const double difference = static_cast<double>(values.values[i]) - coordinates[i];
      distance += difference * difference;
    }
  }

  // A lane's share of |x|^2 and of the squared distance to the centre with the best score.
  TALLY_HD void measure_best(Index first_row, int thread, Own& own) const {
    TALLY_UNROLL
    for (int r = 0; r < rows; ++r) {
      own.squares[r] = own.distance[r] = 0;
      for_each_pack(first_row + row_of(thread, r), own.found[r].label, thread % lanes,
                    [&](const Pack<float, 4>& values, const double(&coordinates)[4]) {
                      TALLY_UNROLL
                      for (const float each : values.values) {
                        const auto value = static_cast<double>(each);
                        own.squares[r] += value * value;
                      }
                      add_distance(values, coordinates, own.distance[r]);
                    });
    }
  }
  TALLY_HD void measure_other(Index first_row, int thread, std::uint32_t unsure, Own& own) const {
    TALLY_UNROLL
    for (int r = 0; r < rows; ++r) {
      own.other_distance[r] = 0;
      if (unsure >> r & 1)
        for_each_pack(first_row + row_of(thread, r), own.found[r].other, thread % lanes,
                      [&](const Pack<float, 4>& values, const double(&coordinates)[4]) {
                        add_distance(values, coordinates, own.other_distance[r]);
                      });
    }
  }
  template <class Group, class Member>
  TALLY_HD static void add_up(Group& group, const Member& member) {
    TALLY_UNROLL
    for (int r = 0; r < rows; ++r)
      group.template combine<lanes>([=](Own& own) -> double& { return member(own, r); }, Plus{});
  }

  // Writes the rows of a thread whose nearest centre is certain; the bits of the others.
  TALLY_HD std::uint32_t write_sure_rows(Index first_row, int thread, const Own& own) const {
    std::uint32_t unsure = 0;
    TALLY_UNROLL
    for (int r = 0; r < rows; ++r) {
      const Index row = first_row + row_of(thread, r);
      if (row >= x.rows) continue;
      const BestThree& found = own.found[r];
      const float threshold = lowest_near(found, own.squares[r]);
      if (found.second < threshold)
        write(row, {own.distance[r], found.label, 0});
      else
        unsure |= (found.third < threshold ? 1U : 0x10000U) << r;
    }
    return unsure;
  }

  // Centres that score less are not the nearest. A score is off by at most
  //   2^-10 (1 + 2^-8) |x| C + ((D + 16) 2^-22 + 2^-18) M,     M = |x| C + C^2/2, C the largest |c|:
  // - x and c are off by 2^-11 of themselves each, their product by 2^-10 (1 + 2^-12) of itself, and c was rounded to
  //   float before;
  // - tensor cores align 8 exact products and the sum so far (in two halves) to the largest and cut what lies beyond a
  //   float's bits: at most 12 times 2^-23 M for 8 dimensions, of which there are (D + 15) / 8 at most (Fasi, Higham,
  //   Mikaitis, Pranesh, Numerical behavior of NVIDIA tensor cores, PeerJ Computer Science 7:e330, 2021);
  // - the start is a rounded half norm, and marking a score changes it by 2^-19;
  // and what underflows. Not a number, which nothing is less than, where something may have overflowed.
  TALLY_HD float lowest_near(const BestThree& found, double squares) const {
    using Limits = std::numeric_limits<float>;
    constexpr double limit = 0.125 * Limits::max(), smallest = Limits::min();
    const double largest = *centres.largest_norm, norm = std::sqrt(squares), product = norm * largest;
    const double magnitude = product + 0.5 * largest * largest;
    const bool known = found.label >= 0 && found.label < centres.exact.rows;
    if (!(magnitude < limit) || !known) return std::numeric_limits<float>::quiet_NaN();
    const auto additions = static_cast<double>(x.cols + 16);
    const double error = 0x1p-10 * (1 + 0x1p-8) * product + (additions * 0x1p-22 + 0x1p-18) * magnitude +
                         additions * smallest * (1 + norm + largest);
    return static_cast<float>(static_cast<double>(found.best) - 2.0 * bound_share * error);
  }

  // Measures the centres that are left for rows that are not certain.
  template <class Group>
  TALLY_HD void settle(Index first_row, Group& group, Shared& shared) const {
    std::uint32_t any = 0;
    for (int i = 0; i < threads / lanes; ++i) any |= shared.unsure[i];
    if (any & 0xFFFFU) {
      group.each_alone([&](int thread, Own& own) { measure_other(first_row, thread, shared.unsure[thread / lanes], own); });
      add_up(group, [](Own& own, int r) -> double& { return own.other_distance[r]; });
      group.each([&](int thread, Own& own) {
        if (thread % lanes == 0) write_nearer(first_row, thread, shared.unsure[thread / lanes], own);
      });
    }
    if (any >> 16 == 0) return;
    for (int i = 0; i < threads / lanes; ++i) {
      const std::uint32_t unsure = shared.unsure[i] >> 16;
      for (int r = 0; r < rows; ++r)
        if (unsure >> r & 1) {
          const Index row = first_row + row_of(i * lanes, r);
          measure_all<threads>(x.row(row), centres.exact, group, shared,
                               [&](const Candidate& nearest) { write(row, nearest); });
        }
    }
  }
  TALLY_HD void write_nearer(Index first_row, int thread, std::uint32_t unsure, const Own& own) const {
    TALLY_UNROLL
    for (int r = 0; r < rows; ++r) {
      const BestThree& found = own.found[r];
      if (unsure >> r & 1)
        write(first_row + row_of(thread, r),
              Nearer{}({own.distance[r], found.label, 0}, {own.other_distance[r], found.other, 0}));
    }
  }

  TALLY_HD void write(Index row, const Candidate& nearest) const {
    labels[row] = nearest.label;
    if (terms.objective) terms.objective[row] = nearest.distance;
    row_sums[row] = terms.weight(row) * nearest.distance;
  }
};

}  // namespace tally::generic
