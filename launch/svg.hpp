#pragma once
#include <string>
#include <utility>
#include <vector>

namespace tally {

// A drawing as SVG text; x to the right, y down, in pixels.
class Svg {
 public:
  Svg(double width, double height);

  enum class Anchor { start, middle, end };
  void line(double x1, double y1, double x2, double y2, const std::string& colour, bool dashed = false);
  // Points joined by a line, each marked.
  void curve(const std::vector<std::pair<double, double>>& points, const std::string& colour);
  void rectangle(double x, double y, double width, double height, const std::string& colour);
  void text(double x, double y, const std::string& words, Anchor anchor = Anchor::start, double size = 12);

  std::string str() const { return text_ + "</svg>\n"; }

 private:
  std::string text_;
};

// A distance of marks on an axis: the largest of 1, 2 and 5 times a power of ten that is not above this.
double round_step(double most);

}  // namespace tally
