#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "launch/command.hpp"

namespace {

// Libraries start threads as they are loaded (OpenBLAS one a processor), which would take signals that are ours, and end the
// process. Functions of this section run before any library's own; they may not call what libraries set up.
__attribute__((no_sanitize("address", "thread", "undefined"))) void block_signals_early(int, char**, char**) {
  const unsigned long mask = 1UL << (SIGINT - 1) | 1UL << (SIGTERM - 1) | 1UL << (SIGUSR1 - 1);
  syscall(SYS_rt_sigprocmask, SIG_BLOCK, &mask, nullptr, sizeof mask);
}
[[gnu::used, gnu::section(".preinit_array")]] void (*const before_libraries)(int, char**, char**) = block_signals_early;

}  // namespace

int main(int argc, char** argv) {
  tally::Registry registry;
  tally::add_builtin_models(registry);
  return tally::run_command(argc, argv, registry);
}
