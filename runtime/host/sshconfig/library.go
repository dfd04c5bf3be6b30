// SPDX-License-Identifier: Apache-2.0

package sshconfig

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/kevinburke/ssh_config"
)

// byLibrary reads the files with a library instead of OpenSSH's client.
func (f Files) byLibrary(t Target) (Options, error) {
	o := Options{values: map[string][]string{}}
	if strings.ContainsFunc(t.Name, func(r rune) bool { return r > utf8.RuneSelf }) {
		return o, fmt.Errorf("host name %q: only ASCII is supported; %s", t.Name, hint)
	}
	var read []*ssh_config.Config
	matchesHost := "" // where a Match host stands
	for _, name := range []string{f.User, f.System} {
		if name == "" {
			continue
		}
		r := reader{home: f.Home, userFile: name == filepath.Join(f.Home, ".ssh", "config"), systemFile: name == f.System}
		if err := r.check(name, 0); err != nil {
			return o, err
		}
		matchesHost = orElse(matchesHost, r.matchesHost)
		text, err := os.ReadFile(name)
		if err != nil {
			return o, err
		}
		parsed, err := ssh_config.DecodeBytes(text)
		if err != nil {
			return o, fmt.Errorf("%s: %w; %s", name, err, hint)
		}
		read = append(read, parsed)
	}
	for name := range keywords {
		values, err := get(read, t.Name, name)
		for old, usual := range aliases {
			if usual != name || err != nil {
				continue
			}
			var more []string
			more, err = get(read, t.Name, old)
			if len(more) > 0 && len(values) > 0 {
				return o, fmt.Errorf("ssh_config: %s and its old name %s are both set for %s, and the first one applies; %s", name, old, t.Name, hint)
			}
			values = append(values, more...)
		}
		for _, v := range values {
			err = errors.Join(err, o.add(name, v))
		}
		if err != nil {
			return o, err
		}
	}
	if o.Get("proxyjump") != "" && o.Get("proxycommand") != "" {
		return o, fmt.Errorf("ssh_config: ProxyJump and ProxyCommand are both set for %s, and the first one applies; %s", t.Name, hint)
	}
	if strings.EqualFold(o.Get("proxycommand"), "none") {
		delete(o.values, "proxycommand")
	}
	for _, name := range []string{"canonicalizehostname", "canonicalizepermittedcnames"} {
		if v := o.Get(name); v != "" && (!isNo(v) || (v == "none") != (name == "canonicalizepermittedcnames")) {
			return o, fmt.Errorf("ssh_config: %s %s: %s; %s", name, v, keywords[name].why, hint)
		}
		delete(o.values, name)
	}
	hostName := strings.NewReplacer("%%", "\x00", "%h", t.Name).Replace(o.Get("hostname"))
	if strings.Contains(hostName, "%") {
		return o, fmt.Errorf("ssh_config: hostname %s: the only tokens are %%h and %%%%", o.Get("hostname"))
	}
	hostName = strings.ToLower(strings.ReplaceAll(hostName, "\x00", "%"))
	if matchesHost != "" && (hostName != "" || t.HostName != "" || t.Name != strings.ToLower(t.Name)) {
		return o, fmt.Errorf("%s: Match host matches the HostName of %s in lower case; %s", matchesHost, t.Name, hint)
	}
	o.set("hostkeyalias", strings.ToLower(o.Get("hostkeyalias")))
	o.set("hostname", hostName)
	o.applyTarget(t)
	return o, o.expand(f, t)
}

// hint is what to do about files that only OpenSSH's client can read.
const hint = "install OpenSSH's client (ssh), which mhmig then uses, or name another file by the param ssh_config"

// get returns the values of an option in all files, in order.
func get(read []*ssh_config.Config, alias, name string) (values []string, err error) {
	for _, parsed := range read {
		more, err := parsed.GetAll(alias, name)
		if err != nil {
			return nil, err
		}
		values = append(values, more...)
	}
	return values, nil
}

func (o Options) set(name, value string) {
	if value != "" {
		o.values[name] = []string{value}
	}
}

// applyTarget sets the options that the target overrides.
func (o Options) applyTarget(t Target) {
	o.set("hostname", t.HostName)
	o.set("user", t.User)
	if t.Port != 0 {
		o.set("port", strconv.Itoa(t.Port))
	}
}

