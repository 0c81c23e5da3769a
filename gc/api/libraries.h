/* libraries.h: what depends on which libraries are loaded. */
#ifndef RECLAIM_LIBRARIES_H
#define RECLAIM_LIBRARIES_H

#include "base/base.h"

/* False when the program brings a malloc of its own that comes before ours. */
HIDDEN bool libraries_are_ours(void);
/* Makes what the libraries of pin= allocate roots. Not inside malloc: takes the loader's lock. */
HIDDEN void libraries_pin(void);
/* The same where a library may have come unseen; else one load. The same restriction. */
HIDDEN void libraries_catch_up(void);

#endif
