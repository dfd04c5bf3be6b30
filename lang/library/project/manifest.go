// SPDX-License-Identifier: Apache-2.0

package project

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"

	"github.com/mhmig/mhmig/lang/diag"
	"github.com/mhmig/mhmig/lang/library"
)

// ManifestName is the file in the folder of a project or library that describes it.
const ManifestName = "mhmig.toml"

// Manifest is the content of mhmig.toml.
type Manifest struct {
	Name    string    `toml:"name"`    // what others name it by, without the "@"
	Version string    `toml:"version"` // such as v1.2.0
	Mhmig   string    `toml:"mhmig"`   // the oldest version of mhmig that it works with; "": any
	Permits *[]string `toml:"allow"`   // the builtins that its files, and what they load, may use; nil: all
	// Signers is a file of allowed signers, as of ssh-keygen -Y verify, relative to the manifest. Only in the user's own
	// project: of git repositories, it then uses only what one of them has signed.
	Signers string          `toml:"signers"`
	Needs   map[string]Need `toml:"needs"`
	Replace map[string]Need `toml:"replace"` // only in the user's own project: used in place of what anyone needs
}

// A Need is a library that another one, or a project, names.
type Need struct {
	Source  string    `toml:"source"`
	Version string    `toml:"version"` // the oldest that will do; for a folder it may be ""
	Permits *[]string `toml:"allow"`   // the builtins that it may use; nil: all
}

func (m *Manifest) title() string {
	if m.Name == "" {
		return ManifestName
	}
	return ManifestName + " of @" + m.Name
}

func (m *Manifest) allow() library.Allow {
	if m.Permits == nil {
		return library.Allow{}
	}
	return library.AllowOnly(*m.Permits, m.title())
}

func (n Need) allow(title, name string) library.Allow {
	if n.Permits == nil {
		return library.Allow{}
	}
	return library.AllowOnly(*n.Permits, title+", needs."+name)
}

var validName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// checkName rejects what cannot be the name of a library.
func checkName(name string) error {
	switch {
	case !validName.MatchString(name):
		return fmt.Errorf("%q cannot be the name of a library; want small letters, digits and _, such as acme_net", name)
	case name == "std" || name == "scenarios":
		return fmt.Errorf("@%s is a library of mhmig's own", name)
	}
	return nil
}

// checkVersion rejects what is no full version.
func checkVersion(version string) error {
	if !semver.IsValid(version) || semver.Canonical(version) != version {
		return fmt.Errorf("got %q, want a version such as v1.2.0", version)
	}
	return nil
}

// parseManifest reads the text of a manifest; file is its name in errors, which are a [diag.List].
func parseManifest(text []byte, file string) (Manifest, error) {
	var m Manifest
	if err := toml.NewDecoder(bytes.NewReader(text)).DisallowUnknownFields().Decode(&m); err != nil {
		return m, tomlFault(err, text, file, "want name, version, mhmig, allow, signers, needs or replace")
	}
	var faults diag.List
	fault := func(key, format string, args ...any) {
		faults = append(faults, atKey(text, file, key, fmt.Sprintf(format, args...)))
	}
	if m.Name != "" {
		if err := checkName(m.Name); err != nil {
			fault("name", "name: %v", err)
		}
	}
	if m.Version != "" || m.Name != "" {
		if err := checkVersion(m.Version); err != nil {
			fault("version", "version: %v", err)
		} else if module.IsPseudoVersion(m.Version) {
			fault("version", "version: %s names a commit; want a version such as v1.2.0", m.Version)
		}
	}
	if m.Mhmig != "" {
		if err := checkVersion(m.Mhmig); err != nil {
			fault("mhmig", "mhmig: %v", err)
		}
	}
	for table, needs := range map[string]map[string]Need{"needs": m.Needs, "replace": m.Replace} {
		for _, name := range slices.Sorted(maps.Keys(needs)) {
			need := needs[name]
			switch {
			case checkName(name) != nil:
				fault(name, "%s: %v", table, checkName(name))
			case name == m.Name:
				fault(name, "%s: @%s is this library itself", table, name)
			case need.Source == "":
				fault(name, `%s.%s: source: missing, want a folder or a git repository, such as "https://git.example.com/net.git"`, table, name)
			case need.Version != "" && checkVersion(need.Version) != nil:
				fault(name, "%s.%s: version: %v", table, name, checkVersion(need.Version))
			case need.Version == "" && !IsFolder(need.Source):
				fault(name, "%s.%s: version: missing; mhmig lib add %s %s finds the latest", table, name, name, need.Source)
			}
		}
	}
	faults.Sort()
	return m, faults.Err()
}

