#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <exception>
#include <memory>
#include <string>

#include "algorithms/bound_device_model.hpp"
#include "algorithms/registry.hpp"
#include "core/error.hpp"
#include "core/module_interface.hpp"

// The half of a module's interface that is alike for every backend: models by name, behind plain C functions. A module
// compiles the model sources against its backend, adds the functions about devices, and exports the whole.
namespace tally::module {

// Runs work and writes what it throws to the status.
template <class Work>
auto guarded(Status* status, const Work& work) -> decltype(work()) {
  const auto fail = [status](ErrorKind kind, const char* message) {
    status->kind = static_cast<std::int32_t>(kind);
    std::strncpy(status->message, message, sizeof status->message - 1);
    status->message[sizeof status->message - 1] = 0;
  };
  status->kind = 0;
  try {
    return work();
  } catch (const Error& error) {
    fail(error.kind(), error.what());
  } catch (const std::bad_alloc&) {
    fail(ErrorKind::other, "out of memory on the host");
  } catch (const std::exception& error) {
    fail(ErrorKind::other, error.what());
  }
  return decltype(work())();
}

inline void copy_text(const std::string& from, char* to, std::size_t size) {
  const std::size_t count = std::min(from.size(), size - 1);
  std::memcpy(to, from.data(), count);
  to[count] = 0;
}

// What an opened model is.
struct Model {
  std::unique_ptr<tally::Model> model;
  std::unique_ptr<BoundModel> bound;
  std::vector<double> objectives;
  std::vector<GridReport> reports;
  DeviceEngine& engine() const { return static_cast<BoundDeviceModel&>(*bound).engine(); }
};

// Opens a model of the registry; the device that it shall run on is current.
inline Model* open_model(const Registry& registry, const Request& request) {
  OptionValues options;
  for (Index i = 0; i < request.option_count; ++i) {
    std::string name = request.option_names[i];  // as files have it
    std::replace(name.begin(), name.end(), '_', '-');
    options[name] = request.option_values[i];
  }
  auto opened = std::make_unique<Model>();
  opened->model = registry.find(request.model).make(request.components, request.columns, options);
  Standardisation standardisation;
  standardisation.centre.assign(request.centre, request.centre + request.columns);
  standardisation.exponent.assign(request.exponent, request.exponent + request.columns);
  if (request.reference) standardisation.reference.assign(request.reference, request.reference + request.columns);
  opened->model->set_standardisation(std::move(standardisation));
  if (opened->model->parameters().size() != request.parameters || opened->model->statistics().size() != request.statistics)
    throw DeviceError(std::string("the backend's model ") + request.model +
                      " differs from this program's: build both from the same Tally");
  BindOptions bind;
  bind.precision = static_cast<Precision>(request.precision);
  bind.lanes = request.lanes;
  bind.candidates = request.candidates;
  bind.row_memory = request.row_memory;
  opened->bound = opened->model->bind(bind);
  return opened.release();
}

// Fills in every member of the interface that works on models but `open`.
inline void add_model_functions(Interface& interface) {
  interface.close = [](Model* model) { delete model; };
  interface.prepare = [](Model* model, std::int32_t candidate, const double* parameters, std::int64_t count,
                         Status* status) {
    guarded(status, [&] {
      model->engine().prepare(candidate, std::span(parameters, static_cast<std::size_t>(count)));
    });
  };
  interface.begin = [](Model* model, const std::int32_t* candidates, std::int32_t candidate_count, const Grid* grids,
                       std::int64_t grid_count, std::int64_t most_blocks, Status* status) {
    guarded(status, [&] {
      model->engine().begin(std::span(candidates, static_cast<std::size_t>(candidate_count)),
                            std::span(grids, static_cast<std::size_t>(grid_count)), most_blocks);
    });
  };
  interface.add = [](Model* model, std::int32_t lane, const HostBlock* block, std::int64_t slot, Status* status) {
    return guarded(status, [&] { return std::int32_t{model->engine().add(lane, *block, slot)}; });
  };
  interface.add_kept = [](Model* model, std::int32_t lane, std::int64_t slot, Status* status) {
    guarded(status, [&] { model->engine().add_kept(lane, slot); });
  };
  interface.finish = [](Model* model, Status* status) {
    guarded(status, [&] {
      model->engine().finish();
      model->objectives = model->engine().objectives();
      model->reports = model->engine().reports();
    });
  };
  interface.objective_count = [](Model* model) { return static_cast<std::int64_t>(model->objectives.size()); };
  interface.objectives = [](Model* model, double* out) {
    std::copy(model->objectives.begin(), model->objectives.end(), out);
  };
  interface.report_count = [](Model* model) { return static_cast<std::int64_t>(model->reports.size()); };
  interface.reports = [](Model* model, GridReport* out) {
    std::copy(model->reports.begin(), model->reports.end(), out);
  };
  interface.read = [](Model* model, std::int64_t first, std::int64_t* out, std::int64_t count, Status* status) {
    guarded(status, [&] { model->engine().read(first, std::span(out, static_cast<std::size_t>(count))); });
  };
  interface.write = [](Model* model, std::int64_t first, const std::int64_t* values, std::int64_t count,
                       Status* status) {
    guarded(status, [&] { model->engine().write(first, std::span(values, static_cast<std::size_t>(count))); });
  };
  interface.compose = [](Model* model, std::int32_t lane, const HostBlock* block, std::int64_t slot,
                         const std::int32_t* candidates, std::int32_t count, double* products, Status* status) {
    return guarded(status, [&] {
      return std::int32_t{model->engine().compose(lane, *block, slot, std::span(candidates, static_cast<std::size_t>(count)),
                                                  products)};
    });
  };
  interface.compose_kept = [](Model* model, std::int32_t lane, std::int64_t slot, const std::int32_t* candidates,
                              std::int32_t count, double* products, Status* status) {
    guarded(status, [&] {
      model->engine().compose_kept(lane, slot, std::span(candidates, static_cast<std::size_t>(count)), products);
    });
  };
  interface.set_messages = [](Model* model, const double* messages, std::int64_t count, Status* status) {
    guarded(status, [&] { model->engine().set_messages(std::span(messages, static_cast<std::size_t>(count))); });
  };
  interface.impossible_row = [](Model* model, std::int32_t candidate, Status* status) {
    return guarded(status, [&] { return std::int64_t{model->engine().impossible_row(candidate)}; });
  };
  interface.evaluate = [](Model* model, std::int32_t lane, const HostBlock* block, const RowOutputs* outputs,
                          Status* status) {
    guarded(status, [&] { model->engine().evaluate(lane, *block, *outputs); });
  };
  interface.memory_bytes = [](Model* model) { return static_cast<std::int64_t>(model->engine().memory_bytes()); };
}

}  // namespace tally::module
