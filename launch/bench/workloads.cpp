#include "launch/bench/workloads.hpp"

#include <algorithm>
#include <memory>

#include <fmt/format.h>

namespace tally::bench {
namespace {

// Options that the data would decide otherwise.
constexpr const char* told[] = {"symbols", "trials"};
constexpr const char* told_value = "16";

const ModelOption* option_of(const std::vector<ModelOption>& options, const std::string& name) {
  const auto found = std::ranges::find(options, name, &ModelOption::name);
  return found == options.end() ? nullptr : &*found;
}

// The option whose every choice is measured.
const ModelOption* variants_of(const ModelEntry& entry) {
  return option_of(entry.options, entry.of_sequences ? "emission" : "covariance");
}

bool takes(const Registry& registry, const ModelEntry& entry, const std::string& variant, const std::string& option) {
  return option_of(entry.of_sequences ? registry.find_emission(variant).options : entry.options, option) != nullptr;
}

}  // namespace

std::vector<NamedWorkload> workloads_of(const Registry& registry, const Sizes& sizes, Precision precision,
                                        int ranks) {
  std::vector<NamedWorkload> all;
  for (const ModelEntry& entry : registry.entries()) {
    const ModelOption* const option = variants_of(entry);
    for (const std::string& variant : option ? option->choices : std::vector<std::string>{""}) {
      NamedWorkload& each = all.emplace_back();
      Workload& workload = each.workload;
      workload.model = &entry;
      if (option) workload.options[option->name] = variant;
      for (const char* name : told)
        if (takes(registry, entry, variant, name)) workload.options[name] = told_value;
      const Index steps = std::min(sizes.steps, sizes.rows);
      const Index rows = entry.of_sequences ? sizes.rows / steps * steps : sizes.rows;
      workload.rows = rows * ranks;
      workload.columns = sizes.columns;
      workload.components = entry.has_components ? sizes.components : 1;
      if (entry.of_sequences)
        workload.sequences = std::make_shared<const Sequences>(
            Sequences::of_lengths(std::vector<Index>(static_cast<std::size_t>(workload.rows / steps), steps)));
      workload.precision = precision;
      each.name = fmt::format("{}{}{} {} x {}, K {}", entry.name, variant.empty() ? "" : " ", variant, rows,
                              workload.columns, workload.components);
    }
  }
  return all;
}

}  // namespace tally::bench
