# pare: convert, prune, distil, quantize, verify and run Transformers, offline, in C.
#
#   make help            what there is
#   make -j              build (objects in build/<compiler>-<flags>, programs also in build/bin)
#   make DEBUG=1         -O0;  SAN=address,undefined: sanitizers;  CC=clang;  V=1: full commands
#   CFLAGS, CPPFLAGS and LDFLAGS are added to ours; WERROR= lets warnings pass;
#   ISAS="avx2" restricts the kernels that are compiled in; BUILD=dir puts build/ elsewhere;
#   MPI=1 builds pare-distill for several processes (Open MPI); the programs are in its own folder;
#   KEEP_GOING=1 leaves out of the library what does not compile.

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules
SHELL := /bin/sh

ifeq ($(origin CC),default)
  CC := $(if $(shell command -v gcc 2>/dev/null),gcc,cc)
endif

# ---- What is built, and where ------------------------------------------------------------------

BUILD  ?= build
DEBUG  ?=
SAN    ?=
V      ?=
KEEP_GOING ?=
MPI    ?=

FOLDERS := core formats text runtime runtime/kernels api learn convert convert/families prune \
           distill quantize verify

ccname := $(notdir $(firstword $(CC)))
opt    := $(if $(DEBUG),-O0,-O2)
mpi    := $(if $(MPI),-mpi)
O      := $(BUILD)/$(ccname)$(opt)$(if $(SAN),-$(SAN))$(mpi)
TEST_SAN := address,undefined
O_SAN  := $(BUILD)/$(ccname)$(opt)-$(TEST_SAN)
BIN    := $(BUILD)/bin

version := $(shell sed -n 's/^\#define PARE_VERSION "\(.*\)"/\1/p' core/version.h 2>/dev/null)
VERSION := $(or $(version),0)
SOVERSION := 0

# Kernels: each instruction set has its own files (the name's ending tells) and its own flags.
machine := $(or $(shell $(CC) -dumpmachine 2>/dev/null),$(shell uname -m))
all_isas := avx2 avx512 vnni neon
ifneq (,$(filter x86_64%,$(machine)))
  ISAS ?= avx2 avx512 vnni
else ifneq (,$(filter aarch64% arm64%,$(machine)))
  ISAS ?= neon