// add adds a value of an option from a file. Of options with one value, the first
// is kept.
func (o Options) add(name, value string) error {
	switch k := keywords[name]; {
	case k.kind == repeated:
		if !slices.Contains(o.values[name], value) {
			o.values[name] = append(o.values[name], value)
		}
	case o.values[name] != nil:
	case k.kind == files:
		for w := range strings.FieldsSeq(value) {
			o.values[name] = append(o.values[name], strings.Trim(w, `"`))
		}
	case k.kind == seconds:
		n, err := parseSeconds(value)
		if err != nil {
			return fmt.Errorf("ssh_config: %s: %w", name, err)
		}
		o.set(name, n)
	case k.kind == list && strings.ContainsAny(value[:1], "+-^") || k.kind == list && strings.Contains(value, "*"):
		return fmt.Errorf("ssh_config: %s %s: modifies OpenSSH's default list; %s", name, value, hint)
	default:
		o.set(name, value)
	}
	return nil
}

// expand expands the tokens that ssh -G would have expanded.
func (o Options) expand(f Files, t Target) error {
	tokens := NewTokens(f, t, o)
	for _, name := range []string{"userknownhostsfile", "identityagent"} {
		if name == "identityagent" && strings.HasPrefix(o.Get(name), "$") && !strings.HasPrefix(o.Get(name), "${") {
			continue // the name of a variable
		}
		for i, v := range o.values[name] {
			expanded, err := tokens.Expand(v)
			if err != nil {
				return fmt.Errorf("ssh_config: %s %s: %w", name, v, err)
			}
			o.values[name][i] = expanded
		}
	}
	return nil
}

// reader checks that the library interprets a file as ssh does.
type reader struct {
	home        string
	userFile    bool   // the user's own file, whose permissions ssh checks
	systemFile  bool   // the system's file
	matchesHost string // where a Match host stands
}

var statement = regexp.MustCompile(`^[ \t]*([A-Za-z0-9]+)(?:[ \t]*=[ \t]*|[ \t]+)(.*?)[ \t\r]*$`)

// check returns an error that names the first line, of the file or one that it
// includes, that the library interprets differently from ssh.
func (r *reader) check(name string, depth int) error {
	if depth > 5 {
		return fmt.Errorf("%s: Include is nested more than 5 deep; %s", name, hint)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if r.userFile {
		if err := checkMode(name); err != nil {
			return err
		}
	}
	for i, raw := range strings.Split(string(text), "\n") {
		if s := strings.TrimSpace(raw); s == "" || strings.HasPrefix(s, "#") {
			continue
		}
		if err := r.line(name, raw, depth); err != nil {
			return fmt.Errorf("%s:%d: %s: %w", name, i+1, strings.TrimSpace(raw), err)
		}
		if w := strings.Fields(strings.ToLower(raw)); w[0] == "match" && len(w) > 2 {
			r.matchesHost = fmt.Sprintf("%s:%d", name, i+1)
		}
	}
	return nil
}

// checkMode rejects a file that others can write, as ssh does.
func checkMode(name string) error {
	info, err := os.Stat(name)
	if err == nil && info.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("%s: others can write it (mode %04o), so ssh rejects it: run chmod go-w %s", name, info.Mode().Perm(), name)
	}
	return err
}

var (
	errNeedsOpenSSH = errors.New("cannot be read without OpenSSH's client; " + hint)
	errBadValue     = errors.New("ssh rejects this value")
)

// line checks one statement.
func (r *reader) line(file, raw string, depth int) error {
	parts := statement.FindStringSubmatch(raw)
	if parts == nil || !utf8.ValidString(raw) {
		return errNeedsOpenSSH
	}
	name, value := strings.ToLower(parts[1]), parts[2]
	if before, _, found := strings.Cut(value, "#"); found {
		if !strings.HasSuffix(before, " ") || name == "proxyjump" { // for ssh, that is part of the value
			return errNeedsOpenSSH
		}
		value = strings.TrimRight(before, " \t")
	}
	if value == "" || strings.ContainsAny(value, "'\\\f\v") {
		return errNeedsOpenSSH
	}
	if _, rest, _ := strings.Cut(raw, parts[1]); strings.Contains(strings.TrimLeft(rest, " \t="), "\t") && (name == "host" || name == "match" || name == "include") {
		return errNeedsOpenSSH // the library splits at blanks only
	}
	switch name {
	case "host":
		if strings.ContainsAny(value, "\"?") {
			return errNeedsOpenSSH
		}
		return nil
	case "match":
		return checkMatch(value)
	case "include":
		return r.include(file, value, depth)
	}
	if usual, ok := aliases[name]; ok {
		name = usual
	}
	k, known := keywords[name]
	if !known || name == "host" {
		return fmt.Errorf("unknown ssh option; %s", hint)
	}
	if n, err := strconv.Atoi(value); name == "port" && err == nil && (n < 1 || n > 65535) {
		return errBadValue
	}
	return k.check(value)
}

