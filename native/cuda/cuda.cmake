# The CUDA backend: a library of its own beside the addon, loaded at run time. Built wherever nvcc is found.
# Its kernels take minutes to compile, for nothing where no GPU runs them.
set(HRSAM_CUDA AUTO CACHE STRING "Build the CUDA backend: ON, OFF, or AUTO, where nvcc and an NVIDIA driver are found")
# PTX of the first one is added: the driver compiles it for GPUs that are not among them, which takes a minute once.
set(HRSAM_CUDA_ARCHS "own" CACHE STRING
    "GPU architectures that the CUDA backend is compiled for; own: of the GPUs here, 80 where there are none; all: what packages are built for")
if(HRSAM_SANITIZE)
  message(STATUS "CUDA: left out of a build with sanitizers")
  return()
elseif(NOT HRSAM_CUDA)
  message(STATUS "CUDA: switched off, CPU only")
  return()
elseif(HRSAM_CUDA STREQUAL AUTO AND NOT EXISTS /proc/driver/nvidia/version AND NOT EXISTS /dev/dxg) # WSL's
  message(STATUS "CUDA: no NVIDIA driver here, CPU only (-DHRSAM_CUDA=ON builds it all the same)")
  return()
endif()
find_program(HRSAM_NVCC nvcc HINTS ENV CUDA_HOME ENV CUDA_PATH /usr/local/cuda PATH_SUFFIXES bin)
if(NOT HRSAM_NVCC)
  message(STATUS "CUDA: nvcc not found, CPU only")
  return()
endif()

if(HRSAM_CUDA_ARCHS STREQUAL all)
  set(HRSAM_CUDA_ARCHS 80 86 89 90a 100 120)
elseif(HRSAM_CUDA_ARCHS STREQUAL own)
  find_program(HRSAM_NVIDIA_SMI nvidia-smi HINTS /usr/lib/wsl/lib)
  set(capabilities)
  if(HRSAM_NVIDIA_SMI)
    execute_process(COMMAND ${HRSAM_NVIDIA_SMI} --query-gpu=compute_cap --format=csv,noheader OUTPUT_VARIABLE capabilities
                    ERROR_QUIET)
  endif()
  execute_process(COMMAND ${HRSAM_NVCC} --list-gpu-code OUTPUT_VARIABLE known ERROR_QUIET)
  string(REGEX MATCHALL "[0-9]+[.][0-9]" capabilities "${capabilities}")
  list(TRANSFORM capabilities REPLACE "[.]" "")
  list(REMOVE_DUPLICATES capabilities)
  list(SORT capabilities COMPARE NATURAL)
  list(FILTER capabilities EXCLUDE REGEX "^[1-7][0-9]$") # too old
  set(own_archs)
  foreach(capability ${capabilities})
    if(known MATCHES "sm_${capability}([^0-9]|$)") # else too new for this nvcc: the driver compiles PTX
      list(APPEND own_archs ${capability})
    endif()
  endforeach()
  if(NOT own_archs)
    set(own_archs 80)
  endif()
  set(HRSAM_CUDA_ARCHS ${own_archs})
endif()

# Kernels outside of hopper/ do not depend on the architecture, but that from 90 on they can be started early
# (wait_for_earlier_kernels in core/ptx.h). Each of these two groups becomes PTX once, of its lowest, and machine code of
# that for each, which takes about half the time of PTX for each.
list(TRANSFORM HRSAM_CUDA_ARCHS REPLACE "[af]$" "" OUTPUT_VARIABLE generic_archs)
option(HRSAM_PTX "Keep the kernels' PTX, and build hrsam_cuda_ptx: tests that interpret it (native/test/ptx)" OFF)
set(generic_codes)
foreach(group "[1-8][0-9]" "9[0-9]|[1-9][0-9][0-9]")
  set(archs ${generic_archs})
  list(FILTER archs INCLUDE REGEX "^(${group})$")
  if(archs)
    list(SORT archs COMPARE NATURAL)
    list(GET archs 0 first)
    list(TRANSFORM archs PREPEND "sm_")
    if(NOT generic_codes OR HRSAM_PTX)
      list(PREPEND archs compute_${first})
    endif()
    list(JOIN archs "," codes)
    list(APPEND generic_codes --generate-code=arch=compute_${first},code=[${codes}])
  endif()
endforeach()
set(CMAKE_CUDA_ARCHITECTURES OFF) # before CMake looks at the compiler: it would ask the GPU, and there may be none

