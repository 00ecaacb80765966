// Under mpirun on any number of ranks. Every rank makes the same checks; exit status 0 where all hold.
#include "comm/mpi_communicator.hpp"

#include <algorithm>
#include <cstdio>
#include <limits>
#include <memory>
#include <span>
#include <string>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "comm/agreement.hpp"
#include "comm/check_mpi.hpp"
#include "comm/mpi_session.hpp"
#include "core/error.hpp"

namespace tally {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;

// No test may leave a collective early: the others would wait for it. Hence EXPECT, never ASSERT.
class MpiCommunicatorTest : public ::testing::Test {
 protected:
  MpiCommunicator comm{MPI_COMM_WORLD, {.timeout = std::chrono::seconds(60)}};
  const std::int64_t rank = comm.rank();
  const std::int64_t size = comm.size();
};

std::vector<std::byte> bytes_of(const std::string& text) {
  const auto bytes = std::as_bytes(std::span(text));
  return {bytes.begin(), bytes.end()};
}

TEST_F(MpiCommunicatorTest, RanksAreThoseOfTheParent) {
  int world_rank = -1;
  int world_size = -1;
  check_mpi(MPI_Comm_rank(MPI_COMM_WORLD, &world_rank));
  check_mpi(MPI_Comm_size(MPI_COMM_WORLD, &world_size));

  EXPECT_EQ(rank, world_rank);
  EXPECT_EQ(size, world_size);
  EXPECT_FALSE(comm.host_name().empty());
}

TEST_F(MpiCommunicatorTest, NodeRanksOfAHostAreItsRanksInOrder) {
  std::vector<std::int64_t> node_ranks(static_cast<std::size_t>(size));
  node_ranks[static_cast<std::size_t>(rank)] = comm.node_rank();

  comm.sum(node_ranks);

  EXPECT_EQ(node_ranks[0], 0);
  for (std::size_t r = 1; r < node_ranks.size(); ++r) {
    EXPECT_TRUE(node_ranks[r] == node_ranks[r - 1] + 1 || node_ranks[r] == 0);
  }
}

TEST_F(MpiCommunicatorTest, EveryRankGetsTheSum) {
  std::vector<std::int64_t> integers = {rank + 1, std::int64_t{1} << 55, -rank};
  std::vector<double> doubles = {0.5 * static_cast<double>(rank)};

  comm.sum(integers);
  comm.sum(doubles);

  EXPECT_THAT(integers, ElementsAre(size * (size + 1) / 2, size << 55, -size * (size - 1) / 2));
  EXPECT_THAT(doubles, ElementsAre(0.25 * static_cast<double>(size * (size - 1))));
}

TEST_F(MpiCommunicatorTest, EmptyBuffersAreLegal) {
  std::vector<std::int64_t> integers;
  std::vector<double> doubles;
  std::vector<std::byte> bytes;

  comm.sum(integers);
  comm.sum(doubles);
  comm.sum_and_max(integers, integers);
  comm.broadcast(bytes, 0);
  const auto gathered = comm.gather(bytes);

  EXPECT_EQ(gathered.size(), rank == 0 ? static_cast<std::size_t>(size) : 0);
  EXPECT_THAT(gathered, Each(bytes));
}

TEST_F(MpiCommunicatorTest, BigBuffersAreSummedWhole) {
  constexpr std::size_t eight_mebibytes = std::size_t{1} << 20;
  std::vector<std::int64_t> values(eight_mebibytes + 3);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<std::int64_t>(i) * (rank + 1);

  comm.sum(values);

  std::size_t wrong = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    wrong += values[i] != static_cast<std::int64_t>(i) * size * (size + 1) / 2;
  }
  EXPECT_EQ(wrong, 0);
}

TEST_F(MpiCommunicatorTest, SumAndMaxKeepsThePartsApart) {
  std::vector<std::int64_t> sums = {1, rank};
  std::vector<std::int64_t> maxima = {rank, -rank, std::numeric_limits<std::int64_t>::min()};
  std::vector<std::int64_t> sums_alone = {2};
  std::vector<std::int64_t> maxima_alone = {-5 - rank};
  std::vector<std::int64_t> none;

  comm.sum_and_max(sums, maxima);
  comm.sum_and_max(sums_alone, none);
  comm.sum_and_max(none, maxima_alone);

  EXPECT_THAT(sums, ElementsAre(size, size * (size - 1) / 2));
  EXPECT_THAT(maxima, ElementsAre(size - 1, 0, std::numeric_limits<std::int64_t>::min()));
  EXPECT_THAT(sums_alone, ElementsAre(2 * size));
  EXPECT_THAT(maxima_alone, ElementsAre(-5));
}

