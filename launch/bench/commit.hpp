#pragma once

namespace tally::bench {

// What this program was built from: a short commit, with "-changed" where files differed from it; "unknown" outside of git.
extern const char* const commit;

}  // namespace tally::bench
