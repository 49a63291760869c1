# nmos-authd: the front door. "make help" lists the targets.

GO      ?= go
# The archive that "make dist" makes says here what git and a module proxy say elsewhere.
-include .archive.mk
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
# The time of the sources, not of the build: the floor below which a clock has not been set, and the same bits each time.
SOURCE_DATE ?= $(shell TZ=UTC0 git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd 2>/dev/null)
# HTTP/2 would cost 0.46 MB of flash; one small document an hour needs no more than HTTP/1.1.
TAGS    := nethttpomithttp2
# -buildid=: Go's own cache alone reads the build ID, which does not compress.
LDFLAGS := -s -w -buildid= -X main.version=$(VERSION) -X nmosauthd/platform.buildTime=$(SOURCE_DATE)
# Tests of the code as it is shipped have the same flags, or go builds the standard library once more for them.
FLAGS   := -trimpath -buildvcs=false -tags $(TAGS)
BUILD   := CGO_ENABLED=0 $(GO) build $(FLAGS) -ldflags '$(LDFLAGS)'
CROSSED  = CGO_ENABLED=0 $(GO) build $(FLAGS) -ldflags '$(strip $(LDFLAGS) $(PAGES))'
DAEMON  := ./agent/cmd/nmos-authd
CROSS   := arm64 armv7 amd64 riscv64
FUZZTIME ?= 30s

.PHONY: all help demo test check budget memory mutate race soak fire fleet interop lint cross size bench peers growth fuzz exhaust dist packages clean

all: ## build/nmos-authd for this machine
	$(BUILD) -o build/nmos-authd $(DAEMON)

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 18

demo: all ## a pretend facility on loopback tells its story (KEEP=1: stays)
	$(GO) run ./tinytest/cmd/demo -daemon build/nmos-authd $(if $(KEEP),-keep)

.PHONY: demo-fleet
demo-fleet: all ## 20 daemons, a Prometheus and its alerts (KEEP=1: they stay)
	$(GO) run ./tinytest/cmd/demofleet -daemon build/nmos-authd $(if $(KEEP),-keep)

test: ## all tests; TABLE=1 also prints which tests check which rule
	$(GO) test -timeout 30m -json ./... | $(GO) run ./scripts/conformance $(if $(TABLE),-table)

check: lint ## lint and the unit tests
	$(GO) test ./agent/... ./platform/... ./hal/... ./scripts/... ./tinytest

budget: ## the table of allocations, of the code as devices have it
	@mkdir -p build
	CGO_ENABLED=0 $(GO) test $(FLAGS) -count=1 -run Budget -v ./agent >build/budget.txt || { cat build/budget.txt; exit 1; }
	@sed -n 's/^ *budget_test.go:[0-9]*: //p' build/budget.txt

memory: ## memory after 100,000 decisions, against its budget
	@mkdir -p build
	$(GO) test -count=1 -run MemoryBudget -v ./tinytest/system >build/memory.txt || { cat build/memory.txt; exit 1; }
	@sed -n 's/^.*FIGURES //p' build/memory.txt

# Without SAMPLE it takes hours.
mutate: ## which change of the decision does no test notice? (SAMPLE=200)
	$(GO) run ./scripts/mutate $(if $(SAMPLE),-sample $(SAMPLE)) agent/decide agent/token agent/wildcard agent/keys

RACE := CGO_ENABLED=1 $(GO) test -timeout 30m -race ./agent/... ./platform/... ./hal/... ./tinytest/authserver ./tinytest/firmware

# The detector itself fails a check of its own occasionally ("CHECK failed: tsan_rtl.cpp"): if nothing else failed, the
# packages that it ended are tested again.
race: ## the packages that share memory, under the race detector
	@mkdir -p build
	@$(RACE) >build/race.txt 2>&1 && cat build/race.txt || { cat build/race.txt; \
	  grep -q 'ThreadSanitizer: CHECK failed' build/race.txt && \
	  ! grep -Eq -e '--- FAIL|DATA RACE|^panic|build failed' build/race.txt && $(RACE); }

soak: fire ## floods of everything, and "make fire": ten minutes
	NMOS_SOAK=1 $(GO) test -count=1 -timeout 200s -run Soak -v ./tinytest/webserver >build/soak.txt && \
	  NMOS_SOAK=1 $(GO) test -count=1 -timeout 80s -run Soak -v ./tinytest/system >>build/soak.txt || \
	  { grep -v '"audit":1' build/soak.txt | tail -n 60; exit 1; }
	@sed -n 's/^.*FIGURES //p; s/^ *--- SKIP/SKIP/p' build/soak.txt

fire: ## floods beside a bare echo, 18 faults under load: five minutes
	@mkdir -p build
	NMOS_SOAK=1 $(GO) test -count=1 -timeout 400s -v ./tinytest/fire >build/fire.txt || \
	  { grep -v '"audit":1' build/fire.txt | tail -n 60; exit 1; }
	@sed -n 's/^.*FIGURES //p; s/^ *--- SKIP/SKIP/p' build/fire.txt

# Five minutes.
interop: ## Keycloak, oidc-provider, an EST server (190 MB into build/)
	GO=$(GO) sh scripts/interop.sh

