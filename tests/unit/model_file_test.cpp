#include "launch/model_file.hpp"

#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.hpp"
#include "core/io_executor.hpp"
#include "tests/unit/message_of.hpp"
#include "tests/unit/temporary_folder.hpp"

namespace tally {
namespace {

using testing::HasSubstr;

class ModelFileTest : public testing::Test {
 protected:
  ModelFileTest() {
    add_builtin_models(registry);
    good.model = "kmeans";
    good.components = 2;
    good.columns = 1;
    good.parameters["centers"] = {{2, 1}, {1, 2}};
    good.standardisation = Standardisation::none(1);
  }
  LoadedModel saved_and_loaded(const ModelRecord& record) {
    ArchiveWriter archive(io);
    write_record(archive, record);
    archive.save(folder.file("model.h5"));
    return load_model(io, folder.file("model.h5"), registry);
  }
  std::string refusal(const ModelRecord& record) {
    return message_of<DataError>([&] { saved_and_loaded(record); });
  }

  TemporaryFolder folder;
  IoExecutor io;
  Registry registry;
  ModelRecord good;
};

TEST_F(ModelFileTest, WhatIsSavedIsLoaded) {
  const LoadedModel loaded = saved_and_loaded(good);

  EXPECT_EQ(loaded.model->components(), 2);
  EXPECT_EQ(loaded.model->describe(loaded.parameters).at("centers").values, (std::vector<double>{1, 2}));
}

TEST_F(ModelFileTest, NothingIsMadeLargeForANumberAlone) {
  ModelRecord components = good, columns = good, symbols = good;
  components.components = Index{1} << 61;
  columns.columns = Index{1} << 61;
  symbols.model = "categorical";
  symbols.options["symbols"] = std::to_string(Index{1} << 40);

  EXPECT_THAT(refusal(components), HasSubstr("it has more components than its arrays"));
  EXPECT_THAT(refusal(columns), HasSubstr("its standardisation has another width than its model"));
  EXPECT_THROW(saved_and_loaded(symbols), Error);
}

TEST_F(ModelFileTest, AStandardisationMustBeOneOfNumbers) {
  ModelRecord not_finite = good, far = good;
  not_finite.standardisation.centre = {std::numeric_limits<double>::quiet_NaN()};
  far.standardisation.exponent = {std::numeric_limits<int>::min()};

  EXPECT_THAT(refusal(not_finite), HasSubstr("its standardisation is not finite"));
  EXPECT_THAT(refusal(far), HasSubstr("its standardisation scales beyond the range of numbers"));
}

TEST_F(ModelFileTest, AnIntegerBeyondItsRangeIsNoSmallerOne) {
  EXPECT_EQ(to_int(-7, "m_steps"), -7);
  EXPECT_THAT(message_of<DataError>([] { to_int(std::int64_t{1} << 32, "m_steps"); }), HasSubstr("m_steps is 4294967296"));
}

}  // namespace
}  // namespace tally
