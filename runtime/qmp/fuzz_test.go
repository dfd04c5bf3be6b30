// SPDX-License-Identifier: Apache-2.0

package qmp_test

import (
	"context"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/mhmig/mhmig/runtime/qmp"
)

// FuzzReader feeds the reader with whatever QEMU could say: no input makes it
// panic, hang or leave goroutines, and the connection ends with a reason.
func FuzzReader(f *testing.F) {
	for _, seed := range []string{
		greeting,
		greeting + `{"return": {}, "id": 1}` + `{"return": {}, "id": 2}`,
		greeting + `{"return": {}, "id": 1}` + `{"timestamp": {"seconds": -1, "microseconds": -1}, "event": "STOP"}`,
		greeting + `{"error": {"class": "GenericError", "desc": "x"}, "id": 1}`,
		greeting + `{"return": {}, "id": 1}` + `{"event": "SHUTDOWN", "data": {"reason": 3}}`,
		greeting[:40],
		`null`, `[]`, `{"QMP": null}`, "\xff\x00", `{"event": 1}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, said []byte) {
		client, server := net.Pipe()
		fed := make(chan struct{})
		drained := make(chan struct{})
		go func() {
			defer close(fed)
			_, _ = server.Write(said)
			_ = server.Close()
		}()
		go func() {
			defer close(drained)
			_, _ = io.Copy(io.Discard, server)
		}()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		c, err := qmp.New(ctx, client, qmp.Options{Transcript: io.Discard})
		if err == nil {
			s := c.Subscribe()
			err = c.Execute(ctx, "query-status", nil, nil)
			<-c.Done()
			for range s.C {
			}
			if !errors.Is(c.Err(), qmp.ErrGone) {
				t.Errorf("Err() = %v, want ErrGone", c.Err())
			}
			s.Close()
			c.Close()
		}
		if errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%q: the client hung", said)
		}
		<-fed
		<-drained
	})
}
