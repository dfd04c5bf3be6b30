// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gofrs/flock"

	"github.com/mhmig/mhmig/runtime/host"
)

// Kind is how a lab makes its hosts.
type Kind string

const (
	// Embedded hosts are SSH servers in this process, on loopback addresses.
	Embedded Kind = "embedded"
	// Netns hosts are network namespaces with a real sshd. They need root.
	Netns Kind = "netns"
)

// MaxHosts is how many hosts a lab can have.
const MaxHosts = 64

// closeTimeout limits how long removing a lab may take.
const closeTimeout = 20 * time.Second

// Options say what lab to start.
type Options struct {
	// Hosts is how many hosts to make, 1 to [MaxHosts].
	Hosts int
	// Kind is how to make them. Empty: Embedded.
	Kind Kind
	// Dir is the folder for the hosts' folders, the keys, and the storage that
	// the hosts share. It is made if it does not exist, and must be empty
	// except for a dead lab, which is removed. Empty: a new folder
	// in the user's cache.
	Dir string
	// Logger gets log records. Nil: none.
	Logger *slog.Logger
}

// Lab is a set of hosts that were made on this machine.
type Lab struct {
	state *State
	lock  *flock.Flock
	log   *slog.Logger

	servers []*server // of an embedded lab
	nsHosts []*nsHost // of a netns lab

	closing  sync.Once
	closeErr error
}

// Start makes the hosts and returns when all of them accept SSH connections. When
// it fails, everything is removed. The caller closes the Lab; ctx is for starting
// only.
func Start(ctx context.Context, o Options) (*Lab, error) {
	if o.Kind == "" {
		o.Kind = Embedded
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Hosts < 1 || o.Hosts > MaxHosts {
		return nil, fmt.Errorf("start a lab: hosts: got %d, want 1 to %d", o.Hosts, MaxHosts)
	}
	switch o.Kind {
	case Embedded:
	case Netns:
		if err := checkNetns(); err != nil {
			return nil, fmt.Errorf("start a netns lab: %w", err)
		}
	default:
		return nil, fmt.Errorf("start a lab: kind: got %q, want %s or %s", o.Kind, Embedded, Netns)
	}
	l, err := start(ctx, o)
	if err != nil {
		return nil, fmt.Errorf("start the %s lab: %w", o.Kind, err)
	}
	return l, nil
}

func start(ctx context.Context, o Options) (_ *Lab, err error) {
	started := time.Now()
	id, err := newID()
	if err != nil {
		return nil, err
	}
	if o.Dir == "" {
		folder, err := Folder()
		if err != nil {
			return nil, err
		}
		if _, err := RemoveDead(ctx); err != nil {
			o.Logger.Warn("cannot remove a dead lab", "error", err)
		}
		o.Dir = filepath.Join(folder, id)
	}
	l := &Lab{log: o.Logger, state: &State{ID: id, Kind: o.Kind, PID: os.Getpid(), Since: started}}
	if l.state.Dir, err = filepath.Abs(o.Dir); err != nil {
		return nil, err
	}
	if l.state.States, err = StatesFolder(); err != nil {
		return nil, err
	}
	if l.state.Versions, err = VersionsFolder(); err != nil {
		return nil, err
	}
	if err := l.claim(ctx); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	if err := l.state.save(); err != nil {
		return nil, err
	}
	keys, err := newKeys(l.state, o.Hosts)
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(l.state.sharedDir(), 0o755); err != nil {
		return nil, err
	}
	switch o.Kind {
	case Embedded:
		err = l.startEmbedded(keys, o.Hosts)
	case Netns:
		err = l.startNetns(ctx, keys, o.Hosts)
	}
	if err != nil {
		return nil, err
	}
	if err := keys.writeClientFiles(l.state); err != nil {
		return nil, err
	}
	l.state.Ready = true
	if err := l.state.save(); err != nil {
		return nil, err
	}
	l.log.Debug("lab started", "lab", id, "kind", o.Kind, "hosts", o.Hosts, "duration", time.Since(started))
	return l, nil
}

// Hosts returns the configurations of the hosts. They are named host1, host2, ….
func (l *Lab) Hosts() []host.Config { return l.state.Configs() }

// Params returns the params for the lab's hosts: images_base_dir, on shared storage,
// and a state_dir for each, as state_dir_host1, state_dir_host2, ….
func (l *Lab) Params() map[string]string { return l.state.Params() }

// State returns the lab's description. The caller does not change it.
func (l *Lab) State() *State { return l.state }

// Close ends the hosts, kills all processes on them, and removes everything that
// the lab made. It blocks until that is done, 20 s at most. Calling it again
// returns the same error.
func (l *Lab) Close() error {
	l.closing.Do(func() {
		// Not a context of the caller: the lab must be removed even after an interrupt.
		ctx, cancel := context.WithTimeoutCause(context.Background(), closeTimeout,
			fmt.Errorf("the lab did not end within %s", closeTimeout))
		defer cancel()
		var group sync.WaitGroup
		for _, s := range l.servers {
			group.Go(s.close)
		}
		for _, m := range l.nsHosts {
			group.Go(m.kill)
		}
		group.Wait()
		_, err := l.state.remove(ctx)
		l.closeErr = errors.Join(err, l.lock.Close())
	})
	return l.closeErr
}

// claim makes and locks the lab's folder.
func (l *Lab) claim(ctx context.Context) error {
	dir := l.state.Dir
	if _, err := os.Stat(filepath.Join(dir, stateFile)); err == nil {
		if _, err := Remove(ctx, dir); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return fmt.Errorf("make the lab's folder (MHMIG_CACHE can name another one): %w", err)
	}
	err := os.Mkdir(dir, 0o700)
	switch {
	case err == nil:
		l.state.MadeDir = true
	case errors.Is(err, os.ErrExist):
		if entries, err := os.ReadDir(dir); err != nil {
			return err
		} else if len(entries) > 0 {
			return fmt.Errorf("the lab's folder %s is not empty: it has %s", dir, entries[0].Name())
		}
	default:
		return fmt.Errorf("make the lab's folder: %w", err)
	}
	return l.lockDir()
}

// lockDir locks the lab's folder. The lock file gets its name when it is locked: until
// then, others would take it for one whose owner has died.
func (l *Lab) lockDir() error {
	dir := l.state.Dir
	unnamed := filepath.Join(dir, lockFile+"."+l.state.ID)
	l.lock = flock.New(unnamed)
	if _, err := l.lock.TryLock(); err != nil { // nobody else knows the file
		return fmt.Errorf("lock the lab's folder: %w", err)
	}
	if err := os.Rename(unnamed, filepath.Join(dir, lockFile)); err != nil {
		return fmt.Errorf("lock the lab's folder: %w", errors.Join(err, l.lock.Close()))
	}
	return nil
}

// newID returns a lab's ID: short, as it is part of the names of links and
// sockets.
func newID() (string, error) {
	b := make([]byte, 4)
	if _, err := rand.Read(b); err != nil {
		return "", fmt.Errorf("name the lab: %w", err)
	}
	return hex.EncodeToString(b)[:7], nil
}
