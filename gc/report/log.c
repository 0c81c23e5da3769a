/* log.c: the file of log=, one line an event, each by one write to a file opened for it: a
   descriptor that is kept would be seen by the program, or closed by it. */
#include <string.h>

#include "base/option.h"
#include "ports/port.h"
#include "report/report.h"

bool log_wanted(void) { return options.log[0] != 0; }

static int open_log(void) {
  char path[sizeof options.log + 16];
  struct text text = text_in(path, sizeof path - 1);
  for (const char *c = options.log; *c; c++) {
    if (c[0] == '%' && c[1] == 'p') {
      text_add_number(&text, (uint64_t)port_process_id());
      c++;
    } else {
      text_add_bytes(&text, c, 1);
    }
  }
  *text.end = 0;
  return port_open_append(path);
}

void log_text(const struct text *text) {
  if (!log_wanted()) return;
  char buffer[2048];
  struct text line = text_in(buffer, sizeof buffer - 1);
  text_add(&line, "reclaim[");
  text_add_number(&line, (uint64_t)port_process_id());
  text_add(&line, "] ");
  text_add_bytes(&line, text->begin, text_length(text));
  *line.end++ = '\n';
  if (!strcmp(options.log, "stderr")) {
    port_write(2, buffer, text_length(&line));
    return;
  }
  int descriptor = open_log();
  if (descriptor < 0) return; /* no descriptor to be had now: the next line may find one */
  port_write(descriptor, buffer, text_length(&line));
  port_close(descriptor);
}
