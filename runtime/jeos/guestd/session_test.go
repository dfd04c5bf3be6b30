// SPDX-License-Identifier: Apache-2.0

package guestd

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// What a command has written when its shell ends is passed, however late: a guest on a busy
// host may have read nothing until then. A child that goes on does not keep it open.
func TestOutputIsWhole(t *testing.T) {
	t.Parallel()
	for _, passing := range []bool{true, false} {
		var got bytes.Buffer
		o, err := newOutput(&got)
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("sh", "-c", "sleep 1000 & echo $!; printf '%50000s' x; echo end")
		cmd.Stdout = o.write
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if passing {
			o.pass()
		} else {
			_ = o.write.Close()
			close(o.passed)
		}
		if err := cmd.Wait(); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		o.finish()
		if took := time.Since(began); took > time.Minute {
			t.Errorf("it took %v", took)
		}
		child, rest, _ := strings.Cut(got.String(), "\n")
		if len(rest) != 50000+len("end\n") || !strings.HasSuffix(rest, "xend\n") {
			t.Errorf("passing %t: got %d bytes, want all", passing, len(rest))
		}
		_ = exec.Command("kill", child).Run()
	}
}
