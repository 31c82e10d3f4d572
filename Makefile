# make run and make test are all that most people need; "make help" lists the rest.

GO         ?= go
VERSION    ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
PLUGINS    := $(patsubst plugins/%/main.go,%,$(wildcard plugins/*/main.go))
WASM       := $(PLUGINS:%=plugins/wasm/%.wasm)
SDK        := go.mod $(filter-out %_test.go,$(wildcard sdk/*.go sdk/sdknet/*.go))
TEST_TOOLS := curl wget openssl lftp python3 filezilla Xvfb xdotool gcc wat2wasm clang wasm-ld slapd freeradius npm systemd-analyze
ASC        := bin/tools/node_modules/.bin/asc
RUST_WASM  := /usr/lib/rustlib/wasm32-unknown-unknown

GOFUMPT     := mvdan.cc/gofumpt@v0.12.0
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0

.PHONY: help build plugins run demo-2fa test check bench soak deps clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "%-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: plugins ## bin/sallyport, with the bundled plugins in it: one file to copy
	$(GO) build -trimpath -ldflags '-s -w -X main.release=$(VERSION)' -o bin/sallyport ./host/cmd/sallyport

plugins: $(WASM) ## the bundled plugins

.SECONDEXPANSION:
plugins/wasm/%.wasm: $$(filter-out %_test.go,$$(wildcard plugins/$$*/*.go)) $(SDK)
	GOOS=wasip1 GOARCH=wasm $(GO) build -trimpath -buildmode=c-shared -ldflags='-s -w' -o $@ ./plugins/$*

run: build ## build, make a demo account, serve, and print lines to try
	bin/sallyport demo

demo-2fa: build ## as run, with a push as second factor: a page in place of the phone approves what curl waits for
	@mkdir -p demo-2fa && rm -f demo-2fa/ca.pem && $(GO) build -o bin/idserver ./examples/idserver
	@bin/idserver -ca demo-2fa/ca.pem demo & trap "kill $$!" EXIT INT TERM; until [ -s demo-2fa/ca.pem ]; do sleep 0.1; done; \
	echo 'Other commands need: export IDSERVER_CA="$$(cat demo-2fa/ca.pem)"'; \
	IDSERVER_CA="$$(cat demo-2fa/ca.pem)" bin/sallyport demo --config examples/configs/secsign.hcl

test: deps plugins ## install what the tests need (by apt, as root) and run them all
	$(GO) test -race ./...

# What the tests need: FTP clients, a directory server, and compilers of the languages that plugins are written in.
deps:
	@missing=; for tool in $(TEST_TOOLS); do PATH="$$PATH:/usr/sbin" command -v $$tool >/dev/null || missing="$$missing $$tool"; done; \
	[ -d $(RUST_WASM) ] || missing="$$missing rustc libstd-rust-dev-wasm32"; \
	python3 -c 'import aiosmtpd' 2>/dev/null || /usr/bin/python3 -c 'import aiosmtpd' 2>/dev/null || missing="$$missing python3-aiosmtpd"; \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then echo "the tests need:$$missing; install them first" >&2; exit 1; fi; \
	packages=$$(echo "$$missing" | sed 's/wat2wasm/wabt/; s/wasm-ld/lld/; s/Xvfb/xvfb/; s/systemd-analyze/systemd/'); \
	apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$packages libc6-dev ca-certificates >/dev/null
	@[ -x $(ASC) ] && [ -d bin/tools/node_modules/nats ] && [ -d bin/tools/node_modules/basic-ftp ] || npm install --silent --no-save --no-package-lock --prefix bin/tools assemblyscript@0.28.20 nats@2.29.3 basic-ftp@5.0.5 >/dev/null

check: plugins ## format, vet, staticcheck, tidy, import rules, known vulnerabilities
	@unformatted=$$($(GO) run $(GOFUMPT) -l .); if [ -n "$$unformatted" ]; then echo "not formatted by gofumpt:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) vet -tags bench,soak ./host/cmd/sallyport ./host/sandbox ./host/account ./host/bus
	GOOS=darwin GOARCH=arm64 $(GO) build ./host/...
	GOOS=wasip1 GOARCH=wasm $(GO) vet -unsafeptr=false ./sdk/... $(PLUGINS:%=./plugins/%) ./examples/plugins/...
	$(GO) run $(STATICCHECK) ./...
	$(GO) mod tidy -diff
	$(GO) test -count=1 ./host/house
	@out=$$($(GO) run $(GOVULNCHECK) ./... 2>&1); code=$$?; \
	if [ $$code = 0 ]; then echo "govulncheck: nothing found"; \
	elif echo "$$out" | grep -q 'fetching vulnerabilities\|dial tcp\|no such host\|connection refused\|Forbidden\|proxyconnect'; then echo "govulncheck: its data can't be had here"; \
	else echo "$$out"; exit 1; fi

# ProFTPD, Pure-FTPd and vsftpd, which can't be installed beside each other, with the libraries that they need.
PEERS := proftpd-core proftpd-mod-crypto libhiredis0.14 libmemcached11 libmemcachedutil2 libhashkit2 libpcre2-posix3 pure-ftpd pure-ftpd-common vsftpd

bin/peers/usr/sbin/proftpd:
	@if ! command -v apt-get >/dev/null; then echo "no apt-get: no comparison with other servers" >&2; exit 0; fi; \
	mkdir -p bin/peers && cd bin/peers && apt-get update -qq && apt-get download -q $(PEERS) >/dev/null 2>&1; for package in *.deb; do dpkg -x $$package . && rm $$package; done

bench: deps plugins bin/peers/usr/sbin/proftpd ## measure: tables with units, compared within the run, also with ProFTPD, Pure-FTPd and vsftpd
	$(GO) test -p 1 -count=1 -tags bench -run TestBench -timeout 60m -v ./host/cmd/sallyport ./host/sandbox ./host/account ./host/bus | grep -v '^=== \|^--- '

soak: deps plugins ## what takes long: 1 GiB of files, a hundred kills, a thousand reloads, the hostile plugins without the rewrite
	$(GO) test -count=1 -tags soak -run Soak -timeout 20m -v ./host/sandbox
	$(GO) test -count=1 -tags soak -run Soak -timeout 60m -v ./host/cmd/sallyport

clean:
	rm -rf bin plugins/wasm/*.wasm
