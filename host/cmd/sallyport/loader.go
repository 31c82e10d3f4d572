package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/sallyport-ftps/sallyport/host/account"
	"github.com/sallyport-ftps/sallyport/host/approval"
	"github.com/sallyport-ftps/sallyport/host/auth"
	"github.com/sallyport-ftps/sallyport/host/config"
	"github.com/sallyport-ftps/sallyport/host/sandbox"
)

// pluginKey: methods with the same plugin and limits share it.
type pluginKey struct {
	digest [sha256.Size]byte
	limits sandbox.Limits
}

// methods are the loaded plugins with their settings and grants.
type methods struct {
	plugins map[pluginKey]*sandbox.Plugin
	byID    map[string]*method
}

// loader loads plugins. What the methods before had already is taken from them.
type loader struct {
	runtime   *sandbox.Runtime
	accounts  *account.Accounts
	approvers *approval.Approvers
	log       *slog.Logger
	before    *methods
}

// load compiles the plugins side by side, and shows each method its settings.
func (l loader) load(ctx context.Context, c *config.Config) (_ *methods, err error) {
	m := &methods{plugins: map[pluginKey]*sandbox.Plugin{}, byID: map[string]*method{}}
	defer func() {
		if err != nil {
			m.close(ctx, l.before)
		}
	}()
	keys, modules, err := readPlugins(c)
	if err != nil {
		return nil, err
	}
	if err := l.compile(ctx, m, modules); err != nil {
		return nil, err
	}
	for i, one := range c.Authentications {
		if !one.Enabled {
			continue
		}
		plugin := m.plugins[keys[i]]
		if err := errors.Join(checkSettings(one, plugin.Description()), checkNeeds(one, plugin.Description(), isFirstFactor(c, one.ID))); err != nil {
			return nil, err
		}
		if err := tryCheck(ctx, c.Server.Name, one, plugin); err != nil {
			return nil, err
		}
		m.byID[one.ID] = &method{config: one, server: c.Server.Name, plugin: plugin, reach: l.runtime.NewReach(one.Grants, one.Limits), accounts: l.accounts, approvers: l.approvers, log: l.log.With("method", one.ID)}
	}
	return m, nil
}

// module is a plugin's file, and the method that first named it.
type module struct {
	wasm   []byte
	method config.Authentication
}

func readPlugins(c *config.Config) (keys []pluginKey, modules map[pluginKey]module, err error) {
	keys, modules = make([]pluginKey, len(c.Authentications)), map[pluginKey]module{}
	for i, one := range c.Authentications {
		if !one.Enabled {
			continue
		}
		wasm, err := readPlugin(one)
		if err != nil {
			return nil, nil, err
		}
		keys[i] = pluginKey{sha256.Sum256(wasm), one.Limits}
		if _, ok := modules[keys[i]]; !ok {
			modules[keys[i]] = module{wasm, one}
		}
	}
	return keys, modules, nil
}

func (l loader) compile(ctx context.Context, m *methods, modules map[pluginKey]module) error {
	var mu sync.Mutex
	var failed []error
	var loading sync.WaitGroup
	for key, one := range modules {
		loading.Go(func() {
			plugin, err := l.plugin(ctx, key, one)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = append(failed, pluginError(one.method, err))
				return
			}
			m.plugins[key] = plugin
		})
	}
	loading.Wait()
	return errors.Join(failed...)
}

func (l loader) plugin(ctx context.Context, key pluginKey, one module) (*sandbox.Plugin, error) {
	if l.before != nil && l.before.plugins[key] != nil {
		return l.before.plugins[key], nil
	}
	return l.runtime.Load(ctx, one.wasm, one.method.Limits)
}

func pluginError(m config.Authentication, err error) error {
	return fmt.Errorf("authentication %q: plugin %s: %w", m.ID, m.Plugin, err)
}

// close frees what other methods do not use. It waits for attempts under way.
func (m *methods) close(ctx context.Context, others *methods) {
	for _, one := range m.byID {
		one.reach.Close()
	}
	for key, plugin := range m.plugins {
		if others == nil || others.plugins[key] != plugin {
			_ = plugin.Close(context.WithoutCancel(ctx))
		}
	}
}

// method returns a method; a disabled one is never asked, and fails if it were.
func (m *methods) method(id string) auth.Method {
	if one := m.byID[id]; one != nil {
		return one
	}
	return disabled{}
}

// usesCode reports whether the method checks one-time codes.
func (m *methods) usesCode(id string) bool {
	one := m.byID[id]
	return one != nil && one.plugin.Description().Needs.Code
}

type disabled struct{}

// Authenticate implements auth.Method.
func (disabled) Authenticate(context.Context, auth.Attempt) auth.Answer { return auth.Answer{} }
