/* roots.c: see roots.h. */
#include "collect/roots.h"

#include <string.h>

#include "base/lock.h"
#include "base/remedy.h"
#include "collect/held.h"
#include "collect/mark.h"
#include "collect/world.h"
#include "heap/guard.h"
#include "heap/heap.h"
#include "mutator/thread.h"

enum {
  MAPS_TEXT_FIRST = 256 << 10,
  MAPS_TEXT = 16 << 20, /* 65,530 mappings of 256 characters; made usable as needed */
  RANGES = 8192,
  COPY = 65536,
  STACKS = 32768,
  NAMED = 4096,
  PROTECTED = 4096,
  IN_HAND = 4096, /* bytes of a stack, from the stack pointer on, which calls have just left */
};

static struct {
  struct port_maps maps;
  struct port_range ours[HEAP_RANGES];
  struct port_protected *programs; /* working memory, where there are guards of ours; else NULL */
  struct port_range *unused;       /* the unused parts of known stacks, sorted */
  size_t unused_count;
  int process;
  struct roots_counts counts;
  struct {
    uintptr_t end;  /* of what was marked last, where it stands in the program */
    uintptr_t word; /* what it ends with */
  } last;
  struct lock lock; /* guards named; never taken while the world is stopped */
  struct port_range *named;
  size_t named_count;
} state;

bool roots_init(void) {
  state.maps.text = heap_metadata_reserve(MAPS_TEXT);
  if (!state.maps.text || !port_commit(state.maps.text, MAPS_TEXT_FIRST)) return false;
  state.maps.text_size = MAPS_TEXT_FIRST;
  state.maps.ranges = heap_metadata(RANGES * 24);
  state.maps.range_capacity = RANGES;
  state.maps.copy = heap_metadata(COPY);
  state.maps.copy_size = COPY;
  state.maps.protected = heap_metadata(PROTECTED * sizeof *state.maps.protected);
  state.maps.protected_capacity = PROTECTED;
  if (guard_wanted()) state.programs = heap_metadata(PROTECTED * sizeof *state.programs);
  state.unused = heap_metadata(STACKS * sizeof *state.unused);
  state.named = heap_metadata(NAMED * sizeof *state.named);
  return state.maps.ranges && state.maps.copy && state.maps.protected && state.unused &&
         state.named && (!guard_wanted() || state.programs);
}

struct port_maps *roots_maps(void) {
  return &state.maps;
}

static void mark_stretch(uintptr_t begin, uintptr_t end) {
  if (begin >= end) return;
  state.counts.bytes += end - begin;
  mark_range(begin, end);
}

/* Compilers at run time (HotSpot's, say) put addresses into their code, with no other copy. */
static void mark_words_of(uintptr_t begin, uintptr_t end) {
  if (state.maps.code && !WITHOUT(addresses_in_code)) mark_code(begin, end);
  else mark_range(begin, end);
}

/* A word at no multiple of its size may lie across the end of one stretch and the beginning of the
   next: at the end of a program's initialised data, where what is zero at first begins, or where
   the program has closed a page. Stretches come in the order of addresses. */
static void mark_join(uintptr_t begin, uintptr_t origin) {
  if (origin != state.last.end || WITHOUT(words_across)) return;
  uintptr_t words[2] = {state.last.word, 0}; /* aligned as they are in the program */
  memcpy(&words[1], (const void *)begin, sizeof words[1]);
  mark_words_of((uintptr_t)words + 1, (uintptr_t)(words + 2) - 1);
}

static void mark_visited(uintptr_t begin, uintptr_t end, uintptr_t origin) {
  if (begin >= end) return;
  state.counts.bytes += end - begin;
  mark_words_of(begin, end);
  if (end - begin < sizeof state.last.word) return;
  mark_join(begin, origin);
  state.last.end = origin + (end - begin);
  memcpy(&state.last.word, (const char *)end - sizeof state.last.word, sizeof state.last.word);
}

