#include "launch/checkpoint.hpp"

#include <memory>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "algorithms/registry.hpp"
#include "core/error.hpp"
#include "launch/fit_rows.hpp"
#include "tests/unit/message_of.hpp"
#include "tests/unit/temporary_folder.hpp"

namespace tally {
namespace {

std::unique_ptr<Model> poisson_chain(Index states) {
  Registry registry;
  add_builtin_models(registry);
  auto model = registry.find("hmm").make(states, 1, {{"emission", "poisson"}});
  model->set_standardisation(Standardisation::none(1));
  return model;
}

// Of a fit that has not begun, as it is read from the folder that it was saved in.
Checkpoint saved_and_read(const Model& model) {
  Candidate start;
  start.parameters.resize(static_cast<std::size_t>(model.parameters().size()));
  model.set_defaults(start.parameters);
  Checkpoint checkpoint;
  checkpoint.record = record_of_fit(model, start, "unfinished", 0, {}, {});
  checkpoint.states.emplace_back();
  checkpoint.states.front().candidates.push_back(start);
  const TemporaryFolder folder;
  IoExecutor io;
  std::vector<DamagedCheckpoint> damaged;
  const CheckpointFolder checkpoints(io, folder.path());
  checkpoints.save(checkpoint);
  return checkpoints.load_newest(damaged).value();
}

TEST(CheckpointOfAChain, GoesOnOnlyWhereSequencesAreCutAsBefore) {
  for (const Index states : {3, 20}) {
    const auto model = poisson_chain(states);
    Checkpoint checkpoint = saved_and_read(*model);

    check_states(checkpoint, {model.get()}, 1);
    checkpoint.record.cut += " and otherwise";

    EXPECT_THAT(message_of<DataError>([&] { check_states(checkpoint, {model.get()}, 1); }),
                testing::HasSubstr("cuts sequences otherwise"));
  }
}

TEST(CheckpointOfAChain, GoesOnOnlyFromAStateThatAFitCanHave) {
  const auto model = poisson_chain(3);
  const Checkpoint good = saved_and_read(*model);
  const std::size_t fields = model->statistics().fields().size();
  Checkpoint large_exponent = good, small_exponent = good, negative_steps = good;
  large_exponent.states.front().exponents.assign(fields, 1025);
  small_exponent.states.front().exponents.assign(fields, -1001);
  negative_steps.states.front().candidates.front().m_steps = -1;

  for (const Checkpoint& checkpoint : {large_exponent, small_exponent, negative_steps})
    EXPECT_THAT(message_of<DataError>([&] { check_states(checkpoint, {model.get()}, 1); }),
                testing::HasSubstr("another state than its fit could have"));
}

TEST(CheckpointOfAChain, SaysWhereItsSequencesWereCut) {
  EXPECT_EQ(saved_and_read(*poisson_chain(3)).record.cut, "1024 steps a piece, 8192 rows a block, messages composed");
  EXPECT_EQ(saved_and_read(*poisson_chain(20)).record.cut, "16384 steps a piece, 1024 rows a block, messages in order");
}

}  // namespace
}  // namespace tally
