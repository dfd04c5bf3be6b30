// SPDX-License-Identifier: Apache-2.0

package qmptest

import (
	"sync"
	"testing"
)

// The one who loads from a command and the one who ends the QEMU close it at the same time.
func TestCommandIsClosedTwice(t *testing.T) {
	t.Parallel()
	command, err := new(QEMU).command("cat; exit 3")
	if err != nil {
		t.Fatal(err)
	}
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			if err := command.Close(); err == nil || err.Error() != "exit status 3" {
				t.Errorf("closed: %v, want the command's end", err)
			}
		})
	}
	both.Wait()
}
