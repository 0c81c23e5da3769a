/* process.h: start, fork and exec as the rest of api/ sees them. */
#ifndef RECLAIM_PROCESS_H
#define RECLAIM_PROCESS_H

#include "base/base.h"

/* True in a child made by vfork (or a clone like it): another process, but in our memory. Such a
   child must not change any state of ours. Async-signal-safe, keeps errno. */
HIDDEN bool process_is_vfork_child(void);

/* Waits for a running cycle to end and holds off new ones until process_retract(), because a
   stop signal that is pending across exec kills the new program. False, with nothing to retract,
   in a vfork child: its exec leaves our threads alone. Async-signal-safe, keeps errno. */
HIDDEN bool process_announce(void);
HIDDEN void process_retract(void);

/* Round a call that makes a child in a copy of our memory and runs no handlers of fork (_Fork, a
   clone): the child can take our locks then, and collects. In the child, whose stack may be
   another, and in the parent process_after_copy is called with the result, whatever came of it.
   Async-signal-safe; the latter keeps errno. */
HIDDEN bool process_before_copy(void);
HIDDEN void process_after_copy(bool begun, bool in_child);

/* Hooks fork, before any other library does. Once, from the constructor. */
HIDDEN void process_start(void);

#endif
