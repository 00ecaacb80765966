#include "core/hdf5_handle.hpp"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <set>
#include <system_error>

#include <sys/stat.h>
#include <unistd.h>

#include "core/error.hpp"

namespace tally {
namespace {

// "core/x.cpp:12": enough to find the place, without the folder it was built in.
std::string short_location(std::source_location where) {
  std::string_view file = where.file_name();
  if (const auto last = file.rfind('/'); last != std::string_view::npos && last > 0)
    if (const auto before = file.rfind('/', last - 1); before != std::string_view::npos)
      file.remove_prefix(before + 1);
  return std::string(file) + ":" + std::to_string(where.line());
}

herr_t keep_first_description(unsigned position, const H5E_error2_t* error, void* words) {
  if (position == 0 && error->desc) *static_cast<std::string*>(words) = error->desc;
  return 0;
}

// Throws DataError unless a regular file (or a link to one) can be read.
void require_readable(const std::string& file) {
  const auto refuse = [&](const std::string& why) { throw DataError(file + " cannot be read: " + why); };
  struct stat info {};
  if (stat(file.c_str(), &info) != 0) {
    if (errno == ENOENT) throw DataError(file + " does not exist");
    refuse(std::generic_category().message(errno));
  }
  if (S_ISDIR(info.st_mode)) refuse("it is a folder");
  if (!S_ISREG(info.st_mode)) refuse("it is no regular file");  // opening a pipe would wait for its writer
  if (access(file.c_str(), R_OK) != 0) refuse(std::generic_category().message(errno));
}

[[noreturn]] void throw_open_error(const std::string& file, const std::string& words) {
  if (words.starts_with("file signature not found"))
    throw DataError(file + " is not an HDF5 file; `tally convert` makes one of .csv and .npy files");
  unsigned long long actual = 0, base = 0, expected = 0;
  if (std::sscanf(words.c_str(),
                  "truncated file: eof = %llu, sblock->base_addr = %llu, stored_eo%*[fa] = %llu", &actual,
                  &base, &expected) == 3)
    throw DataError(file + " is truncated: it has " + std::to_string(actual) + " bytes and should have " +
                    std::to_string(base + expected) + "; copy it again");
  throw DataError(file + " cannot be opened, it may be damaged: " + words);
}

using SeenObjects = std::set<std::pair<unsigned long, std::array<std::uint8_t, 16>>>;

// Whether an opened object was not among those seen before; from now on it is.
bool first_seen(hid_t object, SeenObjects& seen) {
  const char* const problem = "an object cannot be told from others";
  SeenObjects::value_type identity{};
#if H5_VERSION_GE(1, 12, 0)
  H5O_info2_t info{};
  check_hdf5(H5Oget_info3(object, &info, H5O_INFO_BASIC), problem);
  static_assert(sizeof info.token == sizeof identity.second);
  std::memcpy(identity.second.data(), &info.token, sizeof info.token);
#else
  H5O_info_t info{};
  check_hdf5(H5Oget_info(object, &info), problem);
  std::memcpy(identity.second.data(), &info.addr, sizeof info.addr);
#endif
  identity.first = info.fileno;
  return seen.insert(identity).second;
}

// Whether to go on.
bool visit_group(hid_t group, const std::string& prefix, int deeper, SeenObjects& seen, const VisitDataset& visit) {
  for (const std::string& name : hdf5_names(group)) {
    const Hdf5Handle object(H5Oopen(group, name.c_str(), H5P_DEFAULT), H5Oclose);
    if (!object) continue;  // a link to nothing
    const auto kind = H5Iget_type(object.get());
    if (kind == H5I_DATASET && !visit(prefix + name, object.get())) return false;
    if (kind == H5I_GROUP && deeper > 0 && first_seen(object.get(), seen) &&
        !visit_group(object.get(), prefix + name + "/", deeper - 1, seen, visit))
      return false;
  }
  return true;
}

}  // namespace

void Hdf5Handle::close(std::string_view what, std::source_location where) {
  if (id_ >= 0) check_hdf5(close_(std::exchange(id_, -1)), what, where);
}

void silence_hdf5() {
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

std::string hdf5_error_words() {
  std::string words;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_first_description, &words);
  static constexpr std::string_view system_prefix = "error message = '";
  if (const auto start = words.find(system_prefix); start != std::string::npos) {
    const auto from = start + system_prefix.size();
    return words.substr(from, words.find('\'', from) - from);
  }
  return words.empty() ? "HDF5 gives no reason" : words;
}

void throw_hdf5_error(std::string_view what, std::source_location where) {
  const auto words = hdf5_error_words();
  throw DataError(std::string(what) + ": " + words + " (" + short_location(where) + ")");
}

Hdf5Handle hdf5_file_access() {
  Hdf5Handle access(check_hdf5(H5Pcreate(H5P_FILE_ACCESS), "HDF5 file access"), H5Pclose);
  check_hdf5(H5Pset_fapl_sec2(access.get()), "HDF5 file access");  // whatever HDF5_DRIVER says: its files have a descriptor
#if H5_VERSION_GE(1, 10, 7) && !(H5_VERSION_GE(1, 12, 0) && H5_VERSION_LE(1, 12, 0))
  check_hdf5(H5Pset_file_locking(access.get(), false, true), "HDF5 file locking");
#endif
  return access;
}

Hdf5Handle open_hdf5(const std::string& file) {
  require_readable(file);
  const auto access = hdf5_file_access();
  Hdf5Handle opened(H5Fopen(file.c_str(), H5F_ACC_RDONLY, access.get()), H5Fclose);
  if (!opened) throw_open_error(file, hdf5_error_words());
  return opened;
}

std::int64_t hdf5_file_bytes(hid_t file) {
  void* descriptor = nullptr;
  check_hdf5(H5Fget_vfd_handle(file, H5P_DEFAULT, &descriptor), "HDF5 file descriptor");
  struct stat info {};
  if (fstat(*static_cast<int*>(descriptor), &info) != 0)
    throw DataError("the size of an open file cannot be told: " + std::generic_category().message(errno));
  return info.st_size;
}

Hdf5Handle hdf5_file_in_memory() {
  constexpr std::size_t grows_by = 4096;
  const Hdf5Handle access(check_hdf5(H5Pcreate(H5P_FILE_ACCESS), "HDF5 property list"), H5Pclose);
  check_hdf5(H5Pset_fapl_core(access.get(), grows_by, false), "HDF5 file in memory");
  return {check_hdf5(H5Fcreate("memory", H5F_ACC_TRUNC, H5P_DEFAULT, access.get()), "HDF5 file in memory"), H5Fclose};
}

std::vector<std::byte> hdf5_image(hid_t file) {
  check_hdf5(H5Fflush(file, H5F_SCOPE_GLOBAL), "HDF5 file in memory");
  const auto bytes = check_hdf5(H5Fget_file_image(file, nullptr, 0), "HDF5 file in memory");
  std::vector<std::byte> image(static_cast<std::size_t>(bytes));
  check_hdf5(H5Fget_file_image(file, image.data(), image.size()), "HDF5 file in memory");
  return image;
}

bool hdf5_contains(hid_t file, const std::string& path) {
  for (std::size_t end = 0; end < path.size();) {
    end = std::min(path.find('/', end + 1), path.size());
    const auto prefix = path.substr(0, end);
    if (prefix.find_first_not_of('/') == std::string::npos) continue;
    if (prefix.back() == '/') continue;
    if (H5Lexists(file, prefix.c_str(), H5P_DEFAULT) <= 0) return false;
    if (H5Oexists_by_name(file, prefix.c_str(), H5P_DEFAULT) <= 0) return false;
  }
  return true;
}

std::vector<std::string> hdf5_names(hid_t group) {
  H5G_info_t info{};
  check_hdf5(H5Gget_info(group, &info), "a group cannot be listed");
  std::vector<std::string> names;
  for (hsize_t i = 0; i < info.nlinks; ++i) {
    const auto length =
        check_hdf5(H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, nullptr, 0, H5P_DEFAULT),
                   "a group cannot be listed");
    std::string name(static_cast<std::size_t>(length), '\0');
    check_hdf5(H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, name.data(), name.size() + 1,
                                  H5P_DEFAULT),
               "a group cannot be listed");
    names.push_back(std::move(name));
  }
  std::sort(names.begin(), names.end());
  return names;
}

void hdf5_visit_datasets(hid_t root, int deepest, const VisitDataset& visit) {
  SeenObjects seen;
  first_seen(root, seen);
  visit_group(root, "/", deepest, seen, visit);
}

std::string hdf5_contents(hid_t file) {
  constexpr std::size_t named = 6, enough = 1000;
  constexpr int deepest = 8;
  const Hdf5Handle root(check_hdf5(H5Gopen2(file, "/", H5P_DEFAULT), "the root group cannot be opened"),
                        H5Gclose);
  std::vector<std::string> found;
  hdf5_visit_datasets(root.get(), deepest, [&](const std::string& path, hid_t) {
    found.push_back(path);
    return found.size() < enough;
  });
  if (found.empty()) return "it has none";
  std::string text = "it has ";
  for (std::size_t i = 0; i < std::min(named, found.size()); ++i) text += (i ? ", " : "") + found[i];
  if (found.size() > named) text += " and " + std::to_string(found.size() - named) + " more";
  return text;
}

}  // namespace tally
