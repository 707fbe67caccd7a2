# What a person needs: `make demo`, `make test`. The rest are their parts.
HUGEMEM := $(CURDIR)/.build/release/hugemem
export HUGEMEM
.PHONY: build deps demo test tsan interleave oracle fibres herd instructions kernel-test kernel-selftests cgroup2 lint example readme bench peers measure figures clients churn storms clean

build:
	swift build -c release --product hugemem

# Debian and Ubuntu packages; names them where it may not install them.
deps:
	scripts/deps

# The main job on real input, in about a minute after the build.
demo: deps build
	scripts/demo

# Everything that CI runs.
test:
	scripts/test

# The stress tests under ThreadSanitizer.
tsan:
	scripts/tsan

# The model checker with an optimizer: the scenarios too large for an unoptimized build.
interleave:
	swift test -c release -Xswiftc -enable-testing --scratch-path .build/interleave \
	  --no-parallel --filter 'InterleaveTests|ProtocolTests'

# Random programs on the kernel and on the engine, which must agree after every step;
# PROGRAMS=100000 for a long run, SEED= for others. The counters are compared in a process of their
# own, since they are the whole system's.
oracle:
	ORACLE_PROGRAMS=$(or $(PROGRAMS),200) ORACLE_STEPS=$(or $(STEPS),200) \
	  ORACLE_SEED=$(or $(SEED),1) swift test --filter KernelOracleTests --skip countersCount
	ORACLE_ALONE=1 swift test --filter countersCount

# The model checker's fibres by themselves, on each processor they are written for.
fibres:
	scripts/fibres

# The litmus shapes' results against herd7's, where there is one.
herd:
	scripts/herd

# What the release build's fast paths consist of.
instructions: build
	scripts/instructions

# The zero page inside stock Debian kernels in QEMU; needs to download them.
kernel-test:
	Kernel/test

# The kernel's own memory tests there, with its C code and with the module: the same results.
kernel-selftests:
	Kernel/test selftests

# The server under control groups of version 2, with stalls, in the same way.
cgroup2: deps build
	scripts/cgroup2

# Real clients; NAME= runs those tests that have it in their name.
clients: deps build
	scripts/client-tests $(if $(NAME),-k '$(NAME)')

# Random operations on a server against a model, for longer: EXAMPLES= histories of them, SEED= for
# the same ones again. What failed last is tried first, without a seed.
churn: deps build
	EXAMPLES=$(or $(EXAMPLES),500) scripts/client-tests -s -k test_churn \
	  --hypothesis-show-statistics $(if $(SEED),--hypothesis-seed=$(SEED))

# Garbage on both sockets, tenants in too little memory, a long chain of forks: about ten minutes; SEED=
# repeats one.
storms: deps build
	STORM=1 SEED=$(SEED) scripts/client-tests -s -k test_storms

lint:
	swift format lint --strict --recursive Package.swift Sources Tests Examples Kernel

# A package that depends on the library alone, without the server's dependencies.
example:
	cd Examples/Sparse && swift run -c release

# The shell and Swift blocks of README.md and docs, executed as they stand there.
readme: deps build
	scripts/readme-blocks

# Every figure of the README about the engine; wants the machine to itself.
bench: build
	for scenario in zero-page faults fork io memory reclaim; do $(HUGEMEM) bench $$scenario || true; done

# The server against nbdkit and qemu-nbd, alternating.
peers: deps build
	scripts/peers

# The results in docs/figures that `make figures` draws; wants the machine to itself for ten minutes.
measure: deps build
	scripts/plots/measure
	scripts/peers --json 5 2
	scripts/peers --json --depths 5 1

# The plots in docs/images, from docs/figures; and `hugemem top` as it looks. Needs Debian's
# python3-matplotlib, python3-pyte and python3-rich.
figures: build
	scripts/plots/draw
	scripts/plots/top

clean:
	rm -rf .build Examples/Sparse/.build ThreadSanitizer/.build
