/* program.c: looks along PATH, through #! lines and into ELF headers. See program.h.
   ld.so drops LD_PRELOAD without a word for programs that gain privileges, and static programs
   never start it, so both have to be found before exec: afterwards nobody is left to say so. */
#include "tool/program.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#define SCRIPT_LEVELS 4      /* the kernel's limit: interpreters that are scripts themselves */
#define SCRIPT_LINE_SIZE 256 /* what the kernel reads of a #! line */

static bool __attribute__((format(printf, 3, 4)))
fail(struct fault *fault, int status, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(fault->message, sizeof fault->message, format, arguments);
  va_end(arguments);
  fault->status = status;
  return false;
}

/* Whether `path` is a regular file that this user may execute; otherwise `error` says why not. */
static bool is_executable(const char *path, int *error) {
  struct stat status;
  if (stat(path, &status) != 0) *error = errno;
  else if (S_ISDIR(status.st_mode)) *error = EISDIR;
  else if (!S_ISREG(status.st_mode) || access(path, X_OK) != 0) *error = EACCES;
  else return true;
  return false;
}

char *program_find(const char *name, struct fault *fault) {
  int error = ENOENT;
  if (strchr(name, '/') != NULL || *name == 0) {
    if (is_executable(name, &error)) return strdup(name);
    if (error == ENOENT || error == ENOTDIR)
      fail(fault, STATUS_MISSING, "%s: there is no such program", name);
    else if (error == EISDIR) fail(fault, STATUS_UNFIT, "%s: is a directory, not a program", name);
    else if (error == EACCES)
      fail(fault, STATUS_UNFIT, "%s: is not executable by this user (chmod +x?)", name);
    else fail(fault, STATUS_UNFIT, "%s: %s", name, strerror(error));
    return NULL;
  }
  const char *path = getenv("PATH");
  if (path == NULL) path = "/bin:/usr/bin";
  char *refused = NULL; /* found, but not executable: reported only when nothing better follows */
  for (;;) {
    size_t length = strcspn(path, ":");
    char *candidate = NULL;
    if (asprintf(&candidate, "%.*s%s%s", (int)length, path, length != 0 ? "/" : "./", name) < 0)
      abort();
    if (is_executable(candidate, &error)) {
      free(refused);
      return candidate;
    }
    if (error == EACCES && refused == NULL) refused = candidate;
    else free(candidate);
    if (path[length] == 0) break;
    path += length + 1;
  }
  if (refused != NULL)
    fail(fault, STATUS_UNFIT, "%s: is not executable by this user (chmod +x?)", refused);
  else fail(fault, STATUS_MISSING, "%s: there is no such program along PATH", name);
  free(refused);
  return NULL;
}

static bool read_at(int file, void *buffer, size_t size, off_t at) {
  return pread(file, buffer, size, at) == (ssize_t)size;
}

static const char *machine_name(unsigned machine, unsigned class) {
  static const struct {
    unsigned machine;
    const char *name;
  } names[] = {{EM_386, "i386"},       {EM_X86_64, "x86_64"}, {EM_AARCH64, "aarch64"},
               {EM_ARM, "arm"},        {EM_RISCV, "riscv"},   {EM_PPC64, "powerpc64"},
               {EM_S390, "s390"},      {EM_MIPS, "mips"},     {EM_PPC, "powerpc"},
               {EM_SPARCV9, "sparc64"}};
  if (machine == EM_X86_64 && class == ELFCLASS32) return "x32";
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
    if (names[i].machine == machine) return names[i].name;
  return "another CPU";
}

/* The launcher and the library were built together, so the launcher's own header says which
   programs can load the library. */
static bool own_header(Elf64_Ehdr *header) {
  int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
  bool good = self >= 0 && read_at(self, header, sizeof *header, 0);
  if (self >= 0) close(self);
  return good;
}

/* Reads the dynamic linker's name out of PT_INTERP; an empty name when there is none. */
static bool read_dynamic_linker(int file, const Elf64_Ehdr *header, char name[PATH_MAX]) {
  name[0] = 0;
  for (unsigned i = 0; i < header->e_phnum; i++) {
    Elf64_Phdr segment;
    if (!read_at(file, &segment, sizeof segment,
                 (off_t)(header->e_phoff + (size_t)i * header->e_phentsize)))
      return false;
    if (segment.p_type != PT_INTERP) continue;
    if (segment.p_filesz == 0 || segment.p_filesz > PATH_MAX ||
        !read_at(file, name, segment.p_filesz, (off_t)segment.p_offset))
      return false;
    name[segment.p_filesz - 1] = 0;
    return true;
  }
  return true;
}

/* Whether exec would raise privileges, upon which ld.so ignores LD_PRELOAD. Mirrors the kernel:
   it compares with the real ids, and honours none of the marks under no_new_privs or on a nosuid
   file system. The real root gains nothing from a file's capabilities. */
