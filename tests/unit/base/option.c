/* option.c: the parser of RECLAIM=name=value,... and its complaints. */
#include "base/option.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

static struct options parsed;
static char complaints[4096];
static int complained;

static void complain(const char *message, void *context) {
  cr_expect_eq(context, &complained);
  complained++;
  strncat(complaints, message, sizeof complaints - strlen(complaints) - 2);
  strcat(complaints, "\n");
}

static bool parse(const char *text) {
  complained = 0;
  complaints[0] = 0;
  return options_parse(&parsed, text, complain, &complained);
}

static void start(void) { options_default(&parsed); }

TestSuite(option, .init = start);

Test(option, defaults) {
  cr_expect(parsed.collect && parsed.reclaim && parsed.inherit);
  cr_expect(!parsed.zero && !parsed.reclaim_set && !parsed.huge_pages && !parsed.canary &&
            !parsed.guard);
  cr_expect_eq(parsed.free_policy, FREE_TRUST);
  cr_expect_eq(parsed.growth, 50);
  cr_expect_eq(parsed.mark_order, ORDER_AUTO);
  cr_expect_eq(parsed.limit, 0);
  cr_expect_eq(parsed.idle, 10);
  cr_expect_eq(parsed.stride, 4);
  cr_expect_eq(parsed.slop, 0);
  cr_expect(!parsed.strip_high_bits);
  cr_expect_eq(parsed.confirm, 2);
  cr_expect_eq(parsed.errors, ERRORS_REPORT);
  cr_expect_str_eq(parsed.log, "");
  cr_expect_str_eq(parsed.pin, "libfontconfig");
}

Test(option, every_option_takes_its_values) {
  cr_expect(parse("collect=off,free=ignore,reclaim=off,growth=250,limit=3M,idle=0,zero=on,"
                  "errors=abort,log=/tmp/x.%p,stride=8,kernel=baseline,inherit=off,check=poison,"
                  "collect-every=1000,collect-every-ms=20,drop-free=15,slop=4096,"
                  "strip-high-bits=on,confirm=7,huge-pages=on,mark-order=pages,canary=on,guard=on,"
                  "freed=fault,zero-"
                  "size=fault,random=on"));
  cr_expect_eq(complained, 0);
  cr_expect_eq(parsed.mark_order, ORDER_PAGES);
  cr_expect(parsed.huge_pages && parsed.canary && parsed.guard && parsed.random &&
            parsed.freed == FREED_FAULT && parsed.zero_size == ZERO_SIZE_FAULT);
  cr_expect(!parsed.collect && !parsed.reclaim && parsed.reclaim_set && parsed.zero);
  cr_expect_eq(parsed.free_policy, FREE_IGNORE);
  cr_expect_eq(parsed.growth, 250);
  cr_expect_eq(parsed.limit, 3 * MIB);
  cr_expect_eq(parsed.idle, 0);
  cr_expect_eq(parsed.errors, ERRORS_ABORT);
  cr_expect_str_eq(parsed.log, "/tmp/x.%p");
  cr_expect_eq(parsed.stride, 8);
  cr_expect_eq(parsed.kernel, KERNEL_BASELINE);
  cr_expect(!parsed.inherit);
  cr_expect_eq(parsed.check, CHECK_POISON);
  cr_expect_eq(parsed.collect_every, 1000);
  cr_expect_eq(parsed.collect_every_ms, 20);
  cr_expect_eq(parsed.drop_free, 15);
  cr_expect_eq(parsed.slop, 4096);
  cr_expect(parsed.strip_high_bits);
  cr_expect_eq(parsed.confirm, 7);
}

Test(option, confirm_follows_free_and_check_until_it_is_given) {
  cr_expect(parse("free=ignore"));
  cr_expect_eq(parsed.confirm, 1);
  cr_expect(parse("free=trust"));
  cr_expect_eq(parsed.confirm, 2);
  cr_expect(parse("check=condemn"));
  cr_expect_eq(parsed.confirm, 1);
  cr_expect(parse("confirm=3"));
  cr_expect_eq(parsed.confirm, 3);
  cr_expect(parse("check=off,free=ignore"));
  cr_expect_eq(parsed.confirm, 3);
}

Test(option, bounds_of_what_a_word_may_mean) {
  static const char *const bad[] = {"slop=4097", "slop=-1",   "slop=",     "slop=1k",
                                    "confirm=0", "confirm=8", "confirm=2s"};
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) cr_expect(!parse(bad[i]), "%s", bad[i]);
  cr_expect_eq(parsed.slop, 0);
  cr_expect_eq(parsed.confirm, 2, "a bad value is no value");
  cr_expect(parse("slop=0,confirm=1"));
}

Test(option, sizes) {
  static const struct {
    const char *text;
    size_t bytes;
  } good[] = {{"limit=0", 0},           {"limit=4096", 4096},
              {"limit=1k", KIB},        {"limit=2K", 2 * KIB},
              {"limit=5m", 5 * MIB},    {"limit=1G", GIB},
              {"limit=3T", 3072 * GIB}, {"limit=18446744073709551615", SIZE_MAX}};
  for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
    cr_expect(parse(good[i].text), "%s", good[i].text);
    cr_expect_eq(parsed.limit, good[i].bytes, "%s", good[i].text);
  }
  static const char *const bad[] = {"limit=",         "limit=M",   "limit=1X",
                                    "limit=1MM",      "limit=-1",  "limit= 1",
                                    "limit=1.5G",     "limit=0x1", "limit=18446744073709551616",
                                    "limit=16777216T"};
  parsed.limit = 77;
  for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
    cr_expect(!parse(bad[i]), "%s", bad[i]);
    cr_expect_eq(parsed.limit, 77, "%s", bad[i]);
  }
}

