// SPDX-License-Identifier: Apache-2.0

package cartesian_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/mhmig/mhmig/lang/cartesian"
	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/lang/library"
)

// readConfig reads text as a file, with a library @std.
func readConfig(t *testing.T, text string, extra ...cartesian.Extra) (*cartesian.Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "main.cfg")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return cartesian.Reader{Libraries: library.Set{"std": fstest.MapFS{
		"cfg/base.cfg":  {Data: []byte("mem = 1024\n")},
		"cfg/all.cfg":   {Data: []byte("include base.cfg\ninclude ../cfg/base.cfg\n")},
		"cfg/out.cfg":   {Data: []byte("include ../../main.cfg\n")},
		"cfg/wrong.cfg": {Data: []byte("mem = 1\nfoo bar\n")},
	}}}.Read(path, extra...)
}

func params(texts ...string) []cartesian.Extra {
	var extra []cartesian.Extra
	for _, text := range texts {
		extra = append(extra, cartesian.Extra{Name: "--param 1", Text: text, Param: true})
	}
	return extra
}

const someKeys = "mem = 512\nextra_params = -a\nempty =\nvariants:\n    - x:\n"

// TestParamReadsAsInAFile: with an operator or blanks, a param is what the same line of a file is.
func TestParamReadsAsInAFile(t *testing.T) {
	t.Parallel()
	for _, line := range []string{
		"extra_params += -smbios type=1,serial=zz", `extra_params+=" -smbios type=1"`, "extra_params <= '-x '", "mem = 1024",
		"mem ~= 5", "new ~= 5", "m.* ?= 9", `.*_params ?+= " quiet"`, "mem?<=1", `mem = " 5 "`, "mem =", "a += b:c", "a = ${mem}M",
		"empty += x", "new += x", "  mem += 1  ",
	} {
		want := collect(t, parseText(t, someKeys, line))
		c, err := readConfig(t, someKeys, params(line)...)
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		if diff := cmp.Diff(want, collect(t, c)); diff != "" {
			t.Errorf("%s: (-file +param):\n%s", line, diff)
		}
	}
}

// TestParamSetsExactly: KEY=VALUE is what a shell has left of the argument.
func TestParamSetsExactly(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ key, value string }{
		{"mem", "512"},
		{"mem_vm1", ""},
		{"a.b", `"quoted"`},
		{"k", "blanks  "},
		{"k", "a=b:c # d"},
		{"mig_address", "::1"},
		{"k", ":"},
		{"k", `'`},
		{"k", "?+= 1"},
		{"k", "größe"},
		{"größe", "x"},
		{"extra_params", `-smbios "type=1, x"`},
		{"onlyx", "1"},
		{"no-x", "1"},
	} {
		c, err := readConfig(t, someKeys, params(tt.key+"="+tt.value)...)
		if err != nil {
			t.Errorf("%s=%s: %v", tt.key, tt.value, err)
			continue
		}
		for v, err := range c.Variants(t.Context(), cartesian.Options{}) {
			if got := v.Params[tt.key]; err != nil || got != tt.value {
				t.Errorf("%s=%s gives %q, %v", tt.key, tt.value, got, err)
			}
		}
		if got := cartesian.ParamKey(tt.key + "=" + tt.value); got != tt.key {
			t.Errorf("ParamKey(%s=%s) = %q", tt.key, tt.value, got)
		}
	}
	for text, want := range map[string]string{"mem += 1": "mem", "m.* ?= 1": "", "mem": "", "mem~=1": "mem"} {
		if got := cartesian.ParamKey(text); got != want {
			t.Errorf("ParamKey(%q) = %q, want %q", text, got, want)
		}
	}
}