func checkMatch(value string) error {
	words := strings.Fields(value)
	switch c := strings.ToLower(words[0]); {
	case c == "all" && len(words) == 1:
		return nil
	case c == "host" && len(words) == 2 && !strings.ContainsAny(words[1], `,"?`) && words[1] == strings.ToLower(words[1]):
		return nil
	}
	return errNeedsOpenSSH
}

// include checks the files that a statement of a file includes.
func (r *reader) include(file, value string, depth int) error {
	if strings.ContainsAny(value, "\"[$") {
		return errNeedsOpenSSH
	}
	for pattern := range strings.FieldsSeq(value) {
		if !filepath.IsAbs(pattern) {
			u, err := user.Current()
			if err != nil || r.systemFile || u.HomeDir != r.home || strings.HasPrefix(file, "/etc/ssh/") || strings.HasPrefix(pattern, "~") && !strings.HasPrefix(pattern, "~/") {
				return errNeedsOpenSSH
			}
			if rest, ok := strings.CutPrefix(pattern, "~/"); ok {
				pattern = filepath.Join(r.home, rest)
			} else {
				pattern = filepath.Join(r.home, ".ssh", pattern)
			}
		}
		found, err := filepath.Glob(pattern)
		if err != nil {
			return errNeedsOpenSSH
		}
		for _, name := range found {
			if strings.HasPrefix(filepath.Base(name), ".") && !strings.HasPrefix(filepath.Base(pattern), ".") {
				return errNeedsOpenSSH // ssh's glob does not match it, Go's does
			}
			if err := r.check(name, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// check checks a value's syntax.
func (k keyword) check(value string) error {
	quoted := strings.Contains(value, `"`)
	switch k.kind {
	case anyText:
		return nil
	case files:
		// The library removes only the outer quotes.
		if quoted && (strings.HasPrefix(value, `"`) || !wholeWordsQuoted(value)) {
			return errNeedsOpenSSH
		}
		return nil
	case word, repeated:
		if quoted && (strings.Count(value, `"`) != 2 || value[0] != '"' || value[len(value)-1] != '"' || value == `""`) {
			return errNeedsOpenSSH
		}
		if !quoted && strings.ContainsAny(value, " \t") {
			return errBadValue
		}
		return nil
	}
	if quoted || strings.ContainsAny(value, " \t") {
		return errNeedsOpenSSH
	}
	switch k.kind {
	case number:
		if n, err := strconv.Atoi(value); err != nil || n < 0 {
			return errBadValue
		}
	case seconds:
		if _, err := parseSeconds(value); err != nil {
			return err
		}
	case flag:
		if !slices.Contains([]string{"yes", "no", "true", "false"}, strings.ToLower(value)) {
			return errBadValue
		}
	}
	return nil
}

// wholeWordsQuoted reports whether quotes are only around words without blanks.
func wholeWordsQuoted(value string) bool {
	return !slices.ContainsFunc(strings.Fields(value), func(w string) bool {
		n := strings.Count(w, `"`)
		return n != 0 && (n != 2 || w[0] != '"' || w[len(w)-1] != '"')
	})
}

// parseSeconds parses a time of ssh_config, like 90, 1m30s or none, and returns it as
// ssh -G prints it.
func parseSeconds(value string) (string, error) {
	if strings.EqualFold(value, "none") {
		return "none", nil
	}
	units := map[byte]int{'s': 1, 'm': 60, 'h': 3600, 'd': 86400, 'w': 604800}
	total, rest := 0, strings.ToLower(value)
	for rest != "" {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		n, err := strconv.Atoi(rest[:digits])
		if err != nil || n > 1<<30 {
			return "", fmt.Errorf("got %q, want a time like 90 or 1m30s", value)
		}
		rest = rest[digits:]
		unit := 1
		if rest != "" {
			if unit = units[rest[0]]; unit == 0 {
				return "", fmt.Errorf("got %q, want a time like 90 or 1m30s", value)
			}
			rest = rest[1:]
		}
		total += n * unit
	}
	return strconv.Itoa(total), nil
}

func orElse(v, other string) string {
	if v == "" {
		return other
	}
	return v
}
