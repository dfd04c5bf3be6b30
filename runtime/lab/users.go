// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofrs/flock"
)

// InUseError names the users of a lab that is to be ended.
type InUseError struct{ Users []string }

func (e *InUseError) Error() string {
	return "the lab is in use: " + strings.Join(e.Users, ", ")
}

// Use registers a user of a kept lab until release; who is for messages. The
// registration ends with the process, however that ends. Use waits while the lab is
// being ended, and fails then.
func (s *State) Use(ctx context.Context, who string) (release func(), err error) {
	unlock, err := lockFolder(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if !IsAlive(s.Dir, s.ID) {
		return nil, ErrDown
	}
	if err := os.MkdirAll(s.usersDir(), 0o700); err != nil {
		return nil, fmt.Errorf("register as a user of the lab: %w", err)
	}
	file, err := os.CreateTemp(s.usersDir(), "")
	if err == nil {
		_, err = fmt.Fprintf(file, "%s (process %d)", who, os.Getpid())
		file.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("register as a user of the lab: %w", err)
	}
	lock := flock.New(file.Name())
	if err := lock.Lock(); err != nil { // nobody else has seen the file
		return nil, fmt.Errorf("register as a user of the lab: %w", err)
	}
	return func() {
		os.Remove(file.Name()) // if that fails, it looks like a dead process's
		_ = lock.Close()
	}, nil
}

// users returns the registered users. The caller has locked the folder of labs.
func (s *State) users() []string {
	var users []string
	names, _ := filepath.Glob(filepath.Join(s.usersDir(), "*")) // the pattern is valid
	for _, name := range names {
		lock := flock.New(name, flock.SetFlag(os.O_RDONLY))
		if dead, err := lock.TryRLock(); err != nil || dead {
			_ = lock.Close()
			continue
		}
		if who, err := os.ReadFile(name); err == nil {
			users = append(users, string(who))
		}
	}
	return users
}
