/* holes.c: whether giving free parts of pages back pays, as the page heap asks. */
#include "heap/holes.h"

#include "heap/page_heap.h"
#include "ports/port.h"
#include "tests/unit/unit.h"

TestSuite(holes, .init = unit_start_heap, .timeout = 60);

/* Of 20 pages' free parts those of 12 are wanted again, after so many milliseconds. */
static bool holes_pay_after(unsigned ms) {
  static uint64_t time;
  if (!time) time = port_now();
  for (int i = 0; i < 20; i++)
    page_heap_decay(time += 1000000000); /* what was before is forgotten */
  struct page *pages[20];
  for (int i = 0; i < 20; i++) cr_assert(pages[i] = page_heap_span(1));
  for (int i = 0; i < 20; i++) page_heap_note_holes(pages[i], 14);
  cr_expect(holes_pay(), "nothing is known yet");
  if (ms) unit_sleep(ms);
  for (int i = 0; i < 12; i++) page_heap_fill_holes(pages[i]);
  bool pay = holes_pay();
  for (int i = 0; i < 20; i++) page_heap_release_span(pages[i]);
  return pay;
}

Test(holes, those_that_are_soon_wanted_again_do_not_pay) {
  cr_expect(holes_pay_after(100));
  bool pay = true; /* unless the machine lets this wait */
  for (int i = 0; i < 10 && pay; i++) pay = holes_pay_after(0);
  cr_expect(!pay);
  cr_expect(holes_pay_after(100));
}

Test(holes, they_are_counted_until_they_are_filled) {
  struct page *page = page_heap_span(1), *other = page_heap_span(1);
  page_heap_note_holes(page, 5);
  page_heap_note_holes(other, 3);
  page_heap_note_holes(page, 9); /* the five included */
  cr_expect_eq(page_heap_counts.holes, 12);
  page_heap_fill_holes(page);
  page_heap_fill_holes(page);
  cr_expect_eq(page_heap_counts.holes, 3);
  page_heap_release_span(other);
  cr_expect_eq(page_heap_counts.holes, 0);
}

/* 20 times 14 kernel pages, of which so many times are wanted again, though not soon. */
static bool pay_after(int refilled) {
  struct page pages[20] = {{0}};
  for (int i = 0; i < 20; i++) holes_note(&pages[i], 14);
  for (int i = 0; i < 20; i++) pages[i].purged_when -= 1000;
  for (int i = 0; i < refilled; i++) holes_fill(&pages[i]);
  bool pay = holes_pay();
  for (int i = 0; i < 20; i++) holes_decay(); /* what was is forgotten */
  return pay;
}

Test(holes, those_that_are_wanted_again_at_last_do_not_pay) {
  cr_expect(pay_after(4), "few say nothing");
  cr_expect(pay_after(14));
  cr_expect(!pay_after(16));
  cr_expect(pay_after(14));
}