// TestParamsThatCannotBe: each is refused, with its place in what was typed.
func TestParamsThatCannotBe(t *testing.T) {
	t.Parallel()
	const keys = "such keys are name, shortname, dep, _name_map_file and _short_name_map_file"
	tests := []struct{ text, want, hint string }{
		{"foo", "1:1: want KEY=VALUE", ""},
		{"=foo", "1:1: want KEY=VALUE", ""},
		{"", "1:1: want KEY=VALUE", ""},
		{"only RHEL", "1:1: want KEY=VALUE", "a statement is given by --filter 'only RHEL'"},
		{"name=zz", `1:1: the key "name" is set by the language and cannot be changed`, keys},
		{"shortname += zz", `1:1: the key "shortname" is set by the language and cannot be changed`, keys},
		{"dep=a", `1:1: the key "dep" is set by the language and cannot be changed`, keys},
		{"_name_map_file=a", `1:1: the key "_name_map_file" is set by the language and cannot be changed`, keys},
		{"name_fixed=zz", `1:1: the key "name_fixed" changes "name", which is set by the language: variants with one name cannot be told apart`, keys},
		{"shortname_max ~= 3", `1:1: the key "shortname_max" changes "shortname", which is set by the language: variants with one name cannot be told apart`, keys},
		{"dep_min+=zz", `1:1: the key "dep_min" changes "dep", which is set by the language: variants with one name cannot be told apart`, keys},
		{"only=RHEL.7.2", `1:1: "only" is a keyword, not a key`, `write "only RHEL.7.2"`},
		{"no = RHEL", `1:1: "no" is a keyword, not a key`, `write "no RHEL"`},
		{"join+=a", `1:1: "join" is a keyword, not a key`, `the form is "join FILTER"`},
		{"variants=3", `1:1: "variants" is a keyword, not a key`, `a set of variants begins with a line "variants:"`},
		{"include=x.cfg", `1:1: "include" is a keyword, not a key`, `write "include x.cfg"`},
		{"del=x", `1:1: "del" is a keyword, not a key`, `write "del x"`},
		{"suffix=_x", `1:1: "suffix" is a keyword, not a key`, `write "suffix _x"`},
		{"a b:=1", `1:1: a key has no colon in it; want KEY=VALUE`, "for a condition, use --filter"},
		{"RHEL: mem = 5", `1:1: a key has no colon in it; want KEY=VALUE`, "for a condition, use --filter"},
		{"a+=:1", `1:4: a colon directly after "+="`, "write 'a += :1'"},
		{"größe =::1", `1:8: a colon directly after "="`, "write 'größe = ::1'"},
		{"a.*?=:1", `1:6: a colon directly after "?="`, "write 'a.* ?= :1'"},
		{"#a=1", `1:1: "#a" cannot be a key; want KEY=VALUE`, "a key has no colon in it, and does not begin with a keyword, a dash or a comment"},
		{"-a=1", `1:1: "-a" cannot be a key; want KEY=VALUE`, "a key has no colon in it, and does not begin with a keyword, a dash or a comment"},
		{"only x=1", `1:1: "only x" cannot be a key; want KEY=VALUE`, "a key has no colon in it, and does not begin with a keyword, a dash or a comment"},
		{"a=1\n2", "1:1: a param has no tab and only one line", ""},
		{"a=1\nonly x", "1:1: a param has no tab and only one line", ""},
		{"a=x\ty", "1:1: a param has no tab and only one line", ""},
		{"a=x\xff", "1:4: a byte that is not UTF-8 text", ""},
		{"*a ?= 1", "", ""},
	}
	for _, tt := range tests {
		_, err := readConfig(t, someKeys, params(tt.text)...)
		if tt.want == "" { // a pattern is judged where it is used
			if err != nil {
				t.Errorf("%q: %v", tt.text, err)
			}
			continue
		}
		list := diag.Of(err)
		if len(list) != 1 || list[0].Error() != "--param 1:"+tt.want || list[0].Hint != tt.hint {
			t.Errorf("%q: got %v, want %s; %s", tt.text, rendered(t, list), tt.want, tt.hint)
		}
	}
}

