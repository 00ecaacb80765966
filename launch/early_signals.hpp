#pragma once
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

// For the file of a program's main(), which calls run_command. Libraries start threads as they are loaded (OpenBLAS one a
// processor), which would take signals that are the program's, and end it. Functions of this section of an executable run
// before any library's own; they may not call what libraries set up. (musl has no such section: the signals stay as they are.)
namespace tally {

__attribute__((no_sanitize("address", "thread", "undefined"))) inline void block_signals_early(int, char**, char**) {
  const unsigned long mask = 1UL << (SIGINT - 1) | 1UL << (SIGTERM - 1) | 1UL << (SIGUSR1 - 1) | 1UL << (SIGHUP - 1);
  syscall(SYS_rt_sigprocmask, SIG_BLOCK, &mask, nullptr, sizeof mask);
}
[[gnu::used, gnu::section(".preinit_array")]] static void (*const before_libraries)(int, char**, char**) = block_signals_early;

}  // namespace tally
