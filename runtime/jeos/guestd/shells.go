// SPDX-License-Identifier: Apache-2.0

package guestd

import (
	"sync"
	"time"
)

// dumbTerminal is the terminal that mhmig's sessions ask for, and so the one
// of the shell that is kept ready.
const dumbTerminal = "dumb"

// shells keeps a login shell ready that has started and waits for its first
// command. Right after a migration, starting one takes 100 ms under TCG, for
// all the code that a fork and an exec need.
type shells struct {
	mu    sync.Mutex
	ready *process // or nil
}

// refillAfter is the time for the session that took the ready shell to get
// going without a competitor.
const refillAfter = time.Second

func newShells() *shells {
	s := &shells{}
	time.AfterFunc(refillAfter, s.refill)
	return s
}

// take returns the ready shell, or nil.
func (s *shells) take() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.ready
	if p == nil {
		return nil
	}
	s.ready = nil
	time.AfterFunc(refillAfter, s.refill)
	select {
	case <-p.exited: // somebody has killed it
		p.hangUp()
		return nil
	default:
		return p
	}
}

// refill starts a shell. Without one, sessions start their own.
func (s *shells) refill() {
	p, err := startOnTerminal("", []string{"TERM=" + dumbTerminal})
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ready = p
}
