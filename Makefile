# make check is what CI runs. make soak is the same for longer; make build
# leaves the programs in bin/.

GO       ?= go
FUZZTIME ?= 5s
PROGRAMS := imaledger imaledgerd imaledger-agent imaledger-witness
GOFLAGS_RELEASE := -trimpath -ldflags="-s -w"

# Where what is built once is kept.
CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/imaledger
IMALEDGER_VERSITYGW ?= $(CACHE)/versitygw
export IMALEDGER_VERSITYGW

.PHONY: check tools lint test web fuzz cross demo guest vault peers build install soak bench screenshots

check: tools lint test web fuzz cross demo guest peers

# Packages whose tests have figures, which nobody else runs.
FIGURES := ./ledger ./ledger/server ./ledger/monitor ./ledger/internal/index ./cmd/imaledger ./cmd/imaledger-witness

# The examples of ledger/API.md need curl, jq and zstd. Pebble is an ACME authority,
# nginx a mirror.
# Prometheus plays the alerts, and watches the ledger of ledger/OPERATING.md.
# What the tests hold the code against: swtpm is a TPM 2.0 in software, evmctl
# replays measurement lists. The race detector needs a C compiler. On Debian they
# are installed if they are missing.
# Guests run in QEMU, and kexec starts another kernel in them. Node runs the web
# page's verifier, 18 or newer. The pages are looked at in Chromium, and held against
# rules of accessibility that npm fetches.
# MariaDB and versitygw, which is built once for some minutes and kept, are the
# database and the object store of a ledger that several front ends share.
PACKAGES := prometheus swtpm swtpm-tools ima-evm-utils gcc libc6-dev curl jq zstd pebble nginx-light qemu-system-x86 kexec-tools e2fsprogs systemd qemu-user-static nodejs mariadb-server-core chromium npm
tools: $(IMALEDGER_VERSITYGW)
	@for p in promtool swtpm swtpm_setup evmctl gcc curl jq zstd pebble /usr/sbin/nginx qemu-system-x86_64 /sbin/kexec /sbin/mke2fs systemd-analyze qemu-s390x-static node /usr/sbin/mariadbd chromium npm; do command -v $$p >/dev/null || missing=1; done; \
	if [ -n "$$missing" ]; then \
		command -v apt-get >/dev/null || { echo "please install $(PACKAGES)" >&2; exit 1; }; \
		apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y $(PACKAGES); \
	fi

$(CACHE)/versitygw:
	@mkdir -p $(@D)
	GOBIN=$(@D) $(GO) install github.com/versity/versitygw/cmd/versitygw@v1.8.0

lint:
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo "gofmt these" >&2; exit 1; }
	$(GO) vet ./...
	$(GO) vet -tags guest ./cmd/imaledger-agent ./cmd/imaledger
	$(GO) vet -tags web ./ledger/audit
	$(GO) mod tidy -diff
	$(GO) vet -tags figures $(FIGURES)
	$(GO) vet -tags peers ./cmd/imaledger-witness
	$(GO) vet -tags vault ./cmd/imaledgerd
	$(GO) vet -tags clusters ./ledger/server/storagetest ./ledger/server/s3mysql
	$(GO) run honnef.co/go/tools/cmd/staticcheck@v0.7.0 ./...
	$(GO) run honnef.co/go/tools/cmd/staticcheck@v0.7.0 -tags figures,peers $(FIGURES)
	$(GO) run honnef.co/go/tools/cmd/staticcheck@v0.7.0 -tags web ./ledger/audit

# All tests, with the race detector; then those which it would falsify, one package
# at a time so that none slows another. cmd/make_test.go holds that none is left out.
RATIOS := TestReplaySpeed|TestReplayProcess|TestReceiptCost|TestMemory
test:
	$(GO) test -race -timeout 40m ./...
	$(GO) test -p 1 -count 1 -run '^($(RATIOS))$$' ./tpm/ima ./ledger ./cmd/imaledger ./cmd/imaledger-agent

# The verifier of the web page, which is JavaScript, on the shared vectors; then Go
# and it are asked of altered vectors, and stop where they do not agree.
DIFFER ?= 1m
web: tools
	node --test web/
	IMALEDGER_DIFFER=$(DIFFER) $(GO) test -tags web -count 1 -v -timeout 0 -run TestDiffer ./ledger/audit

# Every fuzz target of every package, a short while each.
fuzz:
	@for package in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz'); do \
			echo "fuzz $$package $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$package || exit 1; \
		done; \
	done

# Other processors. A big-endian one also runs the tests of lists.
cross:
	@for arch in arm64 arm riscv64 386 mips64le s390x; do \
		echo "build linux/$$arch"; GOOS=linux GOARCH=$$arch CGO_ENABLED=0 $(GO) build -o /dev/null ./cmd/imaledger-agent || exit 1; \
		GOOS=linux GOARCH=$$arch CGO_ENABLED=0 $(GO) build -o /dev/null ./cmd/imaledger-witness || exit 1; \
		GOOS=linux GOARCH=$$arch CGO_ENABLED=0 $(GO) vet ./tpm/ima ./tpm/quote ./ledger ./ledger/audit || exit 1; \
	done
	@# The auditor's machine need not be Linux.
	GOOS=darwin GOARCH=arm64 CGO_ENABLED=0 $(GO) vet ./cmd/imaledger
	GOOS=freebsd GOARCH=amd64 CGO_ENABLED=0 $(GO) vet ./cmd/imaledger
	GOOS=linux GOARCH=s390x CGO_ENABLED=0 $(GO) test -exec qemu-s390x-static -run 'Vector|Recordings|StagingChain|Order|Cut' ./tpm/ima

