// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"sync"
)

// Cache caches facts about the hosts of a run, so that each is queried once. The zero
// value is empty. Its methods may be called from any goroutine.
type Cache struct {
	qemus  memo[QEMU]
	accels memo[KVM]
	modes  memo[[]string] // of migrations, in the QEMUs' schemas
	// blanks are new images, nil for those that are larger than maxBlank: in a run of
	// many variants, writing a copy is many times faster than qemu-img. An image does
	// not contain its own name.
	blanks memo[[]byte]
	// identities are what IdentifyHost has found out.
	identities memo[string]
	// addresses are those that guests were given.
	addresses addresses
}

// memo caches values by key. Concurrent calls for one key wait for the first; an error
// is not cached.
type memo[T any] struct {
	mu      sync.Mutex // guards entries
	entries map[string]*memoEntry[T]
}

type memoEntry[T any] struct {
	lock  chan struct{} // capacity 1; a mutex for the fields below that a context can end the wait for
	known bool
	value T
}

func (m *memo[T]) get(ctx context.Context, key string, find func(context.Context) (T, error)) (T, error) {
	m.mu.Lock()
	if m.entries == nil {
		m.entries = make(map[string]*memoEntry[T])
	}
	e := m.entries[key]
	if e == nil {
		e = &memoEntry[T]{lock: make(chan struct{}, 1)}
		m.entries[key] = e
	}
	m.mu.Unlock()

	select {
	case e.lock <- struct{}{}:
		defer func() { <-e.lock }()
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
	if e.known {
		return e.value, nil
	}
	value, err := find(ctx)
	if err == nil {
		e.value, e.known = value, true
	}
	return value, err
}
