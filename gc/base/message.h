/* message.h: the only ways in which Reclaim writes to a program's stderr: one raw write a line. */
#ifndef RECLAIM_MESSAGE_H
#define RECLAIM_MESSAGE_H

#include "base/text.h"

/* Writes "reclaim: " and the text and a newline to stderr in one write. Async-signal-safe. */
HIDDEN void message_line(const char *string);
HIDDEN void message_text(const struct text *text);

#endif
