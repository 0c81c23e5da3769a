/* text.h: text built in a caller's buffer without stdio, locale or allocation; usable in signal
   handlers and while the world is stopped. Truncates silently at the buffer's end. */
#ifndef RECLAIM_TEXT_H
#define RECLAIM_TEXT_H

#include "base/base.h"

struct text {
  char *begin, *end, *limit;
};

static inline struct text text_in(char *buffer, size_t size) {
  return (struct text){buffer, buffer, buffer + size};
}
static inline size_t text_length(const struct text *text) {
  return (size_t)(text->end - text->begin);
}

HIDDEN void text_add(struct text *text, const char *string);
HIDDEN void text_add_bytes(struct text *text, const char *bytes, size_t count);
HIDDEN void text_add_number(struct text *text, uint64_t value);
HIDDEN void text_add_hex(struct text *text, uint64_t value); /* with 0x */
/* Nanoseconds as milliseconds with three decimals. */
HIDDEN void text_add_milliseconds(struct text *text, uint64_t nanoseconds);

/* Reads a hexadecimal number at *at (not beyond end) and steps past it. */
HIDDEN uint64_t text_read_hex(const char **at, const char *end);
HIDDEN uint64_t text_read_number(const char **at, const char *end);

#endif
