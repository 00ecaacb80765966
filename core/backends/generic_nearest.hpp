#pragma once
#include <cmath>
#include <cstdint>
#include <limits>

#include "core/backends/cpu_kernels.hpp"
#include "core/backends/groups.hpp"
#include "core/backends/nearest.hpp"
#include "core/view.hpp"

// The search of nearest.hpp as a group kernel (groups.hpp): a matrix product whose result stays in registers.
namespace tally::generic {

// The best score of a row among some centres, whose it is (-1: nobody's), and the second best.
template <class Real>
struct BestScores {
  Real best, second;
  std::int32_t label;

  TALLY_HD void take(Real score, std::int32_t k) {
    const bool better = score > best;
    const Real other = better ? best : score;
    second = other > second ? other : second;
    best = better ? score : best;
    label = better ? k : label;
  }
};
struct MergeScores {
  template <class Real>
  TALLY_HD BestScores<Real> operator()(const BestScores<Real>& a, const BestScores<Real>& b) const {
    const bool first = a.best > b.best || (a.best == b.best && a.label < b.label);
    BestScores<Real> result = first ? a : b;
    const Real other = first ? b.best : a.best;
    if (other > result.second) result.second = other;
    return result;
  }
};

// A centre (-1: none) and its squared distance; of two that are equally near the one of the lower index.
struct Candidate {
  double distance;
  std::int32_t label;
  std::int32_t unused;
};
struct Nearer {
  TALLY_HD Candidate operator()(const Candidate& a, const Candidate& b) const {
    if (a.label < 0 || b.label < 0) return a.label < 0 ? b : a;
    if (a.distance < b.distance) return a;
    if (b.distance < a.distance) return b;
    return a.label < b.label ? a : b;
  }
};

// A group of threads measures a row against all centres in double; one of them calls take(nearest). A thread's own
// `nearest` and the group's `nearest[threads / 32]` are used on the way.
template <int threads, class Real, class Group, class Shared, class Take>
TALLY_HD void measure_all(const Real* values, const MatrixView<const double>& centres, Group& group, Shared& shared,
                          const Take& take) {
  group.each([&](int thread, auto& own) {
    own.nearest = {0, -1, 0};
    for (Index k = thread; k < centres.rows; k += threads) {
      double distance = 0;
      for (Index d = 0; d < centres.cols; ++d) {
        const double difference = static_cast<double>(values[d]) - centres(k, d);
        distance += difference * difference;
      }
      own.nearest = Nearer{}(own.nearest, {distance, static_cast<std::int32_t>(k), 0});
    }
  });
  group.template combine<32>([](auto& own) -> Candidate& { return own.nearest; }, Nearer{});
  group.each([&](int thread, auto& own) {
    if (thread % 32 == 0) shared.nearest[thread / 32] = own.nearest;
  });
  group.each([&](int thread, auto&) {
    if (thread != 0) return;
    Candidate nearest = shared.nearest[0];
    for (int i = 1; i < threads / 32; ++i) nearest = Nearer{}(nearest, shared.nearest[i]);
    take(nearest);
  });
}

// `columns` centres and a few rows a thread, 8 times as many centres a panel. Scores x . c - |c|^2 / 2 are summed over
// dimensions in their order. Where the second best comes within twice the bound on rounding of nearest.cpp of the best,
// or something may have overflowed, the group measures the row against all centres in double.
template <class Real, int columns>
struct NearestRows {
  static constexpr int threads = 128, groups_at_once = 2;
  static constexpr int lanes = 8;                          // threads that share a row
  static constexpr int rows = sizeof(Real) == 4 ? 8 : 4;  // of a thread
  static constexpr int group_rows = threads / lanes * rows;
  static constexpr int width = lanes * columns;
  static constexpr int depth = 16;  // dimensions staged at a time
  static constexpr int row_pack = 16 / sizeof(Real);
  static constexpr int column_pack = columns < row_pack ? columns : row_pack;
  static_assert(cpu::panel_width % width == 0 && columns % column_pack == 0);

  struct Shared {
    Pack<Real, row_pack> x[depth][group_rows / row_pack + 1];  // one more: writes spread over the banks
    Pack<Real, column_pack> centres[depth][width / column_pack];
    std::uint32_t unsure[threads / lanes];  // a bit for each row of a thread
    Candidate nearest[threads / 32];
  };
  struct Own {
    Real sums[rows][columns];
    BestScores<Real> found[rows];
    double squares[rows], distance[rows];
    Candidate nearest;
  };

