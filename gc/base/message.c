/* message.c: see message.h. */
#include "base/message.h"

#include "ports/port.h"

void message_text(const struct text *text) {
  char buffer[1024];
  struct text line = text_in(buffer, sizeof buffer - 1);
  text_add(&line, "reclaim: ");
  text_add_bytes(&line, text->begin, text_length(text));
  *line.end++ = '\n';
  port_write(2, buffer, text_length(&line));
}

void message_line(const char *string) {
  char buffer[1024];
  struct text text = text_in(buffer, sizeof buffer);
  text_add(&text, string);
  message_text(&text);
}

_Noreturn void check_failed(const char *what, const char *file, int line) {
  char buffer[512];
  struct text text = text_in(buffer, sizeof buffer);
  text_add(&text, "internal check failed: ");
  text_add(&text, what);
  text_add(&text, " at ");
  text_add(&text, file);
  text_add(&text, ":");
  text_add_number(&text, (uint64_t)line);
  message_text(&text);
  port_abort();
}