// TestExtraStatementsThatSelectNothing: each is among the warnings, and among what a run refuses.
func TestExtraStatementsThatSelectNothing(t *testing.T) {
	t.Parallel()
	const config = "variants os:\n    - RHEL:\n        variants:\n            - 7.2:\n            - 6.4:\n    - Fedora:\nvariants:\n    - pseries:\n    - pc:\n"
	tests := []struct{ text, want, hint string }{
		{"only=RHEL.7.2", `1:1: this sets the key "only" to "RHEL.7.2"; it is not the statement "only"`, `write "only RHEL.7.2"`},
		{"no=RHEL", `1:1: this sets the key "no" to "RHEL"; it is not the statement "no"`, `write "no RHEL"`},
		{"join+=RHEL", `1:1: this sets the key "join" to "RHEL"; it is not the statement "join"`, `the form is "join FILTER"`},
		{"(os=RHEL)", `1:1: this sets the key "(os" to "RHEL)"; it selects nothing`, `write "only (os=RHEL)"`},
		{"pc, (os=RHEL).7.2", `1:1: this sets the key "pc, (os" to "RHEL).7.2"; it selects nothing`, `write "only pc, (os=RHEL).7.2"`},
		{"!(os=RHEL)", `1:1: this sets the key "!(os" to "RHEL)"; it selects nothing`, `write "no (os=RHEL)"`},
		{"(so=RHEL)", `1:1: this sets the key "(so" to "RHEL)"; it selects nothing`, `no set is named so; did you mean "(os=RHEL)"?`},
		{"(os=Fedroa): x = 1", `1:1: this sets the key "(os" to "Fedroa): x = 1"; it is not a condition`, `the set os has no variant Fedroa; did you mean "(os=Fedora)"?`},
		{"RHEL.7.2:", "1:1: a condition with nothing after its colon does nothing", `to select, write "only RHEL.7.2"`},
		{"!RHEL, pc..Fedora:", "1:1: a condition with nothing after its colon does nothing", `to select, write "no RHEL, pc..Fedora"`},
		{"only (nosuch=RHEL)", "1:6: no set is named nosuch", `did you mean "(os=RHEL)"?`},
		{"only pc..(so=RHEL)", "1:10: no set is named so", `did you mean "(os=RHEL)"?`},
		{"Fedora=3", `1:1: this sets the key "Fedora" to "3"; it selects nothing`, `write "only Fedora"; a key of that name is set by --param 'Fedora=3'`},
		{"RHEL.7.2 = pc", `1:1: this sets the key "RHEL.7.2" to "pc"; it selects nothing`, `write "only RHEL.7.2"; a key of that name is set by --param 'RHEL.7.2=pc'`},
		{"onlyFedora = RHEL", `1:1: this sets the key "onlyFedora" to "RHEL"; it selects nothing`, `write "only Fedora"; a key of that name is set by --param 'onlyFedora=RHEL'`},
		{"nopc..6.4 += x", `1:1: this sets the key "nopc..6.4" to "x"; it selects nothing`, `write "no pc..6.4"; a key of that name is set by --param 'nopc..6.4=x'`},
		{"pc: Fedora = 1", `1:5: this sets the key "Fedora" to "1"; it selects nothing`, `write "only Fedora"; a key of that name is set by --param 'Fedora=1'`},
		{"name = zz", `1:1: the key "name" is set by the language and cannot be changed: this does nothing`, "such keys are name, shortname, dep, _name_map_file and _short_name_map_file"},
		{"name_fixed = zz", `1:1: the key "name_fixed" changes "name", which is set by the language: variants with one name cannot be told apart`, "such keys are name, shortname, dep, _name_map_file and _short_name_map_file"},
		{`x = "-smbios type=1`, `1:1: the value of "x" begins with a quote that nothing closes`, "quotes are removed only if the value ends with the quote that it begins with"},
	}
	for _, tt := range tests {
		c, err := readConfig(t, config, cartesian.Extra{Name: "--filter 1", Text: tt.text})
		if err != nil {
			t.Errorf("%q: %v", tt.text, err)
			continue
		}
		want := "--filter 1:" + tt.want
		if typos := c.Typos(); len(typos) != 1 || typos[0].Error() != want || typos[0].Hint != tt.hint {
			t.Errorf("%q: typos are %s; want %s; %s", tt.text, rendered(t, typos), want, tt.hint)
		}
		warning := strings.Replace(want, ": ", ": warning: ", 1)
		if warnings := c.Warnings(); len(warnings) != 1 || warnings[0].Error() != warning {
			t.Errorf("%q: warnings are %s; want %s", tt.text, rendered(t, warnings), warning)
		}
		if strict := c.Strict(); strict.Err() == nil || len(strict) != 1 {
			t.Errorf("%q: strict are %s; want an error", tt.text, rendered(t, strict))
		}
	}

	for _, meant := range []cartesian.Extra{
		{Name: "--filter 1", Text: "mem=3"},
		{Name: "--filter 1", Text: "RHEL: mem = 3"},
		{Name: "--filter 1", Text: "Fedor=3"},
		{Name: "--filter 1", Text: "notpc=3"},
		{Name: "--param 1", Text: "Fedora=3", Param: true},
		{Name: "--param 1", Text: "Fedora += 3", Param: true},
		{Name: "--filter 1", Text: "pc_key = 3"},
	} {
		c, err := readConfig(t, config+"pc_key = 1\nvariants:\n    - pc_key:\n", meant)
		if err != nil || c.Typos() != nil || c.Warnings() != nil {
			t.Errorf("%q: got %v, %v, %v, want no warning", meant.Text, err, c.Typos(), c.Warnings())
		}
	}

	c, err := readConfig(t, config, cartesian.Extra{Name: "--filter 1", Text: " # nothing"})
	if err != nil || c.Typos() != nil || len(c.Warnings()) != 1 {
		t.Errorf("empty: got %v, %v, %v, want only a warning", err, c.Typos(), c.Warnings())
	}
}