  MatrixView<const Real> x;
  cpu::Centres<Real> centres;
  cpu::RowTerms terms;
  std::int32_t* labels;  // (rows)
  double* row_sums;      // (rows): receives the row's share of the objective

  Index groups() const { return (x.rows + group_rows - 1) / group_rows; }

  template <class Group>
  TALLY_HD void operator()(Index index, Group& group, Shared& shared) const {
    const Index first_row = index * group_rows, K = centres.exact.rows, D = x.cols;
    for (Index first = 0; first < K; first += width) {
      for (Index d = 0; d < D; d += depth) {
        group.each([&](int thread, Own& own) {
          if (first == 0 && d == 0) forget(own);
          if (d == 0) begin_panel(first, thread % lanes, own);
          stage_rows(first_row, d, thread, shared);
          stage_centres(first, d, thread, shared);
        });
        group.each([&](int thread, Own& own) {
          add_products(D - d < depth ? static_cast<int>(D - d) : depth, thread, shared, own);
          if (d + depth >= D) take_scores(first, thread % lanes, own);
        });
      }
    }
    TALLY_UNROLL
    for (int r = 0; r < rows; ++r)
      group.template combine<lanes>([r](Own& own) -> BestScores<Real>& { return own.found[r]; }, MergeScores{});
    group.each([&](int thread, Own& own) { measure_best(first_row, thread, own); });
    TALLY_UNROLL
    for (int r = 0; r < rows; ++r) {
      group.template combine<lanes>([r](Own& own) -> double& { return own.squares[r]; }, Plus{});
      group.template combine<lanes>([r](Own& own) -> double& { return own.distance[r]; }, Plus{});
    }
    group.each([&](int thread, Own& own) {
      if (thread % lanes == 0) shared.unsure[thread / lanes] = write_sure_rows(first_row, thread / lanes, own);
    });
    for (int i = 0; i < threads / lanes; ++i) {
      const std::uint32_t unsure = shared.unsure[i];
      for (int r = 0; r < rows; ++r)
        if (unsure >> r & 1) {
          const Index row = first_row + i * rows + r;
          measure_all<threads>(x.row(row), centres.exact, group, shared,
                               [&](const Candidate& nearest) { write(row, nearest.label, nearest.distance); });
        }
    }
  }

 private:
  static constexpr Real infinity = std::numeric_limits<Real>::infinity();

  // Column of a panel that is a thread's j-th: packs of neighbouring threads are neighbours.
  TALLY_HD static constexpr int column(int lane, int j) {
    return (j / column_pack * lanes + lane) * column_pack + j % column_pack;
  }
  // Row d of the panel: 0 for minus the half norms, 1 + d for the coordinates; from column `first` on.
  TALLY_HD const Real* panel_row(Index first, Index d) const {
    const Index within = first % cpu::panel_width;
    return centres.panels + (first - within) * (1 + x.cols) + d * cpu::panel_width + within;
  }

  TALLY_HD void forget(Own& own) const {
    TALLY_UNROLL
    for (int r = 0; r < rows; ++r) own.found[r] = {-infinity, -infinity, -1};
  }

  TALLY_HD void begin_panel(Index first, int lane, Own& own) const {
    const Real* minus_half_norms = panel_row(first, 0);
    TALLY_UNROLL
    for (int j = 0; j < columns; ++j) {
      const Real start = minus_half_norms[column(lane, j)];
      TALLY_UNROLL
      for (int r = 0; r < rows; ++r) own.sums[r][j] = start;
    }
  }

  // Rows beyond the last are zeros, and so are dimensions.
  TALLY_HD void stage_rows(Index first_row, Index first_d, int thread, Shared& shared) const {
    const int j = thread % depth;
    const Index d = first_d + j;
    TALLY_UNROLL
    for (int i = thread / depth; i < group_rows; i += threads / depth) {
      const Index row = first_row + i;
      shared.x[j][i / row_pack].values[i % row_pack] = row < x.rows && d < x.cols ? x(row, d) : Real(0);
    }
  }
  TALLY_HD void stage_centres(Index first, Index first_d, int thread, Shared& shared) const {
    TALLY_UNROLL
    for (int i = thread; i < depth * width; i += threads) {
      const int j = i / width, c = i % width;
      const Index d = first_d + j;
      shared.centres[j][c / column_pack].values[c % column_pack] =
          d < x.cols ? panel_row(first, 1 + d)[c] : Real(0);
    }
  }

