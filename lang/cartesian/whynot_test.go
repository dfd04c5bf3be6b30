// SPDX-License-Identifier: Apache-2.0

package cartesian_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/diag"
)

// absence writes in short what WhyNot found: what is there, what drops the rest, or what cannot be.
func absence(a *cartesian.Absence) []string {
	all := append([]string(nil), a.Present...)
	for _, d := range a.Drops {
		var parts []string
		for _, s := range d.Statements {
			part := fmt.Sprintf("%s:%d %s", s.File, s.Line, s.Text)
			if s.Keyword == "default" {
				part = fmt.Sprintf("%s:%d default", s.File, s.Line)
			}
			for _, c := range s.Conditions {
				part += fmt.Sprintf(" if %d %s", c.Line, c.Text)
			}
			parts = append(parts, part)
		}
		all = append(all, strings.Join(parts, " + ")+" drops "+d.Variant)
	}
	for _, d := range a.Impossible {
		all = append(all, d.Error())
	}
	return all
}

func TestWhyNot(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, config, filter string
		extra                []string
		defaults             bool
		want                 []string
	}{
		{"is there", guestTree, "Fedora.17", nil, false, []string{"(os=Linux).Fedora.17.tcp", "(os=Linux).Fedora.17.unix"}},
		{"one statement", guestTree, "Windows..unix", nil, false, []string{"main.cfg:20 only tcp drops (os=Windows).unix"}},
		{
			"each of two ways", guestTree, "RHEL",
			[]string{"no 6.x86_64, x86_64.6", "no x86_64.4, x86_64", "no i386"},
			false,
			[]string{"<string>:1 no i386 drops (os=Linux).RHEL.i386.6.3.tcp"},
		},
		{
			"two sets of one", guestTree, "RHEL",
			[]string{"no x86_64", "no i386"},
			false,
			[]string{
				"<string>:1 no i386 drops (os=Linux).RHEL.i386.6.3.tcp",
				"<string>:1 no x86_64 drops (os=Linux).RHEL.x86_64.6.3.tcp",
			},
		},
		{
			"two statements", guestTree, "Windows..unix",
			[]string{"only Linux"},
			false,
			[]string{"<string>:1 only Linux + main.cfg:20 only tcp drops (os=Windows).unix"},
		},
		{
			"condition", "variants:\n  - a:\n  - b:\nvariants:\n  - c:\n  - d:\na:\n  !d: no c\n", "c.a", nil, false,
			[]string{"main.cfg:8 no c if 7 a: if 8 !d: drops c.a"},
		},
		{
			"file that is included twice", "variants:\n  - a:\n  - b:\ninclude no.cfg\ninclude no.cfg\n", "a", nil, false,
			[]string{"no.cfg:1 no a drops a"},
		},
		{
			"default", "variants:\n  - @a:\n  - b:\n", "b", nil, true,
			[]string{"main.cfg:2 default drops b"},
		},
		{"not by default", "variants:\n  - @a:\n  - b:\n", "b", nil, false, []string{"b"}},
		{"default that is dropped", "variants:\n  - @a:\n  - b:\n", "b", []string{"no a"}, true, []string{"b"}},
		{
			"default and statement", "variants:\n  - @a:\n  - b:\n    no c\nvariants:\n  - c:\n", "b", nil, true,
			[]string{"main.cfg:2 default + main.cfg:4 no c drops c.b"},
		},
		{"join", "variants:\n  - a:\n  - b:\n  - c:\njoin a b\n", "c", nil, false, []string{"main.cfg:5 join a b drops c"}},
		{
			"no such label", guestTree, "Fedora.71..tcp", nil, false,
			[]string{`<filter>:1:8: warning: no variant has the label "71"`},
		},
		{
			"no such label in each word", guestTree, "foo, bar", nil, false,
			[]string{`<filter>:1:1: warning: no variant has the label "foo"`, `<filter>:1:6: warning: no variant has the label "bar"`},
		},
		{
			"one word can be", guestTree, "foo, Windows..unix", nil, false,
			[]string{"main.cfg:20 only tcp drops (os=Windows).unix"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c := parseFiles(t, map[string]string{"main.cfg": tt.config, "no.cfg": "no a\n"}, tt.extra...)
			a, err := c.WhyNot(t.Context(), tt.filter, cartesian.Options{Defaults: tt.defaults})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, absence(a)); diff != "" {
				t.Errorf("WhyNot(%s) (-want +got):\n%s", tt.filter, diff)
			}
		})
	}
}