// TestFixedNamesInFiles: strict warnings have keys such as name_fixed, which work as they do in virt-test.
func TestFixedNamesInFiles(t *testing.T) {
	t.Parallel()
	c, err := readConfig(t, "variants:\n    - a:\n    - b:\nname_fixed = zz\nmem_fixed = 3\n")
	if err != nil || c.Warnings() != nil || c.Typos() != nil {
		t.Fatalf("got %v, %v, %v, want no warning", err, c.Warnings(), c.Typos())
	}
	if strict := c.StrictWarnings(); len(strict) != 1 || !strings.Contains(strict[0].Error(), `:4:1: warning: the key "name_fixed" changes "name"`) {
		t.Errorf("strict: got %s, want a warning of name_fixed", rendered(t, strict))
	}
}

// TestBareLabels: a filter without a keyword is told which one it needs.
func TestBareLabels(t *testing.T) {
	t.Parallel()
	for text, hint := range map[string]string{
		"RHEL.7.2 pseries": `to select variants, write "only RHEL.7.2 pseries"`,
		"RHEL.7.2":         `to select variants, write "only RHEL.7.2"`,
		"RHEL..pc, Fedora": `to select variants, write "only RHEL..pc, Fedora"`,
		"!RHEL":            `to drop variants, write "no RHEL"`,
		"onyl RHEL":        `did you mean "only"?`,
		"RHEL & pc":        `write "KEY = VALUE", or "FILTER:" for a condition`,
	} {
		_, err := readConfig(t, someKeys, cartesian.Extra{Name: "--filter 2", Text: text})
		if list := diag.Of(err); len(list) != 1 || list[0].Hint != hint || list[0].Pos != (diag.Pos{File: "--filter 2", Line: 1, Col: 1}) {
			t.Errorf("%q: got %s; want the hint %s", text, rendered(t, list), hint)
		}
	}
}

// TestConditionOnNoSet: a condition that names a set cannot be; whether it could be written otherwise depends on the set.
func TestConditionOnNoSet(t *testing.T) {
	t.Parallel()
	const config = "variants disk:\n    - ide:\n    - scsi:\n"
	for text, hint := range map[string]string{
		"(disk=ide):\n    bus = legacy\n": `write "ide:"`,
		"(nosuch=ide):\n    other = 1\n":  "no set is named nosuch",
		"(dsik=ide): other = 1\n":         `no set is named dsik; did you mean "(disk=ide)"?`,
		"(disk=ied): other = 1\n":         `the set disk has no variant ied; did you mean "(disk=ide)"?`,
		"!(nosuch=ide): other = 1\n":      "no set is named nosuch",
	} {
		c, err := readConfig(t, config+text)
		if err != nil {
			t.Fatal(err)
		}
		if warnings := c.Warnings(); len(warnings) != 1 || warnings[0].Hint != hint {
			t.Errorf("%s: got %s; want the hint %s", text, rendered(t, warnings), hint)
		}
	}
}

