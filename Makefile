# pictrepo: metadata repo and job queue of an image host
#
#   make demo            install what is missing, build, show it on real pictures
#   make test            install what is missing, build, test on a private server
#   make test-versions   the same on PostgreSQL 15, 17 and 18, each in a chroot of its Debian release
#   make test-pg-upgrade pg_upgrade from 15 to 17 to 18 with data, in a chroot
#   make test-clients    the same calls from nine languages (LANGUAGES="go rust", SKIP="java")
#   make bench           pictrepo beside pict-rs's statements
#   make chaos           load while the server is killed; the books must balance (MINUTES=30)
#   make failover        load while Patroni moves it from node to node; the same (ROUNDS=6)
#   make soak            everything at once for an hour, and nothing grows (MINUTES=60)
#   make test-monitoring the real Prometheus and its exporter on what doc/ has for them
#   make dashboard       write a page with plots of the database that PGHOST, ... name
#   make dashboard-picture  doc/dashboard.png, such a page as Chromium shows it
#   make model           random calls of the repo's functions compared with a model (MINUTES=5)
#   make fuzz            libFuzzer on all that parses, under ASan and UBSan (MINUTES=1 for each)
#   make sqlsmith        made-up queries of all functions and tables (MINUTES=5)
#   make sizes           values of hundreds of megabytes for every function (MB=300)
#   make token-timing    how long it takes to compare delete tokens tells nothing of them (ROUNDS=500)
#   make leaks           a million calls in one session, which does not grow (CALLS=1000000)
#   make sanitize        the regression tests with the library built for UBSan, and for ASan
#   make memcheck        the regression tests on a server under valgrind
#   make test-asserts    the whole test on a server built with assertions, and without caches
#                        (EXEC_BACKEND=yes: on one whose processes inherit nothing)
#   make mutations       faults put into the code, each of which a test must notice
#   make test-injection  an error, a crash, another session between any two steps
#   make deb             build the Debian package of this release, into build/deb
#   make test-package    build, install, use and purge it, each Debian release in a chroot
#   make dist            the release as build/pictrepo-VERSION.tar.gz and .zip, of what is committed
#   make docs            write doc/reference.md, and the code in doc/workers.md
#   make server          leave a private server running;  make server-stop  ends it
#   make, make install   build and install for pg_config's server
#   make installcheck    test on the running server that PGHOST, ... name
#   make clean           stop private servers, remove what was built
#
# PG_CONFIG=path or PG_MAJOR=number chooses among several installed servers.
# ONLY=regress|isolation|clients|checks|tap|injection and TESTS="queue hashes" narrow `make test`.

all:

EXTENSION = pictrepo
EXTVERSION = $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" $(EXTENSION).control)

# The install script is these files, one after the other.
SQL_ORDER = header \
	$(addprefix images/,values hashes variants aliases proxies access_times details \
		host_settings store_migrations uploads) \
	$(addprefix queue/,queue schedules stats) operations/operations \
	$(addprefix transfer/,lines pictrs) worker/worker \
	$(addprefix admin/,samples roles waiting status) footer
SQL = $(SQL_ORDER:%=src/%.sql)
SQL_FORGOTTEN = $(filter-out $(SQL) src/upgrade/%,$(wildcard src/*.sql src/*/*.sql))
INSTALL_SCRIPT_SQL = build/$(EXTENSION)--$(EXTVERSION).sql

