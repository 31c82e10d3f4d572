package main

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"filippo.io/age"
	"golang.org/x/term"

	"github.com/sallyport-ftps/sallyport/host/config"
	"github.com/sallyport-ftps/sallyport/host/secret"
	"github.com/sallyport-ftps/sallyport/host/state"
)

type stateCommand struct {
	Export stateExport `cmd:"" help:"Write the state to a new file, encrypted with a passphrase, also while the server runs. Events and users' files are not in it."`
	Import stateImport `cmd:"" help:"Restore an export into a data folder that holds no state yet."`
}

// exported are the files of an export, by their names in it. The store is the last: without it nothing is there.
func (d *dataDir) exported() [][2]string {
	return [][2]string{
		{codesFile, d.file(codesFile)},
		{serverIDFile, d.file(serverIDFile)},
		{seedFile, d.file(seedFile)},
		{keyFile, d.file(keyFile)},
		{certificateFile, filepath.Join(d.path, certificateFile)},
		{stateFile, d.file(stateFile)},
	}
}

const certificateFile = "tls.crt"

// snapshot writes the files of an export as a tar, with a key and what is sealed with it.
func (a *app) snapshot(ctx context.Context, w io.Writer) error {
	return a.accounts.Steady(func() error { return a.writeFiles(ctx, w) })
}

func (a *app) writeFiles(ctx context.Context, w io.Writer) error {
	archive := tar.NewWriter(w)
	header := func(name string, size int64) error {
		return archive.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: size, ModTime: time.Now()})
	}
	for _, file := range a.data.exported() {
		if file[0] == stateFile {
			continue
		}
		content, err := os.ReadFile(file[1])
		if errors.Is(err, fs.ErrNotExist) {
			continue // not made yet
		}
		if err == nil {
			err = header(file[0], int64(len(content)))
		}
		if err == nil {
			_, err = archive.Write(content)
		}
		if err != nil {
			return err
		}
	}
	if err := a.store.Snapshot(ctx, archive, func(size int64) error { return header(stateFile, size) }); err != nil {
		return err
	}
	return archive.Close()
}

type stateExport struct {
	File string `arg:"" help:"New file." type:"path"`
	passphraseFlag
	output
}

// passphraseFlag says where a passphrase comes from.
type passphraseFlag struct {
	PassphraseStdin bool `help:"Read the passphrase from the first line of standard input."`
}

const minPassphrase = 12

func (p passphraseFlag) read(s streams, isNew bool) (secret.Text, error) {
	if !p.PassphraseStdin && !term.IsTerminal(int(s.in.Fd())) {
		return secret.Text{}, errors.New("standard input is not a terminal: pass the passphrase with --passphrase-stdin")
	}
	text, err := passwordFlag{PasswordStdin: p.PassphraseStdin}.read(s, isNew)
	if err == nil && isNew && len(text.Reveal()) < minPassphrase {
		err = fmt.Errorf("the passphrase has %d characters, at least %d are needed: who has the file can try as often as they like", len(text.Reveal()), minPassphrase)
	}
	return text, err
}

// Run implements the command.
func (cmd stateExport) Run(ctx context.Context, c *cli, s streams) (err error) {
	passphrase, err := cmd.read(s, true)
	if err != nil {
		return err
	}
	client, _, closing, err := connect(ctx, c, withAccounts)
	if err != nil {
		return err
	}
	defer closing()
	recipient, err := age.NewScryptRecipient(passphrase.Reveal())
	if err != nil {
		return err
	}
	file, err := os.OpenFile(cmd.File, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(cmd.File)
		}
	}()
	sealed, err := age.Encrypt(file, recipient)
	if err == nil {
		err = client.Snapshot(ctx, sealed)
	}
	if err == nil {
		err = sealed.Close()
	}
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	return cmd.print(s.out, map[string]string{"file": cmd.File}, func(w io.Writer) {
		fmt.Fprintf(w, "the state is in %s, encrypted with the passphrase; keep both, in different places\n", shown(cmd.File))
	})
}

type stateImport struct {
	File string `arg:"" help:"File that \"state export\" wrote." type:"existingfile"`
	passphraseFlag
	output
}

// Run implements the command.
func (cmd stateImport) Run(_ context.Context, c *cli, s streams) error {
	passphrase, err := cmd.read(s, false)
	if err != nil {
		return err
	}
	conf, err := config.Load(c.Config)
	if err != nil {
		return err
	}
	data, err := openDataDir(conf.Server.DataDir)
	if err != nil {
		return err
	}
	defer data.close()
	if err := cmd.restore(data, passphrase); err != nil {
		return fmt.Errorf("nothing was restored: %w", errors.Join(err, data.undo()))
	}
	return cmd.print(s.out, map[string]string{"data_dir": data.path}, func(w io.Writer) {
		fmt.Fprintf(w, "restored to %s; events and users' files were not in the export\n", shown(data.path))
	})
}

func (cmd stateImport) restore(data *dataDir, passphrase secret.Text) error {
	for _, file := range data.exported() {
		if _, err := os.Lstat(file[1]); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("%s is there already: move it away, or set another data_dir", shown(file[1]))
		}
	}
	file, err := os.Open(cmd.File)
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	identity, err := age.NewScryptIdentity(passphrase.Reveal())
	if err != nil {
		return err
	}
	plain, err := age.Decrypt(file, identity)
	if wrong := new(age.NoIdentityMatchError); errors.As(err, &wrong) {
		return errors.New("the passphrase is wrong")
	}
	if err != nil {
		return fmt.Errorf("%s is not an export, or damaged: %w", shown(cmd.File), err)
	}
	folder, err := os.MkdirTemp(data.private, "import")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	if err := unpack(plain, folder, data); err != nil {
		return fmt.Errorf("%s is damaged: %w", shown(cmd.File), err)
	}
	store, err := state.OpenBolt(filepath.Join(folder, stateFile)) // which reads all of it
	if err != nil {
		return err
	}
	if err := store.Close(); err != nil {
		return err
	}
	for _, file := range data.exported() {
		if err := os.Rename(filepath.Join(folder, file[0]), file[1]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return state.SyncFolder(data.private)
}

// unpack writes the files of an export, and no others, to the disk. That all of it is what was exported is known only at
// its end.
func unpack(plain io.Reader, folder string, data *dataDir) error {
	archive := tar.NewReader(plain)
	complete := false
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if !slices.ContainsFunc(data.exported(), func(file [2]string) bool { return file[0] == header.Name }) {
			return fmt.Errorf("%q does not belong to an export", header.Name)
		}
		file, err := os.OpenFile(filepath.Join(folder, header.Name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = io.Copy(file, archive)
		if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
			return err
		}
		complete = complete || header.Name == stateFile
	}
	if _, err := io.Copy(io.Discard, plain); err != nil {
		return err
	}
	if !complete {
		return errors.New("there is no state in it")
	}
	return nil
}
