#pragma once
#include <chrono>
#include <cstdio>
#include <string>
#include <vector>

#include "launch/cluster/start_line.hpp"
#include "launch/cluster/supervisor.hpp"

namespace tally {

// What `tally launch` says, and the commands that it starts.

void note(const std::string& text);
// Of a command that was killed, the processes that SIGKILL did not end.
void note_left(const std::vector<int>& processes);
void print(const StartLine& line, std::FILE* to);

// What the user has set of Open MPI's stands.
StartLine without_users_own(StartLine line);

// This very program, by the name that it had at first: it can be sent to every host alike.
std::string this_program();

struct Interrupted {
  int signal;
};
// output_of() for one that is needed. Throws Interrupted.
Output uninterrupted(const StartLine& line, std::chrono::seconds at_most);

}  // namespace tally
