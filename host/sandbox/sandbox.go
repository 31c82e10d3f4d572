// Package sandbox runs a plugin: a WebAssembly module that implements the contract of package
// sdk (sdk/ABI.md). It knows nothing of logins; it gets fields and returns a verdict.
//
// [Runtime.Load] checks, rewrites and compiles a module, [Plugin.Run] asks it once. Every run
// starts from the same memory, which nothing of a run outlives; where a plugin waits for the host,
// the run ends, and another one comes the same way when the answer is there (run.go, record.go).
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"

	"github.com/sallyport-ftps/sallyport/sdk"
)

// Options are what a Runtime needs. The zero value works.
type Options struct {
	// CacheDir keeps compiled code, which is trusted as the program itself is: it must be a folder
	// that only we can write. Empty: compiled anew at each start.
	CacheDir string
	// Executing is how many guests execute at once. 0: as many as there are cores.
	Executing int
	// Refuse says which addresses are our own listeners, which no plugin may connect to.
	Refuse func(netip.AddrPort) bool
	// Resolver finds addresses. Nil: the system's.
	Resolver *net.Resolver
	// NoReset gives each run a fresh instance, as on other systems than Linux.
	NoReset bool
	// NoRewrite leaves the checks out of the code, to show what they are for. Never in a server.
	NoRewrite bool
}

// Runtime compiles plugins and bounds how many execute at once.
type Runtime struct {
	options     Options
	start       time.Time
	engine      wazero.Runtime
	cache       wazero.CompilationCache
	known       map[string]map[string]signature // what may be imported, by module and name
	slots       chan struct{}                   // one for each guest that executes
	recorded    atomic.Int64                    // bytes of answers of all attempts
	withdrawing sync.WaitGroup                  // attempts that were given up
	pagemap     *os.File                        // what the kernel says of our pages; nil: nothing

	runs, created, resets, discards atomic.Int64

	mu      sync.Mutex
	plugins map[*Plugin]bool // that are loaded
}

// Usage is what was done since the start.
type Usage struct {
	Runs      int64
	Created   int64 // instances
	Resets    int64 // instances that were put back after a run
	Discards  int64
	Executing int // guests, now
}

// Usage returns what was done so far.
func (r *Runtime) Usage() Usage {
	return Usage{Runs: r.runs.Load(), Created: r.created.Load(), Resets: r.resets.Load(), Discards: r.discards.Load(), Executing: len(r.slots)}
}

// New makes a Runtime.
func New(ctx context.Context, o Options) (*Runtime, error) {
	if o.Executing <= 0 {
		o.Executing = runtime.GOMAXPROCS(0)
	}
	config := wazero.NewRuntimeConfigCompiler().
		WithCloseOnContextDone(o.NoRewrite). // the ticks of the rewrite do it better
		WithCoreFeatures(api.CoreFeaturesV2.SetEnabled(api.CoreFeatureSIMD, false))
	r := &Runtime{options: o, start: time.Now(), slots: make(chan struct{}, o.Executing), pagemap: openPagemap(), plugins: map[*Plugin]bool{}}
	if o.CacheDir != "" {
		if err := trusted(o.CacheDir); err != nil {
			return nil, err
		}
		cache, err := wazero.NewCompilationCacheWithDir(o.CacheDir)
		if err != nil {
			return nil, fmt.Errorf("compile cache %s: %w", o.CacheDir, err)
		}
		r.cache = cache
		config = config.WithCompilationCache(cache)
	}
	r.engine = wazero.NewRuntimeWithConfig(ctx, config)
	if err := r.addImports(ctx); err != nil {
		return nil, errors.Join(err, r.Close(ctx))
	}
	return r, nil
}

// trusted makes the cache folder, and refuses one that others can write or that is a link.
func trusted(dir string) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("compile cache: %w", err)
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("compile cache: %w", err)
	}
	if !info.IsDir() || info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("compile cache %s must be a folder with mode 0700, it is %s: it holds executable code", dir, info.Mode())
	}
	return nil
}

