# The registry of built-in models is generated: an object that registers itself from a static library is dropped
# by the linker.

# tally_add_model(NAME [SOURCE models/NAME.cpp] [KERNELS a b]) names a model whose source defines ModelEntry NAME_entry()
# and holds all its kernels. Where nvcc is found the source is compiled as CUDA too, and the assembler's report must
# name a kernel for each of these functors in both precisions.
function(tally_add_model name)
  cmake_parse_arguments(arg "" "SOURCE" "KERNELS" ${ARGN})
  if(NOT arg_SOURCE)
    set(arg_SOURCE models/${name}.cpp)
  endif()
  set(path "${CMAKE_CURRENT_SOURCE_DIR}/${arg_SOURCE}")
  set_property(GLOBAL APPEND PROPERTY TALLY_MODELS ${name})
  if(COMMAND tally_check_cuda)
    tally_check_cuda(${name} "${path}" ${arg_KERNELS})
  endif()
endfunction()

# Writes builtin_registry.cpp, which defines add_builtin_models(Registry&), and compiles it into `target`.
function(tally_generate_registry target)
  get_property(models GLOBAL PROPERTY TALLY_MODELS)
  set(declarations "")
  set(additions "")
  foreach(model IN LISTS models)
    string(APPEND declarations "ModelEntry ${model}_entry();\n")
    string(APPEND additions "  registry.add(${model}_entry());\n")
  endforeach()
  set(generated "${CMAKE_CURRENT_BINARY_DIR}/builtin_registry.cpp")
  configure_file("${PROJECT_SOURCE_DIR}/cmake/builtin_registry.cpp.in" "${generated}" @ONLY)
  target_sources(${target} PRIVATE "${generated}")
endfunction()
