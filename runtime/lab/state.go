// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/gofrs/flock"
	"github.com/google/renameio/v2"

	"github.com/mhmig/mhmig/runtime/host"
)

const (
	stateFile = "lab.json"
	lockFile  = "lab.lock"
)

// maxSessions is how many sessions a lab's server allows on a connection.
const maxSessions = 200

// ErrAlive means that a lab's owner still runs.
var ErrAlive = errors.New("the lab is in use")

// State is the content of a lab's state file.
type State struct {
	ID    string    // unique on this machine
	Kind  Kind      // how its hosts are made
	PID   int       // the process that owns the lab
	Since time.Time // when it was started
	Ready bool      // all hosts are up
	Dir   string    // the folder of the lab
	User  string    // the account of the hosts
	// States is the folder of mhmig's cache in which the hosts keep saved states of
	// guests, as seen on each host. It outlives the lab.
	States string
	// Versions is the folder of mhmig's cache with QEMUs of other versions, as seen on each
	// host: the param qemu_versions_dir.
	Versions string
	Hosts    []Endpoint

	MadeDir  bool     // Dir was made by the lab
	ShortDir string   // folder with a short path, for sockets; empty: none outside of the hosts
	Subnet   string   // of a netns lab
	Links    []string // network links of a netns lab
}

// Endpoint is the address of a lab's host.
type Endpoint struct {
	Name     string // host1, host2, …
	Address  string // an IP address
	Port     int
	StateDir string // the host's own folder, as seen on the host
}

// Configs returns the configurations of the lab's hosts.
func (s *State) Configs() []host.Config {
	configs := make([]host.Config, 0, len(s.Hosts))
	for _, e := range s.Hosts {
		configs = append(configs, host.Config{
			Name:            e.Name,
			Address:         e.Address,
			Port:            e.Port,
			User:            s.User,
			IdentityFiles:   []string{s.keyFile()},
			IdentitiesOnly:  true,
			KnownHostsFiles: []string{s.knownHostsFile()},
			MaxSessions:     maxSessions,
		})
	}
	return configs
}

// Params returns the params for the lab's hosts, as [Lab.Params] does.
func (s *State) Params() map[string]string {
	params := map[string]string{"images_base_dir": s.sharedDir(), "qemu_versions_dir": s.Versions}
	for _, e := range s.Hosts {
		params["state_dir_"+e.Name] = e.StateDir
	}
	return params
}

// SSHConfig returns the path of an ssh_config file with the lab's hosts:
// ssh -F FILE host1.
func (s *State) SSHConfig() string { return filepath.Join(s.Dir, "ssh_config") }

// Folder returns the folder that holds the user's labs:
// $MHMIG_CACHE/lab, else mhmig/lab in the user's cache folder.
func Folder() (string, error) { return cacheFolder("lab") }

// StatesFolder returns the folder in which labs keep saved states of guests:
// $MHMIG_CACHE/states, else mhmig/states in the user's cache folder.
func StatesFolder() (string, error) { return cacheFolder("states") }

// VersionsFolder returns the folder in which labs look for QEMUs of other versions:
// $MHMIG_CACHE/qemu, else mhmig/qemu in the user's cache folder.
func VersionsFolder() (string, error) { return cacheFolder("qemu") }

func cacheFolder(name string) (string, error) {
	cache := os.Getenv("MHMIG_CACHE")
	if cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("find a folder for the lab (MHMIG_CACHE can name one): %w", err)
		}
		cache = filepath.Join(user, "mhmig")
	}
	return filepath.Abs(filepath.Join(cache, name))
}

// Removed is a dead lab that was removed.
type Removed struct {
	*State
	Processes int // number of killed processes
}