  TALLY_HD void add_products(int dims, int thread, const Shared& shared, Own& own) const {
    const int lane = thread % lanes, first = thread / lanes * (rows / row_pack);
    TALLY_UNROLL_BY(4)
    for (int d = 0; d < dims; ++d) {
      Pack<Real, row_pack> values[rows / row_pack];
      Pack<Real, column_pack> coordinates[columns / column_pack];
      TALLY_UNROLL
      for (int i = 0; i < rows / row_pack; ++i) values[i] = shared.x[d][first + i];
      TALLY_UNROLL
      for (int i = 0; i < columns / column_pack; ++i) coordinates[i] = shared.centres[d][i * lanes + lane];
      TALLY_UNROLL
      for (int r = 0; r < rows; ++r) {
        TALLY_UNROLL
        for (int j = 0; j < columns; ++j)
          own.sums[r][j] +=
              values[r / row_pack].values[r % row_pack] * coordinates[j / column_pack].values[j % column_pack];
      }
    }
  }

  TALLY_HD void take_scores(Index first, int lane, Own& own) const {
    TALLY_UNROLL
    for (int r = 0; r < rows; ++r) {
      TALLY_UNROLL
      for (int j = 0; j < columns; ++j)
        own.found[r].take(own.sums[r][j], static_cast<std::int32_t>(first + column(lane, j)));
    }
  }

  // A lane's share of |x|^2 and of the squared distance to the centre with the best score.
  TALLY_HD void measure_best(Index first_row, int thread, Own& own) const {
    const Real* values[rows];  // those beyond the last row repeat it
    const double* centre[rows];
    TALLY_UNROLL
    for (int r = 0; r < rows; ++r) {
      const Index row = first_row + thread / lanes * rows + r;
      values[r] = x.row(row < x.rows ? row : x.rows - 1);
      centre[r] = centres.exact.row(own.found[r].label < 0 ? 0 : own.found[r].label);
      own.squares[r] = own.distance[r] = 0;
    }
    TALLY_UNROLL_BY(1)
    for (Index d = thread % lanes; d < x.cols; d += lanes) {
      TALLY_UNROLL
      for (int r = 0; r < rows; ++r) {
        const auto value = static_cast<double>(values[r][d]);
        const double difference = value - centre[r][d];
        own.squares[r] += value * value;
        own.distance[r] += difference * difference;
      }
    }
  }

  // Writes the rows of a thread whose nearest centre is certain; the bits of the others.
  TALLY_HD std::uint32_t write_sure_rows(Index first_row, int thread_row, const Own& own) const {
    std::uint32_t unsure = 0;
    TALLY_UNROLL
    for (int r = 0; r < rows; ++r) {
      const Index row = first_row + thread_row * rows + r;
      if (row >= x.rows) continue;
      if (is_sure(own.found[r], own.squares[r]))
        write(row, own.found[r].label, own.distance[r]);
      else
        unsure |= 1U << r;
    }
    return unsure;
  }

  // The bound on rounding is that of nearest.cpp: (D + 4) 2u (|x| C + C^2/2), good for sums in any order.
  TALLY_HD bool is_sure(const BestScores<Real>& found, double squares) const {
    using Limits = std::numeric_limits<Real>;
    constexpr double epsilon = Limits::epsilon(), smallest = Limits::min(), limit = 0.125 * Limits::max();
    const double largest = *centres.largest_norm;
    const double magnitude = std::sqrt(squares) * largest + 0.5 * largest * largest;
    if (!(magnitude < limit) || found.label < 0) return false;
    const double error = static_cast<double>(x.cols + 4) * (epsilon * magnitude + smallest);
    return found.second < static_cast<Real>(static_cast<double>(found.best) - 2.0 * error);
  }

  TALLY_HD void write(Index row, std::int32_t label, double distance) const {
    labels[row] = label;
    if (terms.objective) terms.objective[row] = distance;
    row_sums[row] = terms.weight(row) * distance;
  }
};

}  // namespace tally::generic