endif
isa_flags_avx2   := -mavx2 -mfma -mf16c
isa_flags_avx512 := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx2 -mfma -mf16c
isa_flags_vnni   := $(isa_flags_avx512) -mavx512vnni
isa_flags_neon   :=
present_isas := $(foreach i,$(ISAS),$(if $(wildcard runtime/kernels/*_$(i).c),$(i)))
upper = $(shell echo $(1) | tr a-z A-Z)
isa_macros := $(foreach i,$(present_isas),-DPARE_HAVE_$(call upper,$(i)))
isa_of = $(firstword $(foreach i,$(all_isas),$(if $(filter %_$(i).c,$(1)),$(i))))

sources  := $(sort $(wildcard $(FOLDERS:=/*.c)))
left_out := $(foreach i,$(filter-out $(ISAS),$(all_isas)),$(wildcard runtime/kernels/*_$(i).c))
LIB_SRC  := $(filter-out $(left_out),$(sources))
MAIN_SRC := $(sort $(wildcard programs/pare.c programs/pare-*.c))
CLI_SRC  := $(sort $(filter-out $(MAIN_SRC),$(wildcard programs/*.c)))
TEST_SRC := $(sort $(wildcard tests/test_*.c))
TEST_HELP_SRC := $(sort $(filter-out $(TEST_SRC) tests/fuzz_%.c,$(wildcard tests/*.c)))
BENCH_SRC := $(sort $(wildcard bench/*.c))
FUZZ_SRC := $(sort $(wildcard tests/fuzz/fuzz_*.c))
FUZZ_HELP_SRC := tests/fuzz/fuzz_common.c
FUZZ_TARGETS := $(patsubst tests/fuzz/fuzz_%.c,%,$(filter-out $(FUZZ_HELP_SRC),$(FUZZ_SRC)))
# Those that a library's bug ends (docs/fuzzing.md) are replayed, but not fuzzed by test-long.
FUZZ_LONG := $(filter-out %_inside,$(FUZZ_TARGETS))

LIB_OBJ  := $(LIB_SRC:%.c=$(O)/%.o)
CLI_OBJ  := $(CLI_SRC:%.c=$(O)/%.o)
TEST_HELP_OBJ := $(TEST_HELP_SRC:%.c=$(O)/%.o)
PROGRAMS := $(MAIN_SRC:programs/%.c=$(O)/%)
TESTS    := $(TEST_SRC:%.c=$(O)/%)
BENCHES  := $(BENCH_SRC:%.c=$(O)/%)
REPLAYS  := $(FUZZ_TARGETS:%=$(O)/tests/fuzz/replay_%)
every_src := $(LIB_SRC) $(MAIN_SRC) $(CLI_SRC) $(TEST_SRC) $(TEST_HELP_SRC) $(BENCH_SRC) \
             $(FUZZ_SRC) tests/fuzz/replay.c

LIB_A  := $(O)/libpare.a
LIB_SO := $(O)/libpare.so
CLI_A  := $(O)/libpare_cli.a

# ---- Flags -------------------------------------------------------------------------------------

PKGS      := libzip hdf5 libcjson openblas libutf8proc libpcre2-8 libxxhash nettle
ifneq (,$(MPI))
  PKGS += ompi-c
endif
TEST_PKGS := cmocka
PKG_CONFIG ?= pkg-config
pkg = $(shell $(PKG_CONFIG) $(1) 2>/dev/null)
pkgs_ok := $(shell $(PKG_CONFIG) --exists $(PKGS) 2>/dev/null && echo yes)
# Third-party headers are system headers: their warnings are not ours.
pkg_cflags := $(patsubst -I%,-isystem %,$(call pkg,--cflags $(PKGS)))
pkg_libs   := $(call pkg,--libs $(PKGS)) -lm -lpthread
test_libs  := $(call pkg,--libs $(TEST_PKGS))

WERROR ?= -Werror
warnings := -Wall -Wextra -Wshadow -Wconversion $(WERROR)
# The written order of floating-point steps is a promise: nothing may be fused or reassociated.
float := -ffp-contract=off -fno-math-errno
sanitize := $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -fno-omit-frame-pointer)
ifneq (,$(SAN))
  ifeq (,$(findstring clang,$(ccname)))
    warnings += -Wno-maybe-uninitialized # gcc guesses wrongly in instrumented code
  endif
endif

cflags := -std=c11 -D_GNU_SOURCE $(opt) -g -I. -pthread -fPIC -fno-semantic-interposition \
          $(float) $(warnings) $(sanitize) $(isa_macros) $(if $(MPI),-DPARE_MPI) $(pkg_cflags) \
          $(CPPFLAGS) $(CFLAGS)
ldflags := -pthread $(sanitize) -Wl,--as-needed $(LDFLAGS)

# ---- How: one line a file, written beside and renamed, so that two makes do not collide --------

q := $(if $(V),,@)
say = $(if $(V),@:,@printf '%-5s %s\n' $(1) $(2))
tmp = $@.$$$$.tmp

compile = $(CC) $(cflags) $(isa_flags_$(call isa_of,$<)) -MMD -MP -MT $@ -MF $(@:.o=.d) \
          -c -o $(tmp) $< && mv -f $(tmp) $@ && rm -f $@.log
# KEEP_GOING=1: what does not compile is left out of the library, with one line to say so.
compile_or_skip = rm -f $@; { $(compile); } 2>$@.log || \
          { rm -f $(tmp); echo "SKIP  $< does not compile: see $@.log" >&2; }
archive = ar rcsD $(tmp) $(if $(KEEP_GOING),$$(ls -d $(1) /dev/null 2>/dev/null | grep .o$$), \
          $(1)) && mv -f $(tmp) $@
link = $(CC) $(ldflags) -o $(tmp) $(1) $(pkg_libs) && mv -f $(tmp) $@

$(O)/%.o: %.c $(O)/flags | deps
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(q)$(if $(KEEP_GOING),$(compile_or_skip),$(compile))

$(LIB_A): $(LIB_OBJ) $(O)/members
	$(call say,AR,$@)
	$(q)$(call archive,$(LIB_OBJ))

$(CLI_A): $(CLI_OBJ) $(O)/members
	$(call say,AR,$@)
	$(q)$(call archive,$(CLI_OBJ))

# The shared library shows exactly what the public header declares.
$(O)/libpare.map: api/pare.h $(O)/flags
	@{ echo '{ global:'; \
	   grep -o 'pare_[a-z0-9_]* *(' $< | tr -d ' (' | sort -u | sed 's/$$/;/'; \
	   echo 'local: *; };'; } >$(tmp) && mv -f $(tmp) $@

$(LIB_SO).$(SOVERSION): $(LIB_OBJ) $(O)/members $(O)/libpare.map
	$(call say,LD,$@)
	$(q)$(CC) $(ldflags) -shared -Wl,-soname,libpare.so.$(SOVERSION) \
	    -Xlinker --version-script=$(O)/libpare.map -o $(tmp) $(LIB_OBJ) $(pkg_libs) && mv -f $(tmp) $@

$(LIB_SO): $(LIB_SO).$(SOVERSION)
	@ln -sf $(<F) $@

$(PROGRAMS): $(O)/%: $(O)/programs/%.o $(CLI_A) $(LIB_A)
	$(call say,LD,$@)
	$(q)$(call link,$< $(CLI_A) $(LIB_A))

$(TESTS): $(O)/tests/%: $(O)/tests/%.o $(TEST_HELP_OBJ) $(CLI_A) $(LIB_A)
	$(call say,LD,$@)
	$(q)$(call link,$< $(TEST_HELP_OBJ) $(CLI_A) $(LIB_A) $(test_libs))

# A fuzzing target with a main that replays its corpora, and, for clang, with libFuzzer's.
fuzz_objects = $(O)/tests/fuzz/fuzz_$*.o $(O)/tests/fuzz/fuzz_common.o
$(REPLAYS): $(O)/tests/fuzz/replay_%: $(O)/tests/fuzz/fuzz_%.o $(O)/tests/fuzz/fuzz_common.o \
            $(O)/tests/fuzz/replay.o $(LIB_A)
	$(call say,LD,$@)
	$(q)$(call link,$(fuzz_objects) $(O)/tests/fuzz/replay.o $(LIB_A))

$(O)/tests/fuzz/fuzzer_%: $(O)/tests/fuzz/fuzz_%.o $(O)/tests/fuzz/fuzz_common.o $(LIB_A)
	$(call say,LD,$@)
	$(q)$(CC) $(ldflags) -fsanitize=fuzzer -o $(tmp) $(fuzz_objects) $(LIB_A) $(pkg_libs) && \
	    mv -f $(tmp) $@

$(BENCHES): $(O)/bench/%: $(O)/bench/%.o $(CLI_A) $(LIB_A)
	$(call say,LD,$@)
	$(q)$(call link,$< $(CLI_A) $(LIB_A))

# Changed flags, and sources that came or went, rebuild what they touch.
$(O)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CC) $(cflags) $(ldflags)' | cmp -s - $@ || echo '$(CC) $(cflags) $(ldflags)' >$@
$(O)/members: FORCE
	@mkdir -p $(@D)
	@echo '$(LIB_SRC) $(CLI_SRC)' | cmp -s - $@ || echo '$(LIB_SRC) $(CLI_SRC)' >$@

.PHONY: deps FORCE
deps:
	@$(if $(pkgs_ok),:,echo 'make: libraries are missing; `make setup` installs them' >&2; exit 1)

.SECONDARY:
-include $(every_src:%.c=$(O)/%.d)

# ---- Targets -----------------------------------------------------------------------------------

.PHONY: help all lib programs tests check test all-tests test-long all-tests-long run-test \
        fuzz lint format demo bench install uninstall setup clean

# Sub-makes use every core, unless the caller said otherwise.
NPROC := $(shell nproc 2>/dev/null || echo 2)
submake = $(MAKE) --no-print-directory $(if $(filter -j% --jobserver%,$(MAKEFLAGS)),,-j$(NPROC))

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile
	@echo
	@sed -n '3,/^$$/s/^#   /  /p' Makefile

all: lib programs ## the libraries and the programs (the default)

lib: $(if $(LIB_SRC),$(LIB_A) $(LIB_SO))

programs: $(PROGRAMS)
ifeq (,$(SAN)$(DEBUG)$(MPI))
	@mkdir -p $(BIN)
	@for p in $(notdir $(PROGRAMS)); do ln -sfn ../$(notdir $(O))/$$p $(BIN)/$$p; done
endif

tests: $(TESTS) $(REPLAYS)

# Test items are "label|folder of programs|path"; tools/run-tests explains.
items = $(foreach t,$(2),'$(1)|$(abspath $(3))|$(t)')
script_tests := $(sort $(wildcard tests/test_*.sh tests/test_*.py))
cli_cases    := $(sort $(wildcard tests/cli/*/*.sh))
plain_tests  := $(call items,plain,$(TESTS),$(O))
script_items := $(call items,script,$(script_tests),$(O))
cli_items    := $(call items,cli,$(cli_cases),$(O))
san_tests    := $(call items,san,$(TESTS:$(O)/%=$(O_SAN)/%),$(O_SAN))
plain_fuzz   := $(call items,fuzz,$(REPLAYS),$(O))
san_fuzz     := $(call items,fuzz-san,$(REPLAYS:$(O)/%=$(O_SAN)/%),$(O_SAN))
san_cli      := $(call items,san-cli,$(cli_cases),$(O_SAN))

check: ## the unit tests, under a minute
	@$(submake) -k tests || true
	@tools/run-tests $(plain_tests)

# What setup installs is only seen by a make that starts afterwards, hence the second one.
test: ## every test: unit (plain, and with sanitizers), scripts, command lines
	@tools/setup.sh build test
	@$(MAKE) --no-print-directory all-tests

all-tests:
	@$(submake) -k all tests || true
	@$(submake) -k SAN=$(TEST_SAN) programs tests || true
	@tools/run-tests $(plain_tests) $(san_tests) $(san_fuzz) $(script_items) $(cli_items)

test-long: ## the above, valgrind, every instruction set, clang, an hour of each fuzzer
	@tools/setup.sh build test long
	@$(MAKE) --no-print-directory all-tests-long

all-tests-long:
	@$(submake) -k all tests || true
	@$(submake) -k SAN=$(TEST_SAN) programs tests || true
	@$(submake) -k CC=clang all tests || true
	@PARE_TEST_LONG=1 tools/run-tests $(plain_tests) $(san_tests) $(san_fuzz) \
	    $(script_items) $(cli_items) $(san_cli) \
	    $(foreach i,scalar $(present_isas),$(call items,cpu=$(i),$(TESTS),$(O))) \
	    $(call items,clang,$(TEST_SRC:%.c=$(BUILD)/clang$(opt)/%),$(BUILD)/clang$(opt)) \
	    $(call items,valgrind,$(TESTS),$(O)) $(plain_fuzz)
	@failed=0; for t in $(FUZZ_LONG); do \
	    tools/fuzz $$t $(or $(FUZZ_SECONDS),3600) || failed=$$((failed + 1)); done; \
	 echo "fuzzing: $$(($(words $(FUZZ_LONG)) - failed)) passed, $$failed failed"; \
	 [ $$failed = 0 ]

fuzz: ## one fuzzer: make fuzz TARGET=pickle SECONDS=60 (without TARGET: their names)
	@$(if $(TARGET),tools/fuzz $(TARGET) $(or $(SECONDS),60),printf '%s\n' $(FUZZ_TARGETS))

run-test: ## one test: make run-test T=test_core_json (what does not compile elsewhere is skipped)
	@test -n "$(T)" || { echo 'usage: make run-test T=NAME [SAN=address,undefined]' >&2; exit 2; }
	@$(submake) KEEP_GOING=1 $(O)/tests/$(T).o
	@cat $(O)/tests/$(T).o.log 2>/dev/null && exit 1; \
	 $(submake) KEEP_GOING=1 $(O)/tests/$(T) && PARE_BIN=$(abspath $(O)) $(O)/tests/$(T)

lint: ## the rules of the house, checked
	@tools/setup.sh lint
	@tools/lint

format: ## clang-format over all C files
	@git ls-files -co --exclude-standard '*.c' '*.h' | xargs clang-format -i

demo: ## setup, build, and the demonstration in samples/
	@tools/setup.sh build
	@$(submake) all
	@$(MAKE) --no-print-directory -C samples demo PARE_BIN=$(abspath $(BIN))

bench: ## build and run the benchmarks in bench/ (one: make bench B=NAME)
	@$(submake) all $(BENCHES)
	@tools/run-bench $(abspath $(O)) $(B)

setup: ## install the missing packages (Debian)
	@tools/setup.sh build test lint

PREFIX     ?= /usr/local
bindir     ?= $(PREFIX)/bin
libdir     ?= $(PREFIX)/lib
includedir ?= $(PREFIX)/include
mandir     ?= $(PREFIX)/share/man
man_pages  := $(wildcard man/*.1)

$(O)/pare.pc: pare.pc.in FORCE
	@mkdir -p $(@D)
	@sed -e 's|@PREFIX@|$(PREFIX)|;s|@LIBDIR@|$(libdir:$(PREFIX)/%=$${prefix}/%)|' \
	     -e 's|@INCLUDEDIR@|$(includedir:$(PREFIX)/%=$${prefix}/%)|' \
	     -e 's|@VERSION@|$(VERSION)|;s|@LIBS@|$(pkg_libs)|' $< >$@

install: all $(O)/pare.pc ## into PREFIX (/usr/local), below DESTDIR
	install -d $(DESTDIR)$(bindir) $(DESTDIR)$(libdir)/pkgconfig $(DESTDIR)$(includedir)
	$(if $(PROGRAMS),install -m 755 $(PROGRAMS) $(DESTDIR)$(bindir))
	$(if $(LIB_SRC),install -m 644 $(LIB_A) $(DESTDIR)$(libdir))
	$(if $(LIB_SRC),install -m 755 $(LIB_SO).$(SOVERSION) $(DESTDIR)$(libdir)/libpare.so.$(VERSION))
	$(if $(LIB_SRC),ln -sf libpare.so.$(VERSION) $(DESTDIR)$(libdir)/libpare.so.$(SOVERSION))
	$(if $(LIB_SRC),ln -sf libpare.so.$(SOVERSION) $(DESTDIR)$(libdir)/libpare.so)
	install -m 644 api/pare.h $(DESTDIR)$(includedir)/pare.h
	install -m 644 $(O)/pare.pc $(DESTDIR)$(libdir)/pkgconfig/pare.pc
	$(if $(man_pages),install -d $(DESTDIR)$(mandir)/man1)
	$(if $(man_pages),install -m 644 $(man_pages) $(DESTDIR)$(mandir)/man1)

uninstall: ## remove what install put there
	rm -f $(patsubst programs/%.c,$(DESTDIR)$(bindir)/%,$(MAIN_SRC)) \
	    $(DESTDIR)$(libdir)/libpare.a $(DESTDIR)$(libdir)/libpare.so \
	    $(DESTDIR)$(libdir)/libpare.so.$(SOVERSION) $(DESTDIR)$(libdir)/libpare.so.$(VERSION) \
	    $(DESTDIR)$(includedir)/pare.h $(DESTDIR)$(libdir)/pkgconfig/pare.pc \
	    $(patsubst man/%,$(DESTDIR)$(mandir)/man1/%,$(man_pages))

clean: ## remove build/
	rm -rf $(BUILD)