// Remove removes the lab in dir, whose owner has died: it kills the processes on its
// hosts, and deletes its network links and folders. It returns an error that is
// [ErrAlive] while the owner runs, and nil and no error if dir has no lab.
func Remove(ctx context.Context, dir string) (*Removed, error) {
	s, err := load(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	lock, err := lockDead(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil // its owner has just removed it
	case errors.Is(err, ErrAlive):
		return nil, fmt.Errorf("remove lab %s of process %d: %w", dir, s.PID, ErrAlive)
	case err != nil:
		return nil, fmt.Errorf("lock the lab's folder: %w", err)
	}
	if s, err = load(dir); err != nil { // as its owner left it
		return nil, errors.Join(err, lock.Close())
	}
	killed, err := s.remove(ctx)
	if err != nil {
		err = fmt.Errorf("remove lab %s: %w", dir, err)
	}
	return &Removed{s, killed}, errors.Join(err, lock.Close())
}

// lockDead locks the folder of a lab whose owner has died. The error is [ErrAlive] while
// the owner runs, and fs.ErrNotExist if the folder has no lock file, or not that one any
// more: then what is there now is of another lab.
func lockDead(dir string) (*flock.Flock, error) {
	path := filepath.Join(dir, lockFile)
	lock := flock.New(path, flock.SetFlag(os.O_RDONLY)) // not O_CREATE
	if locked, err := lock.TryLock(); err != nil {
		return nil, err
	} else if !locked {
		return nil, ErrAlive
	}
	locked, err := lock.Stat()
	if err == nil {
		var named fs.FileInfo
		if named, err = os.Stat(path); err == nil && !os.SameFile(locked, named) {
			err = fs.ErrNotExist
		}
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, nil
}

// RemoveDead removes all labs in the user's cache folder whose owners have died, and
// returns them.
func RemoveDead(ctx context.Context) ([]Removed, error) {
	folder, err := Folder()
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(folder)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, fmt.Errorf("look for dead labs: %w", err)
	}
	var all []Removed
	var errs []error
	for _, e := range entries {
		if !e.IsDir() {
			continue // the log of the kept lab
		}
		dir := filepath.Join(folder, e.Name())
		removed, err := Remove(ctx, dir)
		switch {
		case errors.Is(err, ErrAlive):
		case err != nil:
			errs = append(errs, err)
		case removed != nil:
			all = append(all, *removed)
		default:
			errs = append(errs, removeIncomplete(dir))
		}
	}
	return all, errors.Join(errs...)
}

// removeIncomplete removes the folder of a lab whose owner died before the state file
// was there, and so before it made anything outside the folder. The owner takes the lock right
// after it has made the folder, so a new folder without one may have an owner that
// runs.
func removeIncomplete(dir string) error {
	const young = time.Minute
	lock, err := lockDead(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if info, err := os.Stat(dir); err != nil || time.Since(info.ModTime()) < young {
			return nil //nolint:nilerr // it is gone
		}
		return removeFolder(dir)
	case errors.Is(err, ErrAlive):
		return nil
	case err != nil:
		return fmt.Errorf("lock the folder of an incomplete lab: %w", err)
	}
	if _, err := os.Stat(filepath.Join(dir, stateFile)); err == nil {
		return lock.Close() // not incomplete any more: Remove is for it
	}
	return errors.Join(removeFolder(dir), lock.Close())
}

func removeFolder(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove the folder of an incomplete lab: %w", err)
	}
	return nil
}

// At returns the lab in dir, or an error that is [ErrDown] if it does not have this
// ID, or does not exist any more.
func At(dir, id string) (*State, error) {
	if !IsAlive(dir, id) {
		return nil, ErrDown
	}
	return load(dir)
}

// IsAlive reports whether the lab in dir has this ID, and its owner runs.
func IsAlive(dir, id string) bool {
	s, err := load(dir)
	if err != nil || s.ID != id {
		return false
	}
	alive, err := ownerAlive(dir)
	return err == nil && alive
}

// remove removes everything recorded in the state, and returns how many processes it
// killed. The caller holds the lab's lock.
func (s *State) remove(ctx context.Context) (killed int, err error) {
	s.Ready = false
	saved := s.save()
	killed, killErr := killMarked(ctx, s.ID)
	errs := []error{saved, killErr, removeLinks(ctx, s.Links)}
	folders := []string{s.sharedDir(), s.usersDir(), s.keyFile(), s.publicKeyFile(), s.knownHostsFile(), s.SSHConfig()}
	for n := range len(s.Hosts) {
		folders = append(folders, s.hostDir(n))
	}
	if s.ShortDir != "" {
		folders = append(folders, s.ShortDir)
	}
	for _, f := range folders {
		errs = append(errs, os.RemoveAll(f))
	}
	if err := errors.Join(errs...); err != nil {
		return killed, err // keep the state file for a retry
	}
	for _, f := range []string{stateFile, lockFile} {
		errs = append(errs, os.RemoveAll(filepath.Join(s.Dir, f)))
	}
	if s.MadeDir { // with what an owner that was killed was writing
		errs = append(errs, os.RemoveAll(s.Dir))
	}
	return killed, errors.Join(errs...)
}

// ownerAlive reports whether the process that owns the lab in dir runs.
func ownerAlive(dir string) (bool, error) {
	lock := flock.New(filepath.Join(dir, lockFile), flock.SetFlag(os.O_RDONLY))
	dead, err := lock.TryRLock() // shared, for concurrent calls
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("look for the lab's process: %w", err)
	}
	return !dead, lock.Close()
}

func load(dir string) (*State, error) {
	data, err := os.ReadFile(filepath.Join(dir, stateFile))
	if err != nil {
		return nil, fmt.Errorf("read the lab's state: %w", err)
	}
	s := &State{}
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("read the lab's state %s: %w", filepath.Join(dir, stateFile), err)
	}
	return s, nil
}

// save writes and syncs the state file.
func (s *State) save() error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err == nil {
		err = renameio.WriteFile(filepath.Join(s.Dir, stateFile), data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("write the lab's state: %w", err)
	}
	return nil
}

// environment returns the environment variables of all commands on host n. MHMIG_LAB
// identifies the processes of a lab.
func (s *State) environment(n int) []string {
	return []string{"MHMIG_LAB=" + s.ID, "MHMIG_LAB_HOST=" + s.Hosts[n].Name}
}

func hostName(n int) string { return "host" + strconv.Itoa(n+1) }

func (s *State) hostDir(n int) string   { return filepath.Join(s.Dir, hostName(n)) }
func (s *State) sharedDir() string      { return filepath.Join(s.Dir, "shared") }
func (s *State) usersDir() string       { return filepath.Join(s.Dir, "users") }
func (s *State) keyFile() string        { return filepath.Join(s.Dir, "key") }
func (s *State) publicKeyFile() string  { return filepath.Join(s.Dir, "key.pub") }
func (s *State) knownHostsFile() string { return filepath.Join(s.Dir, "known_hosts") }