// TestIncludesOfLibraries: a library's file is included by its name, from files and extra statements, and stays in its
// library.
func TestIncludesOfLibraries(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text, extra, want string }{
		{"in a file", "include @std//cfg/base.cfg\n", "", `"mem":"1024"`},
		{"in the library", "include @std//cfg/all.cfg\n", "", `"mem":"1024"`},
		{"in an extra statement", "", "include @std//cfg/all.cfg", `"mem":"1024"`},
		{"in a condition", "variants:\n    - x:\nx: include @std//cfg/base.cfg\n", "", `"mem":"1024"`},
		{"no such library", "include @sdt//cfg/base.cfg\n", "", "main.cfg:1:1: include @sdt//cfg/base.cfg: no library @sdt; did you mean @std?\n    include @sdt//cfg/base.cfg\n    ^\n"},
		{"no such file", "include @std//cfg/bsae.cfg\n", "", "main.cfg:1:1: include @std//cfg/bsae.cfg: library @std has no file cfg/bsae.cfg\n    include @std//cfg/bsae.cfg\n    ^\n    hint: did you mean @std//cfg/base.cfg?\n"},
		{"no such file beside", "include mian.cfg\n", "", "main.cfg:1:1: include mian.cfg: no such file or directory\n    include mian.cfg\n    ^\n    hint: did you mean main.cfg?\n"},
		{"one slash", "include @std/cfg/base.cfg\n", "", "main.cfg:1:1: include @std/cfg/base.cfg: no such file or directory\n    include @std/cfg/base.cfg\n    ^\n    hint: the form of a library's file is @LIBRARY//FOLDER/FILE, such as @std//cfg/base.cfg\n"},
		{"out of the library", "include @std//cfg/out.cfg\n", "", "@std//cfg/out.cfg:1:1: include ../../main.cfg: \"../../main.cfg\" leaves the library @std\n    include ../../main.cfg\n    ^\n"},
		{"not a file of a library", "include @std//../main.cfg\n", "", "main.cfg:1:1: include @std//../main.cfg: \"@std//../main.cfg\" is no file of a library; want @LIBRARY//FOLDER/FILE\n    include @std//../main.cfg\n    ^\n"},
		{"a folder", "include @std//cfg\n", "", "main.cfg:1:1: include @std//cfg: not a regular file\n    include @std//cfg\n    ^\n"},
		{"an error in the library", "", "include @std//cfg/wrong.cfg", "@std//cfg/wrong.cfg:2:1: neither an assignment, nor a condition, nor a keyword\n    foo bar\n    ^\n    hint: write \"KEY = VALUE\", or \"FILTER:\" for a condition\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var extra []cartesian.Extra
			if tt.extra != "" {
				extra = append(extra, cartesian.Extra{Name: "--filter 1", Text: tt.extra})
			}
			c, err := readConfig(t, tt.text, extra...)
			if err != nil {
				list := diag.Of(err)
				for i := range list {
					if filepath.IsAbs(list[i].Pos.File) {
						list[i].Pos.File = filepath.Base(list[i].Pos.File)
					}
				}
				if diff := cmp.Diff(tt.want, rendered(t, list)); diff != "" {
					t.Errorf("errors (-want +got):\n%s", diff)
				}
				return
			}
			if got := collect(t, c); len(got) != 1 || !strings.Contains(got[0], tt.want) {
				t.Errorf("got %q, want %s in it", got, tt.want)
			}
		})
	}
	c, err := cartesian.Reader{Libraries: library.Set{"std": fstest.MapFS{"a.cfg": {Data: []byte("x = 1\n")}}}}.Read("@std//a.cfg")
	if err != nil {
		t.Fatal(err)
	}
	if got := collect(t, c); len(got) != 1 || !strings.Contains(got[0], `"x":"1"`) {
		t.Errorf("a library's config: got %q", got)
	}
}