// addImports makes the host modules that a plugin may import: the contract, and a minimal WASI.
func (r *Runtime) addImports(ctx context.Context) error {
	contract := r.engine.NewHostModuleBuilder(sdk.Module)
	for name, f := range hostFunctions() {
		contract.NewFunctionBuilder().WithGoModuleFunction(f.call, f.params, f.results).Export(name)
	}
	wasi := r.engine.NewHostModuleBuilder(wasiModule)
	for name, f := range wasiFunctions() {
		wasi.NewFunctionBuilder().WithGoModuleFunction(f.module(), valueTypes(f.params), valueTypes("i")).Export(name)
	}
	wasi.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(exit), valueTypes("i"), nil).Export("proc_exit")
	r.known = map[string]map[string]signature{}
	for name, builder := range map[string]wazero.HostModuleBuilder{sdk.Module: contract, wasiModule: wasi} {
		compiled, err := builder.Compile(ctx)
		if err != nil {
			return fmt.Errorf("host module %s: %w", name, err)
		}
		r.known[name] = map[string]signature{}
		for export, f := range compiled.ExportedFunctions() {
			r.known[name][export] = signature{letters(f.ParamTypes()), letters(f.ResultTypes())}
		}
		if _, err := r.engine.InstantiateModule(ctx, compiled, wazero.NewModuleConfig().WithName(name)); err != nil {
			return fmt.Errorf("host module %s: %w", name, err)
		}
	}
	return nil
}

// now is a clock that only goes forward, and is far from zero.
func (r *Runtime) now() time.Duration { return time.Hour + time.Since(r.start) }

// Wait waits for attempts that are being withdrawn.
func (r *Runtime) Wait() { r.withdrawing.Wait() }

// Close waits for attempts that are being withdrawn, and closes all plugins too. No run may be under way.
func (r *Runtime) Close(ctx context.Context) error {
	r.withdrawing.Wait()
	r.mu.Lock()
	loaded := slices.Collect(maps.Keys(r.plugins))
	r.mu.Unlock()
	var err error
	for _, p := range loaded {
		err = errors.Join(err, p.Close(ctx))
	}
	err = errors.Join(err, r.engine.Close(ctx))
	if r.pagemap != nil {
		_ = r.pagemap.Close()
	}
	if r.cache != nil {
		err = errors.Join(err, r.cache.Close(ctx))
	}
	return err
}

// Plugin is a compiled module.
type Plugin struct {
	runtime     *Runtime
	limits      Limits
	compiled    wazero.CompiledModule
	reactor     bool // has _initialize
	resettable  bool
	globals     []string
	memory      int // bytes that it may grow to
	description Description
	pristine    *pristine // nil: each run has a fresh instance
	open        chan struct{}

	mu     sync.Mutex
	idle   []*instance
	closed bool
	users  sync.WaitGroup
}

// Description returns what the plugin says of itself.
func (p *Plugin) Description() Description { return p.description }

// Resets reports whether instances are put back after a run; else each run has a fresh one.
func (p *Plugin) Resets() bool { return p.pristine != nil }

// Check reports all faults of a module in one error, without compiling it.
func (r *Runtime) Check(wasm []byte, limits Limits) error {
	m, err := r.prepare(wasm, limits)
	if err != nil {
		return err
	}
	_, err = m.rewrite(limits)
	return err
}

// Load checks, rewrites and compiles a module, and lets it describe itself. Close the plugin when it
// is not needed any more.
func (r *Runtime) Load(ctx context.Context, wasm []byte, limits Limits) (*Plugin, error) {
	m, err := r.prepare(wasm, limits)
	if err != nil {
		return nil, err
	}
	made := &rewritten{wasm: wasm, resettable: true, memory: limits.Memory}
	if !r.options.NoRewrite {
		if made, err = m.rewrite(limits); err != nil {
			return nil, err
		}
	}
	compiled, err := r.engine.CompileModule(experimental.WithCompilationWorkers(ctx, r.options.Executing), made.wasm)
	if err != nil {
		return nil, fmt.Errorf("compile: %w", err)
	}
	_, reactor := m.exports[sdk.ExportInitialize]
	p := &Plugin{
		runtime: r, limits: limits, compiled: compiled, reactor: reactor, resettable: made.resettable, globals: made.globals, memory: made.memory,
		open: make(chan struct{}, max(1, limits.Open)),
	}
	r.mu.Lock()
	r.plugins[p] = true
	r.mu.Unlock()
	if err := p.firstRun(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("first run: %w", err), p.Close(ctx))
	}
	return p, nil
}

// firstRun initializes the plugin and lets it describe itself, with nothing granted; what its memory is
// then is the image that every run starts from.
func (p *Plugin) firstRun(ctx context.Context) error {
	g, ctx, end := p.newAttempt(Call{}).newGuest(ctx, p.limits.Load)
	defer end()
	if err := g.clock.resume(ctx); err != nil {
		return err
	}
	i, err := p.take(ctx)
	if err != nil {
		return g.explain(ctx, err)
	}
	defer i.discard(ctx)
	if err := p.describe(ctx, i, g); err != nil {
		return g.explain(ctx, err)
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	return p.keepPristine(i)
}

// enter and leave bracket a run.
func (p *Plugin) enter() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return errors.New("the plugin is closed")
	}
	p.users.Add(1)
	return nil
}

