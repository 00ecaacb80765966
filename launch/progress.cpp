#include "launch/progress.hpp"

#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/error.hpp"

namespace tally {
namespace {

double seconds(std::chrono::steady_clock::duration duration) { return std::chrono::duration<double>(duration).count(); }

std::string duration_text(double value) {
  if (value < 60) return fmt::format("{:.0f} s", value);
  if (value < 3600) return fmt::format("{:.0f} min", value / 60);
  return fmt::format("{:.1f} h", value / 3600);
}

}  // namespace

Progress::Progress(const FitRequest& request)
    : quiet_(request.quiet),
      log_file_(request.log_file),
      max_iterations_(request.fit.max_iterations),
      tolerance_(request.fit.tolerance),
      terminal_(isatty(STDERR_FILENO) != 0) {
  if (log_file_.empty()) return;
  log_.open(log_file_, std::ios::app);
  if (!log_) throw DataError("the log " + log_file_ + " cannot be written to");
}

void Progress::note(const std::string& text) {
  if (quiet_) return finish();
  warn(text);
}

void Progress::warn(const std::string& text) {
  finish();
  std::fprintf(stderr, "tally: %s\n", text.c_str());
}

void Progress::log(const std::string& json) {
  if (!log_.is_open() || (log_ << json << std::endl)) return;
  log_.close();
  note("warning: the log " + log_file_ + " cannot be written to any more; it ends here");
}

void Progress::iterated(const IterationReport& report) {
  const auto now = std::chrono::steady_clock::now();
  const double took = seconds(now - last_);
  last_ = now;
  smoothed_seconds_ = smoothed_seconds_ == 0 ? took : 0.7 * smoothed_seconds_ + 0.3 * took;
  if (log_.is_open()) {
    nlohmann::json line = {{"event", "iteration"},
                           {"iteration", report.iteration},
                           {"mean_objective", report.objective},
                           {"change", std::isnan(report.change) ? nlohmann::json() : nlohmann::json(report.change)},
                           {"of_held_out", report.of_held_out},
                           {"candidates_running", report.running},
                           {"best_candidate", report.best},
                           {"seconds", took},
                           {"read_seconds", report.read_seconds},
                           {"compute_seconds", report.compute_seconds},
                           {"reduce_seconds", report.reduce_seconds},
                           {"maximize_seconds", report.maximize_seconds}};
    log(line.dump());
  }
  if (quiet_) return;
  const double rate = static_cast<double>(report.rows) / std::max(took, 1e-9);
  std::string line = fmt::format("iteration {:>4}  {}mean {} {:.10g}", report.iteration,
                                 report.of_held_out ? "held-out " : "", objective_name_, report.objective);
  if (!std::isnan(report.change)) line += fmt::format("  change {:.3g}", report.change);
  line += fmt::format("  {:.3g} rows/s", rate);
  // The tolerance may end it sooner.
  const int left = max_iterations_ - report.iteration;
  if (left > 0)
    line += fmt::format("  {} {} left", tolerance_ > 0 ? "at most" : "about",
                        duration_text(left * smoothed_seconds_));
  if (report.running > 1) line += fmt::format("  ({} starts running)", report.running);
  if (terminal_) {
    std::fprintf(stderr, "\r\033[K%s", line.c_str());
    std::fflush(stderr);
    line_open_ = true;
  } else {
    std::fprintf(stderr, "%s\n", line.c_str());
  }
}

void Progress::finish() {
  if (line_open_) std::fputc('\n', stderr);
  line_open_ = false;
}

}  // namespace tally
