# The installed package: find_package(Tally) gives tally::core, tally::comm, tally::algorithms, tally::em, tally::launch.
include(CMakePackageConfigHelpers)

set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/Tally)
install(TARGETS tally_numerics EXPORT TallyTargets)
install(EXPORT TallyTargets NAMESPACE tally:: DESTINATION ${package_dir})
foreach(layer core comm algorithms launch)
  install(DIRECTORY ${layer} DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/tally FILES_MATCHING PATTERN "*.hpp")
endforeach()

configure_package_config_file(cmake/TallyConfig.cmake.in TallyConfig.cmake INSTALL_DESTINATION ${package_dir}
  NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(TallyConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES
  "${CMAKE_CURRENT_BINARY_DIR}/TallyConfig.cmake"
  "${CMAKE_CURRENT_BINARY_DIR}/TallyConfigVersion.cmake"
  cmake/TallyDependencies.cmake
  DESTINATION ${package_dir})
install(FILES LICENSE NOTICE DESTINATION ${CMAKE_INSTALL_DOCDIR})
