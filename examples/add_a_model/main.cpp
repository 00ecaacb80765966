// The `tally` command with one model more.
#include "launch/command.hpp"
#include "launch/early_signals.hpp"
#include "linkage.hpp"

int main(int argc, char** argv) {
  tally::Registry registry;
  tally::add_builtin_models(registry);
  registry.add(linkage::linkage_entry());
  return tally::run_command(argc, argv, registry);
}
