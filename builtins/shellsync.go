// SPDX-License-Identifier: Apache-2.0

package builtins

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"path"
	"strings"
	"sync"

	"go.starlark.net/starlark"

	"github.com/mhmig/mhmig/runtime/barrier"
	"github.com/mhmig/mhmig/runtime/task"
	"github.com/mhmig/mhmig/runtime/testbed"
)

// syncVariable is the environment variable with the socket by which a command on a host
// takes part in barriers.
const syncVariable = "MHMIG_SYNC"

// shellSync lets the commands that a task starts on its host take part in the
// task's barriers, through a unix socket on that host. One line is a request:
//
//	barrier TAG          waits for the others; the answer is "ok"
//	sync TAG DATA        also sends DATA; the answer is "ok" and a JSON object {"host": data}
//
// If the barrier fails, the answer is "error" and the reason. There is one socket per
// scope, created for the first command; it exists as long as the scope's owner.
type shellSync struct {
	lock chan struct{} // capacity 1, full while the socket is created: a mutex that a context can end the wait for
	path string        // "" before the first command; guarded by lock
}

func newShellSync() shellSync { return shellSync{lock: make(chan struct{}, 1)} }

// syncEnv returns the environment for a command of task t, whose scope is sc, on
// host h: the socket's path if the scope is on that host, else nothing.
func syncEnv(ctx context.Context, t *task.Task, sc *scope, h *testbed.Host) (map[string]string, error) {
	if sc == nil || sc.host != h {
		return nil, nil
	}
	select {
	case sc.shell.lock <- struct{}{}:
		defer func() { <-sc.shell.lock }()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	if sc.shell.path == "" {
		socket := path.Join(h.RunDir(), fmt.Sprintf("sync-%d", h.NextNumber()))
		listener, err := h.Listen(ctx, "unix", socket)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", syncVariable, err)
		}
		sc.shell.path = socket
		t.Scenario().Go("barriers of commands on "+h.Name(), sc, func(server *task.Task) (starlark.Value, error) {
			serve(server.Context(), sc.owner.Done(), listener, sc.barriers, sc.party)
			return starlark.None, nil
		})
	}
	return map[string]string{syncVariable: sc.shell.path}, nil
}

// serve answers requests until the owner of the commands' scope, or its
// scenario, has ended.
func serve(ctx context.Context, ownerDone <-chan struct{}, listener net.Listener, barriers *barrier.Group, party string) {
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	group.Go(func() {
		select {
		case <-ownerDone:
		case <-ctx.Done():
		}
		cancel()
		_ = listener.Close()
	})
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		group.Go(func() {
			stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
			defer stop()
			defer conn.Close()
			lines := bufio.NewScanner(conn)
			for lines.Scan() {
				if _, err := fmt.Fprintln(conn, answer(ctx, barriers, party, lines.Text())); err != nil {
					return
				}
			}
		})
	}
}

func answer(ctx context.Context, barriers *barrier.Group, party, request string) string {
	verb, rest, _ := strings.Cut(strings.TrimSpace(request), " ")
	tag, data, _ := strings.Cut(strings.TrimSpace(rest), " ")
	if (verb != "barrier" && verb != "sync") || tag == "" {
		return "error: want: barrier TAG, or: sync TAG DATA"
	}
	received, err := syncAt(ctx, barriers, party, tag, data, nil, barrierTimeout)
	switch {
	case err != nil:
		return "error: " + strings.ReplaceAll(err.Error(), "\n", " ")
	case verb == "barrier":
		return "ok"
	}
	texts := map[string]string{}
	for host, value := range received {
		switch data := value.(type) {
		case brought:
			texts[host] = data.text
		case string: // of another command
			texts[host] = data
		default: // a task that has called barrier brings none
			texts[host] = ""
		}
	}
	encoded, err := json.Marshal(texts)
	if err != nil {
		return "error: " + err.Error()
	}
	return "ok " + string(encoded)
}
