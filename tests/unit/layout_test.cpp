#include "core/layout.hpp"

#include <gtest/gtest.h>

namespace tally {
namespace {

TEST(Layout, WhatNoMemoryHoldsIsRefused) {
  constexpr Index large = Index{1} << 30;

  EXPECT_THROW(Layout().add("covariances", {large, large, large}), UsageError);
  EXPECT_THROW(Layout().add("means", {large, large / 1024}).add("more", {large, large / 1024}), UsageError);
  EXPECT_EQ(Layout().add("means", {large, large / 1024}).size(), Index{1} << 50);
}

}  // namespace
}  // namespace tally
