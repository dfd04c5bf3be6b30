// SPDX-License-Identifier: Apache-2.0

package diag_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/lang/diag"
)

func TestRender(t *testing.T) {
	t.Parallel()
	pos := diag.Pos{File: "a.cfg", Line: 3, Col: 6}
	tests := []struct {
		name  string
		in    diag.Diagnostic
		color bool
		want  string
	}{
		{
			"all parts",
			diag.Diagnostic{Pos: pos, Message: "three dots", Hint: "use two", Source: "only a...b"},
			false,
			"a.cfg:3:6: three dots\n    only a...b\n         ^\n    hint: use two\n",
		},
		{"no place", diag.Diagnostic{Message: "too many"}, false, "too many\n"},
		{
			"no column",
			diag.Diagnostic{Pos: diag.Pos{File: "a.cfg", Line: 3}, Message: "m", Source: "k"},
			false,
			"a.cfg:3: m\n    k\n",
		},
		{"warning", diag.Diagnostic{Severity: diag.Warning, Pos: pos, Message: "m"}, false, "a.cfg:3:6: warning: m\n"},
		{
			"wide letters before the caret",
			diag.Diagnostic{Pos: pos, Message: "m", Source: "größe!"},
			false,
			"a.cfg:3:6: m\n    größe!\n         ^\n",
		},
		{
			"caret after the end",
			diag.Diagnostic{Pos: diag.Pos{File: "f", Line: 1, Col: 99}, Message: "m", Source: "ab"},
			false,
			"f:1:99: m\n    ab\n      ^\n",
		},
		{
			"long line",
			diag.Diagnostic{Pos: diag.Pos{File: "f", Line: 1, Col: 201}, Message: "m", Source: strings.Repeat("a", 200) + "!" + strings.Repeat("b", 300)},
			false,
			"f:1:201: m\n    …" + strings.Repeat("a", 60) + "!" + strings.Repeat("b", 99) + "…\n    " + strings.Repeat(" ", 61) + "^\n",
		},
		{
			"long line, place at its end",
			diag.Diagnostic{Pos: diag.Pos{File: "f", Line: 1, Col: 301}, Message: "m", Source: strings.Repeat("a", 300)},
			false,
			"f:1:301: m\n    …" + strings.Repeat("a", 160) + "\n    " + strings.Repeat(" ", 161) + "^\n",
		},
		{
			"control characters",
			diag.Diagnostic{Pos: pos, Message: "bad \x1b[2J", Source: "a\x1b]0;x\ab"},
			false,
			"a.cfg:3:6: bad \\x1b[2J\n    a\\x1b]0;x\\ab\n            ^\n",
		},
		{
			"colour",
			diag.Diagnostic{Pos: pos, Message: "m", Source: "abcdef", Hint: "h"},
			true,
			"\x1b[1ma.cfg:3:6:\x1b[0m m\n    abcdef\n         \x1b[31m^\x1b[0m\n    \x1b[36mhint:\x1b[0m h\n",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var b strings.Builder
			if err := diag.Render(&b, diag.List{tt.in}, tt.color); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, b.String()); diff != "" {
				t.Errorf("Render (-want +got):\n%s", diff)
			}
		})
	}
}

func TestListErr(t *testing.T) {
	t.Parallel()
	warning := diag.Diagnostic{Severity: diag.Warning, Message: "w"}
	failure := diag.Diagnostic{Pos: diag.Pos{File: "f", Line: 2, Col: 1}, Message: "e"}
	if err := (diag.List{warning}).Err(); err != nil {
		t.Errorf("warnings alone: got %v, want nil", err)
	}
	err := diag.List{warning, failure}.Err()
	if got, want := fmt.Sprint(err), "warning: w\nf:2:1: e"; got != want {
		t.Errorf("Err() = %q, want %q", got, want)
	}
	if got := diag.Of(fmt.Errorf("list: %w", err)); len(got) != 2 {
		t.Errorf("Of(wrapped list) = %v, want both diagnostics", got)
	}
	if got := diag.Of(fmt.Errorf("one: %w", failure)); len(got) != 1 || got[0] != failure {
		t.Errorf("Of(wrapped diagnostic) = %v, want it", got)
	}
	if got := diag.Of(errors.New("other")); got != nil {
		t.Errorf("Of(other error) = %v, want nil", got)
	}
}

