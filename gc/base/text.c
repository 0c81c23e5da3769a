/* text.c: see text.h. */
#include "base/text.h"

void text_add_bytes(struct text *text, const char *bytes, size_t count) {
  size_t room = (size_t)(text->limit - text->end);
  if (count > room) count = room;
  for (size_t i = 0; i < count; i++) text->end[i] = bytes[i];
  text->end += count;
}

void text_add(struct text *text, const char *string) {
  size_t count = 0;
  while (string[count]) count++;
  text_add_bytes(text, string, count);
}

static void add_digits(struct text *text, uint64_t value, unsigned base, unsigned least) {
  char digits[24];
  unsigned count = 0;
  do {
    digits[sizeof digits - ++count] = "0123456789abcdef"[value % base];
    value /= base;
  } while (value || count < least);
  text_add_bytes(text, digits + sizeof digits - count, count);
}

void text_add_number(struct text *text, uint64_t value) { add_digits(text, value, 10, 1); }

void text_add_hex(struct text *text, uint64_t value) {
  text_add(text, "0x");
  add_digits(text, value, 16, 1);
}

void text_add_milliseconds(struct text *text, uint64_t nanoseconds) {
  uint64_t microseconds = (nanoseconds + 500) / 1000;
  add_digits(text, microseconds / 1000, 10, 1);
  text_add(text, ".");
  add_digits(text, microseconds % 1000, 10, 3);
}

uint64_t text_read_hex(const char **at, const char *end) {
  uint64_t value = 0;
  for (; *at < end; ++*at) {
    char c = **at;
    unsigned digit;
    if (c >= '0' && c <= '9') digit = (unsigned)(c - '0');
    else if (c >= 'a' && c <= 'f') digit = (unsigned)(c - 'a') + 10;
    else break;
    value = value << 4 | digit;
  }
  return value;
}

uint64_t text_read_number(const char **at, const char *end) {
  uint64_t value = 0;
  for (; *at < end && **at >= '0' && **at <= '9'; ++*at)
    value = value * 10 + (uint64_t)(**at - '0');
  return value;
}