// readManifest reads the manifest in a folder.
func readManifest(dir string) (Manifest, error) {
	file := filepath.Join(dir, ManifestName)
	text, err := os.ReadFile(file)
	if err != nil {
		return Manifest{}, err
	}
	return parseManifest(text, fromHere(file))
}

// fromHere is a file as it is shown: relative to the working directory, if it is below that.
func fromHere(file string) string {
	here, err := os.Getwd()
	if err != nil {
		return file
	}
	if inner, err := filepath.Rel(here, file); err == nil && filepath.IsLocal(inner) {
		return inner
	}
	return file
}

// tomlFault is a decoding error with its position; hint is about unknown keys.
func tomlFault(err error, text []byte, file, hint string) error {
	d := diag.Diagnostic{Pos: diag.Pos{File: file}, Message: strings.TrimPrefix(err.Error(), "toml: ")}
	if strict, ok := errors.AsType[*toml.StrictMissingError](err); ok && len(strict.Errors) > 0 {
		d.Pos.Line, d.Pos.Col = strict.Errors[0].Position()
		d.Message = fmt.Sprintf("unknown key %s", strings.Join(strict.Errors[0].Key(), "."))
		d.Hint = hint
	} else if wrong, ok := errors.AsType[*toml.DecodeError](err); ok {
		d.Pos.Line, d.Pos.Col = wrong.Position()
	}
	d.Source = lineOf(text, d.Pos.Line)
	return diag.List{d}
}

// atKey is a diagnostic at the line that sets a key.
func atKey(text []byte, file, key, message string) diag.Diagnostic {
	d := diag.Diagnostic{Pos: diag.Pos{File: file}, Message: message}
	sets := regexp.MustCompile(`^\s*(\[?(needs|replace)\.)?"?` + regexp.QuoteMeta(key) + `"?\s*[\]=.]`)
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		if sets.MatchString(line) {
			d.Pos.Line, d.Pos.Col, d.Source = number, 1, strings.TrimRight(line, "\r\n")
			break
		}
	}
	return d
}

func lineOf(text []byte, number int) string {
	lines := strings.Split(string(text), "\n")
	if number < 1 || number > len(lines) {
		return ""
	}
	return strings.TrimRight(lines[number-1], "\r")
}

// setNeed returns the text of a manifest with one need set, or removed if need is nil, and all else as it was.
func setNeed(text []byte, name string, need *Need) ([]byte, error) {
	lines := strings.Split(strings.TrimRight(string(text), "\n"), "\n")
	header := slices.IndexFunc(lines, func(line string) bool { return tableOf(line) == "needs" })
	entry := -1
	if header >= 0 {
		sets := regexp.MustCompile(`^\s*"?` + regexp.QuoteMeta(name) + `"?\s*=`)
		for i := header + 1; i < len(lines) && tableOf(lines[i]) == ""; i++ {
			if sets.MatchString(lines[i]) {
				entry = i
			}
		}
	}
	switch {
	case need == nil && entry >= 0:
		lines = slices.Delete(lines, entry, entry+1)
	case need == nil:
	case entry >= 0:
		lines[entry] = need.line(name)
	case header >= 0:
		lines = slices.Insert(lines, header+1, need.line(name))
	default:
		lines = append(lines, "", "[needs]", need.line(name))
	}
	edited := []byte(strings.Join(lines, "\n") + "\n")
	m, err := parseManifest(edited, ManifestName)
	got, has := m.Needs[name]
	if err != nil || has != (need != nil) || need != nil && got.line(name) != need.line(name) {
		want := "remove " + name
		if need != nil {
			want = "write " + need.line(name)
		}
		return nil, fmt.Errorf("%s is written in a way that mhmig cannot edit: %s under [needs] by hand", ManifestName, want)
	}
	return edited, nil
}

// tableOf is the name of the table that a line begins, "" if it begins none.
func tableOf(line string) string {
	line, _, _ = strings.Cut(line, "#")
	line = strings.TrimSpace(line)
	if !strings.HasPrefix(line, "[") {
		return ""
	}
	return strings.Trim(line, "[] ")
}

// line is the need as an entry of a manifest.
func (n Need) line(name string) string {
	parts := []string{"source = " + quote(n.Source)}
	if n.Version != "" {
		parts = append(parts, "version = "+quote(n.Version))
	}
	if n.Permits != nil {
		quoted := make([]string, len(*n.Permits))
		for i, builtin := range *n.Permits {
			quoted[i] = quote(builtin)
		}
		parts = append(parts, "allow = ["+strings.Join(quoted, ", ")+"]")
	}
	return fmt.Sprintf("%s = { %s }", name, strings.Join(parts, ", "))
}

// quote is a TOML string.
func quote(text string) string {
	text = strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(text)
	return `"` + text + `"`
}
