# The registry of built-in models is generated: an object that registers itself from a static library is dropped
# by the linker.

# tally_add_model(NAME [FAMILY] [SOURCE models/NAME.cpp] [KERNELS a b] [TENSOR_CORE_KERNELS c]) names a model whose source
# defines ModelEntry NAME_entry(), or FamilyEntry NAME_entry() for a family, and holds all its kernels. Where nvcc is found
# the source is compiled as CUDA too, and the assembler's report must name a kernel for each of these functors in both
# precisions, and for the others one that uses tensor cores.
function(tally_add_model name)
  cmake_parse_arguments(arg "FAMILY" "SOURCE" "KERNELS;TENSOR_CORE_KERNELS" ${ARGN})
  if(NOT arg_SOURCE)
    set(arg_SOURCE models/${name}.cpp)
  endif()
  set(path "${CMAKE_CURRENT_SOURCE_DIR}/${arg_SOURCE}")
  set(type Model)
  if(arg_FAMILY)
    set(type Family)
  endif()
  set_property(GLOBAL APPEND PROPERTY TALLY_MODELS ${name})
  set_property(GLOBAL APPEND_STRING PROPERTY TALLY_MODEL_DECLARATIONS "${type}Entry ${name}_entry();\n")
  set_property(GLOBAL APPEND PROPERTY TALLY_MODEL_SOURCES "${path}")
  if(COMMAND tally_compile_cuda)
    tally_compile_cuda(${name} "${path}")
    tally_test_cuda_report(${name} "${arg_KERNELS}" "${arg_TENSOR_CORE_KERNELS}")
  endif()
endfunction()

# Writes builtin_registry.cpp, which defines add_builtin_models(Registry&), and compiles it into `target`.
function(tally_generate_registry target)
  get_property(models GLOBAL PROPERTY TALLY_MODELS)
  get_property(declarations GLOBAL PROPERTY TALLY_MODEL_DECLARATIONS)
  set(additions "")
  foreach(model IN LISTS models)
    string(APPEND additions "  registry.add(${model}_entry());\n")
  endforeach()
  set(generated "${CMAKE_CURRENT_BINARY_DIR}/builtin_registry.cpp")
  configure_file("${PROJECT_SOURCE_DIR}/cmake/builtin_registry.cpp.in" "${generated}" @ONLY)
  target_sources(${target} PRIVATE "${generated}")
endfunction()

# tally_add_module(NAME SOURCES a.cpp [DEFINITIONS X]) makes the loadable backend libtally_NAME.so: every model of
# tally_add_model compiled once more with these definitions, and the sources that describe the devices. It exports
# tally_module_interface and nothing else.
function(tally_add_module name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEFINITIONS" ${ARGN})
  get_property(models GLOBAL PROPERTY TALLY_MODEL_SOURCES)
  add_library(tally_${name} MODULE ${arg_SOURCES} ${models})
  target_compile_definitions(tally_${name} PRIVATE ${arg_DEFINITIONS})
  target_link_libraries(tally_${name} PRIVATE tally::algorithms)
  tally_export_interface_alone(tally_${name})
  tally_configure_target(tally_${name})
endfunction()

function(tally_export_interface_alone target)
  set(script "${PROJECT_SOURCE_DIR}/cmake/module_exports.map")
  target_link_options(${target} PRIVATE "-Wl,--version-script=${script}" -Wl,--no-undefined)
  set_target_properties(${target} PROPERTIES LINK_DEPENDS "${script}")
endfunction()
