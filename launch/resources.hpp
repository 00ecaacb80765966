#pragma once
#include <string>

#include "core/view.hpp"

namespace tally {

// Ranks that share this host, as the launcher says in the environment; 1 where it says nothing.
int ranks_on_this_host();
// Threads for this rank unless asked otherwise: the processors that it is bound to, or those that the job has on this host,
// shared among its ranks there.
int default_threads();
// Bytes this rank may use for rows unless asked otherwise: 70 % of what is available, shared likewise.
Index default_memory();
// Reads "512M", "2G", "1.5GiB" or plain bytes; K, M, G, T are powers of 1024. Throws UsageError.
Index parse_bytes(const std::string& text);
std::string format_bytes(Index bytes);

}  // namespace tally
