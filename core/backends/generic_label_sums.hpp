#pragma once
#include <cstdint>

#include "core/backends/groups.hpp"
#include "core/view.hpp"

// Sums of the rows of each label, of order rows * columns: rows are sorted by label, those of one label in their order,
// and cut into pieces; a piece is summed in order, then the pieces of a label in theirs. Nothing depends on which thread
// comes first.
namespace tally::generic {

// Where rows come from, and room for what the kernels below hand each other. At most 2^31 - 1 rows and labels.
struct SortedRows {
  static constexpr Index chunk_rows = 128;   // sorted by one group
  static constexpr Index span_chunks = 32;   // whose counts one thread adds up
  static constexpr Index piece_rows = 64;

  const std::int32_t* labels = nullptr;  // (rows)
  Index rows = 0, label_count = 0;
  std::int32_t* ranks = nullptr;         // (rows): rows before of the same chunk and label
  std::int32_t* order = nullptr;         // (rows): row numbers sorted by label
  std::int32_t* chunk_counts = nullptr;  // (chunks, labels), clear at first; then rows before of the same span and label
  std::int32_t* span_counts = nullptr;   // (spans, labels); then rows before of the same label
  std::int32_t* counts = nullptr;        // (labels)
  std::int32_t* first_place = nullptr;   // (labels): where a label begins in `order`
  std::int32_t* first_piece = nullptr;   // (labels + 1)
  std::int32_t* piece_label = nullptr;   // (most_pieces)

  TALLY_HD Index chunks() const { return (rows + chunk_rows - 1) / chunk_rows; }
  TALLY_HD Index spans() const { return (chunks() + span_chunks - 1) / span_chunks; }
  TALLY_HD Index most_pieces() const { return rows / piece_rows + label_count; }
  // Elements of all arrays together.
  Index size() const {
    return 2 * rows + (chunks() + spans() + 3) * label_count + 1 + most_pieces();
  }
  // Places the arrays in `memory`, the chunks' counts first.
  void place(std::int32_t* memory) {
    const auto take = [&](Index count) {
      std::int32_t* const taken = memory;
      memory += count;
      return taken;
    };
    chunk_counts = take(chunks() * label_count);
    span_counts = take(spans() * label_count);
    counts = take(label_count);
    first_place = take(label_count);
    first_piece = take(label_count + 1);
    piece_label = take(most_pieces());
    ranks = take(rows);
    order = take(rows);
  }
};

// A chunk a group.
struct RankRows {
  static constexpr int threads = SortedRows::chunk_rows, groups_at_once = 8;
  struct Shared {
    std::int32_t labels[threads];
  };
  struct Own {
    std::int32_t label;
  };
  SortedRows sorted;

  Index groups() const { return sorted.chunks(); }
  template <class Group>
  TALLY_HD void operator()(Index chunk, Group& group, Shared& shared) const {
    group.each([&](int thread, Own& own) {
      const Index row = chunk * threads + thread;
      own.label = row < sorted.rows ? sorted.labels[row] : -1;
      shared.labels[thread] = own.label;
    });
    group.each([&](int thread, Own& own) {
      if (own.label < 0) return;
      std::int32_t before = 0, behind = 0;
      for (int i = 0; i < thread; ++i) before += shared.labels[i] == own.label;
      for (int i = thread + 1; i < threads; ++i) behind += shared.labels[i] == own.label;
      sorted.ranks[chunk * threads + thread] = before;
      if (behind == 0) sorted.chunk_counts[chunk * sorted.label_count + own.label] = before + 1;
    });
  }
};

// counts[i] becomes what the earlier ones add up to, for every stride-th of `count` values; returns the sum of all.
TALLY_HD inline std::int32_t add_up(std::int32_t* counts, Index count, Index stride) {
  constexpr Index batch = 8;  // read before the first is written
  std::int32_t sum = 0;
  for (Index first = 0; first < count; first += batch) {
    std::int32_t values[batch];
    TALLY_UNROLL
    for (Index i = 0; i < batch; ++i) values[i] = first + i < count ? counts[(first + i) * stride] : 0;
    TALLY_UNROLL
    for (Index i = 0; i < batch; ++i) {
      if (first + i < count) counts[(first + i) * stride] = sum;
      sum += values[i];
    }
  }
  return sum;
}

struct AddUpSpans {
  SortedRows sorted;

