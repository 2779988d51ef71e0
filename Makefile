# pictrepo: metadata repo and job queue of an image host
#
# `make help` lists the targets, which are written down beside their rules below.

all:

EXTENSION = pictrepo
EXTVERSION = $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" $(EXTENSION).control)

# The install script is these files, one after the other.
SQL_ORDER = header sqlfunc/row_lock \
	$(addprefix images/,values hashes variants aliases proxies access_times details \
		host_settings store_migrations uploads) \
	$(addprefix queue/,queue schedules job_admin stats restore_hold) operations/operations \
	$(addprefix transfer/,lines pictrs) xact/notify worker/worker \
	$(addprefix admin/,counts samples roles waiting status) footer
SQL = $(SQL_ORDER:%=src/%.sql)
SQL_FORGOTTEN = $(filter-out $(SQL) src/upgrade/%,$(wildcard src/*.sql src/*/*.sql))
INSTALL_SCRIPT_SQL = build/$(EXTENSION)--$(EXTVERSION).sql

# The upgrade from the last release: what src/upgrade/OLD--NEW.sql says of tables, then
# all functions, views and comments of the install script.  The scripts of earlier
# releases are stored as they were built.
UPGRADE_BY_HAND = $(wildcard src/upgrade/*--$(EXTVERSION).sql)
UPGRADE_SCRIPT_SQL = $(UPGRADE_BY_HAND:src/upgrade/%=build/$(EXTENSION)--%)

MODULE_big = pictrepo
OBJS = $(patsubst %.c,%.o,$(sort $(wildcard src/*.c src/*/*.c)))
DATA_built = $(INSTALL_SCRIPT_SQL) $(UPGRADE_SCRIPT_SQL)
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
	queue job_admin schedules engine proxies access uploads full operations lines pictrs roles hostile comments
REGRESS_OPTS = --outputdir=build/regress
ISOLATION = $(patsubst test/specs/%.spec,%,$(sort $(wildcard test/specs/*.spec)))
ISOLATION_OPTS = --inputdir=test --outputdir=build/isolation --load-extension=$(EXTENSION)
REGRESS_PREP = output-directories

EXTRA_CLEAN = build

# These goals install what is missing first, so on a fresh machine they must be
# there before pg_config and json-c are.
SCRIPTED = help demo test test-versions test-package test-clients test-injection test-asserts test-pg-upgrade \
	test-monitoring \
	bench chaos soak memcheck failover model fuzz sqlsmith sizes token-timing leaks sanitize \
	mutations dashboard dashboard-picture deb dist docs server server-stop setup
.PHONY: all $(SCRIPTED)

# Lists each rule that has two number signs, below the headings that begin with them.
help:
	@awk '/^##/ { sub(/^## */, ""); print NR == 1 ? $$0 : "\n" $$0 } \
		/^[a-z-]+:.* ## / { name = $$0; sub(/:.*/, "", name); sub(/.* ## /, ""); printf "  %-18s %s\n", name, $$0 }' \
		$(firstword $(MAKEFILE_LIST))
	@printf '%s\n' '' 'PG_CONFIG=path or PG_MAJOR=number chooses among several installed servers.' \
		'ONLY=regress|isolation|clients|checks|tap|injection and TESTS="queue hashes" narrow `make test`.'

## Try it

demo: ## install what is missing, build, show an image host at work on real pictures
	@demo/run

server: ## start a private server and leave it running
	@test/lib/setup
	@test/lib/private-server start server "shared_preload_libraries = 'pictrepo'"

server-stop: ## stop every private server
	@test/lib/private-server stop

dashboard: ## write a page with plots of the database that PGHOST and so on name
	@dashboard/run

## Test

setup: ## install what the tests and the demo need; their targets do this too
	@test/lib/setup test demo

test: ## build, and run all tests on private servers (ONLY=tap TESTS="001_crash")
	@test/run

test-clients: ## make the same calls from nine languages (LANGUAGES="go rust" SKIP="java")
	@test/clients/run

test-monitoring: ## run Prometheus and its exporter with the files of dashboard/
	@test/clients/monitoring/run

test-versions: ## run all tests on PostgreSQL 15, 17 and 18, each in a chroot of its Debian release
	@test/builds/versions/run

test-pg-upgrade: ## run pg_upgrade from 15 to 17 to 18 with data, in a chroot
	@test/builds/pg-upgrade/run

test-package: ## build, install, use and purge the package, in a chroot of each Debian release
	@test/builds/package/run

## Test with another build

test-asserts: ## run the tests on a server with assertions, and without caches (EXEC_BACKEND=yes)
	@test/builds/asserts/run

sanitize: ## run the regression tests with the library built for UBSan, and for ASan
	@test/builds/sanitize/run

memcheck: ## run the regression tests on a server under valgrind
	@test/builds/memcheck/run

## Test for longer

chaos: ## load the queue and kill processes of the server (MINUTES=30)
	@test/stress/chaos/run

failover: ## load the queue while Patroni moves it from node to node (ROUNDS=6)
	@test/stress/failover/run

soak: ## run all loads at once, and check that nothing grows (MINUTES=60)
	@test/stress/soak/run

model: ## make random calls of all functions and compare them with a model (MINUTES=5)
	@test/stress/model/run

mutations: ## put faults into the code, and check that a test notices each (ONLY="reaped-after-restart")
	@test/stress/mutations/run

test-injection: ## cause errors and crashes between any two steps (POINTS="duty_notify")
	@test/stress/injection/run

fuzz: ## run libFuzzer on each parser, under ASan and UBSan (MINUTES=1)
	@test/stress/fuzz/run

sqlsmith: ## run random queries of all functions and tables (MINUTES=5)
	@test/stress/sqlsmith/run

sizes: ## pass values of hundreds of megabytes to every function (MB=300)
	@test/stress/sizes/run

leaks: ## make a million calls in one session, and check that it does not grow (CALLS=1000000)
	@test/stress/leaks/run

token-timing: ## check that comparisons of delete tokens take the same time (ROUNDS=500)
	@test/stress/token-timing/run

## Measure

bench: ## compare pictrepo with pict-rs's statements and other queues (ONLY=list FULL=yes)
	@bench/run

## Write and release

docs: ## write doc/reference.md, and the code in doc/workers.md
	@doc/write-reference

dashboard-picture: ## write dashboard/dashboard.png, the page as Chromium shows it
	@dashboard/picture

RELEASE = $(EXTENSION)-$(EXTVERSION)
dist: ## pack the committed state as build/pictrepo-VERSION.tar.gz and .zip
	@mkdir -p build
	git archive --prefix=$(RELEASE)/ --output=build/$(RELEASE).tar.gz HEAD
	git archive --prefix=$(RELEASE)/ --output=build/$(RELEASE).zip HEAD

deb: ## build the Debian package for this Debian release, in build/deb
	@test/builds/package/build

## Build and install

ifneq (,$(filter-out $(SCRIPTED),$(or $(MAKECMDGOALS),all)))

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs 2>/dev/null)
ifeq (,$(wildcard $(PGXS)))
$(error $(PG_CONFIG) names no server to build for; install postgresql-server-dev-N or run `make setup`)
endif
include $(PGXS)

