// SPDX-License-Identifier: Apache-2.0

package result

import (
	"fmt"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/mhmig/mhmig/lang/diag"
)

// maxName is the length to which folder names are shortened: long enough to
// distinguish variants, short enough for typing and for the limits of sockets and
// archives.
const maxName = 80

// safeName makes a file name of any text: ASCII letters, digits and "._-" are kept,
// everything else becomes one "_", leading punctuation is removed, and the middle of
// a long name is cut out, since variants often differ in their last part.
func safeName(text string) string {
	var b strings.Builder
	for _, r := range text {
		switch {
		case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9', strings.ContainsRune("._-", r):
			b.WriteRune(r)
		case !strings.HasSuffix(b.String(), "_"):
			b.WriteByte('_')
		}
	}
	name := strings.TrimRight(strings.TrimLeft(b.String(), "._-"), "_")
	if len(name) > maxName {
		half := maxName/2 - 1
		name = name[:half] + "__" + name[len(name)-half:]
	}
	return name
}

// checkArtifactName rejects names that would leave the folder or are unsafe to open;
// subfolders are allowed.
func checkArtifactName(name string) error {
	if !filepath.IsLocal(name) || filepath.Clean(name) != name || name == "." {
		return fmt.Errorf("artifact name %q: want a path below the artifacts folder, like dmesg.txt or host1/dmesg.txt", name)
	}
	for part := range strings.SplitSeq(name, "/") {
		if part[0] == '.' || part[0] == '-' || len(part) > 200 {
			return fmt.Errorf("artifact name %q: no part may begin with %q or be longer than 200 bytes", name, part[:1])
		}
	}
	if i := strings.IndexFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\\' || r == '\uFFFD' }); i >= 0 {
		return fmt.Errorf("artifact name %q: control characters, backslashes and broken UTF-8 are not allowed", name)
	}
	return nil
}

const masked = diag.Masked

var (
	secretKey        = regexp.MustCompile(`(?i)` + diag.SecretWords)
	secretAssignment = regexp.MustCompile(`(?im)([\w.-]*(?:` + diag.SecretWords + `)[\w.-]*\s*[+?<:]?=\s*)\S.*$`)
)

// maskStatements returns a copy of command-line words or config statements in which
// values assigned to passwords and other secrets are masked.
func maskStatements(statements []string) []string {
	shown := make([]string, len(statements))
	for i, s := range statements {
		shown[i] = secretAssignment.ReplaceAllString(s, "${1}"+masked)
	}
	return shown
}
