package sandbox

import (
	"context"
	"fmt"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
	"github.com/tetratelabs/wazero/sys"

	"github.com/sallyport-ftps/sallyport/sdk"
)

// instance is one copy of a plugin, pristine until it runs.
type instance struct {
	module  api.Module
	memory  *linearMemory
	globals []api.MutableGlobal
	keys    map[string]string // see span.key
}

// pristine is what every instance of a plugin looks like before a run.
type pristine struct {
	image   *image
	globals []uint64
}

// take returns a pristine instance: one that was put back, or a new one. A plugin that can't be put
// back runs its _initialize here, with nothing granted.
func (p *Plugin) take(ctx context.Context) (*instance, error) {
	if i := p.popIdle(); i != nil {
		return i, nil
	}
	i, err := p.instantiate(ctx)
	if err != nil {
		return nil, err
	}
	if p.pristine == nil {
		err = p.initialize(ctx, i)
	} else if err = i.memory.use(p.pristine.image); err == nil {
		err = p.setGlobals(i)
	}
	if err != nil {
		i.discard(ctx)
		return nil, err
	}
	return i, nil
}

func (p *Plugin) popIdle() *instance {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := len(p.idle)
	if n == 0 {
		return nil
	}
	i := p.idle[n-1]
	p.idle = p.idle[:n-1]
	return i
}

func (p *Plugin) instantiate(ctx context.Context) (*instance, error) {
	memory, err := newLinearMemory(uint64(p.memory))
	if err != nil {
		return nil, err
	}
	memory.heed(ctx) // a start function runs here
	allocator := experimental.MemoryAllocatorFunc(func(uint64, uint64) experimental.LinearMemory { return memory })
	module, err := p.runtime.engine.InstantiateModule(experimental.WithMemoryAllocator(ctx, allocator), p.compiled,
		wazero.NewModuleConfig().WithName("").WithStartFunctions()) // anonymous: many at once; we call _initialize ourselves
	if err != nil {
		memory.release()
		return nil, err
	}
	p.runtime.created.Add(1)
	i := &instance{module: module, memory: memory, keys: map[string]string{}}
	for _, name := range p.globals {
		global, ok := module.ExportedGlobal(name).(api.MutableGlobal)
		if !ok {
			i.discard(ctx)
			return nil, fmt.Errorf("its global %s can't be put back", name)
		}
		i.globals = append(i.globals, global)
	}
	return i, nil
}

// heed ends the guest at its next tick once the context is over.
func (m *linearMemory) heed(ctx context.Context) {
	m.tick = func() {
		if ctx.Err() != nil {
			panic(sys.NewExitError(sys.ExitCodeDeadlineExceeded))
		}
	}
}

func (p *Plugin) initialize(ctx context.Context, i *instance) error {
	if !p.reactor {
		return nil
	}
	_, err := i.module.ExportedFunction(sdk.ExportInitialize).Call(ctx)
	return err
}

// keepPristine makes an instance that has just been initialized the image of all others.
func (p *Plugin) keepPristine(i *instance) error {
	if !canReset || !p.resettable || p.runtime.options.NoReset {
		return nil
	}
	size := i.module.Memory().Size()
	memory, _ := i.module.Memory().Read(0, size)
	image, err := newImage(memory)
	if err != nil {
		return err
	}
	p.pristine = &pristine{image: image}
	for _, global := range i.globals {
		p.pristine.globals = append(p.pristine.globals, global.Get())
	}
	return nil
}

func (p *Plugin) setGlobals(i *instance) error {
	size := uint32(p.pristine.image.size)
	if have := i.module.Memory().Size(); have < size { // _initialize grew it
		if _, ok := i.module.Memory().Grow((size - have) >> 16); !ok {
			return fmt.Errorf("memory can't grow to %d bytes", size)
		}
	}
	for n, global := range i.globals {
		global.Set(p.pristine.globals[n])
	}
	return nil
}

// put gives an instance back. Only one whose run came to an end, or was abandoned at a call to the
// host, and which can be made pristine again, is kept.
func (p *Plugin) put(ctx context.Context, i *instance, clean bool) {
	if clean && p.restore(i) && p.pushIdle(i) {
		p.runtime.resets.Add(1)
		return
	}
	p.runtime.discards.Add(1)
	i.discard(ctx)
}

func (p *Plugin) restore(i *instance) bool {
	if p.pristine == nil || i.module.IsClosed() || int(i.module.Memory().Size()) != p.pristine.image.size {
		return false // a memory that grew can't shrink
	}
	i.memory.tick = func() {} // it held the run, and so the password, as long as the instance waited
	return i.memory.reset(p.pristine.image, p.runtime.pagemap) == nil && p.setGlobals(i) == nil
}

func (p *Plugin) pushIdle(i *instance) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle) >= cap(p.runtime.slots) {
		return false
	}
	p.idle = append(p.idle, i)
	return true
}

// discard is called when no guest runs on the instance any more.
func (i *instance) discard(ctx context.Context) {
	_ = i.module.Close(context.WithoutCancel(ctx))
	i.memory.release()
}
