// SPDX-License-Identifier: Apache-2.0

package testbed

import (
	"context"
	"sync"
)

// lock is a mutex that is held while something is done on a host or in a guest. A context
// ends the wait for it. Tests in virtual time can wait for it too, other than for a
// sync.Mutex.
type lock chan struct{}

func newLock() lock { return make(lock, 1) }

// acquire waits for the lock, and returns the function that releases it.
func (l lock) acquire(ctx context.Context) (release func(), err error) {
	select {
	case l <- struct{}{}:
		return func() { <-l }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// locks are locks by name. The zero value is ready for use.
type locks struct {
	mu     sync.Mutex // guards byName
	byName map[string]lock
}

// acquire waits for the lock of that name.
func (k *locks) acquire(ctx context.Context, name string) (release func(), err error) {
	k.mu.Lock()
	if k.byName == nil {
		k.byName = map[string]lock{}
	}
	if k.byName[name] == nil {
		k.byName[name] = newLock()
	}
	l := k.byName[name]
	k.mu.Unlock()
	return l.acquire(ctx)
}
