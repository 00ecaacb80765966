#include "comm/agreement.hpp"

#include <array>
#include <new>
#include <stdexcept>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "comm/single_process.hpp"
#include "comm/thread_world.hpp"

namespace tally {
namespace {

using ::testing::Each;
using ::testing::HasSubstr;

// What every rank of a world of four gets from agree() on `work`, as "kind: message".
template <class Work>
std::vector<std::string> outcomes_of_agreement(Work work) {
  std::vector<std::string> outcomes(4);
  run_in_threads(4, [&](Communicator& comm) {
    std::string& outcome = outcomes[static_cast<std::size_t>(comm.rank())];
    try {
      agree(comm, [&] { work(comm.rank()); });
      outcome = "agreed";
    } catch (const Error& error) {
      outcome = std::to_string(static_cast<int>(error.kind())) + ": " + error.what();
    }
    comm.barrier();  // the world goes on
  });
  return outcomes;
}

TEST(Agreement, NothingHappensWhereNobodyFails) {
  EXPECT_THAT(outcomes_of_agreement([](int) {}), Each("agreed"));
}

TEST(Agreement, OneRanksErrorIsThrownByAllAndNamesIt) {
  const auto outcomes = outcomes_of_agreement([](int rank) {
    if (rank == 2) throw DataError("x.h5 is torn");
  });

  EXPECT_THAT(outcomes, Each("3: rank 2 on node0: x.h5 is torn"));
}

TEST(Agreement, TheLowestFailingRankSpeaks) {
  const auto outcomes = outcomes_of_agreement([](int rank) {
    if (rank == 3) throw UsageError("from 3");
    if (rank == 1) throw DeviceError("from 1");
  });

  EXPECT_THAT(outcomes, Each("4: rank 1 on node0: from 1"));
}

TEST(Agreement, AnErrorOfAllRanksNamesNone) {
  const auto outcomes = outcomes_of_agreement([](int) { throw UsageError("no such option"); });

  EXPECT_THAT(outcomes, Each("2: no such option"));
}

TEST(Agreement, ForeignExceptionsBecomeErrors) {
  const auto lengths = outcomes_of_agreement([](int) { throw std::length_error("too long"); });
  const auto memory = outcomes_of_agreement([](int) { throw std::bad_alloc(); });
  const auto numbers = outcomes_of_agreement([](int) { throw 7; });

  EXPECT_THAT(lengths, Each("1: too long"));
  EXPECT_THAT(memory, Each(HasSubstr("1: out of memory")));
  EXPECT_THAT(numbers, Each(HasSubstr("1: an exception of unknown type")));
}

TEST(Agreement, AnEmptyMessageIsSpreadToo) {
  EXPECT_THAT(outcomes_of_agreement([](int) { throw DataError(""); }), Each("3: "));
}

TEST(Agreement, TheClassOfTheErrorIsKeptAndMarkedAsAgreed) {
  SingleProcess comm;

  EXPECT_THROW(agree(comm, [] { throw UsageError("u"); }), UsageError);
  EXPECT_THROW(agree(comm, [] { throw DataError("d"); }), DataError);
  EXPECT_THROW(agree(comm, [] { throw DeviceError("d"); }), DeviceError);
  EXPECT_THROW(agree(comm, [] { throw CommunicationError("c"); }), CommunicationError);
  EXPECT_THROW(agree(comm, [] { throw Error("o"); }), AgreedFailure);
}

TEST(Agreement, SpreadingReachesRanksWithoutAnErrorOfTheirOwn) {
  std::vector<std::string> messages(3);

  run_in_threads(3, [&](Communicator& comm) {
    const std::optional<Failure> mine =
        comm.rank() == 1 ? std::optional(Failure{ErrorKind::device, "the GPU fell off"}) : std::nullopt;
    try {
      spread_error(comm, mine);
    } catch (const DeviceError& error) {
      messages[static_cast<std::size_t>(comm.rank())] = error.what();
    }
  });

  EXPECT_THAT(messages, Each("rank 1 on node0: the GPU fell off"));
}

TEST(Agreement, ACountWithoutAFailureIsReportedByAll) {
  SingleProcess comm;

  EXPECT_THROW(spread_error(comm, std::nullopt), Error);
}

}  // namespace
}  // namespace tally
