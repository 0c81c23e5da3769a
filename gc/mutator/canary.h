/* canary.h: what stands in the slack of a block under canary=on: a secret pattern from the
   requested size to the end of the cell, one byte at least, which an overflow changes. It is
   compared when the block is freed, resized or swept.

   How long the slack is stands in a table of its own (heap.pads), out of reach of the overflow: a
   length in the cell would be what an overflow by one byte hits first. An entry of 0 means that
   nothing is known of the block, which is then not judged: it is being made, or is no more. It is
   set when the pattern stands and cleared before the cell is given up, so that a thread that is
   abandoned, and the copy that fork makes of one at any point here, leaves a block that is not
   judged.

   The pattern depends on the address and a secret drawn from the kernel. Each byte has its top bit
   set: no zero and no letter is ever right, and no word that ends in the pattern looks like an
   address of the heap (canary.c). Cowan et al., "StackGuard" (USENIX Security 1998), for the word.

   Any thread, signal handlers too: what is called with a block belongs to the caller, but for
   canary_request and canary_check, which may race with a second free() of it. */
#ifndef RECLAIM_CANARY_H
#define RECLAIM_CANARY_H

#include "heap/heap.h"

/* Draws the secret; after heap_init, before the first block. */
HIDDEN void canary_start(void);

/* The block in a cell of this size holds so many bytes: fills the slack, at most so much of it. */
enum { CANARY_MOST = 1 << 15 };
HIDDEN void canary_set(uintptr_t block, size_t cell, size_t request);
/* It does from now on: what was slack and is none any more reads as zeros. */
HIDDEN void canary_move(uintptr_t block, size_t cell, size_t request);
/* Nothing is known of the block any more, and its slack is all zeros. */
HIDDEN void canary_wipe(uintptr_t block, size_t cell);
/* The same where its memory is gone, or others will see to it. */
HIDDEN void canary_forget(uintptr_t block, size_t cell);

/* The bytes asked for; where nothing is known, what fits into the cell. */
HIDDEN size_t canary_request(uintptr_t block, size_t cell);
/* Is the slack as it was? Else: the block's size, and the first byte behind it that is not. A block
   that was found changed is forgotten: of several callers one is told. */
struct canary_change {
  size_t request, at;
};
HIDDEN bool canary_check(uintptr_t block, size_t cell, struct canary_change *change);

#endif
