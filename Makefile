# ws - contrastive weight steering.  `make help` lists the targets.
# Objects lie in build/<config>/; configurations: release (default), debug (ASan + UBSan), fuzz (clang, libFuzzer).
CONFIG  ?= release
B       := build/$(CONFIG)
MODEL   ?=

PKGS    := jansson libpcre2-8 libutf8proc cairo libcrypto libcurl lapacke openblas
# Our threads call LAPACK side by side, which is for the OpenMP flavour of OpenBLAS (src/linalg/blas.c), whatever
# update-alternatives prefers: its folder is asked first when compiling and, by an rpath that also holds for what liblapacke
# loads, when running.
OPENBLAS = $(shell pkg-config --variable=libdir lapacke)/openblas-openmp
PKGCONF  = PKG_CONFIG_PATH=$(OPENBLAS)/pkgconfig pkg-config
CPPFLAGS = -Isrc -Iinclude -I$(B)/gen -D_GNU_SOURCE $(shell $(PKGCONF) --cflags $(PKGS))
WARN     = -Wall -Wextra -Wshadow -Wconversion -Wpedantic -Wstrict-prototypes -Wmissing-prototypes -Wno-sign-conversion
CFLAGS   = -std=c11 -g -pthread -fno-math-errno -ffp-contract=off $(WARN) $(OPT) $(WERROR)
LDLIBS   = $(shell $(PKGCONF) --libs $(PKGS)) -lgomp -Wl,--disable-new-dtags,-rpath,$(OPENBLAS) -lm
OPT.release = -O2
OPT.debug   = -O1 -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer
OPT.fuzz    = -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-omit-frame-pointer -DWS_FUZZ
OPT      = $(OPT.$(CONFIG))
ifeq ($(CONFIG),fuzz)
CC      := clang
endif

