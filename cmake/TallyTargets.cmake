# How every library and program of Tally is compiled: interface targets, no global flags.

# Bits must not depend on which multiply-adds a compiler fuses. Exported: models of a user's own obey it too.
add_library(tally_numerics INTERFACE)
add_library(tally::numerics ALIAS tally_numerics)
set_target_properties(tally_numerics PROPERTIES EXPORT_NAME numerics)
target_compile_features(tally_numerics INTERFACE cxx_std_20)
target_compile_options(tally_numerics INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-ffp-contract=off> $<$<COMPILE_LANGUAGE:CXX>:-fno-math-errno>)
if(TALLY_SANITIZE)
  target_compile_options(tally_numerics INTERFACE
    "$<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${TALLY_SANITIZE};-fno-sanitize-recover=all;-fno-omit-frame-pointer;-g1>")
  target_link_options(tally_numerics INTERFACE -fsanitize=${TALLY_SANITIZE})
endif()

if(TALLY_FUZZ)  # readers are fuzzed, not kernels, of which each instruction set takes minutes to compile
  target_compile_definitions(tally_numerics INTERFACE HWY_COMPILE_ONLY_STATIC)
endif()

add_library(tally_warnings INTERFACE)
target_compile_options(tally_warnings INTERFACE
  "$<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wpedantic;-Wconversion;-Wno-sign-conversion>")
# Where files are compiled as one, the constants of one are no business of another's locals.
target_compile_options(tally_warnings INTERFACE
  $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<NOT:$<BOOL:$<TARGET_PROPERTY:UNITY_BUILD>>>>:-Wshadow>)
# At -O3, GCC 12 sees overlapping copies in std::string's operator+ (its bug 105651) and writes past the end in
# std::vector's resize where there are none.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(tally_warnings INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict;-Wno-array-bounds>")
endif()
# With a sanitizer's code between, GCC no longer sees that an empty std::optional is not read (its bug 105562). Where it
# says that the counter of an unrolled loop is used uninitialized, believe it: of a call's two arguments that are indexed by the
# counter, GCC 12 checks one with what is not there yet. Name the element before the call.
if(TALLY_SANITIZE AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  target_compile_options(tally_warnings INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:-Wno-maybe-uninitialized>")
endif()
if(TALLY_WARNINGS_AS_ERRORS)
  target_compile_options(tally_warnings INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Werror>)
endif()

# Settings that every target of Tally's own shares.
function(tally_configure_target target)
  target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:tally_warnings>)
  set_target_properties(${target} PROPERTIES CXX_EXTENSIONS OFF POSITION_INDEPENDENT_CODE ON)
endfunction()

# tally_add_library(core SOURCES ... PUBLIC ... PRIVATE ...) makes tally_core, alias tally::core, exported and installed.
function(tally_add_library name)
  cmake_parse_arguments(arg "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  set(target tally_${name})
  add_library(${target} STATIC ${arg_SOURCES})
  add_library(tally::${name} ALIAS ${target})
  target_include_directories(${target} PUBLIC
    $<BUILD_INTERFACE:${PROJECT_SOURCE_DIR}> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/tally>)
  target_link_libraries(${target} PUBLIC tally::numerics ${arg_PUBLIC} PRIVATE ${arg_PRIVATE})
  set_target_properties(${target} PROPERTIES EXPORT_NAME ${name} LINKER_LANGUAGE CXX)
  tally_configure_target(${target})
  install(TARGETS ${target} EXPORT TallyTargets)
endfunction()
