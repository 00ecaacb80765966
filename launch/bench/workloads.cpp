#include "launch/bench/workloads.hpp"

#include <algorithm>
#include <memory>

#include <fmt/format.h>

namespace tally::bench {
namespace {

constexpr const char* symbols = "16";

const ModelOption* option_of(const std::vector<ModelOption>& options, const std::string& name) {
  const auto found = std::ranges::find(options, name, &ModelOption::name);
  return found == options.end() ? nullptr : &*found;
}

// The option whose every choice is measured.
const ModelOption* variants_of(const ModelEntry& entry) {
  return option_of(entry.options, entry.of_sequences ? "emission" : "covariance");
}

bool takes_symbols(const Registry& registry, const ModelEntry& entry, const std::string& variant) {
  return option_of(entry.of_sequences ? registry.find_emission(variant).options : entry.options, "symbols") !=
         nullptr;
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
      if (takes_symbols(registry, entry, variant)) workload.options["symbols"] = symbols;
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
