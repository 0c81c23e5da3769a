/* text.c: numbers to text and back, and the end of the buffer. */
#include "tests/unit/unit.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/text.h"

static char buffer[64];
static struct text text;

static void start(void) {
  memset(buffer, 'x', sizeof buffer);
  text = text_in(buffer, sizeof buffer);
}

static const char *written(void) {
  *text.end = 0;
  return buffer;
}

static const char *number(uint64_t value) {
  text = text_in(buffer, sizeof buffer);
  text_add_number(&text, value);
  return written();
}

static const char *hex(uint64_t value) {
  text = text_in(buffer, sizeof buffer);
  text_add_hex(&text, value);
  return written();
}

static const char *milliseconds(uint64_t value) {
  text = text_in(buffer, sizeof buffer);
  text_add_milliseconds(&text, value);
  return written();
}

TestSuite(text, .init = start, .timeout = 30);

Test(text, numbers) {
  cr_expect_str_eq(number(0), "0");
  cr_expect_str_eq(number(7), "7");
  cr_expect_str_eq(number(10), "10");
  cr_expect_str_eq(number(UINT64_MAX), "18446744073709551615");
  cr_expect_str_eq(hex(0), "0x0");
  cr_expect_str_eq(hex(0xdeadbeef), "0xdeadbeef");
  cr_expect_str_eq(hex(UINT64_MAX), "0xffffffffffffffff");
}

Test(text, any_number_is_written_as_printf_writes_it) {
  uint64_t seed = 1;
  for (int i = 0; i < 20000; i++) {
    uint64_t value = unit_random(&seed) >> unit_below(&seed, 64);
    char expected[64];
    snprintf(expected, sizeof expected, "%" PRIu64, value);
    if (strcmp(number(value), expected) != 0) cr_assert_fail("%s became %s", expected, buffer);
    snprintf(expected, sizeof expected, "0x%" PRIx64, value);
    if (strcmp(hex(value), expected) != 0) cr_assert_fail("%s became %s", expected, buffer);
  }
}

Test(text, milliseconds_are_rounded_to_the_microsecond) {
  cr_expect_str_eq(milliseconds(0), "0.000");
  cr_expect_str_eq(milliseconds(499), "0.000");
  cr_expect_str_eq(milliseconds(500), "0.001");
  cr_expect_str_eq(milliseconds(1000), "0.001");
  cr_expect_str_eq(milliseconds(1234567), "1.235");
  cr_expect_str_eq(milliseconds(1050000), "1.050");
  cr_expect_str_eq(milliseconds(999999500), "1000.000");
  cr_expect_str_eq(milliseconds(3600000000000), "3600000.000");
}

Test(text, is_cut_at_the_end_of_the_buffer) {
  text = text_in(buffer, 8);
  text_add(&text, "12345");
  cr_expect_eq(text_length(&text), 5);
  text_add(&text, "6789");
  cr_expect_eq(text_length(&text), 8);
  text_add(&text, "more");
  text_add_number(&text, 77);
  cr_expect_eq(text_length(&text), 8);
  cr_expect(!memcmp(buffer, "12345678", 8));
  cr_expect_eq(buffer[8], 'x', "nothing is written behind the end");
}

Test(text, an_empty_buffer_takes_nothing) {
  text = text_in(buffer, 0);
  text_add(&text, "a");
  text_add_hex(&text, 1);
  cr_expect_eq(text_length(&text), 0);
  cr_expect_eq(buffer[0], 'x');
}

Test(text, bytes_may_hold_zeros) {
  text_add_bytes(&text, "a\0b", 3);
  text_add_bytes(&text, "", 0);
  cr_expect_eq(text_length(&text), 3);
  cr_expect(!memcmp(buffer, "a\0b", 3));
}

Test(text, reading_stops_at_what_is_no_digit_and_at_the_end) {
  const char line[] = "7f00abcd-ffFF 0012345x";
  const char *at = line, *end = line + strlen(line);
  cr_expect_eq(text_read_hex(&at, end), 0x7f00abcd);
  cr_expect_eq(*at, '-');
  at++;
  cr_expect_eq(text_read_hex(&at, end), 0xff, "upper case is none: the kernel writes lower case");
  cr_expect_eq(*at, 'F');
  at += 3;
  cr_expect_eq(text_read_number(&at, end), 12345);
  cr_expect_eq(*at, 'x');
  cr_expect_eq(text_read_number(&at, end), 0);
  at = line;
  cr_expect_eq(text_read_hex(&at, line + 4), 0x7f00);
  cr_expect_eq(at, line + 4);
  cr_expect_eq(text_read_hex(&at, line + 4), 0);
}

Test(text, what_was_written_is_read_back) {
  uint64_t seed = 2;
  for (int i = 0; i < 1000; i++) {
    uint64_t value = unit_random(&seed) >> unit_below(&seed, 64);
    const char *at = number(value);
    if (text_read_number(&at, text.end) != value || at != text.end) cr_assert_fail("%s", buffer);
    at = hex(value) + 2;
    if (text_read_hex(&at, text.end) != value || at != text.end) cr_assert_fail("%s", buffer);
  }
}
