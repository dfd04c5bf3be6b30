# make help lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# All but the race detector builds with the same flags: so each package is compiled once.
export CGO_ENABLED = 0
export GOFLAGS := $(strip $(GOFLAGS) -trimpath)

# Seconds between the starts of the demo's two single migrations.
DEMO_DELAY ?= 5
# How many packages are tested at the same time, and how many tests of each. They wait for
# guests more than they compute: with two of each, a third of two cores was idle, with three
# of each nothing.
TEST_PACKAGES ?= 3
TEST_PARALLEL ?= 3
# Of a package: each wait in it has a shorter limit of its own, also on a slow machine.
TEST_TIMEOUT ?= 40m
# Tests that compute much, and share little between goroutines that others do not share: the
# race detector takes five to ten times as long for them. They run without it.
COMPUTING = ^(TestGoldens|TestAgainstOracle|TestReformatLargeCorpus|TestLinear|TestCountOfRealTrees.*|TestLargePage|TestHostileText|TestExamplesOfTests|TestStarTests|TestWalksPass|TestWalksFail|TestIncremental|TestGrammar|TestTooMuchOutput|TestRemoteOutputHasALimit|TestVirtualTimeIsRepeatable|TestJoinsInJoins|TestExplainIsLinear|TestCheckWritable|TestCorpus)$$
# The version of QEMU of test-matrix.
MATRIX_QEMU ?= 7.2
FUZZTIME ?= 30s
BENCH ?= .

.PHONY: help
help: ## say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: check-go
check-go:
	@.ci/check-go

.PHONY: build
build: check-go ## build bin/mhmig
	go build -buildvcs=auto -o bin/mhmig ./cmd/mhmig

.PHONY: guest
guest: check-go ## build the guest's program anew, which is committed packed; tests say when it is due
	go test ./runtime/jeos/program -update

.PHONY: demo
demo: build ## install what is missing, then migrate real guests between two hosts made here
	bin/mhmig bootstrap --install
	bin/mhmig exec scenarios/multihost_migration.star --param mig_second_delay=$(DEMO_DELAY)

.PHONY: test
test: check-go ## install what tests need, then run them all, those with real QEMU too
	.ci/install-test-packages
	$(MAKE) --no-print-directory build
	bin/mhmig bootstrap
	go vet ./...
	@[ -d "$${MHMIG_CORPUS:-../shared/corpus}" ] || \
		echo "ONLY THE SMALL CORPUS OF CONFIGS IS TRIED: set MHMIG_CORPUS to the folder of the large one"
	go test -vet=off -count=1 -run '$(COMPUTING)' ./lang/cartesian ./lang/lint ./lang/star ./runtime/guest ./runtime/report ./runtime/history ./builtins ./builtins/scenariotest ./cmd/explore ./scenarios
	@# The longest packages begin first, so that the last one does not run alone. What is left
	@# out (vet, which has just run, and what debuggers need) takes minutes of a small machine.
	CGO_ENABLED=1 go test -race -vet=off -ldflags=-w -shuffle=on -count=1 -skip '$(COMPUTING)' -p $(TEST_PACKAGES) -parallel $(TEST_PARALLEL) -timeout $(TEST_TIMEOUT) \
		./builtins ./cmd/mhmig ./runtime/migration ./runtime/jeos ./runtime/host ./scenarios ./...

.PHONY: test-scenarios
test-scenarios: build ## run all tests of multi-host.cfg and more.cfg, and plant the faults that they are there to find
	bin/mhmig bootstrap --quiet
	go test ./scenarios -count=1 -timeout 120m -v -all

.PHONY: test-debian
test-debian: build ## run tests of multi-host.cfg of each kind on a real distribution, Debian, which is built for them
	bin/mhmig bootstrap --quiet --guest debian
	go test ./scenarios -count=1 -timeout 60m -v -run TestDebian -debian

.PHONY: test-versions
test-versions: build ## move guests between versions of QEMU, which are fetched for it, on both machine types; then test-explore
	bin/mhmig bootstrap --quiet
	go test ./scenarios -count=1 -timeout 60m -v -run TestVersions -versions
	$(MAKE) --no-print-directory test-explore

.PHONY: test-matrix
test-matrix: build ## move guests with each migration feature over each transport, and write the pages scenarios/MATRIX-*.md
	bin/mhmig bootstrap --quiet
	go test ./scenarios -count=1 -timeout 90m -v -run 'TestMatrix$$' -matrix $(MATRIX_QEMU) -update

.PHONY: test-explore
test-explore: check-go ## run a random walk of 200 steps, and one that finds what an old QEMU loses
	go test ./cmd/mhmig -count=1 -timeout 120m -v -run '^TestExplore' -explore 200

.PHONY: check
check: lint ## before a commit: vet, linters, quick tests; no root, no QEMU, nothing to install
	@# A rarer garbage collection takes a tenth of the time away, from compilers and linkers too.
	GOGC=400 go test -vet=off -ldflags=-w -short -p 4 ./...

.PHONY: lint
lint: check-go ## look for faults and for what is not in the house style
	go vet ./...
	go tool -modfile=.ci/tools.mod golangci-lint run
	@# The guest's program is left as it is: each change of it is one of its binary.
	go fix -diff $$(go list ./... | grep -vxFf <(cut -d ' ' -f 1 runtime/jeos/program/guestd.sources))

.PHONY: fuzz
fuzz: check-go ## run each fuzz target for FUZZTIME
	@for package in $$(go list ./...); do \
		listed=$$(go test -list '^Fuzz' "$$package"); \
		for target in $$(grep '^Fuzz' <<<"$$listed" || true); do \
			echo "$$package $$target"; \
			go test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) "$$package"; \
		done; \
	done

.PHONY: bench
bench: build ## run the benchmarks that BENCH matches, one package at a time
	bin/mhmig bootstrap --quiet
	go test -run '^$$' -bench '$(BENCH)' -benchmem -p 1 -timeout 60m ./...

.PHONY: clean
clean: ## remove what was built; results and the guest image stay
	rm -rf bin
