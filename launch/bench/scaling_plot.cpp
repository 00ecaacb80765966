#include "launch/bench/scaling_plot.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

#include "launch/svg.hpp"

namespace tally::bench {
namespace {

constexpr double panel_width = 360, panel_height = 220, left = 60, top = 70, gap_x = 60, gap_y = 60;
constexpr const char *grey = "#999999", *black = "#222222", *blue = "#1f6fb4";
constexpr std::array<const char*, split_names.size()> colours = {"#8c6bb1", "#1f6fb4", "#e6ab02",
                                                                 "#d95f02", "#1b9e77", "#bbbbbb"};

// A panel whose abscissa is a number of ranks, in doublings; its ordinate, too, where `lowest` is not 0.
class Panel {
 public:
  Panel(Svg& svg, int column, int row, const std::string& title, const std::vector<ScalingPoint>& points,
        double lowest, double highest)
      : svg_(svg),
        x0_(left + column * (panel_width + gap_x)),
        y0_(top + row * (panel_height + gap_y)),
        points_(points),
        lowest_(lowest),
        highest_(highest) {
    svg_.text(x0_, y0_ - 8, title, Svg::Anchor::start, 13);
    svg_.line(x0_, y0_, x0_, y0_ + panel_height, black);
    svg_.line(x0_, y0_ + panel_height, x0_ + panel_width, y0_ + panel_height, black);
    for (const ScalingPoint& point : points_)
      svg_.text(x(point.ranks), y0_ + panel_height + 16, std::to_string(point.ranks), Svg::Anchor::middle);
    svg_.text(x0_ + panel_width, y0_ + panel_height + 30, "ranks", Svg::Anchor::end, 11);
  }

  double x(double ranks) const {
    const double first = std::log2(points_.front().ranks), last = std::log2(points_.back().ranks);
    const double share = last > first ? (std::log2(ranks) - first) / (last - first) : 0.5;
    return x0_ + 40 + share * (panel_width - 80);
  }
  double y(double value) const {
    const double share =
        lowest_ > 0 ? std::log2(value / lowest_) / std::log2(highest_ / lowest_) : value / highest_;
    return y0_ + panel_height * (1 - share);
  }

  void mark(double value, const std::string& words) {
    svg_.line(x0_ - 4, y(value), x0_, y(value), black);
    svg_.text(x0_ - 7, y(value) + 4, words, Svg::Anchor::end, 11);
  }
  void curve(double ScalingPoint::*value) {
    std::vector<std::pair<double, double>> places;
    for (const ScalingPoint& point : points_) places.emplace_back(x(point.ranks), y(point.*value));
    svg_.curve(places, blue);
    for (const ScalingPoint& point : points_)
      svg_.text(x(point.ranks) + 6, y(point.*value) + 15, fmt::format("{:.2f}", point.*value),
                Svg::Anchor::start, 11);
  }

 private:
  Svg& svg_;
  double x0_, y0_;
  const std::vector<ScalingPoint>& points_;
  double lowest_, highest_;
};

void plot_speedup(Svg& svg, int column, const std::string& kind, const std::vector<ScalingPoint>& points) {
  const double first = points.front().ranks, most = points.back().ranks;
  double least = first;
  for (const ScalingPoint& point : points) least = std::min(least, point.speedup);
  Panel panel(svg, column, 0, kind + ": speedup (dashed: ideal)", points, least / 1.4, 1.4 * most);
  for (const ScalingPoint& point : points) panel.mark(point.ranks, std::to_string(point.ranks));
  svg.line(panel.x(first), panel.y(first), panel.x(most), panel.y(most), grey, true);
  panel.curve(&ScalingPoint::speedup);
}

void plot_efficiency(Svg& svg, int column, const std::string& kind, const std::vector<ScalingPoint>& points) {
  double highest = 1.2;
  for (const ScalingPoint& point : points) highest = std::max(highest, 1.1 * point.efficiency);
  Panel panel(svg, column, 1, kind + ": efficiency (dashed: ideal)", points, 0, highest);
  for (const double value : {0.0, 0.25, 0.5, 0.75, 1.0}) panel.mark(value, fmt::format("{:g}", value));
  svg.line(panel.x(points.front().ranks) - 30, panel.y(1), panel.x(points.back().ranks) + 30, panel.y(1),
           grey, true);
  panel.curve(&ScalingPoint::efficiency);
}

void plot_split(Svg& svg, int column, const std::string& kind, const std::vector<ScalingPoint>& points) {
  const auto sum_of = [](const TimeSplit& split) { return std::accumulate(split.begin(), split.end(), 0.0); };
  double highest = 0;
  for (const ScalingPoint& point : points) highest = std::max(highest, 1.1 * sum_of(point.split));
  if (highest <= 0) return;
  Panel panel(svg, column, 2, kind + ": ms an iteration", points, 0, highest);
  const double step = round_step(1e3 * highest / 4);
  for (int i = 0; 1e-3 * step * i <= highest; ++i) panel.mark(1e-3 * step * i, fmt::format("{}", step * i));
  const double width = std::min(40.0, (panel_width - 80) / static_cast<double>(points.size()));
  for (const ScalingPoint& point : points) {
    double below = 0;
    for (std::size_t part = 0; part < split_names.size(); ++part) {
      const double above = below + point.split[part];
      svg.rectangle(panel.x(point.ranks) - width / 2, panel.y(above), width, panel.y(below) - panel.y(above),
                    colours[part]);
      below = above;
    }
  }
}

}  // namespace

std::string scaling_plot(const std::string& title, const std::string& subtitle,
                         const std::vector<ScalingPoint>& strong, const std::vector<ScalingPoint>& weak) {
  const double width = left + 2 * panel_width + gap_x + 30, height = top + 3 * (panel_height + gap_y) + 30;
  Svg svg(width, height);
  svg.text(left, 22, title, Svg::Anchor::start, 15);
  svg.text(left, 42, subtitle, Svg::Anchor::start, 11);
  const auto plot = [&](int column, const std::string& kind, const std::vector<ScalingPoint>& points) {
    if (points.empty()) return;
    plot_speedup(svg, column, kind, points);
    plot_efficiency(svg, column, kind, points);
    plot_split(svg, column, kind, points);
  };
  plot(0, "strong", strong);
  plot(strong.empty() ? 0 : 1, "weak", weak);
  double x = left;
  for (std::size_t part = 0; part < split_names.size(); ++part) {
    svg.rectangle(x, height - 34, 12, 12, colours[part]);
    svg.text(x + 17, height - 24, split_names[part]);
    x += 110;
  }
  return svg.str();
}

}  // namespace tally::bench