/* Marks a stretch of memory that stands at `origin`, less the unused parts of stacks. */
static void visit(void *context, uintptr_t begin, uintptr_t end, uintptr_t origin) {
  (void)context;
  uintptr_t shift = begin - origin, at = origin, stop = origin + (end - begin);
  size_t low = 0, high = state.unused_count; /* first unused range that ends behind `at` */
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (state.unused[middle].end <= at) low = middle + 1;
    else high = middle;
  }
  for (; low < state.unused_count && state.unused[low].begin < stop; low++) {
    mark_visited(at + shift, size_min(state.unused[low].begin, stop) + shift, at);
    at = size_max(at, state.unused[low].end);
  }
  if (at < stop) mark_visited(at + shift, stop + shift, at);
}

/* The part of a stack below what its thread uses holds only stale words. */
static void leave_out(uintptr_t begin, uintptr_t end, uintptr_t used) {
  if (WITHOUT(unused_stack)) return;
  if (used < begin || used > end) { /* it runs elsewhere: all of this stack counts */
    if (!WITHOUT(whole_stack)) return;
    used = end;
  }
  if (!WITHOUT(red_zone)) used -= PORT_RED_ZONE;
  used &= ~(uintptr_t)7;
  if (used <= begin || state.unused_count == STACKS) return;
  size_t i = state.unused_count++;
  for (; i && state.unused[i - 1].begin > begin; i--) state.unused[i] = state.unused[i - 1];
  state.unused[i] = (struct port_range){begin, used};
}

extern void *__libc_stack_end; /* the loader's; what is taken for the top where it is left out */

static void known_stack(int id, const struct thread *thread, uintptr_t *begin, uintptr_t *end) {
  *begin = *end = 0;
  if (!thread || thread->id != id) thread = thread_find(id);
  if (thread && thread->nested_stacks && !WITHOUT(nested_stacks)) return;
  if (id == state.process) {
    *begin = state.maps.main_stack.begin;
    *end = state.maps.main_stack.end;
    if (WITHOUT(main_stack_top)) leave_out((uintptr_t)__libc_stack_end, *end, *end);
    return;
  }
  if (thread && thread->stack_begin) {
    *begin = thread->stack_begin - (WITHOUT(stack_bounds) ? MIB : 0);
    *end = thread->stack_end;
  }
}

/* for (p = list; p; p = p->next) free(p): while that runs, the rest of the list hangs on a cell
   that was freed. It works as long as nobody writes there, and so the words that a program has in
   hand, in registers or on top of its stack, count through a freed cell. No others: what dead cells
   point to would keep garbage. */
static void mark_in_hand(uintptr_t begin, uintptr_t end) {
  if (WITHOUT(freed_in_hand)) return;
  for (uintptr_t at = round_up(begin, sizeof(uintptr_t)); at + sizeof(uintptr_t) <= end;
       at += sizeof(uintptr_t))
    mark_freed(*(const uintptr_t *)at);
}

/* Not beyond the end of a known stack, else of the page. A stack pointer may be about to come to a
   page that a handler of the program's has still to provide: copied, so that it raises no fault. */
static void mark_stack_top(int id, const struct thread *record, uintptr_t stack_pointer) {
  uintptr_t begin, end, words[IN_HAND / sizeof(uintptr_t)];
  known_stack(id, record, &begin, &end);
  if (stack_pointer < begin || stack_pointer >= end)
    end = round_down(stack_pointer, KERNEL_PAGE) + KERNEL_PAGE;
  stack_pointer = round_up(stack_pointer, sizeof(uintptr_t));
  long size = port_peek(stack_pointer, words, size_min(end - stack_pointer, sizeof words));
  if (size > 0) mark_in_hand((uintptr_t)words, (uintptr_t)words + (size_t)size);
}