func (p *Plugin) leave() { p.users.Done() }

// Close waits for the runs under way, and frees the plugin.
func (p *Plugin) Close(ctx context.Context) error {
	p.mu.Lock()
	closed := p.closed
	p.closed = true
	p.mu.Unlock()
	if closed {
		return nil
	}
	p.users.Wait()
	p.runtime.mu.Lock()
	delete(p.runtime.plugins, p)
	p.runtime.mu.Unlock()
	for _, i := range p.idle {
		i.discard(ctx)
	}
	if p.pristine != nil {
		p.pristine.image.close()
	}
	return p.compiled.Close(ctx)
}

func (r *Runtime) prepare(wasm []byte, limits Limits) (*module, error) {
	if len(wasm) > limits.Module {
		return nil, fmt.Errorf("module has %d bytes, at most %d are allowed", len(wasm), limits.Module)
	}
	m, err := parse(wasm)
	if err != nil {
		return nil, err
	}
	if faults := append(r.exportFaults(m), r.importFaults(m)...); faults != nil {
		return nil, errors.New(strings.Join(faults, "; "))
	}
	return m, nil
}

func (r *Runtime) exportFaults(m *module) (faults []string) {
	_, start := m.exports["_start"]
	_, initialize := m.exports[sdk.ExportInitialize]
	if start && !initialize {
		return []string{"it is a program (_start), not a plugin: build it with -buildmode=c-shared (Go), or as a reactor or library"}
	}
	markers := 0
	for name := range m.exports {
		if version, ok := strings.CutPrefix(name, sdk.ExportMarkerPrefix); ok {
			if markers++; name != sdk.ExportMarker {
				faults = append(faults, fmt.Sprintf("it is written for version %.8s of the contract, this program knows version 1 (%s)", version, sdk.ExportMarker))
			}
		}
	}
	if markers == 0 {
		faults = append(faults, "it does not export "+sdk.ExportMarker+", so it is not a Sallyport plugin (sdk/ABI.md)")
	}
	if e, ok := m.exports["memory"]; !ok || e.kind != kindMemory {
		faults = append(faults, "it does not export its memory as \"memory\"")
	}
	for _, f := range []struct {
		name     string
		want     signature
		required bool
	}{
		{sdk.ExportAuthenticate, signature{"", "i"}, true},
		{sdk.ExportMarker, signature{}, false},
		{sdk.ExportDescribe, signature{}, false},
		{sdk.ExportInitialize, signature{}, false},
	} {
		e, ok := m.exports[f.name]
		if !ok {
			if f.required {
				faults = append(faults, "it does not export the function "+f.name)
			}
			continue
		}
		if got, known := m.signatureOf(e.index); e.kind != kindFunction || !known || got != f.want {
			faults = append(faults, fmt.Sprintf("its export %s must be a function %s", f.name, f.want))
		}
	}
	return faults
}

func (r *Runtime) importFaults(m *module) (faults []string) {
	for _, i := range m.imports {
		want, ok := r.known[i.module][i.name]
		switch {
		case i.kind != kindFunction:
			faults = append(faults, fmt.Sprintf("it imports %s.%s, which is not a function", i.module, i.name))
		case !ok:
			faults = append(faults, fmt.Sprintf("it imports %s.%s, which this program does not have", i.module, i.name))
		default:
			if got, known := m.typeAt(i.typeIndex); !known || got != want {
				faults = append(faults, fmt.Sprintf("it imports %s.%s as %s, it is %s", i.module, i.name, got, want))
			}
		}
	}
	return faults
}

func letters(types []api.ValueType) string {
	text := make([]byte, len(types))
	for i, t := range types {
		text[i] = letter(t)
	}
	return string(text)
}

func valueTypes(letters string) []api.ValueType {
	types := make([]api.ValueType, len(letters))
	for i := range letters {
		types[i] = map[byte]api.ValueType{'i': api.ValueTypeI32, 'I': api.ValueTypeI64}[letters[i]]
	}
	return types
}

// letter names a value type in a signature.
func letter(t api.ValueType) byte {
	switch t {
	case api.ValueTypeI32:
		return 'i'
	case api.ValueTypeI64:
		return 'I'
	case api.ValueTypeF32:
		return 'f'
	case api.ValueTypeF64:
		return 'F'
	}
	return '?'
}
