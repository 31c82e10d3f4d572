// Package sandbox runs a plugin: a WebAssembly module that implements the contract of package
// sdk (sdk/ABI.md). It knows nothing of logins; it gets fields and returns a verdict.
//
// [Runtime.Load] checks, rewrites and compiles a module, [Plugin.Run] asks it once. Every run
// has an instance and a memory of its own, which nothing outlives.
package sandbox

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/sallyport-ftps/sallyport/sdk"
)

// Runtime compiles plugins and bounds how many execute at once.
type Runtime struct {
	limits Limits
	engine wazero.Runtime
	cache  wazero.CompilationCache
	known  map[string]map[string]signature // what may be imported, by module and name
	slots  chan struct{}                   // one for each guest that executes
	places chan struct{}                   // one for each guest that is there
}

// New makes a Runtime. CacheDir keeps compiled code, which is trusted as the program itself is:
// it must be a folder that only we can write. Empty: compiled anew at each start.
func New(ctx context.Context, cacheDir string, limits Limits) (*Runtime, error) {
	config := wazero.NewRuntimeConfigCompiler().
		WithCloseOnContextDone(true).
		WithMemoryLimitPages(uint32(limits.Memory >> 16)).
		WithCoreFeatures(api.CoreFeaturesV2.SetEnabled(api.CoreFeatureSIMD, false))
	r := &Runtime{limits: limits, slots: make(chan struct{}, max(1, limits.Executing)), places: make(chan struct{}, max(1, limits.Instances))}
	if cacheDir != "" {
		if err := trusted(cacheDir); err != nil {
			return nil, err
		}
		cache, err := wazero.NewCompilationCacheWithDir(cacheDir)
		if err != nil {
			return nil, fmt.Errorf("compile cache %s: %w", cacheDir, err)
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

// addImports makes the host modules that a plugin may import: the contract, and WASI with no
// files, arguments or environment.
func (r *Runtime) addImports(ctx context.Context) error {
	builder := r.engine.NewHostModuleBuilder(sdk.Module)
	for name, f := range hostFunctions() {
		builder = builder.NewFunctionBuilder().WithGoModuleFunction(f.call, f.params, f.results).Export(name)
	}
	contract, err := builder.Compile(ctx)
	if err != nil {
		return fmt.Errorf("host module: %w", err)
	}
	wasi, err := wasi_snapshot_preview1.NewBuilder(r.engine).Compile(ctx)
	if err != nil {
		return fmt.Errorf("wasi module: %w", err)
	}
	r.known = map[string]map[string]signature{}
	for name, compiled := range map[string]wazero.CompiledModule{sdk.Module: contract, wasi_snapshot_preview1.ModuleName: wasi} {
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

// Close closes all plugins too. No run may be under way.
func (r *Runtime) Close(ctx context.Context) error {
	err := r.engine.Close(ctx)
	if r.cache != nil {
		err = errors.Join(err, r.cache.Close(ctx))
	}
	return err
}

// Plugin is a compiled module.
type Plugin struct {
	runtime     *Runtime
	compiled    wazero.CompiledModule
	reactor     bool // has _initialize
	description Description
}

// Description is what the plugin says of itself, if it does.
type Description struct {
	Name, Version string
	// Settings is nil if the plugin does not tell which settings it has.
	Settings map[string]Setting
}

// Setting is the description of one setting.
type Setting struct {
	Type     sdk.SettingType
	Required bool
	Secret   bool
}

// Description returns what the plugin says of itself.
func (p *Plugin) Description() Description { return p.description }

// Check reports all faults of a module in one error, without compiling it.
func (r *Runtime) Check(wasm []byte) error {
	_, err := r.prepare(wasm)
	return err
}

// Load checks, rewrites and compiles a module, and lets it describe itself.
func (r *Runtime) Load(ctx context.Context, wasm []byte) (*Plugin, error) {
	m, err := r.prepare(wasm)
	if err != nil {
		return nil, err
	}
	rewritten, err := m.rewrite(r.limits)
	if err != nil {
		return nil, err
	}
	compiled, err := r.engine.CompileModule(experimental.WithCompilationWorkers(ctx, r.limits.Executing), rewritten)
	if err != nil {
		return nil, fmt.Errorf("compile: %w", err)
	}
	_, reactor := m.exports[sdk.ExportInitialize]
	p := &Plugin{runtime: r, compiled: compiled, reactor: reactor}
	_, describes := m.exports[sdk.ExportDescribe]
	if p.description, err = p.describe(ctx, describes); err != nil {
		return nil, errors.Join(fmt.Errorf("first run: %w", err), compiled.Close(ctx))
	}
	return p, nil
}

func (r *Runtime) prepare(wasm []byte) (*module, error) {
	if len(wasm) > r.limits.Module {
		return nil, fmt.Errorf("module has %d bytes, at most %d are allowed", len(wasm), r.limits.Module)
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
	var s []byte
	for _, t := range types {
		switch t {
		case api.ValueTypeI32:
			s = append(s, 'i')
		case api.ValueTypeI64:
			s = append(s, 'I')
		case api.ValueTypeF32:
			s = append(s, 'f')
		case api.ValueTypeF64:
			s = append(s, 'F')
		default:
			s = append(s, '?')
		}
	}
	return string(s)
}
