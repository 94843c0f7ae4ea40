# The register gate. Every CUDA source is compiled with `ptxas -v`, through a launcher that keeps
# what it says beside the object, so a hit of ccache is judged as well.
#   kvg_ptxas_gate(TARGET)  after TARGET is built, fails on what ptxas_gate.sh lists; the registers of
#                           all its kernels go to ptxas.txt in the build folder.
set(KVG_PTXAS_LAUNCHER ${CMAKE_SOURCE_DIR}/cmake/ptxas_report.sh)
set(KVG_PTXAS_FLAGS -Xptxas=-v)

function(kvg_ptxas_gate target)
  set(gate ${CMAKE_SOURCE_DIR}/cmake/ptxas_gate.sh)
  set(kernels ${CMAKE_SOURCE_DIR}/cmake/ptxas_kernels.txt)
  set(table ${CMAKE_BINARY_DIR}/ptxas.txt)
  set(objects "$<FILTER:$<TARGET_OBJECTS:${target}>,INCLUDE,[.]cu[.]o$>")
  add_custom_command(
    OUTPUT ${table}
    COMMAND ${gate} ${kernels} ${table} "$<JOIN:${objects},.ptxas;>.ptxas"
    DEPENDS ${target} ${gate} ${kernels}
    COMMENT "Registers of the kernels"
    COMMAND_EXPAND_LISTS VERBATIM)
  add_custom_target(${target}_ptxas_gate ALL DEPENDS ${table})

  add_test(NAME ptxas_gate_test
           COMMAND ${CMAKE_SOURCE_DIR}/cmake/ptxas_gate_test.sh ${CMAKE_CUDA_COMPILER} ${KVG_CCACHE})
  set_tests_properties(ptxas_gate_test PROPERTIES LABELS "cpu;ptxas" TIMEOUT 120)
endfunction()