# Folders in the order of the data's path; a ROOMS folder registers its own files (see $(B)/gen below).
DIRS    := base io kernel linalg ops text family model adapter data train generate delta steer calibrate export eval report run
ifeq ($(CONFIG),fuzz)
DIRS    := base io text# where files and texts from outside are read
endif
ROOMS   := family adapter steer export eval cmd
LIBSRC  := $(foreach d,$(DIRS),$(sort $(wildcard src/$(d)/*.c)))
CMDSRC  := $(sort $(wildcard src/cmd/*.c))
LIBOBJ  := $(LIBSRC:src/%.c=$(B)/%.o)
CMDOBJ  := $(CMDSRC:src/%.c=$(B)/%.o)
TESTSRC := $(sort $(wildcard tests/test_*.c))
TESTS   := $(TESTSRC:tests/%.c=$(B)/tests/%)
FUZZ    := $(patsubst tests/fuzz/%.c,%,$(sort $(wildcard tests/fuzz/fuzz_*.c)))
GEN     := $(ROOMS:%=$(B)/gen/%.list)

all: $(B)/ws $(B)/libws.a

help:
	@echo 'make deps       install the Debian packages that are missing (needs root or sudo)'
	@echo 'make            build/release/ws and libws.a'
	@echo 'make demo       everything: install, build, fetch SmolLM2-135M-Instruct, run the whole chain, open the report'
	@echo 'make check      everything: install, build, run every test'
	@echo 'make bench      speed, one table; PEERS=DIR, a virtual environment, adds what it has of the peers: transformers + peft,'
	@echo '                llama-cpp-python (llama.cpp), torch (oneDNN), numpy (OpenBLAS); BLIS and OpenBLAS of the system too.'
	@echo '                SIZE=small|tiny is shorter, ONLY=gemm,decode runs some parts, ISA=avx2 forces AVX2 on every side, with'
	@echo '                LLAMA_AVX2=DIR a llama-cpp-python built without AVX-512 (bench/run.sh says more)'
	@echo 'make lint       clang-format, clang-tidy, the include rule'
	@echo 'make fuzz       the fuzz targets, FUZZ_SECONDS each (default 60)'
	@echo 'CONFIG=debug    any of these under ASan and UBSan;  CC=clang works too'

deps:
	@sh tools/deps.sh

$(B)/ws: $(CMDOBJ) $(B)/libws.a
	$(CC) $(CFLAGS) -o $@ $(CMDOBJ) $(B)/libws.a $(LDLIBS)

$(B)/libws.a: $(LIBOBJ)
	@rm -f $@
	ar rcs $@ $^

$(B)/%.o: src/%.c | $(GEN)
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) $(CFLAGS) $(ISA) -MMD -MP -c -o $@ $<

# Kernels: each instruction set has its own flags; no other file is compiled with them.
# (Unrolled vector code under UBSan takes minutes to compile; ASan, which finds what goes wrong there, stays on.)
LANES = $(if $(filter release,$(CONFIG)),-O3,-fno-sanitize=undefined) $(if $(findstring clang,$(CC)),-Wno-pass-failed)
$(B)/kernel/avx2.o:       ISA = $(LANES) -mavx2 -mfma -mf16c
$(B)/kernel/avx512.o:     ISA = $(LANES) -mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mf16c
$(B)/kernel/avx512bf16.o: ISA = $(LANES) -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512bf16 -mfma -mf16c
$(B)/kernel/amx.o:        ISA = $(LANES) -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512bf16 -mfma -mf16c -mamx-tile -mamx-bf16
# The 16-lane kernels in plain C: only to run in bearable time, and with sanitizers to be compiled in a minute.
$(B)/tests/test_kernel_lanes16: ISA = $(if $(filter release,$(CONFIG)),-O2) -mavx2 -mfma $(if $(findstring clang,$(CC)),-Wno-pass-failed)

# A room registers itself by existing: X(lora) X(dora) ... is written from the file names.
# The list is rewritten only when it changes, so adding or removing a room rebuilds just its corridor.
define rooms
$(B)/gen/$(1).list: .FORCE
	@mkdir -p $$(@D)
	@for f in $$(sort $$(basename $$(notdir $$(wildcard src/$(1)/*.c)))); do \
	  grep -q 'WS_ROOM' src/$(1)/$$$$f.c && echo "X($$$$f)"; done > $$@.tmp; \
	  cmp -s $$@.tmp $$@ && rm $$@.tmp || mv $$@.tmp $$@
endef
$(foreach r,$(ROOMS),$(eval $(call rooms,$(r))))
.FORCE:

$(B)/tests/%: tests/%.c $(B)/libws.a
	@mkdir -p $(@D)
	$(CC) $(CPPFLAGS) -Itests $(CFLAGS) $(ISA) -MMD -MP -o $@ $< $(B)/libws.a $(LDLIBS) -lcmocka

tests: $(TESTS) $(B)/tests/hub_server $(B)/ws

check: deps
	@$(MAKE) --no-print-directory -j2 tests
	@! command -v clang >/dev/null || { sh tools/deps.sh libclang-rt-dev && $(MAKE) --no-print-directory -j2 CONFIG=fuzz fuzz-build; }
	@B=$(B) sh tests/run.sh

test: tests
	@B=$(B) sh tests/run.sh

demo: deps
	@$(MAKE) --no-print-directory -j2 all
	@B=$(B) sh tools/demo.sh

bench: all
	@B=$(B) sh bench/run.sh

FUZZ_SECONDS ?= 60
build/fuzz/tests/fuzz/%: tests/fuzz/%.c build/fuzz/libws.a
	@mkdir -p $(@D)
	clang $(CPPFLAGS) -Itests $(CFLAGS) -fsanitize=fuzzer -o $@ $< build/fuzz/libws.a $(LDLIBS)
fuzz:
	@sh tools/deps.sh clang libclang-rt-dev
	@$(MAKE) --no-print-directory CONFIG=fuzz fuzz-build
	@for f in $(FUZZ); do FUZZ_SECONDS=$(FUZZ_SECONDS) sh tests/fuzz/run.sh $$f || exit 1; done
fuzz-build: $(FUZZ:%=build/fuzz/tests/fuzz/%)

lint:
	@sh tools/lint.sh

clean:
	rm -rf build

.PHONY: all help deps check test tests demo bench fuzz fuzz-build lint clean .FORCE
.SECONDARY:
-include $(LIBOBJ:.o=.d) $(CMDOBJ:.o=.d) $(TESTS:%=%.d) $(B)/tests/hub_server.d
