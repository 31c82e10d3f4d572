package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/sallyport-ftps/sallyport/events"
	"github.com/sallyport-ftps/sallyport/host/admin"
	"github.com/sallyport-ftps/sallyport/host/config"
	"github.com/sallyport-ftps/sallyport/host/ftps"
)

type reloadCommand struct{ output }

// Run implements the command.
func (cmd reloadCommand) Run(ctx context.Context, c *cli, s streams) error {
	client, _, closing, err := connect(ctx, c, 0)
	if wrong := new(config.Problems); errors.As(err, &wrong) {
		return fmt.Errorf("nothing was changed: %w", err)
	}
	if err != nil {
		return err
	}
	defer closing()
	done, err := client.Reload(ctx)
	if err != nil {
		return fmt.Errorf("nothing was changed: %w", err)
	}
	return cmd.print(s.out, done, func(w io.Writer) {
		fmt.Fprintf(w, "reloaded: %d service(s), %d method(s)\n", done.Services, done.Methods)
		if len(done.Changed) > 0 {
			fmt.Fprintf(w, "new or with another plugin: %s\n", strings.Join(done.Changed, ", "))
		}
	})
}

// reload puts the configuration in the place of the one in use, or changes nothing at all: everything
// is read, compiled and tried before. Logins under way finish with what they began with.
func (r *running) reload(ctx context.Context) (admin.Reloaded, error) {
	r.reloading.Lock()
	defer r.reloading.Unlock()
	if r.closing {
		return admin.Reloaded{}, errors.New("the server is shutting down")
	}
	old := r.current // only reload changes it
	c, err := again(old.config)
	if err != nil {
		return admin.Reloaded{}, err
	}
	if fixed := needRestart(old.config, c); len(fixed) > 0 {
		return admin.Reloaded{}, fmt.Errorf("a restart is needed to change %s", strings.Join(fixed, ", "))
	}
	pairs, err := r.certificates(c)
	if err != nil {
		return admin.Reloaded{}, err
	}
	methods, err := r.loader().load(ctx, c)
	if err != nil {
		return admin.Reloaded{}, err
	}
	if err := methods.probe(ctx, c, func(m config.Authentication) bool { return m.TestAtStart }).problem(); err != nil {
		methods.close(ctx, old.methods)
		return admin.Reloaded{}, err
	}
	if err := r.bus.SetUsers(ctx, eventUsers(c)); err != nil {
		methods.close(ctx, old.methods)
		return admin.Reloaded{}, err
	}
	next := &setup{config: c, methods: methods, gone: make(chan struct{})}
	r.replace(ctx, old, next, pairs)
	done := admin.Reloaded{Services: len(c.Services), Methods: len(c.Authentications), Changed: changed(old, next)}
	for _, id := range done.Changed {
		r.authority.Forgive(id) // what the plugin before it did
	}
	for _, warning := range append(c.Warnings, missingFolders(c)...) {
		r.log.Warn(warning)
	}
	r.log.Info("reloaded", "services", done.Services, "methods", done.Methods, "changed", strings.Join(done.Changed, ","))
	event := &events.ServerReloaded{Name: c.Server.Name, Services: c.ServiceNames(), Methods: c.IDs()}
	if err := r.bus.Store(context.WithoutCancel(ctx), event); err != nil {
		r.log.Error("event not stored", "type", event.EventType(), "err", err)
	}
	return done, nil
}

// again reads the configuration from where it was read at the start.
func again(c *config.Config) (*config.Config, error) {
	if c.File == "" {
		return config.Defaults()
	}
	return config.Load(c.File)
}

// replace is the moment from which on new logins use the next setup.
func (r *running) replace(ctx context.Context, old, next *setup, pairs []certificates) {
	r.mu.Lock()
	r.current = next
	r.mu.Unlock()
	for i, s := range next.config.Services {
		r.services[i].Set(r.settings(s, pairs[i]))
	}
	r.accounts.SetRules(accountRules(next.config))
	r.authority.Attempts.SetLimits(next.config.Attempts)
	r.authority.SetApprovalLimits(next.config.Approvals)
	for _, m := range next.config.Authentications {
		before, known := old.config.Authentication(m.ID)
		if !known || before.Enabled != m.Enabled {
			r.authority.SetStopped(m.ID, !m.Enabled)
		}
	}
	before := r.retired
	r.retired = old.gone
	r.retiring.Go(func() {
		old.users.Wait()
		if before != nil {
			<-before // it may use plugins of the old one
		}
		close(old.gone)
		old.methods.close(context.WithoutCancel(ctx), next.methods)
	})
}

// changed lists the methods that have another plugin now.
func changed(old, next *setup) []string {
	ids := []string{}
	for id, m := range next.methods.byID {
		if before := old.methods.byID[id]; before == nil || before.plugin != m.plugin {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

func withoutUsers(e config.Events) config.Events {
	e.Users = nil
	return e
}

// needRestart lists what is different and can't be changed while the server runs.
func needRestart(old, c *config.Config) (names []string) {
	differ := func(name string, different bool) {
		if different {
			names = append(names, name)
		}
	}
	differ("server { name }", old.Server.Name != c.Server.Name)
	differ("server { data_dir }", old.Server.DataDir != c.Server.DataDir)
	differ("events { }", !reflect.DeepEqual(withoutUsers(old.Events), withoutUsers(c.Events)))
	differ("metrics { }", old.Metrics != c.Metrics)
	differ("which services there are", !slices.Equal(old.ServiceNames(), c.ServiceNames()))
	for _, s := range c.Services {
		before := old.Service(s.Name)
		if before.Name == "" {
			continue
		}
		where := fmt.Sprintf("service %q: ", s.Name)
		differ(fmt.Sprintf("the times of service %q", s.Name), limitsOf(before) != limitsOf(s))
		differ(where+"listen", before.Listen != s.Listen)
		differ(where+"tls", before.Implicit != s.Implicit)
		differ(where+"passive_ports", before.PassiveFirst != s.PassiveFirst || before.PassiveLast != s.PassiveLast)
	}
	return names
}

// certificates loads the key pair of each service, or makes a self-signed one.
func (r *running) certificates(c *config.Config) ([]certificates, error) {
	all, err := loadCertificates(c)
	for i := range all {
		if err == nil && all[i].own[0].Certificate == nil {
			all[i].own[0], err = r.selfSigned(c)
		}
	}
	return all, err
}

func publicAddresses(all []config.PublicAddress) (as []ftps.PublicAddress) {
	for _, p := range all {
		as = append(as, ftps.PublicAddress(p))
	}
	return as
}

// settings are those of a service that can change while it runs.
func (r *running) settings(s config.Service, c certificates) ftps.Settings {
	return ftps.Settings{
		Certificates: c.own, Clients: c.clients, Chain: r.chain(s.Name), LoginTimeout: s.LoginTimeout, IdleTimeout: s.IdleTimeout,
		MaxConnections: s.MaxConnections, MaxPerSource: s.MaxPerSource, AtomicUpload: s.AtomicUpload, SyncUploads: s.SyncUploads, Umask: os.FileMode(s.Umask), MaxPath: s.MaxPath, MinFree: r.config().Server.MinFree,
		SessionReuse: ftps.SessionReuse(s.SessionReuse), Digests: ftps.Digests(s.FileDigests),
		MaxPerAccount: s.MaxPerAccount, CommandRate: s.CommandRate, PublicAddresses: publicAddresses(s.PublicAddresses),
	}
}
