#include "launch/selection.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <map>
#include <set>
#include <string_view>

#include "core/error.hpp"
#include "launch/svg.hpp"

namespace tally {
namespace {

constexpr Index most_components = 1000000;

Index whole_number(std::string_view word, const std::string& text) {
  Index number = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
  if (error != std::errc() || end != word.data() + word.size() || number < 1 || number > most_components)
    throw UsageError(fmt::format("--components {}: '{}' is not a number of components from 1 to {}; give them as 1:10, 2:20:2 "
                                 "or 3,5,8",
                                 text, word, most_components));
  return number;
}

std::vector<std::string_view> split(std::string_view text, char mark) {
  std::vector<std::string_view> words;
  for (;;) {
    const auto at = text.find(mark);
    words.push_back(text.substr(0, at));
    if (at == std::string_view::npos) return words;
    text.remove_prefix(at + 1);
  }
}

std::string number(double value) { return fmt::format("{:.2f}", value); }

}  // namespace

double aic_of(double log_likelihood, Index free_parameters) {
  return 2 * static_cast<double>(free_parameters) - 2 * log_likelihood;
}

double bic_of(double log_likelihood, Index free_parameters, double weight) {
  return static_cast<double>(free_parameters) * std::log(weight) - 2 * log_likelihood;
}

Criterion parse_criterion(const std::string& word) {
  for (const Criterion criterion : {Criterion::aic, Criterion::bic, Criterion::icl})
    if (word == to_string(criterion)) return criterion;
  throw UsageError("--criterion " + word + " is unknown: bic, aic and icl are there");
}

const char* to_string(Criterion criterion) {
  switch (criterion) {
    case Criterion::aic: return "aic";
    case Criterion::bic: return "bic";
    case Criterion::icl: return "icl";
  }
  return "";
}

double value_of(const Comparison& comparison, Criterion criterion) {
  switch (criterion) {
    case Criterion::aic: return comparison.aic;
    case Criterion::bic: return comparison.bic;
    case Criterion::icl: return comparison.icl;
  }
  return 0;
}

std::optional<std::size_t> best_of(const std::vector<Comparison>& comparisons, Criterion criterion) {
  std::optional<std::size_t> best;
  for (std::size_t m = 0; m < comparisons.size(); ++m)
    if (!comparisons[m].failed() &&
        (!best || value_of(comparisons[m], criterion) < value_of(comparisons[*best], criterion)))
      best = m;
  return best;
}

std::string table_of(const std::vector<Comparison>& comparisons, Criterion criterion) {
  const std::optional<std::size_t> best = best_of(comparisons, criterion);
  const bool shapes = std::any_of(comparisons.begin(), comparisons.end(),
                                  [](const Comparison& each) { return !each.shape.empty(); });
  std::vector<std::vector<std::string>> lines = {{"shape", "components", "parameters", "log-likelihood", "BIC", "AIC", "ICL",
                                                  "entropy", "iterations", "start", "status"}};
  for (std::size_t m = 0; m < comparisons.size(); ++m) {
    const Comparison& each = comparisons[m];
    std::vector<std::string> line = {each.shape, std::to_string(each.components), std::to_string(each.free_parameters)};
    if (each.failed())
      line.insert(line.end(), {"-", "-", "-", "-", "-", "-", "-", "failed: " + each.failure});
    else
      line.insert(line.end(),
                  {number(each.log_likelihood), number(each.bic), number(each.aic), number(each.icl), number(each.entropy),
                   std::to_string(each.iterations), std::to_string(each.best_start),
                   each.status + (each.failed_starts > 0 ? fmt::format(", {} starts failed", each.failed_starts) : "")});
    lines.push_back(std::move(line));
  }
  std::vector<std::size_t> widths(lines.front().size(), 0);
  for (const auto& line : lines)
    for (std::size_t c = 0; c < line.size(); ++c) widths[c] = std::max(widths[c], line[c].size());
  std::string text;
  for (std::size_t l = 0; l < lines.size(); ++l) {
    text += best && l == *best + 1 ? "* " : "  ";
    for (std::size_t c = shapes ? 0 : 1; c + 1 < widths.size(); ++c)
      text += c == 0 ? fmt::format("{:<{}}  ", lines[l][c], widths[c]) : fmt::format("{:>{}}  ", lines[l][c], widths[c]);
    text += lines[l].back() + "\n";
  }
  return text;
}

std::string plot_of(const std::vector<Comparison>& comparisons, Criterion criterion, const std::string& title) {
  constexpr double left = 90, top = 60, width = 520, height = 320, legend = 150;
  constexpr std::array<const char*, 14> colours = {"#1f6fb4", "#d95f02", "#1b9e77", "#8c6bb1", "#e6ab02",
                                                   "#e7298a", "#66a61e", "#666666", "#a6611a", "#35c4dc",
                                                   "#7b0d1e", "#8fb8ff", "#f4a3a3", "#003f2d"};
  constexpr const char *black = "#222222", *grey = "#999999";
  Svg svg(left + width + legend, top + height + 60);
  svg.text(left, 22, title, Svg::Anchor::start, 15);
  std::string words = to_string(criterion);
  std::transform(words.begin(), words.end(), words.begin(), [](char c) { return static_cast<char>(c - 'a' + 'A'); });
  svg.text(left, 42, words + " over the number of components; the smaller the better", Svg::Anchor::start, 11);
  const std::optional<std::size_t> best = best_of(comparisons, criterion);
  if (!best) return svg.str();

  double lowest = value_of(comparisons[*best], criterion), highest = lowest;
  Index fewest = comparisons[*best].components, most = fewest;
  std::map<std::string, std::vector<const Comparison*>> curves;
  for (const Comparison& each : comparisons) {
    if (each.failed()) continue;
    highest = std::max(highest, value_of(each, criterion));
    fewest = std::min(fewest, each.components);
    most = std::max(most, each.components);
    curves[each.shape].push_back(&each);
  }
  const double least_range = 1e-6 * std::max(1.0, std::abs(lowest));  // models that are the same differ by rounding
  if (!(highest - lowest > least_range)) highest = lowest + least_range;
  const auto x = [&](Index components) {
    return left + 30 + (most > fewest ? static_cast<double>(components - fewest) / static_cast<double>(most - fewest) : 0.5) *
                           (width - 60);
  };
  const auto y = [&](double value) { return top + 20 + (highest - value) / (highest - lowest) * (height - 40); };

  svg.line(left, top, left, top + height, black);
  svg.line(left, top + height, left + width, top + height, black);
  const double step = round_step((highest - lowest) / 3);
  for (int i = 0; i < 20; ++i) {
    const double mark = (std::ceil(lowest / step) + i) * step;
    if (mark > highest) break;
    svg.line(left - 4, y(mark), left, y(mark), black);
    svg.text(left - 7, y(mark) + 4, fmt::format("{:.10g}", mark), Svg::Anchor::end, 11);
  }
  const Index every = std::max<Index>(1, (most - fewest + 11) / 12);
  for (Index components = fewest; components <= most; components += every) {
    svg.line(x(components), top + height, x(components), top + height + 4, black);
    svg.text(x(components), top + height + 18, std::to_string(components), Svg::Anchor::middle, 11);
  }
  svg.text(left + width, top + height + 36, "components", Svg::Anchor::end, 11);
  svg.line(x(comparisons[*best].components), top, x(comparisons[*best].components), top + height, grey, true);

  std::size_t number_of_curve = 0;
  for (auto& [shape, points] : curves) {
    std::sort(points.begin(), points.end(),
              [](const Comparison* a, const Comparison* b) { return a->components < b->components; });
    const char* colour = colours[number_of_curve % colours.size()];
    std::vector<std::pair<double, double>> places;
    for (const Comparison* point : points) places.emplace_back(x(point->components), y(value_of(*point, criterion)));
    svg.curve(places, colour);
    if (!shape.empty()) {
      const double line = top + 14 + 18 * static_cast<double>(number_of_curve);
      svg.rectangle(left + width + 14, line - 10, 12, 12, colour);
      svg.text(left + width + 32, line, shape);
    }
    ++number_of_curve;
  }
  return svg.str();
}

std::vector<Index> parse_components(const std::string& text) {
  std::set<Index> numbers;
  for (const std::string_view item : split(text, ',')) {
    const std::vector<std::string_view> words = split(item, ':');
    if (words.size() > 3) whole_number(item, text);
    const Index first = whole_number(words[0], text);
    const Index last = words.size() > 1 ? whole_number(words[1], text) : first;
    const Index step = words.size() > 2 ? whole_number(words[2], text) : 1;
    if (last < first) throw UsageError(fmt::format("--components {}: {} ends before it begins", text, item));
    for (Index k = first; k <= last; k += step) numbers.insert(k);
  }
  return {numbers.begin(), numbers.end()};
}

}  // namespace tally