# A toolkit that does not work with this compiler must not stop the CPU build.
if(NOT DEFINED CMAKE_CUDA_COMPILER)
  include(CheckLanguage)
  set(ENV{CUDACXX} ${HRSAM_NVCC})
  check_language(CUDA)
endif()
if(NOT CMAKE_CUDA_COMPILER)
  message(STATUS "CUDA: ${HRSAM_NVCC} does not work with ${CMAKE_CXX_COMPILER}, CPU only")
  return()
endif()
enable_language(CUDA)
if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS 12.8)
  message(STATUS "CUDA: nvcc ${CMAKE_CUDA_COMPILER_VERSION} is too old (12.8 or newer needed), CPU only")
  return()
endif()
message(STATUS "CUDA: nvcc ${CMAKE_CUDA_COMPILER_VERSION}, architectures ${HRSAM_CUDA_ARCHS}")

file(GLOB CUDA_SOURCES CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/native/cuda/*.cu ${CMAKE_CURRENT_SOURCE_DIR}/native/cuda/*/*.cu
     ${CMAKE_CURRENT_SOURCE_DIR}/native/cuda/core/*.cc ${CMAKE_CURRENT_SOURCE_DIR}/native/plan/*.cc)
# What only Hopper runs is compiled for it alone, whatever else is asked for: its instructions are no other GPU's.
set(HOPPER_SOURCES ${CUDA_SOURCES})
list(FILTER HOPPER_SOURCES INCLUDE REGEX "/native/cuda/hopper/")
list(FILTER CUDA_SOURCES EXCLUDE REGEX "/native/cuda/hopper/")
add_library(hrsam_hopper OBJECT ${HOPPER_SOURCES})
add_library(hrsam_cuda MODULE ${CUDA_SOURCES} $<TARGET_OBJECTS:hrsam_hopper>)
set_target_properties(hrsam_cuda PROPERTIES PREFIX "" SUFFIX ".so")
foreach(target hrsam_cuda hrsam_hopper)
  # Not 20: its <memory> costs every file more than a second, and kernels need nothing of it.
  set_target_properties(${target} PROPERTIES CUDA_STANDARD 17 CUDA_RUNTIME_LIBRARY Static CUDA_VISIBILITY_PRESET hidden)
  target_include_directories(${target} PRIVATE native/include native/cuda/core ${GENERATED})
  target_compile_definitions(${target} PRIVATE HRSAM_GPU)
  # Files that run on the host alone are the host compiler's.
  target_include_directories(${target} SYSTEM PRIVATE ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall --expt-relaxed-constexpr>)
  target_compile_options(${target} PRIVATE
    $<$<COMPILE_LANGUAGE:CUDA>:$<IF:$<BOOL:${HRSAM_PTX}>,--no-compress,-Xfatbin=-compress-all>>)
endforeach()
target_compile_options(hrsam_cuda PRIVATE "$<$<COMPILE_LANGUAGE:CUDA>:${generic_codes}>")
set(hopper_codes $<$<BOOL:${HRSAM_PTX}>:compute_90a,>sm_90a)
target_compile_options(hrsam_hopper PRIVATE
  "$<$<COMPILE_LANGUAGE:CUDA>:--generate-code=arch=compute_90a,code=[${hopper_codes}]>")
# Registers that do not suffice cost more than anything else a compiler does wrong.
option(HRSAM_CUDA_STRICT "Fail where registers of the kernels that matter spill to memory" OFF)
if(HRSAM_CUDA_STRICT)
  foreach(op gemm/gemm linear linear_weight_gradient matmul attention/plain attention/tensor attention/gradient_tensor layer_norm
          cycle_scan cycle_scan_gradient mask_summary mask_threshold core/convert core/mask_runs)
    set_source_files_properties(${CMAKE_CURRENT_SOURCE_DIR}/native/cuda/${op}.cu PROPERTIES
                                COMPILE_OPTIONS -Xptxas=--warn-on-spills,-Werror)
  endforeach()
  target_compile_options(hrsam_hopper PRIVATE $<$<COMPILE_LANGUAGE:CUDA>:-Xptxas=--warn-on-spills,-Werror>)
endif()
# The runtime inside must not be taken for that of another library in the process.
target_link_options(hrsam_cuda PRIVATE -Wl,--exclude-libs,ALL)
if(HRSAM_PTX)
  add_subdirectory(${CMAKE_CURRENT_SOURCE_DIR}/native/test/ptx native/test/ptx)
endif()
