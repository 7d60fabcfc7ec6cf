# find_package(hone) and the target hone::reward: the headers for rewards in shared libraries. They
# need nlohmann-json and neither LibTorch nor a library of hone. The component `plugin-sdk` installs
# them alone.
include(CMakePackageConfigHelpers)

add_library(hone_reward INTERFACE)
set_target_properties(hone_reward PROPERTIES EXPORT_NAME reward)
target_compile_features(hone_reward INTERFACE cxx_std_20)
target_compile_definitions(hone_reward INTERFACE HONE_VERSION="${PROJECT_VERSION}")
target_link_libraries(hone_reward INTERFACE nlohmann_json::nlohmann_json)
# <hone/rewards/plugin.h> for users; the headers name each other from include/hone on.
target_include_directories(hone_reward INTERFACE
  $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>
  $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}/hone>)

set(config_dir ${CMAKE_INSTALL_LIBDIR}/cmake/hone)
file(WRITE ${CMAKE_BINARY_DIR}/hone-config.cmake
  "include(CMakeFindDependencyMacro)\nfind_dependency(nlohmann_json)\n"
  "include(\${CMAKE_CURRENT_LIST_DIR}/hone-targets.cmake)\n")
write_basic_package_version_file(${CMAKE_BINARY_DIR}/hone-config-version.cmake
  COMPATIBILITY SameMinorVersion ARCH_INDEPENDENT)
install(TARGETS hone_reward EXPORT hone-targets COMPONENT plugin-sdk)
install(EXPORT hone-targets NAMESPACE hone:: DESTINATION ${config_dir} COMPONENT plugin-sdk)
install(FILES ${CMAKE_BINARY_DIR}/hone-config.cmake ${CMAKE_BINARY_DIR}/hone-config-version.cmake
        DESTINATION ${config_dir} COMPONENT plugin-sdk)
install(FILES src/base/error.h src/base/json.h src/base/types.h
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/hone/base COMPONENT plugin-sdk)
install(FILES rewards/plugin.h rewards/reward.h
        DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/hone/rewards COMPONENT plugin-sdk)
