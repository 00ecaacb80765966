#include "launch/command.hpp"
#include "launch/early_signals.hpp"

int main(int argc, char** argv) {
  tally::Registry registry;
  tally::add_builtin_models(registry);
  return tally::run_command(argc, argv, registry);
}