static void mark_thread(int id, const struct thread *record, uintptr_t stack_pointer,
                        uintptr_t handler_stack, bool on_alternate) {
  uintptr_t begin, end, lowest = stack_pointer;
  known_stack(id, record, &begin, &end);
  /* The handler's frame lies below the interrupted code on the same stack, or on another. */
  if (handler_stack >= begin && handler_stack < end && handler_stack < lowest)
    lowest = handler_stack;
  if (WITHOUT(signal_frame)) lowest = stack_pointer;
  /* An alternate stack may lie in a frame of this one, and the frames below it are alive. */
  if (begin && (!on_alternate || WITHOUT(nested_stacks))) leave_out(begin, end, lowest);
  if (WITHOUT(stack_pointer)) return;
  mark_word(stack_pointer); /* keeps a stack that was allocated from the heap */
  mark_word(handler_stack);
}

/* What a thread's registers refer to besides its stack. */
static void mark_bases(uintptr_t alternate_stack, const uintptr_t bases[PORT_BASES]) {
  if (!WITHOUT(alternate_stack)) mark_word(alternate_stack);
  for (int i = 0; i < PORT_BASES && !WITHOUT(segment_bases); i++) mark_word(bases[i]);
}

/* What the program has made of their pages itself is nobody else's to write, nor to reclaim before
   the program frees them. */
static void mark_own(const struct page *page) {
  for (uint32_t c = 0; c < page->cells; c++) {
    uintptr_t address = page_address(page) + c * page->size;
    if (*state_at(address) & STATE_LIVE) mark_word(address);
  }
}

static void mark_hinted(void) {
  size_t top = heap.top;
  for (size_t i = 1; i < top; i++) {
    struct page *page = &heap.pages[i];
    if (LIKELY(!(page->hints & (HINT_PINNED | HINT_OWN))) || !page_begins(page)) continue;
    if (page->hints & HINT_OWN) mark_own(page);
    if (!(page->hints & HINT_PINNED)) continue;
    bool any = false;
    for (uint32_t c = 0; c < page->cells; c++) {
      uintptr_t address = page_address(page) + c * page->size;
      if (!(*state_at(address) & STATE_PINNED)) continue;
      mark_word(address);
      any = true;
    }
    if (!any)
      page->hints &= (uint8_t)~HINT_PINNED; /* they were freed; a new one sets it again (pin.c) */
  }
}

/* A block of which the program has closed a part, or made it read-only, is nobody else's to write:
   it stays although nothing may point to it. */
static void mark_protected(void) {
  for (size_t i = 0; i < state.maps.protected_count; i++) {
    uintptr_t at = state.maps.protected[i].begin, end = state.maps.protected[i].end;
    while (at < end) {
      struct cell cell;
      uintptr_t next = round_down(at, HEAP_PAGE) + HEAP_PAGE;
      if (cell_of(at, &cell)) {
        mark_word(at);
        uintptr_t behind = cell.address + cell.page->size;
        if (behind > at) next = behind; /* a large object's run may be longer than it */
      }
      at = next;
    }
  }
}

/* What we closed ourselves is none of the program's. False: no room for what is left. */
static bool leave_out_guards(void) {
  struct port_protected *all = state.maps.protected;
  size_t count = 0;
  for (size_t i = 0; i < state.maps.protected_count; i++) {
    uintptr_t at = all[i].begin, end, begin = 0;
    for (; at < all[i].end; at = size_min(end, all[i].end)) {
      bool ours = !all[i].readable && guard_is_ours(at, &end);
      if (all[i].readable) end = all[i].end;
      if (!ours && !begin) begin = at;
      if (!begin || (!ours && end < all[i].end)) continue;
      if (count == PROTECTED) return false;
      uintptr_t stop = ours ? at : all[i].end;
      state.programs[count++] = (struct port_protected){begin, stop, all[i].readable};
      begin = 0;
    }
  }
  memcpy(all, state.programs, count * sizeof *all);
  state.maps.protected_count = count;
  return true;
}

