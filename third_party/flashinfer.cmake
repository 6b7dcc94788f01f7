# FlashInfer's headers, with the CUTLASS and CCCL headers that its wheel brings, and the attention instances that are compiled of them.
#
# The version is pinned: arguments of its plans and templates change between releases. Found in this order: -DOCTAVO_FLASHINFER_DATA
# (the wheel's flashinfer/data), an installed flashinfer-python of that version, else the wheel is downloaded with pip and unpacked into the
# build folder. Licences: FlashInfer Apache-2.0, CUTLASS BSD-3-Clause, CCCL Apache-2.0 with LLVM exceptions (see third_party/NOTICE).
set(OCTAVO_FLASHINFER_VERSION 0.7.2.post1)
set(OCTAVO_FLASHINFER_DATA "" CACHE PATH "flashinfer/data of the flashinfer-python ${OCTAVO_FLASHINFER_VERSION} wheel; empty: find or download")

set(OCTAVO_FLASHINFER_LIBRARY "" CACHE FILEPATH "liboctavo_flashinfer.a of an earlier build with the same instances; empty: compile them")

# One entry an instance: kind:element:head_dim:features. The FA2 template takes any window; a Hopper instance is made with or without.
# A Hopper instance compiles for two minutes in 3.5 GB, an FA2 instance for 25 seconds.
set(OCTAVO_FLASHINFER_INSTANCES
  fa2:bf16:128:plain fa2:bf16:64:plain fa2:bf16:256:plain
  hopper:bf16:128:plain hopper:bf16:64:plain
  hopper:bf16:128:window hopper:bf16:256:plain hopper:bf16:256:window hopper:bf16:64:window
  fa2:bf16:256:softcap hopper:bf16:256:softcap hopper:bf16:256:window_softcap
  fa2:bf16:128:softcap fa2:fp16:128:plain fa2:fp16:64:plain
  CACHE STRING "FlashInfer instances to compile, kind:element:head_dim:features")

