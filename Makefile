# You need `make demo` and `make test`. The other targets are their parts.
HUGEMEM := $(CURDIR)/.build/release/hugemem
export HUGEMEM
.PHONY: arrays build checkpoints crashes survive deps demo install deb dist container test tsan interleave oracle fibres herd instructions kernel-test kernel-selftests cgroup2 lint symbols docs example readme bench compare wire peers peers-tls matrix measure figures clients churn storms kills memory-fuzz fuzz clean

build:
	scripts/deps build
	swift build -c release --product hugemem

# Installs Debian and Ubuntu packages. `scripts/deps build` is what the build needs. Without the rights to do so, lists them.
deps:
	scripts/deps

# The main job on real input. Takes about a minute after the build.
demo: deps build
	scripts/demo

# The server, its manual pages, completions and systemd unit. PREFIX= (/usr/local) and DESTDIR= say where.
install:
	scripts/deps build
	PREFIX=$(or $(PREFIX),/usr/local) DESTDIR=$(DESTDIR) scripts/install

# A Debian package: .build/hugemem_VERSION_ARCH.deb
deb:
	scripts/deps build
	scripts/deb

# A tarball with the program, its manual pages, completions and units: .build/hugemem-VERSION-linux-ARCH.tar.gz
dist:
	scripts/deps build
	scripts/dist

# The root of a container image with the program and the libraries that it needs, for packaging/Containerfile.
container:
	scripts/deps build
	scripts/container

# Everything that CI runs.
test:
	scripts/test

# The stress tests under ThreadSanitizer.
tsan:
	scripts/tsan

# The model checker with an optimizer: the scenarios too large for an unoptimized build. And the tests of
# HugeArray, whose fast paths are made by the optimizer.
interleave:
	swift test -c release -Xswiftc -enable-testing --package-path Optimized --no-parallel

# Crashes of the engine: every schedule of two operations, each against each. `make interleave` explores
# those with at most one preemption. TIME= is the number of seconds for each pair. BOUND= explores those with
# so many preemptions. NAME= explores only the pairs with that text in their name. FRAMES=10 has memory for
# two operations that copy tables and pages, so they do not reclaim.
crashes:
	CRASHES=$(or $(TIME),1800) CRASH_BOUND=$(BOUND) CRASH_FRAMES=$(FRAMES) CRASH_NAME='$(NAME)' \
	  swift test -c release -Xswiftc -enable-testing --package-path Optimized --no-parallel \
	  --filter 'crashesOfEachOperationAgainstEach'

# Runs random programs on the kernel and on the engine, which must agree after every step.
# PROGRAMS=100000 makes a long run, SEED= chooses other programs. The counters are compared in a
# separate process, since they count for the whole system.
oracle:
	ORACLE_PROGRAMS=$(or $(PROGRAMS),200) ORACLE_STEPS=$(or $(STEPS),200) \
	  ORACLE_SEED=$(or $(SEED),1) swift test --filter KernelOracleTests --skip countersCount
	ORACLE_ALONE=1 swift test --filter countersCount

# The fibres of the model checker alone, on each processor that they are written for.
fibres:
	scripts/fibres

# Compares the results of the litmus shapes with those of herd7, if it is installed.
herd:
	scripts/herd

# Checks the instructions of the fast paths in the release build.
instructions: build
	scripts/instructions

# The zero page inside stock Debian kernels in QEMU. Downloads the kernels.
kernel-test:
	Kernel/test

# Runs the kernel's own memory tests there, with its C code and with the module. The results must be
# the same.
kernel-selftests:
	Kernel/test selftests

# The server under control groups of version 2, with memory stalls, in QEMU as well.
cgroup2: deps build
	scripts/cgroup2

# Tests with real clients. NAME= runs only the tests with that text in their name.
clients: deps build
	scripts/client-tests $(if $(NAME),-k '$(NAME)')