enum roots_result roots_open(bool baseline) {
  struct heap_range ours[HEAP_RANGES];
  state.maps.exclude_count = heap_ranges(ours);
  for (size_t i = 0; i < state.maps.exclude_count; i++)
    state.ours[i] = (struct port_range){ours[i].begin, ours[i].end};
  state.maps.exclude = state.ours;
  state.maps.baseline = baseline;
  state.maps.watched = (struct port_range){heap.base, heap.base + heap.committed_pages * HEAP_PAGE};
  if (WITHOUT(unreadable_pages)) state.maps.watched.end = heap.base;
  enum port_maps_result result;
  while ((result = port_maps_open(&state.maps)) == PORT_MAPS_TRUNCATED) {
    if (state.maps.text_size == MAPS_TEXT || WITHOUT(many_mappings) ||
        !port_commit(state.maps.text, MAPS_TEXT))
      break;
    state.maps.text_size = MAPS_TEXT;
  }
  if (result == PORT_MAPS_OK && state.programs && !leave_out_guards()) {
    port_maps_close(&state.maps);
    result = PORT_MAPS_TRUNCATED;
  }
  if (result == PORT_MAPS_OPEN) return ROOTS_OPEN;
  if (result == PORT_MAPS_TRUNCATED) return ROOTS_TRUNCATED;
  if (result == PORT_MAPS_FOREIGN) return ROOTS_FOREIGN;
  return ROOTS_MARKED;
}

enum roots_result roots_mark(uintptr_t spilled, struct roots_counts *counts) {
  state.last.end = 0;
  state.counts = (struct roots_counts){.mappings = state.maps.mappings, .threads = 1};
  state.unused_count = 0;
  size_t stopped;
  const struct stopped_thread *threads = world_threads(&stopped);
  state.process = port_process_id();
  mark_thread(port_thread_id(), self.thread, spilled, spilled, false);
  mark_stack_top(port_thread_id(), self.thread, spilled);
  uintptr_t bases[PORT_BASES];
  port_segment_bases(bases);
  mark_bases(port_alternate_stack(), bases);
  for (size_t i = 0; i < stopped; i++) {
    const struct stopped_thread *thread = &threads[i];
    if (!thread->state) continue; /* gone, or a kernel worker */
    state.counts.threads++;
    const struct port_frame *frame = &thread->frame;
    bool in_handler = frame->stack_pointer - frame->alternate_stack < frame->alternate_size;
    mark_thread(thread->id, thread->record, frame->stack_pointer, thread->handler_stack,
                in_handler);
    if (frame->frame_end) { /* one that is parked is in no such loop */
      mark_stack_top(thread->id, thread->record, frame->stack_pointer);
      mark_in_hand(frame->frame_begin, frame->frame_end);
    }
    mark_bases(frame->alternate_stack, frame->bases);
    if (!WITHOUT(signal_frame)) mark_stretch(thread->frame.frame_begin, thread->frame.frame_end);
  }
  for (size_t i = 0; i < state.named_count; i++)
    mark_stretch(state.named[i].begin, state.named[i].end);
  mark_hinted();
  held_visit(mark_word);
  mark_protected();
  state.maps.visit = visit;
  enum port_maps_result result = WITHOUT(mappings) ? PORT_MAPS_OK : port_maps_visit(&state.maps);
  *counts = state.counts;
  counts->asking = state.maps.asking;
  if (result != PORT_MAPS_OK || !mark_drain()) return ROOTS_UNREADABLE;
  return ROOTS_MARKED;
}

void roots_close(void) { port_maps_close(&state.maps); }

bool roots_add(uintptr_t begin, size_t size) {
  lock_acquire(&state.lock);
  bool room = state.named_count < NAMED;
  if (room) {
    state.named[state.named_count] = (struct port_range){begin, begin + size};
    COMPILER_BARRIER();
    state.named_count++;
  }
  lock_release(&state.lock);
  return room;
}

bool roots_remove(uintptr_t begin, size_t size) {
  lock_acquire(&state.lock);
  bool found = false;
  for (size_t i = 0; i < state.named_count && !found; i++)
    if (state.named[i].begin == begin && state.named[i].end == begin + size) {
      state.named[i] = state.named[state.named_count - 1];
      COMPILER_BARRIER();
      state.named_count--;
      found = true;
    }
  lock_release(&state.lock);
  return found;
}
