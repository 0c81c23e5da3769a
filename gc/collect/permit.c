/* permit.c: see permit.h. */
#include "collect/permit.h"

#include "base/remedy.h"
#include "base/text.h"
#include "ports/port.h"
#include "report/report.h"

static struct {
  uint32_t forbidden; /* how many have said so */
  bool tried;         /* the trial was made, or is not needed */
  bool filtered;      /* the process inherited a filter, which let the trial pass */
  enum { UNKNOWN, ALLOWED, REFUSED } helpers;
  const char *kept; /* why objects never freed stay; NULL: they do not */
  bool kept_told;
} permit;

static void tell(const char *what, const char *reason) {
  char buffer[256];
  struct text text = text_in(buffer, sizeof buffer - 1);
  text_add(&text, what);
  text_add(&text, reason);
  *text.end = 0;
  report_note(buffer);
}

void permit_forbid(const char *reason) {
  uint32_t before = __atomic_fetch_add(&permit.forbidden, 1, __ATOMIC_SEQ_CST);
  if (before == 0) tell("nothing is collected from here on: ", reason);
}

void permit_withdraw(void) {
  if (__atomic_sub_fetch(&permit.forbidden, 1, __ATOMIC_SEQ_CST) == 0)
    tell("collecting goes on: ", "that call failed");
}

bool permit_forbidden(void) { return __atomic_load_n(&permit.forbidden, __ATOMIC_SEQ_CST) != 0; }

void permit_seal(void) {
  port_dump_all();
  __atomic_store_n(&port_sealed, true, __ATOMIC_SEQ_CST);
}

void permit_unseal(void) {
  __atomic_store_n(&port_sealed, false, __ATOMIC_SEQ_CST);
  permit_withdraw();
}

bool permit_cycle(void *stack, size_t size) {
  if (permit_forbidden()) return false;
  if (LIKELY(permit.tried)) return true;
  if (WITHOUT(filter_trial) || !port_is_filtered()) {
    permit.tried = true;
    return true;
  }
  const char *call = NULL;
  enum port_trial result = port_try_calls(stack, size, &call);
  if (result == PORT_TRIAL_LATER) return false;
  permit.filtered = true;
  if (result == PORT_TRIAL_PASSED) {
    atomic_set(&permit.tried, true);
    return true;
  }
  char reason[128];
  struct text text = text_in(reason, sizeof reason - 1);
  text_add(&text, "seccomp: the filter that this process inherited ");
  text_add(&text, result == PORT_TRIAL_KILLED ? "kills for " : "refuses ");
  text_add(&text, call);
  *text.end = 0;
  permit_forbid(reason);
  atomic_set(&permit.tried, true); /* only now: others ask for both */
  return false;
}

bool permit_calls(void) {
  if (atomic_get(&port_sealed) || permit_forbidden()) return false;
  if (atomic_get(&permit.tried)) return true;
  if (port_is_filtered()) return false;
  atomic_set(&permit.tried, true); /* as permit_cycle finds, too */
  return true;
}

bool permit_helpers(void *stack, size_t size) {
  if (atomic_get(&port_sealed)) return false;
  if (permit.helpers == UNKNOWN)
    permit.helpers = !permit.filtered || port_try_helper(stack, size) ? ALLOWED : REFUSED;
  return permit.helpers == ALLOWED;
}

void permit_keep_unfreed(const char *reason) {
  const char *none = NULL;
  if (!atomic_get(&permit.kept))
    __atomic_compare_exchange_n(&permit.kept, &none, reason, false, __ATOMIC_SEQ_CST,
                                __ATOMIC_RELAXED);
}

bool permit_takes_unfreed(void) { return atomic_get(&permit.kept) == NULL; }

void permit_report(void) {
  const char *reason = atomic_get(&permit.kept);
  if (!reason || __atomic_exchange_n(&permit.kept_told, true, __ATOMIC_SEQ_CST)) return;
  tell("what was never freed is kept from here on: ", reason);
}