function(octavo_find_flashinfer data)
  if(OCTAVO_FLASHINFER_DATA)
    set(found ${OCTAVO_FLASHINFER_DATA})
  else()
    find_package(Python REQUIRED COMPONENTS Interpreter)
    execute_process(
      COMMAND ${Python_EXECUTABLE} -c "import importlib.metadata as m; d = m.distribution('flashinfer-python'); print(d.locate_file('flashinfer/data') if d.version == '${OCTAVO_FLASHINFER_VERSION}' else '')"
      OUTPUT_VARIABLE found OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  endif()
  if(NOT found)
    set(unpacked ${CMAKE_BINARY_DIR}/flashinfer)
    set(found ${unpacked}/flashinfer/data)
    if(NOT EXISTS ${found}/include)
      message(STATUS "Downloading flashinfer-python ${OCTAVO_FLASHINFER_VERSION} (62 MB)")
      execute_process(
        COMMAND ${Python_EXECUTABLE} -m pip download --quiet --no-deps --only-binary :all: -d ${unpacked} flashinfer-python==${OCTAVO_FLASHINFER_VERSION}
        RESULT_VARIABLE failed)
      if(failed)
        message(FATAL_ERROR "flashinfer-python ${OCTAVO_FLASHINFER_VERSION} could not be downloaded; unpack its wheel and give -DOCTAVO_FLASHINFER_DATA=.../flashinfer/data")
      endif()
      file(GLOB wheel ${unpacked}/flashinfer_python-*.whl)
      file(ARCHIVE_EXTRACT INPUT ${wheel} DESTINATION ${unpacked}
        PATTERNS "flashinfer/data/include/*" "flashinfer/data/cutlass/*" "flashinfer/data/cccl/*")
    endif()
  endif()
  if(NOT EXISTS ${found}/include/flashinfer/attention/prefill.cuh)
    message(FATAL_ERROR "${found} holds no FlashInfer headers")
  endif()
  set(${data} ${found} PARENT_SCOPE)
endfunction()

# fa2_bf16_128_plain and the like: the file and the symbol of an instance.
function(octavo_flashinfer_instance instance sources declarations table_fa2 table_hopper)
  string(REPLACE ":" ";" parts ${instance})
  list(GET parts 0 KIND)
  list(GET parts 1 ELEMENT)
  list(GET parts 2 HEAD_DIM)
  list(GET parts 3 features)
  set(NAME ${KIND}_${ELEMENT}_${HEAD_DIM}_${features})
  set(WINDOW false)
  set(SOFTCAP false)
  if(features MATCHES "window")
    set(WINDOW true)
  endif()
  if(features MATCHES "softcap")
    set(SOFTCAP true)
  endif()
  string(REPLACE "fp16" "f16" DTYPE ${ELEMENT})
  string(REPLACE "fp16" "half" TYPE ${ELEMENT})
  string(REPLACE "half" "cutlass::half_t" CUTLASS_TYPE ${TYPE})
  string(REPLACE "bf16" "cutlass::bfloat16_t" CUTLASS_TYPE ${CUTLASS_TYPE})
  set(source ${CMAKE_CURRENT_BINARY_DIR}/flashinfer_units/${NAME}.cu)
  configure_file(${CMAKE_SOURCE_DIR}/cpp/ops/attention/flashinfer/${KIND}_unit.cu.in ${source} @ONLY)
  set(${sources} ${${sources}} ${source} PARENT_SCOPE)
  if(KIND STREQUAL "fa2")
    set(${declarations} "${${declarations}}extern const Fa2Unit ${NAME};\n" PARENT_SCOPE)
    set(${table_fa2} "${${table_fa2}}&${NAME}, " PARENT_SCOPE)
  else()
    set(${declarations} "${${declarations}}extern const HopperUnit ${NAME};\n" PARENT_SCOPE)
    set(${table_hopper} "${${table_hopper}}&${NAME}, " PARENT_SCOPE)
  endif()
endfunction()

function(octavo_compile_flashinfer sources)
  octavo_find_flashinfer(data)
  set(folder ${CMAKE_SOURCE_DIR}/cpp/ops/attention/flashinfer)
  add_library(octavo_flashinfer STATIC ${sources})
  set_target_properties(octavo_flashinfer PROPERTIES CUDA_ARCHITECTURES 90a-real CUDA_RUNTIME_LIBRARY Static CUDA_VISIBILITY_PRESET hidden)
  # CCCL of the wheel first: the toolkit's own may be too old. The shim stands in for cuRAND, of which only names are wanted.
  target_include_directories(octavo_flashinfer BEFORE PRIVATE ${data}/cccl/libcudacxx/include ${data}/cccl/cub ${data}/cccl/thrust
    ${data}/include ${data}/cutlass/include ${data}/cutlass/tools/util/include ${folder}/shim ${CMAKE_SOURCE_DIR}/cpp)
  target_compile_definitions(octavo_flashinfer PRIVATE FLASHINFER_ENABLE_F16 FLASHINFER_ENABLE_BF16 FLASHINFER_ENABLE_FP8_E4M3
    FLASHINFER_ENABLE_FP8_E5M2 FLASHINFER_ENABLE_FP8_E8M0 FLASHINFER_ENABLE_FP4_E2M1 CUTE_SM90_EXTENDED_MMA_SHAPES_ENABLED)
  target_compile_options(octavo_flashinfer PRIVATE --expt-relaxed-constexpr -use_fast_math -Xfatbin=-compress-all -w)
endfunction()

# Adds FlashInfer's attention to a library: the instances, compiled for compute capability 9.0, and the backend that finds them.
function(octavo_add_flashinfer library)
  set(folder ${CMAKE_SOURCE_DIR}/cpp/ops/attention/flashinfer)
  foreach(instance IN LISTS OCTAVO_FLASHINFER_INSTANCES)
    octavo_flashinfer_instance(${instance} SOURCES DECLARATIONS FA2_UNITS HOPPER_UNITS)
  endforeach()
  configure_file(${folder}/unit_table.h.in ${CMAKE_CURRENT_BINARY_DIR}/flashinfer_units/flashinfer_unit_table.h @ONLY)
  if(OCTAVO_FLASHINFER_LIBRARY)
    add_library(octavo_flashinfer STATIC IMPORTED GLOBAL)
    set_target_properties(octavo_flashinfer PROPERTIES IMPORTED_LOCATION ${OCTAVO_FLASHINFER_LIBRARY})
  else()
    octavo_compile_flashinfer("${SOURCES}")
  endif()
  target_sources(${library} PRIVATE ${folder}/flashinfer_attention.cc)
  target_link_libraries(${library} PUBLIC octavo_flashinfer)
  target_include_directories(${library} PRIVATE ${CMAKE_CURRENT_BINARY_DIR}/flashinfer_units)
endfunction()