all: ## build for pg_config's server

install: install-documents ## install there, with the documents

uninstall: uninstall-documents ## remove what install has installed

installcheck: ## run the regression and isolation tests on the server that PGHOST and so on name

clean: server-stop ## stop private servers, remove what was built

# Documents and what they link to. Each has the same place below one directory
# as it has here, so that every link between them holds where they are installed.
DOCUMENTS = $(wildcard README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md src/README.md test/README.md) \
	$(wildcard doc/*.md doc/*.svg) \
	$(addprefix dashboard/,dashboard.py queries.py svg.py dashboard.png exporter.yaml grafana.json) \
	$(wildcard bench/report/*.md bench/report/*.svg) bench/report/raw.csv \
	$(wildcard $(addprefix examples/worker/*/,*.* src/*.rs))
documentdir = $(DESTDIR)$(docdir)/extension/$(EXTENSION)

install-documents:
	$(MKDIR_P) $(patsubst %,'$(documentdir)/%',$(sort $(dir $(DOCUMENTS))))
	@for file in $(DOCUMENTS); do \
		$(INSTALL_DATA) "$(srcdir)/$$file" '$(documentdir)'/"$$file" || exit; \
	done

uninstall-documents:
	rm -rf '$(documentdir)'

ifneq (,$(SQL_FORGOTTEN))
$(error not in SQL_ORDER: $(SQL_FORGOTTEN))
endif

# Built again: everything when a header, the compiler, its flags or a version
# changes; the library also when a source file goes.
BUILT_WITH = $(EXTVERSION)$(if $(PICTREPO_DEBUG), for debugging) with $(CC) $(CFLAGS) for $(VERSION): $(OBJS)

$(OBJS) $(OBJS:.o=.bc): $(wildcard src/*.h src/*/*.h) build/built-with | json-c
$(MODULE_big)$(DLSUFFIX): build/built-with $(srcdir)/src/exports.map

.PHONY: json-c output-directories install-documents uninstall-documents FORCE
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

$(UPGRADE_SCRIPT_SQL): build/$(EXTENSION)--%: src/upgrade/% src/upgrade/replaceable.awk src/upgrade/privileges.sql \
		$(INSTALL_SCRIPT_SQL)
	{ printf '%s\n' '\echo Use "ALTER EXTENSION $(EXTENSION) UPDATE" to load this file. \quit' && \
		cat $< && awk -f src/upgrade/replaceable.awk $(INSTALL_SCRIPT_SQL) && \
		cat src/upgrade/privileges.sql; } >$@

output-directories:
	@mkdir -p build/regress build/isolation

endif
