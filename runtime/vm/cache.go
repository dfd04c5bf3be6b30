// SPDX-License-Identifier: Apache-2.0

package vm

import (
	"context"
	"sync"
)

// Cache keeps what was found out about the hosts of a run, so that each is asked
// once. The zero value is empty. Its methods may be called from any goroutine.
type Cache struct {
	qemus  memo[QEMU]
	accels memo[kvmVerdict]
	// blanks are images in which nothing is yet, nil for those that are larger than
	// maxBlank: for a run of many variants, writing one again is many times faster
	// than qemu-img. Nothing in an image tells its own name.
	blanks memo[[]byte]
}

// memo keeps answers by key. Who asks what somebody is just finding out waits for
// that; an error is not kept.
type memo[T any] struct {
	mu      sync.Mutex // guards answers
	answers map[string]*answer[T]
}

type answer[T any] struct {
	turn  chan struct{} // capacity 1; who has put something in may use the rest
	known bool
	value T
}

func (m *memo[T]) get(ctx context.Context, key string, find func(context.Context) (T, error)) (T, error) {
	m.mu.Lock()
	if m.answers == nil {
		m.answers = make(map[string]*answer[T])
	}
	a := m.answers[key]
	if a == nil {
		a = &answer[T]{turn: make(chan struct{}, 1)}
		m.answers[key] = a
	}
	m.mu.Unlock()

	select {
	case a.turn <- struct{}{}:
		defer func() { <-a.turn }()
	case <-ctx.Done():
		var none T
		return none, context.Cause(ctx)
	}
	if a.known {
		return a.value, nil
	}
	value, err := find(ctx)
	if err == nil {
		a.value, a.known = value, true
	}
	return value, err
}
