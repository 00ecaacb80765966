#pragma once
#include <array>
#include <string>

#include <unistd.h>

namespace tally {

// What the operating system calls this host, for error messages.
inline std::string local_host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "an unnamed host";
}

}  // namespace tally
