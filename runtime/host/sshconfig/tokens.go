// SPDX-License-Identifier: Apache-2.0

package sshconfig

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// Tokens are the values of ~, ${NAME} and ssh's percent tokens in file names.
type Tokens struct {
	home   string
	values map[string]string
}

// NewTokens returns the tokens of a target with options o.
func NewTokens(f Files, t Target, o Options) Tokens {
	local, _ := os.Hostname()
	short, _, _ := strings.Cut(local, ".")
	return Tokens{f.Home, map[string]string{
		"%%": "%",
		"%d": f.Home,
		"%h": orElse(o.Get("hostname"), strings.ToLower(t.Name)),
		"%i": strconv.Itoa(os.Getuid()),
		"%k": orElse(o.Get("hostkeyalias"), t.Name),
		"%L": short,
		"%l": local,
		"%n": t.Name,
		"%p": orElse(o.Get("port"), "22"),
		"%r": orElse(o.Get("user"), f.Login),
		"%u": f.Login,
	}}
}

var token = regexp.MustCompile(`%.?|\$\{[^}]*\}?`)

// Expand expands a file name. An unknown token is an error.
func (t Tokens) Expand(name string) (expanded string, err error) {
	expanded = token.ReplaceAllStringFunc(t.Home(name), func(found string) string {
		if value, ok := t.values[found]; ok {
			return value
		}
		if variable, ok := strings.CutPrefix(found, "${"); ok {
			if value, ok := os.LookupEnv(strings.TrimSuffix(variable, "}")); ok {
				return value
			}
		}
		err = fmt.Errorf("unknown token %s", found)
		return ""
	})
	return expanded, err
}

// Home expands a ~ at the beginning only.
func (t Tokens) Home(name string) string {
	if rest, ok := strings.CutPrefix(name, "~/"); ok {
		return filepath.Join(t.home, rest)
	}
	return name
}