demo:
	$(GO) run ./cmd/imaledger demo --once

# The agent on real kernels: one that can stage records, and Debian's. They are
# those that the variables name, or are built and fetched once, and kept.
IMALEDGER_KERNEL ?= $(firstword $(abspath $(wildcard ../shared/vm/bzImage-7.3)) $(CACHE)/bzImage-7.3)
IMALEDGER_STOCK_KERNEL ?= $(CACHE)/stock
export IMALEDGER_KERNEL IMALEDGER_STOCK_KERNEL
GUEST_COUNT ?= 1

$(CACHE)/bzImage-%:
	LINUX_SOURCE=$* cmd/internal/guest/build-kernel $@

$(CACHE)/stock:
	cmd/internal/guest/fetch-stock $@

guest: tools $(IMALEDGER_KERNEL) $(IMALEDGER_STOCK_KERNEL)
	$(GO) test -tags guest -run '^TestGuest' -count $(GUEST_COUNT) -timeout $(GUEST_COUNT)h ./cmd/imaledger-agent

# The evidence of a guest that browser tests look at. The folder must not be there.
.PHONY: guest-evidence
guest-evidence: tools $(IMALEDGER_KERNEL) $(IMALEDGER_STOCK_KERNEL)
	$(GO) test -tags guest -run '^TestGuestPages$$' -count 1 -timeout 60m ./cmd/imaledger-agent -keep-evidence $(CURDIR)/cmd/imaledger/testdata/guest/new

# Keys in a HashiCorp Vault, which is built once, for some minutes, and kept.
IMALEDGER_VAULT ?= $(CACHE)/vault
export IMALEDGER_VAULT

$(CACHE)/vault:
	cmd/imaledgerd/build-vault $@

vault: $(IMALEDGER_VAULT)
	$(GO) test -tags vault -run '^TestVault' -count 1 ./cmd/imaledgerd

# Witnesses and logs that others wrote, which are built here: litewitness and Rekor.
peers:
	$(GO) test -tags peers -run 'TestDifferences|TestLedgerWithBoth|TestRekor' -count 1 -timeout 30m ./cmd/imaledger-witness

build:
	@mkdir -p bin
	CGO_ENABLED=0 $(GO) build $(GOFLAGS_RELEASE) -o bin/ $(PROGRAMS:%=./cmd/%)

# The programs, their manual pages and the units. DESTDIR is for packagers.
PREFIX ?= /usr/local
install: build
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/share/man/man8 $(DESTDIR)$(PREFIX)/lib/systemd/system
	install -m 755 $(PROGRAMS:%=bin/%) $(DESTDIR)$(PREFIX)/bin/
	bin/imaledger man $(DESTDIR)$(PREFIX)/share/man/man1
	install -m 644 cmd/*/*.8 $(DESTDIR)$(PREFIX)/share/man/man8/
	install -m 644 cmd/*/*.service cmd/*/*.timer $(DESTDIR)$(PREFIX)/lib/systemd/system/

bench:
	$(GO) test -run '^$$' -bench . ./tpm/... ./ledger
	$(GO) test -tags figures -run TestFigures -v -timeout 60m $(FIGURES)

# A ledger's storage in a Ceph with an RGW and three nodes of Galera, which are started
# here; or in any object store and database: that at the URL IMALEDGER_S3, keys testkey
# and testsecret, and those at the addresses IMALEDGER_MYSQL, with commas between, user
# ledger, password secret, with all rights.
.PHONY: clusters clusters-tools
OWN_CLUSTERS := $(if $(IMALEDGER_S3)$(IMALEDGER_MYSQL),,1)
clusters: $(if $(OWN_CLUSTERS),clusters-tools)
	$(if $(OWN_CLUSTERS),ledger/server/storagetest/run-clusters) $(GO) test -tags clusters -run TestClusters -count 1 -v -p 1 -timeout 20m ./ledger/server/storagetest ./ledger/server/s3mysql

# Nothing else needs these, 150 MB with all that they need, so make tools does not get
# them. Debian starts the database of mariadb-server, which the clusters leave alone.
CLUSTERS_PACKAGES := ceph-mon ceph-osd radosgw mariadb-server curl
clusters-tools:
	@for p in ceph-mon ceph-osd radosgw wsrep_sst_rsync curl; do command -v $$p >/dev/null || missing=1; done; \
	if [ -n "$$missing" ]; then \
		command -v apt-get >/dev/null || { echo "please install $(CLUSTERS_PACKAGES)" >&2; exit 1; }; \
		apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $(CLUSTERS_PACKAGES); \
	fi

# The README's pictures: what a browser test sees.
screenshots: tools
	IMALEDGER_SCREENSHOTS=$(CURDIR)/bin/screenshots $(GO) test -run '^TestWebFirstVisit$$' -count 1 ./cmd/imaledger
	for p in segment altered; do cp bin/screenshots/readme-$$p.png web/screenshots/$$p.png || exit 1; done

# Hours of what check does for minutes. A ledger is killed 200 times under 50 hosts,
# a witness 200 times under 100 logs. With two front ends on shared storage it is
# they, the database and the object store. Storage is also Ceph's and Galera's.
soak: tools
	IMALEDGER_SOAK=1 $(GO) test -count 1 -v -timeout 30m -run TestKill ./witness
	IMALEDGER_SOAK=1 $(GO) test -count 1 -v -timeout 60m -run 'TestKill$$|TestDiskFails|TestPressure' ./ledger/server
	IMALEDGER_SOAK=1 $(GO) test -count 1 -v -timeout 60m -run TestKillShared ./ledger/server
	$(MAKE) vault
	$(MAKE) clusters
	$(MAKE) check FUZZTIME=5m DIFFER=1h
