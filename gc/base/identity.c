/* identity.c: see identity.h. */
#include "base/identity.h"

#include "base/remedy.h"
#include "ports/port.h"

static int *owner; /* on a page wiped in fork children; NULL when the kernel has none to give */
static int fallback;

void identity_init(void) {
  owner = port_wiped_on_fork_page();
  if (!owner) owner = &fallback;
  identity_take();
}

void identity_take(void) { *owner = port_process_id(); }

enum identity identity_check(void) {
  if (!owner || WITHOUT(identity_check)) return IDENTITY_SELF; /* not started yet */
  int known = atomic_get(owner);
  if (known == 0) return IDENTITY_FORKED;
  if (UNLIKELY(atomic_get(&port_sealed))) return IDENTITY_SELF;
  return known == port_process_id() ? IDENTITY_SELF : IDENTITY_BORROWED;
}