fleet: ## 10,000 devices after a power cut, in virtual time: 5 minutes
	@mkdir -p build
	GOGC=300 $(GO) test -count=1 -run "PowerCut|Tokens|Certs" ./tinytest/fleet -args -devices 10000 -out $(CURDIR)/build
	@cat build/fleet.txt build/tokens.txt build/certs.txt

lint: ## gofmt, vet, staticcheck; other systems build
	@files=$$(git ls-files -co --exclude-standard '*.go' | xargs gofmt -l); \
	  if [ -n "$$files" ]; then echo "not as gofmt writes it:"; echo "$$files"; exit 1; fi
	$(GO) vet ./...
	@cd scripts/peers && if $(GO) mod download >/dev/null 2>&1; then $(GO) vet ./...; else \
	  echo "SKIP: the modules of scripts/peers, a module of its own, cannot be fetched"; fi
	$(GO) tool -modfile=scripts/tools.mod staticcheck ./...
	GOOS=windows $(GO) build ./agent/... ./platform/... ./hal/... # other systems build, too, and say ErrUnsupported

cross: $(CROSS:%=build/linux-%/nmos-authd) ## static binaries for devices, and their size against the budget
	$(GO) run ./scripts/size $^

size: build/linux-arm64/nmos-authd ## what takes how much of the arm64 binary, against its budget
	$(GO) run ./scripts/size -code $<

# The parts of the arm64 binary begin at pages of 16 KiB, the largest that devices have, in place of Go's 64 KiB: 80 kB of
# file less. For a kernel with pages of 64 KiB: make cross PAGES=
build/linux-arm64/nmos-authd: PAGES := -R 0x4000

# $(1) is the name of the folder, $(2) GOARCH and what else the toolchain needs to know.
define cross_target
.PHONY: build/linux-$(1)/nmos-authd
build/linux-$(1)/nmos-authd:
	GOOS=linux $(2) $$(CROSSED) -o $$@ $$(DAEMON)
endef
$(eval $(call cross_target,arm64,GOARCH=arm64))
$(eval $(call cross_target,armv7,GOARCH=arm GOARM=7))
$(eval $(call cross_target,amd64,GOARCH=amd64))
$(eval $(call cross_target,riscv64,GOARCH=riscv64))

# As root it installs qemu and the cross compilers.
.PHONY: emulate
emulate: ## the tests, the daemon, the C client on emulated arm64, armv7
	GO=$(GO) FLAGS='$(FLAGS)' sh scripts/emulate.sh

.PHONY: device
device: ## an emulated arm64 device, booted, its power cut (as root)
	GO=$(GO) sh scripts/device.sh

# Three minutes.
bench: all ## what an answer costs, beside its floors (BENCH="-only authz")
	@$(GO) build -o build/bench ./tinytest/cmd/bench
	@$(BUILD) -o build/hello ./tinytest/cmd/hello
	@build/bench $(BENCH)

# The first time it builds them, for three minutes.
peers: all ## beside OPA, Envoy, nginx + sidecar, oauth2-proxy, libraries
	cd scripts/peers && $(GO) run . -build $(CURDIR)/build/peers $(PEERS)

# It needs qemu-user and a C compiler. OUT= is the file of the plot, build/growth.svg by default.
growth: ## instructions by how much a device has, arm64 and armv7: a plot
	@mkdir -p build
	$(GO) run ./tinytest/cmd/growth -flags '$(FLAGS)' -out $(or $(OUT),build/growth.svg)

fuzz: ## every fuzz target for FUZZTIME (30s; 20000x: that many inputs)
	GO=$(GO) FUZZTIME=$(FUZZTIME) sh scripts/fuzz.sh

# With two processors. Slow twins, and go-jose, say what is right.
exhaust: ## all short paths, ten million changed tokens: 20 minutes
	@mkdir -p build
	NMOS_EXHAUSTIVE=1 NMOS_MUTATED=10000000 $(GO) test -count=1 -timeout 3h -run 'TestEvery|TestMutated' -v ./agent/decide ./agent/token \
	  >build/exhaust.txt || { tail -n 60 build/exhaust.txt; exit 1; }
	@sed -n 's/^.*FIGURES //p' build/exhaust.txt

dist: ## the sources with all modules: builds without git and network
	GO=$(GO) sh scripts/package-source.sh $(VERSION:%-dirty=%) $(SOURCE_DATE)

.PHONY: evidence
evidence: ## binaries made twice, SBOM, threats, CRA … (KEY=file: signed)
	GO=$(GO) sh scripts/evidence.sh $(VERSION:%-dirty=%) $(SOURCE_DATE) $(if $(KEY),$(abspath $(KEY)))

packages: $(patsubst %,build/linux-%/nmos-authd,arm64 armv7 amd64) ## build/packages: .deb and .ipk for arm64, armv7 and amd64
	$(GO) build -mod=readonly -modfile=scripts/tools.mod -o build/nfpm github.com/goreleaser/nfpm/v2/cmd/nfpm
	GO=$(GO) sh scripts/package.sh $(VERSION) $(SOURCE_DATE) build/nfpm

clean: ## remove build/
	rm -rf build
