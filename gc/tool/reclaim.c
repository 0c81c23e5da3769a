/* reclaim.c: the command `reclaim [--name=value ...] PROGRAM ARGS...`. It checks the options and
   the program, sets LD_PRELOAD and RECLAIM and becomes the program by exec, so that exit status,
   signals and streams are the program's own. */
#include "base/option.h"
#include "tool/library.h"
#include "tool/program.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static _Noreturn void give_up(int status, const char *message) {
  fprintf(stderr, "reclaim: %s\n", message);
  exit(status);
}

static void complain(const char *message, void *context) {
  fprintf(stderr, "reclaim: %s%s\n", (const char *)context, message);
}

static void show_help(void) {
  puts("Usage: reclaim [--name=value ...] PROGRAM [ARGUMENT ...]\n"
       "Run PROGRAM with a garbage collector in the place of malloc.\n"
       "\n"
       "Options, with their defaults in brackets; RECLAIM=name=value,... in the environment\n"
       "sets the same ones, and the command line wins:");
  size_t count;
  const struct option_description *table = option_table(&count);
  for (size_t i = 0; i < count; i++)
    printf("  --%s=%s\n        %s [%s]\n", table[i].name, table[i].values, table[i].help,
           table[i].fallback);
  puts("  --help      show this text\n"
       "  --version   show the version\n"
       "\n"
       "The exit status is that of PROGRAM; 2 for a wrong option, 126 when PROGRAM cannot be run\n"
       "under the collector, 127 when there is no such program. Details: man reclaim");
}

static char *join(const char *first, const char *separator, const char *second) {
  char *result;
  if (asprintf(&result, "%s%s%s", first, separator, second) < 0) give_up(STATUS_UNFIT, "no memory");
  return result;
}

/* A relative log file is meant relative to where the command was given: the program and its
   children may change directory before the library opens it. */
static char *absolute_log(const char *entry) {
  static const char name[] = "log=";
  const char *file = entry + sizeof name - 1;
  char directory[PATH_MAX];
  if (strncmp(entry, name, sizeof name - 1) != 0 || *file == 0 || *file == '/' ||
      strcmp(file, "stderr") == 0)
    return strdup(entry);
  if (getcwd(directory, sizeof directory) == NULL)
    give_up(STATUS_USAGE, "the current directory cannot be named; give log= an absolute path");
  return join(join(name, "", directory), "/", file);
}

/* Checks one argument "--name=value" and returns `settings` with it appended. */
static char *add_argument(char *settings, const char *argument, struct options *o) {
  char *entry = absolute_log(argument + 2);
  if (entry == NULL) give_up(STATUS_UNFIT, "no memory");
  if (strchr(entry, ',') != NULL)
    give_up(STATUS_USAGE, join(join("option ", "", entry), "", ": a value cannot hold a comma"));
  if (!options_parse(o, entry, complain, "")) exit(STATUS_USAGE);
  return *settings != 0 ? join(settings, ",", entry) : entry;
}

int main(int count, char **arguments) {
  struct options checked;
  options_default(&checked);
  const char *inherited = getenv("RECLAIM");
  char *settings = strdup(inherited != NULL ? inherited : "");
  int at = 1;
  for (; at < count && arguments[at][0] == '-' && arguments[at][1] != 0; at++) {
    if (strcmp(arguments[at], "--") == 0) {
      at++;
      break;
    }
    if (strcmp(arguments[at], "--help") == 0 || strcmp(arguments[at], "--version") == 0) {
      if (arguments[at][2] == 'h') show_help();
      else puts("reclaim " PACKAGE_VERSION);
      return fflush(stdout) == 0 ? 0 : 1;
    }
    if (strncmp(arguments[at], "--", 2) != 0)
      give_up(STATUS_USAGE, join(arguments[at], "",
                                 ": options are written --name=value; see "
                                 "reclaim --help"));
    settings = add_argument(settings, arguments[at], &checked);
  }
  if (inherited != NULL && !options_parse(&checked, inherited, complain, "in RECLAIM: "))
    return STATUS_USAGE;
  if (at == count)
    give_up(STATUS_USAGE, "no program given; usage: reclaim [--name=value ...] PROGRAM "
                          "[ARGUMENT ...]");

  struct fault fault = {.status = 0};
  char *program = program_find(arguments[at], &fault);
  if (program == NULL || !program_inspect(program, &fault)) give_up(fault.status, fault.message);
  char *library = library_find(&fault);
  if (library == NULL) give_up(fault.status, fault.message);

  const char *preload = getenv("LD_PRELOAD");
  bool alone = preload == NULL || *preload == 0;
  if (setenv("LD_PRELOAD", alone ? library : join(library, ":", preload), 1) != 0 ||
      (*settings != 0 && setenv("RECLAIM", settings, 1) != 0))
    give_up(STATUS_UNFIT, "no memory");
  execv(program, arguments + at);
  if (errno == ENOEXEC)
    give_up(STATUS_UNFIT, join(program, "", ": is neither a program nor a script with a #! line"));
  give_up(errno == ENOENT ? STATUS_MISSING : STATUS_UNFIT, join(program, ": ", strerror(errno)));
}
