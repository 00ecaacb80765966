#include <fmt/format.h>

#include <CLI/App.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "launch/context.hpp"

namespace tally {
namespace {

void print_as_json(const Registry& registry) {
  nlohmann::json models = nlohmann::json::array();
  for (const ModelEntry& entry : registry.entries()) {
    nlohmann::json options = nlohmann::json::array();
    for (const ModelOption& option : entry.options) {
      options.push_back({{"name", option.name}, {"help", option.help}, {"default", option.default_value}});
      if (!option.choices.empty()) options.back()["choices"] = option.choices;
      if (!option.variants.empty()) options.back()["variants"] = option.variants;
      if (!option.synonyms.empty()) options.back()["synonyms"] = option.synonyms;
    }
    models.push_back({{"name", entry.name},
                      {"summary", entry.summary},
                      {"components", entry.has_components},
                      {"default_init", entry.default_init},
                      {"default_tol", entry.default_tolerance},
                      {"options", std::move(options)}});
  }
  fmt::print("{}\n", models.dump(2));
}

void print_as_text(const Registry& registry) {
  for (const ModelEntry& entry : registry.entries()) {
    fmt::print("{:<12} {}\n", entry.name, entry.summary);
    if (!entry.default_init.empty()) fmt::print("  --init       default {}\n", entry.default_init);
    for (const ModelOption& option : entry.options)
      fmt::print("  --{:<10} {}{}\n", option.name, option.help,
                 option.default_value.empty() ? "" : fmt::format(" (default {})", option.default_value));
  }
}

}  // namespace

void add_models_command(CLI::App& app, const Registry&, const Choose& choose) {
  CLI::App* command = app.add_subcommand("models", "List the models that can be fitted");
  const auto json = std::make_shared<bool>(false);
  command->add_flag("--json", *json, "Print the list as JSON");
  command->callback([json, choose] {
    choose([json](CommandContext& context) {
      if (!context.is_root()) return 0;
      if (*json)
        print_as_json(context.registry);
      else
        print_as_text(context.registry);
      return 0;
    });
  });
}

}  // namespace tally