MODULE_big = pictrepo
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c src/*/*.c)))
DATA_built = $(INSTALL_SCRIPT_SQL)
DOCS = README.md
GUIDES = $(addprefix doc/,reference.md hosts.md pict-rs.md workers.md dashboard.png exporter.yaml grafana.json) \
	test/dashboard/dashboard.py test/dashboard/queries.py test/charts/svg.py
DATA = $(wildcard src/upgrade/$(EXTENSION)--*--*.sql)

# PICTREPO_DEBUG=1 builds with injection points, see src/common/injection_points.h.
PG_CPPFLAGS = -I$(srcdir)/src -DPICTREPO_VERSION='"$(EXTVERSION)"' \
	$(if $(PICTREPO_DEBUG),-DPICTREPO_INJECTION) $(shell pkg-config --cflags json-c 2>/dev/null)
# In a clone a warning is an error; a release must build with compilers to come.
PG_CFLAGS = -Wall -Wextra $(if $(wildcard $(srcdir)/.git),-Werror) \
	-Wno-unused-parameter -Wno-sign-compare -Wno-missing-field-initializers
SHLIB_LINK = $(shell pkg-config --libs json-c 2>/dev/null) \
	$(if $(filter linux,$(PORTNAME)),-Wl$(comma)--version-script=$(srcdir)/src/exports.map)
comma = ,

# The first script creates the extension for the others.
REGRESS = install values hashes variants aliases settings details migrations \
	queue schedules engine proxies access uploads full operations lines pictrs roles hostile comments
REGRESS_OPTS = --outputdir=build/regress
ISOLATION = $(patsubst test/specs/%.spec,%,$(sort $(wildcard test/specs/*.spec)))
ISOLATION_OPTS = --inputdir=test --outputdir=build/isolation --load-extension=$(EXTENSION)
REGRESS_PREP = output-directories

EXTRA_CLEAN = build

# These goals install what is missing first, so on a fresh machine they must be
# there before pg_config and json-c are.
SCRIPTED = demo test test-versions test-package test-clients test-injection test-asserts test-pg-upgrade \
	test-monitoring \
	bench chaos soak memcheck failover model fuzz sqlsmith sizes token-timing leaks sanitize \
	mutations dashboard dashboard-picture deb dist docs server server-stop setup
.PHONY: all $(SCRIPTED)

demo:
	@test/demo/run

test:
	@test/run

test-versions:
	@test/versions/run

test-clients:
	@test/clients/run

test-monitoring:
	@test/monitoring/run

dashboard:
	@test/dashboard/run

dashboard-picture:
	@test/dashboard/picture

bench:
	@test/bench/run

chaos:
	@test/chaos/run

soak:
	@test/soak/run

failover:
	@test/failover/run

model:
	@test/model/run

fuzz:
	@test/fuzz/run

sqlsmith:
	@test/sqlsmith/run

sizes:
	@test/sizes/run

token-timing:
	@test/tokens/run

leaks:
	@test/leaks/run

sanitize:
	@test/sanitize/run

memcheck:
	@test/memcheck/run

test-asserts:
	@test/asserts/run

mutations:
	@test/mutations/run

test-injection:
	@test/injection/run

test-pg-upgrade:
	@test/pg-upgrade/run

deb:
	@test/package/build

test-package:
	@test/package/run

RELEASE = $(EXTENSION)-$(EXTVERSION)
dist:
	@mkdir -p build
	git archive --prefix=$(RELEASE)/ --output=build/$(RELEASE).tar.gz HEAD
	git archive --prefix=$(RELEASE)/ --output=build/$(RELEASE).zip HEAD

docs:
	@doc/write-reference

server:
	@test/setup
	@test/private-server start server "shared_preload_libraries = 'pictrepo'"

server-stop:
	@test/private-server stop

setup:
	@test/setup test demo

ifneq (,$(filter-out $(SCRIPTED),$(or $(MAKECMDGOALS),all)))

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
ifeq (,$(wildcard $(PGXS)))
$(error $(PG_CONFIG) names no server to build for; install postgresql-server-dev-N or run `make setup`)
endif
include $(PGXS)

# A directory of our own among other extensions' documents. In it the guides are
# below the README as they are here, so that the links between them hold.
docmoduledir = extension/$(EXTENSION)
guidedir = $(DESTDIR)$(docdir)/$(docmoduledir)/doc

install: install-guides
uninstall: uninstall-guides

install-guides: installdirs
	$(MKDIR_P) '$(guidedir)'
	$(INSTALL_DATA) $(addprefix $(srcdir)/,$(GUIDES)) '$(guidedir)/'

uninstall-guides:
	rm -f $(addprefix '$(guidedir)'/,$(notdir $(GUIDES)))
	-rmdir '$(guidedir)'

ifneq (,$(SQL_FORGOTTEN))
$(error not in SQL_ORDER: $(SQL_FORGOTTEN))
endif

# Built again: everything when a header, the compiler, its flags or a version
# changes; the library also when a source file goes.
BUILT_WITH = $(EXTVERSION)$(if $(PICTREPO_DEBUG), for debugging) with $(CC) $(CFLAGS) for $(VERSION): $(OBJS)

$(OBJS) $(OBJS:.o=.bc): $(wildcard src/*.h src/*/*.h) build/built-with | json-c
$(MODULE_big)$(DLSUFFIX): build/built-with $(srcdir)/src/exports.map

.PHONY: json-c output-directories install-guides uninstall-guides FORCE
.DELETE_ON_ERROR:

build/built-with: FORCE
	@mkdir -p build
	@echo '$(BUILT_WITH)' | cmp -s - $@ || echo '$(BUILT_WITH)' >$@

json-c:
	@pkg-config --exists json-c || \
		{ echo 'json-c is missing; install pkgconf and libjson-c-dev or run `make setup`' >&2; exit 1; }

$(INSTALL_SCRIPT_SQL): $(SQL) $(EXTENSION).control Makefile
	@mkdir -p build
	cat $(SQL) >$@

output-directories:
	@mkdir -p build/regress build/isolation

clean: server-stop

endif
