/* bad_pointer.h: what was freed, resized or measured and is no block: what it is, and the report.
 */
#ifndef RECLAIM_BAD_POINTER_H
#define RECLAIM_BAD_POINTER_H

#include "api/foreign.h"

/* Before threads exist. */
HIDDEN void bad_pointer_start(void);
/* No live object begins at this address of the heap. Returns unless errors=abort. */
HIDDEN COLD void bad_pointer(const char *by, void *pointer);
/* Under zero-size=fault, of an address among those of blocks of no bytes, where none is. */
HIDDEN COLD void bad_zero_size(const char *by, void *pointer);
/* An address outside the heap: the allocator to hand it on to. NULL: it was reported, as above. */
HIDDEN COLD const struct foreign_allocator *bad_pointer_or_foreign(const char *by, void *pointer);

#endif
