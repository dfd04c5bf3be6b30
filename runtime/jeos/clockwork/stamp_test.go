// SPDX-License-Identifier: Apache-2.0

package clockwork_test

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mhmig/mhmig/runtime/jeos/clockwork"
)

// What is written is read again, and no cut of it is taken for a stamp.
func TestStampSurvives(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := clockwork.Stamp{
			Life: rapid.Uint64().Draw(t, "life"), Seq: rapid.Uint64().Draw(t, "seq"),
			Time: time.Duration(rapid.Int64Min(0).Draw(t, "time")),
		}
		line := s.Append(nil)
		if len(line) > clockwork.MaxLine {
			t.Fatalf("%q has %d bytes", line, len(line))
		}
		line = line[:len(line)-1]
		if got, ok := clockwork.Parse(line); !ok || got != s {
			t.Fatalf("Parse(%q): got %v, %v; want %v", line, got, ok, s)
		}
		cut := rapid.IntRange(1, len(line)).Draw(t, "cut")
		if got, ok := clockwork.Parse(line[cut:]); ok {
			t.Fatalf("Parse(%q): got %v of a cut line", line[cut:], got)
		}
	})
}

// FuzzParse: a line is a stamp only when it is exactly what the stamp is written as.
func FuzzParse(f *testing.F) {
	for _, line := range []string{"T1 2 3", "", "T", "T1 2", "T1 2 3 4", "T01 2 3", "T1 2 ffffffffffffffff", "T1  3", strings.Repeat("T", 100), "TA b c"} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		s, ok := clockwork.Parse(line)
		if ok && string(s.Append(nil)) != string(line)+"\n" {
			t.Errorf("Parse(%q): got %+v", line, s)
		}
		if s.Time < 0 {
			t.Errorf("Parse(%q): got a time of %v", line, s.Time)
		}
	})
}
