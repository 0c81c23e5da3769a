/* hazards_memory.c: roots and mapped memory (sections 1 and 2 of tests/HAZARDS). */
#include "hazards.h"

#define ROOT(identifier, name, remedy) HAZARD(identifier, remedy, .command.argv = {"roots", name})

ROOT(xmm, "xmm", "signal_frame")
ROOT(bss, "bss", "mappings")
