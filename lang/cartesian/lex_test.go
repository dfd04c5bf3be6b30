// SPDX-License-Identifier: Apache-2.0

package cartesian

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/alecthomas/participle/v2/lexer"
)

// seeds are the texts of the small corpus, and of the large one where it is.
func seeds(tb testing.TB) []string {
	tb.Helper()
	var texts []string
	for _, folder := range []string{"testdata", corpusFolder()} {
		for _, pattern := range []string{"*/*.cfg", "*/*/*.cfg"} {
			paths, err := filepath.Glob(filepath.Join(folder, pattern))
			if err != nil {
				tb.Fatal(err)
			}
			for _, path := range paths {
				text, err := os.ReadFile(path)
				if err != nil {
					tb.Fatal(err)
				}
				texts = append(texts, string(text))
			}
		}
	}
	if len(texts) == 0 {
		tb.Fatal("no configs in testdata")
	}
	return texts
}

// smallSeeds are those that a fuzzer can do much with.
func smallSeeds(f *testing.F) {
	f.Helper()
	for _, text := range seeds(f) {
		if len(text) < 3000 {
			f.Add(text)
		}
	}
}

// FuzzLex gives any text to the lexer: its tokens lie in the text in ascending order, and blocks are nested.
func FuzzLex(f *testing.F) {
	smallSeeds(f)
	f.Fuzz(func(t *testing.T, text string) {
		src, err := newSource("main.cfg", "main.cfg", text)
		if err != nil {
			return
		}
		x := lex(src)
		depth, last := 0, lexer.Position{Line: 1}
		tokens := x.all()
		for i, token := range tokens {
			switch token.Type {
			case tokOpen:
				depth++
			case tokClose:
				depth--
			case lexer.EOF:
				if i < len(tokens)-1 || depth != 0 {
					t.Fatalf("EOF is token %d of %d, %d blocks are open", i+1, len(tokens), depth)
				}
			}
			if depth < 0 || depth > maxNesting {
				t.Fatalf("token %d: %d blocks are open", i+1, depth)
			}
			checkToken(t, src, token, last)
			if token.Pos.Line > 0 {
				last = token.Pos
			}
		}
		for _, d := range x.errs {
			if d.Pos.Line < 1 || d.Pos.Line > len(src.lines) || d.Pos.Col < 1 ||
				d.Pos.Col > utf8.RuneCountInString(src.lines[d.Pos.Line-1])+1 {
				t.Errorf("error outside of the text: %+v", d)
			}
		}
	})
}

// checkToken looks for the token's value at its place, which must not lie before the last one's.
func checkToken(t *testing.T, src *source, token lexer.Token, last lexer.Position) {
	t.Helper()
	pos := token.Pos
	if pos.Line == 0 && (token.EOF() || token.Type == tokClose) {
		return // after the last line
	}
	if pos.Line < last.Line || pos.Line == last.Line && pos.Column < last.Column && token.Type != tokBad || pos.Line > len(src.lines) {
		t.Fatalf("%v %q at %v after %v", token.Type, token.Value, pos, last)
	}
	line := []rune(src.lines[pos.Line-1])
	if pos.Column < 1 || pos.Column > len(line)+1 {
		t.Fatalf("%v %q at %v, outside of %q", token.Type, token.Value, pos, string(line))
	}
	rest := string(line[pos.Column-1:])
	if token.Type == tokOp {
		return // its characters may stand apart, and it is where the last one is
	}
	if token.Type == tokValue && rest != token.Value {
		rest = rest[1:] // a quote
	}
	if token.Type == tokWhite {
		if r, _ := utf8.DecodeRuneInString(rest); !isBlank(r) {
			t.Fatalf("a blank at %v of %q", pos, string(line))
		}
		return
	}
	if !strings.HasPrefix(rest, token.Value) {
		t.Fatalf("%v %q at %v, where %q stands", token.Type, token.Value, pos, rest)
	}
}

// TestColumns has characters of several bytes, for which columns are counted in another way than for ASCII.
func TestColumns(t *testing.T) {
	t.Parallel()
	src, err := newSource("main.cfg", "main.cfg", "\u00a0\té.日本, (ü):\tü: k = v\nübung\u00a0+= ' x'\u2003\n")
	if err != nil {
		t.Fatal(err)
	}
	var got strings.Builder
	for _, token := range lex(src).all() {
		fmt.Fprintf(&got, "%d:%d %q\n", token.Pos.Line, token.Pos.Column, token.Value)
	}
	want := `1:9 ""
1:9 "é"
1:10 "."
1:11 "日本"
1:13 ","
1:15 "("
1:16 "ü"
1:17 ")"
1:18 ":"
1:19 ""
1:25 ""
1:25 "ü"
1:26 ":"
1:27 ""
1:28 "k"
1:30 "="
1:32 "v"
2:1 ""
2:1 ""
2:1 "übung"
2:7 "+="
2:10 " x"
0:0 ""
`
	if got.String() != want {
		t.Errorf("tokens:\n%swant:\n%s", got.String(), want)
	}
}

func TestASCII(t *testing.T) {
	t.Parallel()
	for at := range 9 {
		text := []byte("012345678")
		if !isASCII(string(text)) {
			t.Errorf("isASCII(%q) = false", text)
		}
		text[at] = 0x80
		if isASCII(string(text)) {
			t.Errorf("isASCII(%q) = true", text)
		}
	}
}

func TestReadText(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name      string
		size      int64 // as the file system says
		really    int
		wantError string
	}{
		{"empty", 0, 0, ""},
		{"as said", 10, 10, ""},
		{"grown", 10, 5000, ""},
		{"shrunk", 5000, 10, ""},
		{"largest", maxSource, maxSource, ""},
		{"too large", maxSource + 1, 0, "the file is larger than 16 MiB"},
		{"grown too large", 10, maxSource + 1, "the file is larger than 16 MiB"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			text, err := readText(iotest.HalfReader(io.LimitReader(endless{}, int64(tt.really))), tt.size)
			if message := fmt.Sprint(err); err != nil && message != tt.wantError || err == nil && tt.wantError != "" {
				t.Errorf("error = %v, want %q", err, tt.wantError)
			}
			if err == nil && len(text) != tt.really {
				t.Errorf("got %d bytes, want %d", len(text), tt.really)
			}
		})
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = 'x'
	}
	return len(p), nil
}
