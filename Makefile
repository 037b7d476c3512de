# lfsync: PostgreSQL tables as SQLite files, from inside the server
#
#   make help     what can be made
#   make          build for the server that PG_CONFIG names (default: pg_config)
#
# Building and installing is plain PGXS.  `check`, `demo` and `bench` work on a
# machine that has neither PostgreSQL nor SQLite yet: they install what is
# missing, and then work in a scratch directory with a private copy of the
# server, so that no installation and no cluster is touched.

PG_CONFIG ?= pg_config

OWN_GOALS = check demo bench setup indent help

ifneq (,$(filter $(OWN_GOALS),$(MAKECMDGOALS)))

.PHONY: $(MAKECMDGOALS)
export PG_CONFIG

check:
	test/run

demo:
	test/demo/run

bench:
	test/bench/run

setup:
	@test/setup >/dev/null

# pgindent's layout, as near as clang-format comes to it
indent:
	clang-format -i src/*.c src/*.h

help:
	@echo 'make                 build; PG_CONFIG=... chooses the server'
	@echo 'make install         install into that server (as root, or with sudo)'
	@echo 'make installcheck    SQL tests against your running server (lfsync preloaded)'
	@echo 'make demo            see it work: throwaway server, 200,000 rows, half a minute'
	@echo 'make check           every test, on a throwaway server'
	@echo 'make bench           how fast it is on this machine'
	@echo 'make setup           only install what building and testing needs (apt-get)'
	@echo 'make clean           remove what was built'

# `make clean check` means both.
$(filter-out $(OWN_GOALS),$(MAKECMDGOALS)):
	$(MAKE) $@

else

PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)

ifeq (,$(wildcard $(PGXS)))
ifneq (,$(filter-out clean distclean,$(or $(MAKECMDGOALS),all)))
$(error No PostgreSQL development files found through PG_CONFIG=$(PG_CONFIG). \
  Name a server: make PG_CONFIG=/path/to/bin/pg_config. Or let `make setup` \
  install one (Debian, Ubuntu))
endif
endif

EXTENSION = lfsync
MODULE_big = lfsync
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c)))
DATA = $(wildcard src/lfsync--*.sql)
SHLIB_LINK = -lsqlite3

# The C of SQLite pages (image.c) needs C11; some servers ask for C99.
PG_CFLAGS = -std=gnu11
ifdef WERROR
# callbacks have the parameters that their callers give
PG_CFLAGS += -Wall -Wextra -Wno-unused-parameter -Werror
endif

# No bitcode: there is nothing in lfsync that the JIT could inline, and a
# server built with LLVM would make clang a requirement.
override with_llvm = no

# `make installcheck` needs lfsync in the running server's
# shared_preload_libraries, its lfsync.export_directory set, and the same
# directory in the environment as LFSYNC_EXPORT_DIR.
REGRESS = $(patsubst sql/%.sql,%,$(sort $(wildcard sql/*.sql)))
ISOLATION = $(patsubst test/specs/%.spec,%,$(sort $(wildcard test/specs/*.spec)))
ISOLATION_OPTS = --inputdir=test
PROVE_TESTS = $(sort $(wildcard test/t/*.pl))
ifneq (,$(PROVE_TESTS))
TAP_TESTS = 1
endif

EXTRA_CLEAN = src/*.gcda src/*.gcno

ifneq (,$(wildcard $(PGXS)))
include $(PGXS)
else
clean distclean:
	rm -f $(OBJS) lfsync.so
endif

override PROVE_FLAGS += -I test/t

# The server's headers are not ours to warn about.
override CPPFLAGS := $(patsubst -I/%,-isystem /%,$(CPPFLAGS))

# From 16 on the server hides all but PGDLLEXPORT symbols; 15 needs a list.
ifeq ($(MAJORVERSION) $(PORTNAME),15 linux)
SHLIB_LINK += -Wl,--version-script=src/lfsync.map
lfsync.so: src/lfsync.map
endif

$(OBJS): $(wildcard src/*.h) Makefile | sqlite3-version

# 3.37 has STRICT tables and the API for images in memory (sqlite3_deserialize).
.PHONY: sqlite3-version
sqlite3-version:
	@printf '#include <sqlite3.h>\n#if SQLITE_VERSION_NUMBER < 3037000\n#error\n#endif\n' \
	| $(CC) $(CPPFLAGS) -fsyntax-only -xc - 2>/dev/null \
	|| { echo 'lfsync needs the headers of SQLite 3.37 or newer (Debian, Ubuntu: libsqlite3-dev)' >&2; exit 1; }

endif
