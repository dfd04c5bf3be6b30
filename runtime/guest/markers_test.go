// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
)

// TestMarkers: what a terminal makes of two commands' markers.
func TestMarkers(t *testing.T) {
	t.Parallel()
	const noise = "[ 1.2] noise\r\n"
	tests := []struct {
		name   string
		screen string
		found  bool
		status int
		output string
	}{
		{name: "plain", screen: "<mhb:X>\n<mhb:X>\nout\n<mhe:X:0>\n<mhe:X:0>\nmhmig# ", found: true, output: "<mhb:X>\nout\n"},
		{name: "CR LF", screen: "<mhb:N>\r\n<mhb:N>\r\nout\r\n<mhe:N:3>\r\n", found: true, status: 3, output: "out\n"},
		{name: "CR CR LF", screen: "<mhb:N>\r\r\nout\r\r\n<mhe:N:3>\r\r\n", found: true, status: 3, output: "out\n"},
		{name: "raw output with CR LF", screen: "<mhb:N>\nout\r\n<mhe:N:0>\n", found: true, output: "out\r\n"},
		{name: "echo", screen: "printf '<%s%s>\\n' mhb: N mhb: N; x; printf mhe: N: $?\n<mhb:N>\n<mhe:N:0>", found: true},
		{name: "output without a newline", screen: "<mhb:N>\nabc<mhe:N:1>\n", found: true, status: 1, output: "abc"},
		{name: "old output before", screen: "old\n<mhe:M:0>\n<mhb:N>\nnew\n<mhe:N:0>", found: true, output: "new\n"},
		{name: "begin broken by the kernel", screen: "<mh" + noise + "b:N>\n<mhb:N>\nout\n<mhe:N:0>", found: true, output: "out\n"},
		{name: "end broken by the kernel", screen: "<mhb:N>\nout\n<mhe:N:" + noise + "0>\n<mhe:N:0>", found: true, output: "out\n<mhe:N:" + noise + "0>\n"},
		{name: "status broken by the kernel", screen: "<mhb:N>\nout\n<mhe:N:12" + noise + "7>\n", output: ""},
		{name: "not yet", screen: "<mhb:N>\nout\n"},
		{name: "status not yet", screen: "<mhb:N>\nout\n<mhe:N:12"},
		{name: "both begins lost", screen: "out\n<mhe:N:0>", found: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			n := nonce("N")
			if strings.Contains(tt.screen, "<mhb:X>") {
				tt.screen = strings.Replace(tt.screen, "<mhb:X>\n", "<mhb:N>\n", 1)
				tt.screen = strings.ReplaceAll(tt.screen, "mhe:X", "mhe:N")
			}
			whole := &endMarkerFinder{n: n}
			if got := whole.find([]byte(tt.screen)); got != tt.found {
				t.Fatalf("found: got %v, want %v", got, tt.found)
			}
			// Byte by byte it is the same.
			slow := &endMarkerFinder{n: n}
			for i := 0; i <= len(tt.screen) && !slow.find([]byte(tt.screen[:i])); i++ {
			}
			if tt.found && (slow.at != whole.at || slow.status != whole.status) {
				t.Errorf("byte by byte: got %+v, want %+v", slow, whole)
			}
			if !tt.found {
				return
			}
			if whole.status != tt.status {
				t.Errorf("status: got %d, want %d", whole.status, tt.status)
			}
			if got := output([]byte(tt.screen[:whole.at]), n); got != tt.output {
				t.Errorf("output: got %q, want %q", got, tt.output)
			}
		})
	}
}

// FuzzTyped: whatever is typed, a real shell gets the command, and no control
// character is typed but the newlines that end lines.
func FuzzTyped(f *testing.F) {
	for _, seed := range []string{"echo a", "it's", "a\nb\t\\n\\0101\x03", strings.Repeat("'\\", 2000), "%s %b \\", "ž\xff移"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, command string) {
		command = strings.ReplaceAll(command, "\x00", "")
		before, word := typed(command)
		var script bytes.Buffer
		for _, line := range append(before, "printf %s "+word+"\n") {
			if strings.ContainsFunc(strings.TrimSuffix(line, "\n"), isControl) || len(line) > 4095 {
				t.Fatalf("typed line of %d bytes: %.200q", len(line), line)
			}
			script.WriteString(line)
		}
		shell := exec.Command("sh")
		shell.Stdin = &script
		got, err := shell.Output()
		if err != nil {
			t.Fatal(err)
		}
		want := command
		if strings.ContainsFunc(command, isControl) {
			want = strings.TrimRight(command, "\n") // as $() does; to eval it is the same
		}
		if string(got) != want {
			t.Fatalf("the shell got %q, want %q", got, want)
		}
	})
}

func FuzzMarkers(f *testing.F) {
	f.Add([]byte("<mhb:N>\r\nout\r\n<mhe:N:3>\r\n"))
	f.Add([]byte("\x1b[6n<mhe:N:99999999999999999999>"))
	f.Fuzz(func(t *testing.T, screen []byte) {
		e := &endMarkerFinder{n: "N"}
		if e.find(screen) {
			_ = output(screen[:e.at], "N")
		}
		_ = lastLines(visible(screen), 3)
	})
}
