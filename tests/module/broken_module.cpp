// A backend that has no devices, answers with errors, and counts: the memory of its device is how many of its models are
// open, the free memory how many links. Built with TALLY_NO_ENTRY it exports a function of another name, with
// TALLY_UNRESOLVED it calls one that is nowhere, with TALLY_OLDER_VERSION it claims the version before.
#include <cstdio>

#include "core/module_interface.hpp"

#if defined(TALLY_UNRESOLVED)
extern "C" void tally_function_that_is_nowhere();
#endif

namespace tally::module {

struct Model {};
struct Link {
  int polls = 0, sum_polls = 0;
  bool aborted = false;
};

namespace {

constexpr auto other_kind = static_cast<std::int32_t>(ErrorKind::other);
int open_models = 0, open_links = 0;

void fail(Status* status, std::int32_t kind, const char* message) {
  status->kind = kind;
  std::snprintf(status->message, sizeof status->message, "%s", message);
}

Interface make_interface() {
  Interface interface{};
#if defined(TALLY_OLDER_VERSION)
  interface.version = interface_version - 1;
#else
  interface.version = interface_version;
#endif
  interface.backend = "broken";
  interface.build = "by nobody";
  interface.versions = [](char*, std::int64_t, Status* status) { fail(status, other_kind, "no versions"); };
  interface.device_count = [](Status* status) {
    fail(status, other_kind, "no count");
    return std::int32_t{5};
  };
  interface.describe_device = [](std::int32_t, DeviceInfo* info, Status*) {
    info->memory_bytes = open_models;
    info->free_bytes = open_links;
  };
  // An error of the kind that is the first device's number; 0, which is none, reaches where the second is not 0.
  interface.reaches = [](std::int32_t from, std::int32_t to, Status* status) {
    fail(status, from, "out of reach");
    return to;
  };
  interface.block_rows = [](std::int64_t columns) { return columns - 1000; };

  interface.open = [](const Request*, Status*) {
    ++open_models;
    return new Model;
  };
  interface.close = [](Model* model) {
    --open_models;
    delete model;
  };
  interface.prepare = [](Model*, std::int32_t, const double*, std::int64_t, Status* status) {
    fail(status, other_kind, "no parameters");
  };

  // The first look finds what is pending working, the second waiting, the third done.
  interface.connect = [](std::int32_t, const unsigned char*, std::int32_t, std::int32_t, Status*) {
    ++open_links;
    return new Link;
  };
  interface.poll_connect = [](Link* link, Status*) { return std::int32_t{link->polls++}; };
  interface.start_sum = [](Link* link, Model*, Status* status) {
    if (link->aborted) fail(status, other_kind, "aborted");
  };
  interface.poll_sum = [](Link* link, Status*) { return std::int32_t{link->sum_polls++}; };
  interface.abort = [](Link* link) { link->aborted = true; };
  interface.disconnect = [](Link* link) {
    --open_links;
    delete link;
  };
#if defined(TALLY_UNRESOLVED)
  tally_function_that_is_nowhere();
#endif
  return interface;
}

}  // namespace
}  // namespace tally::module

#if defined(TALLY_NO_ENTRY)
#define tally_module_interface tally_no_interface
#endif
extern "C" __attribute__((visibility("default"))) const tally::module::Interface* tally_module_interface() {
  static const tally::module::Interface interface = tally::module::make_interface();
  return &interface;
}