Test(option, a_bad_entry_keeps_the_default_and_reading_goes_on) {
  cr_expect(!parse("growth=fast,zero=on,nonsense=1,idle,stride=48,drop-free=101"));
  cr_expect_eq(complained, 5);
  cr_expect_eq(parsed.growth, 50);
  cr_expect(parsed.zero);
  cr_expect_eq(parsed.idle, 10);
  cr_expect_eq(parsed.stride, 4);
  cr_expect_eq(parsed.drop_free, 0);
  cr_expect(strstr(complaints, "option growth takes PERCENT from 1 to 100000, not \"fast\"\n"));
  cr_expect(strstr(complaints, "unknown option \"nonsense\"; the options are collect free "));
  cr_expect(strstr(complaints, "option idle has no value; it takes SECONDS"));
  cr_expect(strstr(complaints, "option stride takes 4|8|1, not \"48\""));
}

Test(option, an_entry_without_a_name) {
  cr_expect(!parse("=5"));
  cr_expect(strstr(complaints, "no option is named in \"=5\"; the options are collect free "));
}

Test(option, empty_entries_are_nothing) {
  cr_expect(parse(""));
  cr_expect(parse(",,"));
  cr_expect(parse("zero=on,"));
  cr_expect(parsed.zero);
}

Test(option, the_last_of_two_wins) {
  cr_expect(parse("growth=20,growth=30"));
  cr_expect_eq(parsed.growth, 30);
  cr_expect(parse("growth=40"));
  cr_expect_eq(parsed.growth, 40);
}

Test(option, reclaim_follows_free_until_it_is_given) {
  cr_expect(parse("free=quarantine"));
  cr_expect(!parsed.reclaim);
  cr_expect(parse("free=trust"));
  cr_expect(parsed.reclaim);
  cr_expect(parse("reclaim=on,free=quarantine"));
  cr_expect(parsed.reclaim);
}

Test(option, pin_adds) {
  cr_expect(parse("pin=libone+libtwo,pin=libthree,pin="));
  cr_expect_str_eq(parsed.pin, "libfontconfig+libone+libtwo+libthree");
  char text[OPTION_PIN_SIZE + 8] = "pin=";
  memset(text + 4, 'x', OPTION_PIN_SIZE);
  cr_expect(!parse(text));
  cr_expect_str_eq(parsed.pin, "libfontconfig+libone+libtwo+libthree");
}

Test(option, a_file_name_that_is_too_long_is_refused) {
  char text[OPTION_FILE_SIZE + 8] = "log=";
  memset(text + 4, 'x', OPTION_FILE_SIZE - 1);
  cr_expect(parse(text));
  cr_expect_eq(strlen(parsed.log), OPTION_FILE_SIZE - 1);
  text[4 + OPTION_FILE_SIZE - 1] = 'x';
  cr_expect(!parse(text));
  cr_expect(strlen(complaints) < 700, "the offending text is shortened");
}

Test(option, control_characters_are_not_repeated) {
  cr_expect(!parse("growth=\033[31m\n"));
  cr_expect(strstr(complaints, "not \"?[31m?\""));
}

Test(option, every_default_and_value_of_the_table_is_accepted) {
  size_t count;
  const struct option_description *table = option_table(&count);
  for (size_t i = 0; i < count; i++) {
    cr_expect(strlen(table[i].help) > 0 && strlen(table[i].help) < 60, "%s", table[i].name);
    const char *words = table[i].values;
    while (strchr(table[i].values, '|') != NULL) {
      size_t length = strcspn(words, "|");
      char entry[128];
      snprintf(entry, sizeof entry, "%s=%.*s", table[i].name, (int)length, words);
      cr_expect(parse(entry), "%s", entry);
      if (words[length] == 0) break;
      words += length + 1;
    }
  }
}

Test(option, every_bad_value_is_told_in_one_line) {
  size_t count;
  const struct option_description *table = option_table(&count);
  for (size_t i = 0; i < count; i++) {
    if (strstr(table[i].values, "FILE") || strstr(table[i].values, "LIBRARY")) continue;
    char entry[128];
    snprintf(entry, sizeof entry, "%s=bad value", table[i].name);
    cr_expect(!parse(entry), "%s", entry);
    cr_expect_eq(complained, 1, "%s", entry);
    char expected[256];
    snprintf(expected, sizeof expected, "option %s takes %s, not \"bad value\"\n", table[i].name,
             table[i].values);
    cr_expect_str_eq(complaints, expected);
  }
}

Test(option, a_bad_value_changes_nothing) {
  struct options before;
  options_default(&before);
  size_t count;
  const struct option_description *table = option_table(&count);
  for (size_t i = 0; i < count; i++) {
    if (strstr(table[i].values, "FILE") || strstr(table[i].values, "LIBRARY")) continue;
    char entry[128];
    snprintf(entry, sizeof entry, "%s=-1,%s,%s=", table[i].name, table[i].name, table[i].name);
    parse(entry);
    cr_expect_eq(complained, 3, "%s", entry);
    cr_expect(!memcmp(&parsed, &before, sizeof before), "%s", entry);
  }
}

Test(option, nobody_need_listen) { cr_expect(!options_parse(&parsed, "nonsense=1", NULL, NULL)); }