static bool check_privileges(int file, const char *path, struct fault *fault) {
  struct stat status;
  struct statvfs system;
  if (fstat(file, &status) != 0 || prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 ||
      (fstatvfs(file, &system) == 0 && (system.f_flag & ST_NOSUID) != 0))
    return true;
  const char *mark = NULL;
  if ((status.st_mode & S_ISUID) != 0 && status.st_uid != getuid()) mark = "is setuid";
  else if ((status.st_mode & S_ISGID) != 0 && (status.st_mode & S_IXGRP) != 0 &&
           status.st_gid != getgid())
    mark = "is setgid";
  else if (getuid() != 0 && fgetxattr(file, "security.capability", NULL, 0) > 0)
    mark = "has file capabilities";
  return mark == NULL ||
         fail(fault, STATUS_UNFIT,
              "%s: %s, and such programs ignore preloaded libraries; run it as the user whose "
              "rights it takes, or use a copy without the mark",
              path, mark);
}

static bool check_elf(int file, const char *path, const Elf64_Ehdr *header, struct fault *fault) {
  Elf64_Ehdr own;
  if (own_header(&own) && (header->e_machine != own.e_machine ||
                           memcmp(header->e_ident, own.e_ident, EI_DATA + 1) != 0))
    return fail(fault, STATUS_UNFIT, "%s: is a program for %s; this Reclaim collects %s programs",
                path, machine_name(header->e_machine, header->e_ident[EI_CLASS]),
                machine_name(own.e_machine, own.e_ident[EI_CLASS]));
  if (header->e_type != ET_EXEC && header->e_type != ET_DYN)
    return fail(fault, STATUS_UNFIT, "%s: is an object file or a core dump, not a program", path);
  char linker[PATH_MAX];
  if (!read_dynamic_linker(file, header, linker))
    return fail(fault, STATUS_UNFIT, "%s: is damaged: its ELF program headers cannot be read",
                path);
  if (linker[0] == 0)
    return fail(fault, STATUS_UNFIT,
                "%s: is statically linked, so its malloc cannot be replaced; link it dynamically, "
                "without -static",
                path);
  if (strstr(linker, "ld-musl") != NULL)
    return fail(fault, STATUS_UNFIT,
                "%s: is linked with musl (%s); this Reclaim collects glibc programs", path, linker);
  if (access(linker, X_OK) != 0)
    return fail(fault, STATUS_MISSING, "%s: its dynamic linker %s is missing", path, linker);
  return check_privileges(file, path, fault);
}

/* Cuts the interpreter out of a #! line as the kernel does. */
static bool script_interpreter(char *line, char **interpreter) {
  line[strcspn(line, "\n")] = 0;
  char *start = line + 2 + strspn(line + 2, " \t");
  start[strcspn(start, " \t")] = 0;
  *interpreter = start;
  return *start != 0;
}

bool program_inspect(const char *path, struct fault *fault) {
  char name[PATH_MAX];
  snprintf(name, sizeof name, "%s", path);
  for (int level = 0;; level++) {
    int file = open(name, O_RDONLY | O_CLOEXEC);
    if (file < 0 && errno == EACCES)
      return true; /* executable but not readable: the kernel may run what we may not see */
    if (file < 0) return fail(fault, STATUS_UNFIT, "%s: cannot be read: %s", name, strerror(errno));
    union {
      char text[SCRIPT_LINE_SIZE + 1];
      Elf64_Ehdr elf;
    } head;
    memset(&head, 0, sizeof head);
    ssize_t size = pread(file, head.text, SCRIPT_LINE_SIZE, 0);
    if (size >= (ssize_t)sizeof head.elf && memcmp(head.text, ELFMAG, SELFMAG) == 0) {
      bool good = check_elf(file, name, &head.elf, fault);
      close(file);
      return good;
    }
    close(file);
    if (size < 2 || memcmp(head.text, "#!", 2) != 0) return true;
    if (level == SCRIPT_LEVELS)
      return fail(fault, STATUS_UNFIT, "%s: more than %d scripts interpret each other", path,
                  SCRIPT_LEVELS);
    char *interpreter;
    int error;
    if (!script_interpreter(head.text, &interpreter))
      return fail(fault, STATUS_UNFIT, "%s: its #! line names no interpreter", name);
    if (!is_executable(interpreter, &error))
      return fail(fault, error == ENOENT ? STATUS_MISSING : STATUS_UNFIT,
                  "%s: its interpreter %s %s", name, interpreter,
                  error == ENOENT ? "is missing" : "is not executable");
    char next[PATH_MAX];
    snprintf(next, sizeof next, "%s", interpreter);
    memcpy(name, next, sizeof name);
  }
}