# A longer run of random operations on a server, compared with a model. EXAMPLES= is the number of
# histories. SEED= repeats the same ones. Without a seed, the last failure is tried first.
churn: deps build
	EXAMPLES=$(or $(EXAMPLES),500) scripts/client-tests -s -k test_churn \
	  --hypothesis-show-statistics $(if $(SEED),--hypothesis-seed=$(SEED))

# Garbage on both sockets, tenants in too little memory, a long chain of forks, clients
# that end at every byte, and forks under writes. Takes more than ten minutes. SEED= repeats a run.
storms: deps build
	STORM=1 SEED=$(SEED) scripts/client-tests -s -k 'test_storms or test_killed or test_fork_consistency'

# Kills a server with --survive again and again, while clients work and while it starts, and looks what is
# there. KILLS= is how often. SEED= repeats what is sent.
kills: deps build
	KILLS=$(or $(KILLS),1000) SEED=$(SEED) scripts/client-tests -s -k test_kills

# Starts servers with memory files in which bits have flipped. FLIPS= is how many. SEED= repeats them.
memory-fuzz: deps build
	FLIPS=$(or $(FLIPS),1000) SEED=$(SEED) scripts/client-tests -s -k test_memory_fuzz

# Fuzzes the parsers. TIME= is the number of seconds for each target, JOBS= the processes at once.
fuzz:
	for target in Fuzz/Targets/*.swift; do \
	  scripts/fuzz --seconds $(or $(TIME),3600) --jobs $(or $(JOBS),1) \
	    $$(basename $$target .swift) || exit 1; \
	done

lint:
	swift format lint --strict --recursive Package.swift Sources Tests Examples Kernel Fuzz

# Accepts the public symbols of the libraries as they are now: writes docs/symbols.
symbols:
	scripts/public-symbols --accept

# The documentation of the libraries, as a site in .build/docs/site. Says how to look at it.
docs:
	scripts/docs

# A package that depends on the library alone, without the server's dependencies.
example:
	cd Examples/Sparse && swift run -c release

# Runs the shell and Swift blocks of README.md and docs exactly as they are.
readme: deps build
	scripts/readme-blocks

# Measures every figure of the README about the engine, and writes them to .build/bench as JSON. Nothing
# else should run on the machine.
bench: build
	scripts/bench

# HugeArray beside what you would use without it. GIGABYTES= is the size of the largest copy.
arrays:
	scripts/bench-arrays $(GIGABYTES)

# Checkpoints beside qemu-img and cp.
checkpoints: deps build
	scripts/bench-checkpoint

# What it costs that disks outlive the server, how fast they are back, and a takeover.
survive: deps build
	scripts/bench-survive

# Says which figures are faster or slower than those of another revision, BASE=. ROUNDS= makes the
# intervals smaller.
compare: build
	scripts/compare $(or $(BASE),HEAD) --rounds $(or $(ROUNDS),6)

# The server beside the physical limit of this machine and its peers, by a client that costs little.
wire: deps build
	scripts/wire/compare
	scripts/wire/compare --tcp

# Compares the server with nbdkit and qemu-nbd, in alternating rounds.
peers: deps build
	scripts/peers

# What TLS costs this server, nbdkit and qemu-nbd.
peers-tls: deps build
	scripts/peers-tls

# Makes docs/clients.md of the tests with real clients.
matrix: clients
	scripts/client-matrix

# Measures the results in docs/figures that `make figures` draws. This takes half an hour, and
# nothing else should run on the machine.
measure: deps build
	scripts/plots/measure
	scripts/peers --json 5 2
	scripts/wire/compare --json
	scripts/wire/compare --tcp --quick --json

# Draws the plots in docs/images from docs/figures, and a picture of `hugemem top`. Needs Debian's
# python3-matplotlib, python3-pyte and python3-rich.
figures: build
	scripts/plots/draw
	scripts/wire/page
	scripts/plots/top

clean:
	rm -rf .build Examples/Sparse/.build Examples/LockFree/.build ThreadSanitizer/.build
