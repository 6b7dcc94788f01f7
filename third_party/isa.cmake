# octavo_isa_library(NAME sources...): compiles each source once per instruction set of the target processor.
#
# A source defines its kernels in namespace octavo::OCTAVO_ISA (cpu/vec.h), so the copies never collide; nothing inline may
# leak out of such a file, because the linker keeps one copy of it, perhaps the one for a processor this machine does not have.
string(TOLOWER "${CMAKE_SYSTEM_PROCESSOR}" _processor)
set(OCTAVO_ISAS portable)
if(_processor MATCHES "x86_64|amd64")
  list(APPEND OCTAVO_ISAS avx2 avx512)
elseif(_processor MATCHES "aarch64|arm64")
  list(APPEND OCTAVO_ISAS neon neon_dot)
elseif(_processor MATCHES "ppc64le|powerpc64le")
  list(APPEND OCTAVO_ISAS vsx)
endif()
set(OCTAVO_CPU all CACHE STRING "Instruction sets to compile kernels for: all of the processor family, or native: the best of this machine")
set_property(CACHE OCTAVO_CPU PROPERTY STRINGS all native)
if(OCTAVO_CPU STREQUAL "native")
  set(_candidates ${OCTAVO_ISAS})
  list(TRANSFORM _candidates TOUPPER)
  list(TRANSFORM _candidates PREPEND -DOCTAVO_HAVE_)
  try_run(_ran _compiled SOURCES ${CMAKE_CURRENT_LIST_DIR}/best_isa.cc ${CMAKE_SOURCE_DIR}/cpp/cpu/isa.cc
    CMAKE_FLAGS "-DINCLUDE_DIRECTORIES=${CMAKE_SOURCE_DIR}/cpp" COMPILE_DEFINITIONS ${_candidates} CXX_STANDARD 17
    COMPILE_OUTPUT_VARIABLE _output RUN_OUTPUT_VARIABLE _best)
  if(NOT _compiled OR NOT _ran EQUAL 0)
    message(FATAL_ERROR "OCTAVO_CPU=native: cannot tell what this processor has (${_output}${_best}); -DOCTAVO_CPU=all builds for every one")
  endif()
  set(OCTAVO_ISAS ${_best})
elseif(NOT OCTAVO_CPU STREQUAL "all")
  message(FATAL_ERROR "OCTAVO_CPU is ${OCTAVO_CPU}; it must be all or native")
endif()
set(OCTAVO_ISA_FLAGS_portable -DOCTAVO_PORTABLE)
if(avx2 IN_LIST OCTAVO_ISAS)
  list(APPEND OCTAVO_ISA_FLAGS_portable -O1)  # hardly an x86 processor is left that needs it: quick to build matters more
endif()
set(OCTAVO_ISA_FLAGS_avx2 -mavx2 -mfma -mf16c)
set(OCTAVO_ISA_FLAGS_avx512 -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mfma -mf16c -mprefer-vector-width=512
    -Wno-uninitialized)  # GCC 12 warns of its own _mm512_undefined_* headers
set(OCTAVO_ISA_FLAGS_neon "")
set(OCTAVO_ISA_FLAGS_neon_dot -march=armv8.2-a+dotprod)
set(OCTAVO_ISA_FLAGS_vsx -mcpu=power9)

function(octavo_isa_library name)
  add_library(${name} STATIC)
  foreach(isa IN LISTS OCTAVO_ISAS)
    add_library(${name}_${isa} OBJECT ${ARGN})
    target_include_directories(${name}_${isa} PRIVATE ${CMAKE_SOURCE_DIR}/cpp)
    target_compile_definitions(${name}_${isa} PRIVATE OCTAVO_ISA=isa_${isa})
    target_compile_options(${name}_${isa} PRIVATE ${OCTAVO_ISA_FLAGS_${isa}} -fno-exceptions)
    target_sources(${name} PRIVATE $<TARGET_OBJECTS:${name}_${isa}>)
  endforeach()
endfunction()
