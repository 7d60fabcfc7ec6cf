# LibTorch 2.11 from a Python package of torch, as one imported target. find_package(Torch) would
# set global CUDA flags and needs a try_run that fails with cmake 3.25.
#
# HONE_TORCH_DIR: the torch package's directory; found through HONE_PYTHON, .venv or python3.
if(NOT HONE_TORCH_DIR)
  foreach(python ${HONE_PYTHON} ${CMAKE_SOURCE_DIR}/.venv/bin/python python3)
    execute_process(
      COMMAND ${python} -c
        "import importlib.util as u, os; s = u.find_spec('torch'); print(os.path.dirname(s.origin) if s else '')"
      OUTPUT_VARIABLE found OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    if(found)
      set(HONE_TORCH_DIR ${found} CACHE PATH "the torch package's directory")
      break()
    endif()
  endforeach()
endif()
if(NOT HONE_TORCH_DIR OR NOT EXISTS ${HONE_TORCH_DIR}/version.py)
  message(FATAL_ERROR "LibTorch was not found: run scripts/setup, or set HONE_TORCH_DIR to the "
                      "directory of an installed torch 2.11")
endif()
file(STRINGS ${HONE_TORCH_DIR}/version.py version_line REGEX "^__version__ *=")
if(NOT version_line MATCHES "2\\.11\\.")
  message(FATAL_ERROR "torch 2.11 is needed, ${HONE_TORCH_DIR} has ${version_line}: run scripts/setup")
endif()

add_library(hone_torch INTERFACE IMPORTED)
target_include_directories(hone_torch SYSTEM INTERFACE
  ${HONE_TORCH_DIR}/include ${HONE_TORCH_DIR}/include/torch/csrc/api/include)
target_link_directories(hone_torch INTERFACE ${HONE_TORCH_DIR}/lib)
file(GLOB nvidia_libraries ${HONE_TORCH_DIR}/../nvidia/*/lib)
foreach(directory ${nvidia_libraries})  # only for the linker's look at libtorch_cuda's own needs
  target_link_options(hone_torch INTERFACE "LINKER:-rpath-link,${directory}")
endforeach()
target_link_options(hone_torch INTERFACE "LINKER:-rpath,${HONE_TORCH_DIR}/lib")
# libstdc++ stands before torch: libtorch.so exports an unusable std::filesystem of its own, and the
# first library that has a symbol wins.
target_link_libraries(hone_torch INTERFACE
  "-Wl,--push-state,--no-as-needed" stdc++ torch torch_cpu c10)
if(EXISTS ${HONE_TORCH_DIR}/lib/libtorch_cuda.so)
  target_link_libraries(hone_torch INTERFACE torch_cuda c10_cuda)
endif()
target_link_libraries(hone_torch INTERFACE "-Wl,--pop-state")
if(HONE_WITH_CUDA)
  target_include_directories(hone_torch SYSTEM INTERFACE ${CUDAToolkit_INCLUDE_DIRS})
  target_link_libraries(hone_torch INTERFACE CUDA::cudart)
  # cuBLASLt as torch uses it, of which one copy may be in the process; else the toolkit's.
  find_library(HONE_CUBLASLT NAMES libcublasLt.so.13 HINTS ${nvidia_libraries} NO_DEFAULT_PATH)
  if(HONE_CUBLASLT)
    get_filename_component(directory ${HONE_CUBLASLT} DIRECTORY)
    target_link_options(hone_torch INTERFACE "LINKER:-rpath,${directory}")
    # As a flag: by its path cmake would order run-time paths by it, against the toolkit's libcudart.
    target_link_directories(hone_torch INTERFACE ${directory})
    target_link_libraries(hone_torch INTERFACE -l:libcublasLt.so.13)
  else()
    target_link_libraries(hone_torch INTERFACE CUDA::cublasLt)
  endif()
endif()
