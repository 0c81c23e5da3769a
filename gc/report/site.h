/* site.h: where each object was allocated, and what a condemned object held: side tables that exist
   only under check= (they cost one times the heap). Indexed by granule; lock-free, since an
   entry belongs to whoever owns the object. */
#ifndef RECLAIM_SITE_H
#define RECLAIM_SITE_H

#include "base/base.h"

struct text;

/* The working memory the tables need for a heap of this size. */
HIDDEN size_t site_tables_size(size_t heap_size);
HIDDEN bool site_init(void);
HIDDEN void site_record(uintptr_t object, uintptr_t caller);
HIDDEN uintptr_t site_of(uintptr_t object); /* 0: not known */
/* "library+0xoffset" of an address in code. */
HIDDEN void site_describe(uintptr_t address, struct text *text);

/* Remembers a condemned object's contents as a checksum; true when they are as remembered. */
HIDDEN void site_remember(uintptr_t object, size_t size);
HIDDEN bool site_unchanged(uintptr_t object, size_t size);

#endif
