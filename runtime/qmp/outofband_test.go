// SPDX-License-Identifier: Apache-2.0

package qmp_test

import (
	"strings"
	"testing"

	"github.com/mhmig/mhmig/runtime/qmp"
)

// A command is sent out of band if the monitor has negotiated that; else, or where QEMU
// has not got it, it is an ordinary one.
func TestExecuteOutOfBand(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name     string
		greeting string
		enable   bool
		want     string // how the command is sent
		enabled  string // in qmp_capabilities
	}{
		{"enabled", greeting, true, "exec-oob", `{"enable":["oob"]}`},
		{"not enabled", greeting, false, "execute", ""},
		{"an old QEMU", strings.Replace(greeting, `"oob"`, "", 1), true, "execute", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var negotiated string
			sent := make(chan string, 1)
			c, err := qmp.New(t.Context(), pipe(t, func(f *fake) {
				f.send(tt.greeting)
				first := f.next()
				negotiated = string(first.Arguments)
				f.reply(first, `{}`)
				r := f.next()
				sent <- f.in.Text()
				f.reply(r, `{}`)
				f.next()
			}), qmp.Options{OutOfBand: tt.enable})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := c.ExecuteOutOfBand(t.Context(), "migrate-recover", map[string]any{"uri": "tcp:host2:1"}, nil); err != nil {
				t.Fatal(err)
			}
			if line := <-sent; !strings.Contains(line, `"`+tt.want+`":"migrate-recover"`) || negotiated != tt.enabled {
				t.Errorf("sent %s after negotiating %q, want %s and %q", line, negotiated, tt.want, tt.enabled)
			}
		})
	}
}
