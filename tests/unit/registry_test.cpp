#include "algorithms/registry.hpp"

#include <string>
#include <utility>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.hpp"

namespace tally {
namespace {

using ::testing::HasSubstr;

Registry builtin() {
  Registry registry;
  add_builtin_models(registry);
  return registry;
}

std::vector<std::string> names_of(const std::vector<ModelOption>& options) {
  std::vector<std::string> names;
  for (const ModelOption& option : options) names.push_back(option.name);
  return names;
}

TEST(Registry, AFamilyIsAMixtureAndAnEmission) {
  const Registry registry = builtin();

  for (const auto& [mixture, emission] :
       {std::pair{"gmm", "gaussian"}, {"poisson", "poisson"}, {"bernoulli", "bernoulli"},
        {"categorical", "categorical"}, {"exponential", "exponential"}, {"gamma", "gamma"}, {"binomial", "binomial"},
        {"multinomial", "multinomial"}, {"von-mises-fisher", "von-mises-fisher"}, {"student-t", "student-t"}}) {
    auto names = names_of(registry.find_emission(emission).options);
    names.push_back("weight-concentration-prior");  // chains have priors of their own
    EXPECT_EQ(names_of(registry.find(mixture).options), names) << mixture;
  }
}

TEST(Registry, AnEmissionMayHaveOtherDefaults) {
  const Registry registry = builtin();

  EXPECT_EQ(registry.find("gmm").options.front().default_value, "full");
  EXPECT_EQ(registry.find_emission("gaussian").options.front().default_value, "diag");
}

TEST(Registry, WhatIsUnknownIsListedWithWhatIsThere) {
  const Registry registry = builtin();
  const auto message_of = [](const auto& look) -> std::string {
    try {
      look();
    } catch (const UsageError& error) {
      return error.what();
    }
    return "";
  };

  EXPECT_THAT(message_of([&] { registry.find("gaussian"); }), HasSubstr("gmm, kmeans, poisson, bernoulli, categorical"));
  EXPECT_THAT(message_of([&] { registry.find_emission("kmeans"); }), HasSubstr("gaussian, poisson, bernoulli, categorical"));
}

TEST(Registry, ANameIsTakenOnce) {
  Registry registry = builtin();

  EXPECT_THROW(registry.add(ModelEntry{registry.find("poisson")}), UsageError);
}

}  // namespace
}  // namespace tally
