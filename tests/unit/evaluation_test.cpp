#include "launch/evaluation.hpp"

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "algorithms/families/family_entry.hpp"
#include "algorithms/families/poisson.hpp"
#include "algorithms/models/hmm.hpp"
#include "comm/agreement.hpp"
#include "comm/thread_world.hpp"
#include "core/archive.hpp"
#include "core/error.hpp"
#include "tests/unit/temporary_folder.hpp"

namespace tally {
namespace {

thread_local bool broken_here = false;

// Counts that a rank cannot be made ready for where it is broken.
class FragileCounts : public PoissonFamily {
 public:
  using PoissonFamily::PoissonFamily;
  std::function<double(const double*)> log_base_measure() const {
    if (broken_here) throw DataError("no room for counts");
    return PoissonFamily::log_base_measure();
  }
};

Registry registry_of_fragile_chains() {
  const FamilyEntry fragile = family_entry(
      {"fragile", "fragile", "counts", {}}, [](Index components, Index columns, const OptionValues&, const auto& make) {
        return make(FragileCounts(components, columns), LinearKernel{{components, 1 + columns}});
      });
  Registry registry;
  registry.add(hmm_entry({fragile.emission}));
  return registry;
}

// A chain of two states and one cut sequence, in files.
class CutSequence : public testing::Test {
 protected:
  CutSequence() {
    const auto chain = registry.find("hmm").make(2, 1, {});
    chain->set_standardisation(Standardisation::none(1));
    std::vector<double> parameters(static_cast<std::size_t>(chain->parameters().size()));
    chain->set_defaults(parameters);
    ModelRecord record;
    record.model = "hmm";
    record.components = 2;
    record.columns = 1;
    record.parameters = chain->describe(parameters);
    record.standardisation = Standardisation::none(1);
    request.model = folder.file("model.h5");
    save(request.model, [&](ArchiveWriter& archive) { write_record(archive, record); });
    const std::string data = folder.file("data.h5");
    save(data, [](ArchiveWriter& archive) { archive.put("/x", Array{{steps, 1}, std::vector<double>(steps, 1.0)}); });
    request.data = {data + ":/x"};
    request.threads = 1;
  }

  void save(const std::string& file, const std::function<void(ArchiveWriter&)>& write) {
    ArchiveWriter archive(io);
    write(archive);
    archive.save(file);
  }

  static constexpr Index steps = 30000;
  const Registry registry = registry_of_fragile_chains();
  TemporaryFolder folder;
  IoExecutor io;
  EvaluationRequest request;
};

TEST_F(CutSequence, ARankThatCannotBeginEndsAllWithItsError) {
  constexpr int ranks = 3;
  for (const bool path : {false, true}) {
    std::atomic<int> refused = 0;
    run_in_threads(ranks, [&](Communicator& world) {
      CommandContext context{world, io, registry, "tally"};
      Evaluation evaluation(request, context);
      broken_here = world.rank() == 1;
      try {
        if (path)
          evaluation.decode([](Index, std::span<const std::int32_t>, Index) {}, [](Index, double) {});
        else
          evaluation.run(evaluation.blocks_of_this_rank(), {}, [](Index, Index, const RowResults&) {});
      } catch (const AgreedFailure& failure) {
        const std::string message = dynamic_cast<const Error&>(failure).what();
        refused += message.find("no room for counts") != std::string::npos;
      }
    });

    EXPECT_EQ(refused, ranks);
  }
}

}  // namespace
}  // namespace tally
