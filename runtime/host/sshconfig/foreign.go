// SPDX-License-Identifier: Apache-2.0

package sshconfig

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// copies are copies of configuration files in which ~ is replaced by home: ssh takes
// the home folder from the user database and ignores $HOME, which differs in
// containers and tests.
type copies struct {
	home string
	dir  string
	of   map[string]string // from a copy to its original
}

// originals replaces the names of copies in a message.
func (c *copies) originals(message string) string {
	for name, original := range c.of {
		message = strings.ReplaceAll(message, name, original)
	}
	return message
}

// tilde is a ~ that ssh expands, in values of options that name files.
var (
	tilde    = regexp.MustCompile(`(^|[ \t="])~/`)
	fileLine = regexp.MustCompile(`(?i)^[ \t]*(certificatefile|controlpath|globalknownhostsfile|identityagent|identityfile|pkcs11provider|revokedhostkeys|userknownhostsfile)\b`)
	includes = regexp.MustCompile(`(?i)^[ \t]*include(?:[ \t]*=[ \t]*|[ \t]+)(.*?)[ \t\r]*$`)
	argument = regexp.MustCompile(`"[^"]*"|[^ \t"]+`)
)

// make copies a file, and the files that it includes.
func (c *copies) make(name string, depth int) (copied string, err error) {
	if depth > 16 {
		return "", fmt.Errorf("%s: Include is nested more than 16 deep", name)
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return "", err
	}
	var lines []string
	for line := range strings.SplitSeq(string(text), "\n") {
		if found := includes.FindStringSubmatch(line); found != nil {
			if line, err = c.include(found[1], depth); err != nil {
				return "", err
			}
		} else if fileLine.MatchString(line) {
			line = tilde.ReplaceAllString(line, "${1}"+strings.ReplaceAll(c.home, "$", "$$")+"/")
		}
		lines = append(lines, line)
	}
	copied = filepath.Join(c.dir, fmt.Sprintf("%d", len(c.of)))
	c.of[copied] = name
	return copied, os.WriteFile(copied, []byte(strings.Join(lines, "\n")), 0o600)
}

// include copies the files that the arguments name, and returns a statement that
// includes the copies.
func (c *copies) include(arguments string, depth int) (statement string, err error) {
	var copied []string
	for _, pattern := range argument.FindAllString(arguments, -1) {
		if pattern[0] == '#' {
			break
		}
		pattern = strings.Trim(pattern, `"`)
		if rest, ok := strings.CutPrefix(pattern, "~/"); ok {
			pattern = filepath.Join(c.home, rest)
		} else if !filepath.IsAbs(pattern) {
			pattern = filepath.Join(c.home, ".ssh", pattern)
		}
		found, err := filepath.Glob(pattern)
		if err != nil {
			return "", fmt.Errorf("option Include %s: %w", arguments, err)
		}
		for _, name := range found {
			if strings.HasPrefix(filepath.Base(name), ".") && !strings.HasPrefix(filepath.Base(pattern), ".") {
				continue // which * does not match for ssh
			}
			one, err := c.make(name, depth+1)
			if err != nil {
				return "", err
			}
			copied = append(copied, one)
		}
	}
	if len(copied) == 0 {
		return "", nil
	}
	return "Include " + strings.Join(slices.Compact(copied), " "), nil
}