  Index count() const { return sorted.spans() * sorted.label_count; }
  TALLY_HD void operator()(Index i) const {
    const Index span = i / sorted.label_count, label = i - span * sorted.label_count;
    const Index first = span * SortedRows::span_chunks, left = sorted.chunks() - first;
    sorted.span_counts[i] =
        add_up(sorted.chunk_counts + first * sorted.label_count + label,
               left < SortedRows::span_chunks ? left : SortedRows::span_chunks, sorted.label_count);
  }
};

struct AddUpLabels {
  SortedRows sorted;

  Index count() const { return sorted.label_count; }
  TALLY_HD void operator()(Index label) const {
    sorted.counts[label] = add_up(sorted.span_counts + label, sorted.spans(), sorted.label_count);
  }
};

struct CutLabels {
  SortedRows sorted;

  Index count() const { return sorted.label_count; }
  TALLY_HD void operator()(Index label) const {
    std::int32_t place = 0, piece = 0;
    for (Index k = 0; k < label; ++k) {
      place += sorted.counts[k];
      piece += pieces_of(k);
    }
    const std::int32_t end = piece + pieces_of(label);
    sorted.first_place[label] = place;
    sorted.first_piece[label] = piece;
    if (label + 1 == sorted.label_count) sorted.first_piece[label + 1] = end;
    for (; piece < end; ++piece) sorted.piece_label[piece] = static_cast<std::int32_t>(label);
  }

 private:
  TALLY_HD std::int32_t pieces_of(Index k) const {
    return (sorted.counts[k] + static_cast<std::int32_t>(SortedRows::piece_rows) - 1) /
           static_cast<std::int32_t>(SortedRows::piece_rows);
  }
};

struct PlaceRow {
  SortedRows sorted;

  Index count() const { return sorted.rows; }
  TALLY_HD void operator()(Index row) const {
    const Index label = sorted.labels[row], K = sorted.label_count, chunk = row / SortedRows::chunk_rows;
    const Index place = Index{sorted.first_place[label]} + sorted.span_counts[chunk / SortedRows::span_chunks * K + label] +
                        sorted.chunk_counts[chunk * K + label] + sorted.ranks[row];
    sorted.order[place] = static_cast<std::int32_t>(row);
  }
};

// One call for each piece and each of its 1 + D sums: of weights, of weighted differences from the label's origin.
template <class Real>
struct SumPiece {
  SortedRows sorted;
  MatrixView<const Real> x;
  const double* weights;             // (rows) or null
  MatrixView<const double> origins;  // (labels, D)
  double* sums;                      // (most_pieces, 1 + D)

  Index count() const { return sorted.most_pieces() * (1 + x.cols); }
  TALLY_HD void operator()(Index i) const {
    const Index piece = i / (1 + x.cols), slot = i - piece * (1 + x.cols);
    if (piece >= sorted.first_piece[sorted.label_count]) return;
    const Index label = sorted.piece_label[piece];
    const Index first = Index{sorted.first_place[label]} + (piece - sorted.first_piece[label]) * SortedRows::piece_rows;
    const Index end = Index{sorted.first_place[label]} + sorted.counts[label];
    const Index last = first + SortedRows::piece_rows < end ? first + SortedRows::piece_rows : end;
    const double origin = slot == 0 ? 0 : origins(label, slot - 1);
    double sum = 0;
    for (Index j = first; j < last; ++j) {
      const Index row = sorted.order[j];
      const double weight = weights ? weights[row] : 1.0;
      const double value = slot == 0 ? 1.0 : static_cast<double>(x(row, slot - 1)) - origin;
      sum += weight == 0 ? 0 : weight * value;
    }
    sums[i] = sum;
  }
};

struct AddPieces {
  SortedRows sorted;
  const double* pieces;     // (most_pieces, 1 + D)
  MatrixView<double> sums;  // (labels, 1 + D)

  Index count() const { return sums.rows * sums.cols; }
  TALLY_HD void operator()(Index i) const {
    const Index label = i / sums.cols, slot = i - label * sums.cols;
    double sum = 0;
    for (Index piece = sorted.first_piece[label]; piece < sorted.first_piece[label + 1]; ++piece)
      sum += pieces[piece * sums.cols + slot];
    sums(label, slot) += sum;
  }
};

}  // namespace tally::generic