TEST_F(MpiCommunicatorTest, SumAndMaxOfABigRecordIsNotCut) {
  std::vector<std::int64_t> sums(300'001, rank);
  std::vector<std::int64_t> maxima(500'003, -rank);

  comm.sum_and_max(sums, maxima);

  EXPECT_EQ(std::count(sums.begin(), sums.end(), size * (size - 1) / 2), 300'001);
  EXPECT_EQ(std::count(maxima.begin(), maxima.end(), 0), 500'003);
}

TEST_F(MpiCommunicatorTest, SumAndMaxOfOtherLengthsIsAnErrorEverywhere) {
  std::vector<std::int64_t> sums(rank == 0 ? 2 : 3);
  std::vector<std::int64_t> maxima(rank == 0 ? 3 : 2);
  std::vector<std::int64_t> errors = {0};

  try {
    comm.sum_and_max(sums, maxima);
  } catch (const Error&) {
    errors[0] = 1;
  }

  comm.sum(errors);
  EXPECT_EQ(errors[0], size == 1 ? 0 : size);  // one rank cannot disagree with itself
}

TEST_F(MpiCommunicatorTest, BroadcastGivesTheRootsBytes) {
  for (int root = 0; root < comm.size(); ++root) {
    std::vector<std::byte> bytes = bytes_of("from " + std::to_string(rank));
    std::vector<std::byte> many(3'000'001, static_cast<std::byte>(rank));

    comm.broadcast(bytes, root);
    comm.broadcast(many, root);

    EXPECT_EQ(bytes, bytes_of("from " + std::to_string(root)));
    EXPECT_EQ(std::count(many.begin(), many.end(), static_cast<std::byte>(root)), 3'000'001);
  }
}

TEST_F(MpiCommunicatorTest, GatherKeepsRankOrderAndLengths) {
  const auto text = [](std::int64_t r) {
    return std::string(static_cast<std::size_t>(r * r * 100'000), static_cast<char>('a' + r));
  };

  const auto gathered = comm.gather(bytes_of(text(rank)));

  EXPECT_EQ(gathered.size(), rank == 0 ? static_cast<std::size_t>(size) : 0);
  for (std::size_t r = 0; r < gathered.size(); ++r) {
    EXPECT_EQ(gathered[r], bytes_of(text(static_cast<std::int64_t>(r))));
  }
}

TEST_F(MpiCommunicatorTest, NobodyLeavesABarrierBeforeAllHaveEntered) {
  const auto start = MPI_Wtime();
  if (rank == size - 1) std::this_thread::sleep_for(std::chrono::milliseconds(100));

  comm.barrier();

  EXPECT_GE(MPI_Wtime() - start, size == 1 ? 0.0 : 0.09 - MPI_Wtick());
}

TEST_F(MpiCommunicatorTest, PulsesDisturbNoCollective) {
  for (int i = 0; i < 1000; ++i) {
    std::vector<std::int64_t> values = {i + rank};
    comm.pulse();
    comm.sum(values);
    EXPECT_THAT(values, ElementsAre(size * i + size * (size - 1) / 2));
  }
}

TEST_F(MpiCommunicatorTest, TwoWorldsDoNotMix) {
  MpiCommunicator other(MPI_COMM_WORLD);
  std::vector<std::int64_t> ones = {1};
  std::vector<std::int64_t> tens = {10};

  comm.sum(ones);
  other.sum(tens);

  EXPECT_EQ(ones[0], size);
  EXPECT_EQ(tens[0], 10 * size);
}

TEST_F(MpiCommunicatorTest, HeartbeatsInFlightDoNotDisturbTheEnd) {
  auto short_lived = std::make_unique<MpiCommunicator>(
      MPI_COMM_WORLD, MpiCommunicatorOptions{.timeout = std::chrono::seconds(10)});
  // Past the interval, on one rank only: its heartbeats are still unread when the others leave.
  for (int i = 0; i < 3 && rank == 0; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(510));
    short_lived->pulse();
  }
  short_lived->barrier();

  const auto start = MPI_Wtime();
  short_lived.reset();

  EXPECT_LT(MPI_Wtime() - start, 5.0);
}

TEST_F(MpiCommunicatorTest, AgreementNamesTheLowestFailingRank) {
  std::string message;

  try {
    agree(comm, [&] {
      if (rank == size - 1) throw DataError("x.h5 is torn");
    });
  } catch (const DataError& error) {
    message = error.what();
  }

  if (size == 1) {
    EXPECT_EQ(message, "x.h5 is torn");
  } else {
    EXPECT_THAT(message,
                ::testing::MatchesRegex("rank " + std::to_string(size - 1) + " on .+: x.h5 is torn"));
  }
}

TEST_F(MpiCommunicatorTest, TooShortATimeoutIsRefused) {
  EXPECT_THROW(MpiCommunicator(MPI_COMM_WORLD, {.timeout = std::chrono::milliseconds(10)}), UsageError);
}

// The printer of rank 0 alone; failures of the others are said in one line each.
class FailurePrinter : public ::testing::EmptyTestEventListener {
 public:
  explicit FailurePrinter(int rank) : rank_(rank) {}
  void OnTestPartResult(const ::testing::TestPartResult& result) override {
    if (result.failed()) std::printf("rank %d: line %d: %s\n", rank_, result.line_number(), result.summary());
  }

 private:
  int rank_;
};

}  // namespace
}  // namespace tally

int main(int argc, char** argv) {
  ::testing::InitGoogleMock(&argc, argv);
  const tally::MpiSession session;
  int rank = 0;
  tally::check_mpi(MPI_Comm_rank(MPI_COMM_WORLD, &rank));
  if (rank != 0) {
    auto& listeners = ::testing::UnitTest::GetInstance()->listeners();
    delete listeners.Release(listeners.default_result_printer());
    listeners.Append(new tally::FailurePrinter(rank));
  }
  return RUN_ALL_TESTS();
}