func TestSort(t *testing.T) {
	t.Parallel()
	at := func(file string, line, col int, message string) diag.Diagnostic {
		return diag.Diagnostic{Pos: diag.Pos{File: file, Line: line, Col: col}, Message: message}
	}
	l := diag.List{at("b", 1, 1, "1"), at("a", 2, 1, "2"), at("a", 1, 9, "3"), at("a", 1, 9, "4"), at("a", 1, 2, "5")}
	l.Sort()
	var order strings.Builder
	for _, d := range l {
		order.WriteString(d.Message)
	}
	if got, want := order.String(), "53421"; got != want {
		t.Errorf("order = %s, want %s", got, want)
	}
}

func TestNearest(t *testing.T) {
	t.Parallel()
	keywords := []string{"variants", "only", "no", "include", "del", "suffix", "join"}
	tests := []struct{ word, want string }{
		{"onyl", "only"},
		{"variant", "variants"},
		{"incldue", "include"},
		{"sufix", "suffix"},
		{"ONLY", "only"},
		{"only", ""},
		{"on", "no"},
		{"xyzzy", ""},
		{"", ""},
	}
	for _, tt := range tests {
		if got := diag.Nearest(tt.word, keywords); got != tt.want {
			t.Errorf("Nearest(%q) = %q, want %q", tt.word, got, tt.want)
		}
	}
}

// TestWithoutSecret has secrets that begin at the column of the hidden text, and lines that hide nothing.
func TestWithoutSecret(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ source, want string }{
		{`ssh_password = "hunter22x`, `ssh_password = ***`},
		{`ssh_password="hunter22x`, `ssh_password=***`},
		{`    RHEL: ssh_password_host1 ?+= hunter22x`, `    RHEL: ssh_password_host1 ?+= ***`},
		{"ssh_password_host1 hunter22x", "ssh_password_host1 ***"},
		{"ssh_password: hunter22x = 1", "ssh_password: ***"},
		{"ssh_password := hunter22x", "ssh_password := ***"},
		{"ssh_password hunter22x = 1", "ssh_password ***"},
		{"ssh_pasword=hunter22x", "ssh_pasword=***"},
		{"ssh_paswsord = hunter22x", "ssh_paswsord = ***"},
		{"root_passwrd <= hunter22x", "root_passwrd <= ***"},
		{"API_TOKEN = é hunter22x", "API_TOKEN = ***"},
		{"passphrase =", "passphrase ="},
		{strings.Repeat("é:", 5000) + "password = x", strings.Repeat("é:", 5000) + "password = ***"},
		{"password x" + strings.Repeat("é ", 5000), "password ***"},
		{"é = hunter22x password = x", "é = hunter22x password = x"},
		{"keyword = x", "keyword = x"},
		{"passthrough = x", "passthrough = x"},
		{"seconds = x", "seconds = x"},
		{"uefi_secure_boot = no", "uefi_secure_boot = no"},
		{"", ""},
	} {
		d := diag.Diagnostic{Source: tt.source, Message: "a message"}.WithoutSecret()
		if d.Source != tt.want || d.Message != "a message" {
			t.Errorf("of %q: %q, %s; want %q", tt.source, d.Source, d.Message, tt.want)
		}
	}
}

// TestWithoutSecretInMessages hides it in the message and the hint too, and points at where it begins.
func TestWithoutSecretInMessages(t *testing.T) {
	t.Parallel()
	d := diag.Diagnostic{
		Pos: diag.Pos{File: "a.cfg", Line: 1, Col: 19}, Source: `password = "hunter "22`,
		Message: `this sets the key "password" to "\"hunter \"22"`, Hint: `write 'password = "hunter "22' or hunter; not hunters`,
	}.WithoutSecret()
	want := diag.Diagnostic{
		Pos: diag.Pos{File: "a.cfg", Line: 1, Col: 12}, Source: "password = ***",
		Message: `this sets the key "password" to "***"`, Hint: `write 'password = ***' or ***; not hunters`,
	}
	if diff := cmp.Diff(want, d); diff != "" {
		t.Errorf("without the secret (-want +got):\n%s", diff)
	}
}
