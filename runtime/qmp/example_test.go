// SPDX-License-Identifier: Apache-2.0

package qmp_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/mhmig/mhmig/runtime/qmp"
	"github.com/mhmig/mhmig/runtime/qmp/qmptest"
)

// A guest is let run; QEMU answers the command, and tells by an event that it does.
// The QEMU is a scripted one here; a real one's monitor is a unix socket.
func Example() {
	ctx := context.Background()
	ours, theirs := net.Pipe()
	machine := qmptest.New(qmptest.Script{}, false)
	var serving sync.WaitGroup
	serving.Go(func() { machine.Serve(theirs) })
	defer serving.Wait()
	defer theirs.Close()

	mon, err := qmp.New(ctx, ours, qmp.Options{Name: "vm1@host1"})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer mon.Close()
	events := mon.Subscribe("RESUME", "STOP")
	defer events.Close()
	if err := mon.Execute(ctx, "cont", nil, nil); err != nil {
		fmt.Println(err)
		return
	}
	event := <-events.C
	fmt.Println("event:", event.Name)

	var answer struct {
		Status  string `json:"status"`
		Running bool   `json:"running"`
	}
	if err := mon.Execute(ctx, "query-status", nil, &answer); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("state:", answer.Status, answer.Running)

	err = mon.Execute(ctx, "no-such-command", nil, nil)
	if refused, ok := errors.AsType[*qmp.Error](err); ok {
		fmt.Println("refused:", refused.Class)
	}
	// Output:
	// event: RESUME
	// state: running true
	// refused: CommandNotFound
}