func TestWhyNotShowsTheFirstSets(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("variants:\n")
	for i := range 12 {
		fmt.Fprintf(&b, "  - v%d:\n    no x\n", i)
	}
	b.WriteString("variants:\n  - x:\n")
	a, err := parseText(t, b.String()).WhyNot(t.Context(), "x", cartesian.Options{})
	if err != nil || len(a.Drops) != 5 || a.Others != 7 || a.Partial || a.Drops[0].Statements[0].Line != 3 || a.Drops[1].Statements[0].Line != 5 {
		t.Errorf("got %+v, %v, want the first five of twelve", a, err)
	}
}

func TestWhyNotErrors(t *testing.T) {
	t.Parallel()
	c := parseText(t, guestTree)
	for filter, want := range map[string]string{
		"a...b": "<filter>:1:5: 3 dots between two labels",
		"":      "<filter>:1:1: the filter is empty, and matches nothing",
		"a/b":   "<filter>:1:2: ",
		"(a":    "<filter>:1:3: ",
	} {
		_, err := c.WhyNot(t.Context(), filter, cartesian.Options{})
		if err == nil || !strings.HasPrefix(err.Error(), want) || diag.Of(err) == nil || diag.Of(err)[0].Source != filter {
			t.Errorf("WhyNot(%q): error %v, want %s", filter, err, want)
		}
	}
}

func TestAbsenceJSON(t *testing.T) {
	t.Parallel()
	c := parseText(t, guestTree, "no unix")
	for filter, want := range map[string]string{
		"unix": `{"filter":"unix","count":0,"drops":[{"statements":[{"file":"<string>","line":1,"col":1,"text":"no unix",` +
			`"keyword":"no"}],"variant":"(os=Linux).RHEL.x86_64.6.3.unix"}]}`,
		"17.tcp": `{"filter":"17.tcp","present":["(os=Linux).Fedora.17.tcp"],"count":1}`,
		"71": `{"filter":"71","count":0,"impossible":[{"file":"<filter>","line":1,"col":1,"text":"71",` +
			`"message":"no variant has the label \"71\"","hint":"did you mean \"17\"?"}]}`,
	} {
		a, err := c.WhyNot(t.Context(), filter, cartesian.Options{})
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		encoder := json.NewEncoder(&b)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(a); err != nil || strings.TrimSpace(b.String()) != want {
			t.Errorf("got %s, %v, want %s", b.String(), err, want)
		}
	}
}

// TestWhyNotOfManyVariants asks a config of 10^12 variants.
func TestWhyNotOfManyVariants(t *testing.T) {
	t.Parallel()
	c := parseText(t, product(12, 10), "no s3v1..s4v1", "only s5v2", "no s6v1..s5v2, s6v1..s7v3")
	for _, filter := range []string{"s3v1..s4v1", "s0v1..s5v1..s11v2", "s6v1..s9v9", "s3v1..s4v1..s6v1"} {
		began := time.Now()
		a, err := c.WhyNot(t.Context(), filter, cartesian.Options{})
		if err != nil || len(a.Drops) == 0 {
			t.Errorf("WhyNot(%s) = %+v, %v, want what drops it", filter, a, err)
		}
		if took := time.Since(began); took > 20*time.Second {
			t.Errorf("WhyNot(%s) took %v", filter, took)
		}
	}
	empty := parseText(t, product(12, 10), "only s5v2", "only s5v3")
	if why := empty.WhyEmpty(t.Context(), cartesian.Options{}); len(why) != 2 {
		t.Errorf("WhyEmpty = %v, want both statements", why)
	}
}
