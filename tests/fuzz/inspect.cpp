#include "tests/fuzz/inspect.hpp"

#include <stdexcept>

#include <CLI/CLI.hpp>  // all of it once in a program, as launch/command.cpp has it in tally
#include <hdf5.h>

#include "comm/single_process.hpp"
#include "launch/context.hpp"
#include "tests/fuzz/refusal.hpp"

namespace tally::fuzz {

IoExecutor& hdf5_thread() {
  static IoExecutor thread;
  return thread;
}

const Registry& all_models() {
  static const Registry registry = [] {
    Registry filled;
    add_builtin_models(filled);
    return filled;
  }();
  return registry;
}

void print_info(const std::string& file) {
  for (const bool json : {false, true}) {
    CLI::App app;
    Action action;
    add_info_command(app, [&](Action chosen) { action = std::move(chosen); });
    std::vector<std::string> words = {file, "info"};  // the parser takes them from the back
    if (json) words.insert(words.begin(), "--json");
    app.parse(words);
    SingleProcess alone;
    CommandContext context{alone, hdf5_thread(), all_models(), ""};
    allow_refusal([&] { action(context); });
  }
}

void OpenHandles::require_closed() const {
  if (count() != before_) throw std::logic_error("something of HDF5's was left open");
}

long long OpenHandles::count() {
  return hdf5_thread().run([] {
    long long all = 0;
    for (const H5I_type_t type :
         {H5I_FILE, H5I_GROUP, H5I_DATATYPE, H5I_DATASPACE, H5I_DATASET, H5I_ATTR, H5I_GENPROP_LST}) {
      hsize_t some = 0;
      H5open();
      H5Inmembers(type, &some);
      all += static_cast<long long>(some);
    }
    H5Eclear2(H5E_DEFAULT);  // of kinds that were never opened it says so, and would leak that at the end
    return all;
  });
}

}  // namespace tally::fuzz
