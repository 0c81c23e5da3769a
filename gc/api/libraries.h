/* libraries.h: what depends on which libraries are loaded. */
#ifndef RECLAIM_LIBRARIES_H
#define RECLAIM_LIBRARIES_H

#include "base/base.h"

/* False when the program brings a malloc of its own that comes before ours. */
HIDDEN bool libraries_are_ours(void);
/* Makes what the libraries of pin= allocate roots. Not inside malloc: takes the loader's lock. */
HIDDEN void libraries_pin(void);
/* May a library have come unseen? Nothing is collected until it is looked at. Any thread. */
HIDDEN bool libraries_behind(void);
/* The same as libraries_pin where one may; else one load. The same restriction. */
HIDDEN void libraries_catch_up(void);

#endif
