#include "algorithms/families/covariance_model.hpp"

#include <array>

#include "core/error.hpp"

namespace tally {
namespace {

struct Words {
  Covariance covariance;
  const char* name;
  const char* letters;  // volume, shape, orientation
};

constexpr std::array<Words, 14> table{{{Covariance::full, "full", "VVV"},
                                       {Covariance::tied, "tied", "EEE"},
                                       {Covariance::diag, "diag", "VVI"},
                                       {Covariance::spherical, "spherical", "VII"},
                                       {Covariance::EII, "EII", "EII"},
                                       {Covariance::EEI, "EEI", "EEI"},
                                       {Covariance::VEI, "VEI", "VEI"},
                                       {Covariance::EVI, "EVI", "EVI"},
                                       {Covariance::VEE, "VEE", "VEE"},
                                       {Covariance::EVE, "EVE", "EVE"},
                                       {Covariance::VVE, "VVE", "VVE"},
                                       {Covariance::EEV, "EEV", "EEV"},
                                       {Covariance::VEV, "VEV", "VEV"},
                                       {Covariance::EVV, "EVV", "EVV"}}};

const Words& words_of(Covariance covariance) {
  return table[static_cast<std::size_t>(covariance)];
}

}  // namespace

std::vector<std::string> covariance_variants() {
  std::vector<std::string> names;
  for (const Words& words : table)
    if (words.name == std::string(words.letters)) names.emplace_back(words.name);
  return names;
}

std::map<std::string, std::string> covariance_synonyms() {
  std::map<std::string, std::string> synonyms;
  for (const Words& words : table)
    if (words.name != std::string(words.letters)) synonyms[words.letters] = words.name;
  return synonyms;
}

Covariance parse_covariance(const std::string& word) {
  std::string known;
  for (const Words& words : table) {
    if (word == words.name || word == words.letters) return words.covariance;
    known += std::string(known.empty() ? "" : ", ") + words.name;
  }
  throw UsageError("--covariance " + word + " is unknown; there are " + known +
                   ", and VVV, EEE, VVI and VII for the first four");
}

const char* to_string(Covariance covariance) {
  return words_of(covariance).name;
}

CovarianceForm form_of(Covariance covariance) {
  const char* letters = words_of(covariance).letters;
  if (letters[1] == 'I') return CovarianceForm::spherical;
  if (letters[2] == 'I') return CovarianceForm::diag;
  return covariance == Covariance::tied ? CovarianceForm::tied : CovarianceForm::full;
}

bool shares_parts(Covariance covariance) {
  return covariance != Covariance::tied &&
         std::string(words_of(covariance).letters).find('E') != std::string::npos;
}

bool needs_own_volumes(Covariance covariance) {
  return covariance == Covariance::EVI || covariance == Covariance::EVV;
}

Index free_parameters_of(Covariance covariance, Index components, Index columns) {
  const char* letters = words_of(covariance).letters;
  const auto of = [&](char letter, Index each) {
    return letter == 'I' ? 0 : letter == 'E' ? each : components * each;
  };
  return of(letters[0], 1) + of(letters[1], columns - 1) + of(letters[2], columns * (columns - 1) / 2);
}

bool needs_common_scale(Covariance covariance) {
  switch (covariance) {
    case Covariance::EII:
    case Covariance::spherical:
    case Covariance::EVE:
    case Covariance::VVE:
    case Covariance::EEV:
    case Covariance::VEV:
      return true;
    default:
      return false;
  }
}

}  // namespace tally
