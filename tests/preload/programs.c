/* programs.c: interpreters, compilers and tools. See programs.h. */
#include "programs.h"

PROGRAM(python, 400, RUN("/usr/bin/python3", "@INPUTS@/work.py"), WITH("PYTHONHASHSEED=0"))
PROGRAM(python_malloc, 20000, RUN("/usr/bin/python3", "@INPUTS@/work.py"),
        WITH("PYTHONHASHSEED=0", "PYTHONMALLOC=malloc"))
PROGRAM(perl, 12000, RUN("perl", "@INPUTS@/work.pl"), WITH("PERL_HASH_SEED=0"), .pace = 1)
PROGRAM(ruby, 5000, RUN("ruby", "@INPUTS@/work.rb"), .pace = 3)
PROGRAM(php, 200, RUN("php", "-d", "memory_limit=1G", "@INPUTS@/work.php"))
PROGRAM(php_malloc, 40000, RUN("php", "-d", "memory_limit=1G", "@INPUTS@/work.php"),
        WITH("USE_ZEND_ALLOC=0"))
PROGRAM(lua, 15000, RUN("lua5.4", "@INPUTS@/work.lua"))
PROGRAM(sqlite, 5000, RUN("sqlite3"), .command.input = "work.sql", .pace = 2)
PROGRAM(gawk, 10000, RUN("gawk", "-f", "@INPUTS@/work.awk"), .pace = 3)
PROGRAM(rrdtool, 500, SCRIPT("rrdtool.sh"), .pace = 2)
PROGRAM(git, 1000, SCRIPT("git.sh"))
PROGRAM(gcc, 8000, SCRIPT("gcc.sh"), .pace = 15)
PROGRAM(xz, 1000, SCRIPT("xz.sh"))
PROGRAM(jq, 20000, SCRIPT("jq.sh"))
PROGRAM(curl, 300, SCRIPT("curl.sh"))
PROGRAM(tcl, 1500, RUN("tclsh", "@INPUTS@/work.tcl"), .pace = 1)
PROGRAM(vim, 5000, SCRIPT("vim.sh"), .pace = 3)
PROGRAM(make, 1000, SCRIPT("make.sh"), .pace = 20)
PROGRAM(tar, 300, SCRIPT("tar.sh"), .pace = 2)
PROGRAM(openssl, 3000, SCRIPT("openssl.sh"))
PROGRAM(bash, 2000, SCRIPT("bash.sh"))
PROGRAM(guile, 200, RUN("guile", "--no-auto-compile", "-s", "@INPUTS@/work.scm"))

POLICIES(python_malloc)
POLICIES(perl)
POLICIES(lua)
POLICIES(sqlite)
POLICIES(gawk)
POLICIES(jq)
POLICIES(git)

/* Python's own tests: each has the result that it has under plain malloc. */
#define SUITE(...) RUN("/usr/bin/python3", "@INPUTS@/suite.py", __VA_ARGS__)
PROGRAM(python_suite, 500, SUITE("test_list", "test_dict", "test_gc"), .pace = 20)
