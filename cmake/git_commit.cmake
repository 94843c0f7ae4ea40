# Writes git_commit.h at build time, and only when it changes, so that a commit rebuilds one small file.
#   cmake -DSOURCE=... -DOUTPUT=... -P git_commit.cmake
execute_process(COMMAND git rev-parse HEAD WORKING_DIRECTORY ${SOURCE} OUTPUT_VARIABLE commit
                OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
if(failed)
  set(commit unknown)
endif()
execute_process(COMMAND git status --porcelain --untracked-files=no WORKING_DIRECTORY ${SOURCE}
                OUTPUT_VARIABLE changes OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
if(changes STREQUAL "")
  set(dirty 0)
else()
  set(dirty 1)
endif()
set(text "#pragma once\n#define KVG_GIT_COMMIT \"${commit}\"\n#define KVG_GIT_DIRTY ${dirty}\n")
set(old "")
if(EXISTS ${OUTPUT})
  file(READ ${OUTPUT} old)
endif()
if(NOT text STREQUAL old)
  file(WRITE ${OUTPUT} "${text}")
endif()
