// SPDX-License-Identifier: Apache-2.0

package guest

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"al.essio.dev/pkg/shellescape"
)

// nonce makes one command's markers different from all others.
type nonce string

func newNonce() nonce {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand says so
	return nonce(hex.EncodeToString(b[:]))
}

func (n nonce) begin() []byte  { return []byte("<mhb:" + string(n) + ">") }
func (n nonce) end() []byte    { return []byte("<mhe:" + string(n) + ":") }
func (n nonce) synced() []byte { return []byte("<mhs:" + string(n) + ">") }

// probe is a line that prints the synced marker.
func (n nonce) probe() string {
	return fmt.Sprintf("printf '<%%s%%s>\\n' mhs: %[1]s mhs: %[1]s\n", string(n))
}

// line is a line that evaluates word between the markers.
func (n nonce) line(word string) string {
	return fmt.Sprintf("printf '<%%s%%s>\\n' mhb: %[1]s mhb: %[1]s; command eval %[2]s; printf '<%%s%%s%%s>\\n' mhe: %[1]s: $? mhe: %[1]s: $?\n",
		string(n), word)
}

const (
	maxWord   = 2500 // a terminal takes lines of up to 4095 bytes
	maxPiece  = 500  // quoting makes it five times as long at worst
	pieceName = "mhmig_c"
)

// typed returns what to type so that the shell evaluates command: lines that
// must be typed first, one after the other, and the word for eval.
func typed(command string) (before []string, word string) {
	text, decode := command, false
	if strings.IndexFunc(command, isControl) >= 0 {
		text, decode = octal(command), true
	}
	word = shellescape.Quote(text)
	if len(word) > maxWord {
		value := ""
		for len(text) > 0 {
			n := min(len(text), maxPiece)
			before = append(before, pieceName+"="+value+shellescape.Quote(text[:n])+"\n")
			text, value = text[n:], "${"+pieceName+"}"
		}
		word = `"$` + pieceName + `"`
	}
	if decode {
		word = `"$(printf %b ` + word + `)"`
	}
	return before, word
}

// isControl finds characters that a terminal may interpret instead of passing on.
func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// octal writes text as printf's %b reads it.
func octal(text string) string {
	var b strings.Builder
	for i := range len(text) {
		switch c := text[i]; {
		case c == '\\':
			b.WriteString(`\\`)
		case isControl(rune(c)):
			fmt.Fprintf(&b, `\0%03o`, c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// endMarkerFinder looks for the end marker of n. It remembers how far it has looked.
type endMarkerFinder struct {
	n      nonce
	looked int

	at     int // where the marker begins
	status int
}

func (e *endMarkerFinder) find(buf []byte) bool {
	marker := e.n.end()
	for {
		i := bytes.Index(buf[e.looked:], marker)
		if i < 0 {
			e.looked = max(e.looked, len(buf)-len(marker)+1)
			return false
		}
		e.at = e.looked + i
		rest := buf[e.at+len(marker):]
		digits := 0
		for digits < len(rest) && '0' <= rest[digits] && rest[digits] <= '9' {
			digits++
		}
		if digits == len(rest) {
			e.looked = e.at
			return false // more must come
		}
		status, err := strconv.Atoi(string(rest[:digits]))
		if err == nil && rest[digits] == '>' {
			e.status = status
			return true
		}
		e.looked = e.at + len(marker) // a broken copy
	}
}

// output returns what stands between the begin marker of n and the end of buf.
// Where the terminal ends lines with CR LF, the marker's own line shows it, and
// the CRs go.
func output(buf []byte, n nonce) string {
	begin := n.begin()
	i := bytes.LastIndex(buf, begin)
	if i < 0 {
		return ""
	}
	rest := buf[i+len(begin):]
	if out, ok := bytes.CutPrefix(rest, []byte("\n")); ok {
		return string(out)
	}
	rest = crlf.ReplaceAll(rest, []byte("\n"))
	return string(bytes.TrimPrefix(rest, []byte("\n")))
}

var (
	crlf = regexp.MustCompile("\r+\n")

	// ansi matches terminal escape sequences.
	ansi = regexp.MustCompile("\x1b\\[[0-9;?=>]*[ -/]*[@-~]|\x1b\\][^\x07\x1b]*(?:\x07|\x1b\\\\)|\x1b[()][0-9A-Za-z]|\x1b[=>78cDEHM]")
)

// visible is text without escape sequences, CRs and other control characters.
func visible(text []byte) string {
	text = ansi.ReplaceAll(text, nil)
	return strings.Map(func(r rune) rune {
		if isControl(r) && r != '\n' && r != '\t' {
			return -1
		}
		return r
	}, string(bytes.ToValidUTF8(text, []byte("?"))))
}
