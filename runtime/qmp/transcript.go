// SPDX-License-Identifier: Apache-2.0

package qmp

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// elideOver is the size in bytes above which a message is omitted from the transcript:
// only query-qmp-schema's reply is larger, and it is not relevant for the test.
const elideOver = 64 << 10

// transcript writes messages as JSON lines:
//
//	{"time":"2026-01-02T15:04:05.000006Z","dir":"send","message":{"execute":"cont","id":3}}
type transcript struct {
	log *slog.Logger

	mu sync.Mutex // guards w
	w  io.Writer  // nil: none
}

// Recorded is a message of a transcript.
type Recorded struct {
	Time    time.Time
	Sent    bool // to QEMU
	Message json.RawMessage
}

// maxTranscriptLine is more bytes than a line of a transcript has.
const maxTranscriptLine = 1 << 20

// ReadTranscript yields the messages of a transcript in their order, without those that
// were too large for it. A last line that is incomplete, as a killed run leaves it, ends
// it.
func ReadTranscript(r io.Reader) iter.Seq2[Recorded, error] {
	return func(yield func(Recorded, error) bool) {
		lines := bufio.NewScanner(r)
		lines.Buffer(nil, maxTranscriptLine)
		var fault error
		for number := 1; lines.Scan(); number++ {
			if fault != nil { // it is not the last line
				yield(Recorded{}, fault)
				return
			}
			var l transcriptLine
			if err := json.Unmarshal(lines.Bytes(), &l); err != nil {
				fault = fmt.Errorf("line %d of the transcript: %w", number, err)
				continue
			}
			at, err := time.Parse(time.RFC3339Nano, l.Time)
			if err != nil {
				yield(Recorded{}, fmt.Errorf("line %d of the transcript: %w", number, err))
				return
			}
			if len(l.Message) > 0 && !yield(Recorded{Time: at, Sent: l.Dir == "send", Message: l.Message}, nil) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			yield(Recorded{}, err)
		}
	}
}

type transcriptLine struct {
	Time    string          `json:"time"`
	Dir     string          `json:"dir"` // "send" or "recv"
	Message json.RawMessage `json:"message,omitempty"`
	Elided  int             `json:"elided_bytes,omitempty"`
}

func (t *transcript) record(at time.Time, dir string, line []byte) {
	verbose := t.log.Enabled(context.Background(), slog.LevelDebug)
	if t.w == nil && !verbose {
		return
	}
	l := transcriptLine{Time: at.UTC().Format("2006-01-02T15:04:05.000000Z07:00"), Dir: dir}
	if len(line) > elideOver {
		l.Elided = len(line)
	} else {
		l.Message = mask(bytes.TrimSpace(line))
	}
	if verbose {
		t.log.Debug("qmp", "dir", dir, "message", string(l.Message))
	}
	text, err := json.Marshal(l)
	if err != nil {
		t.log.Warn("qmp transcript", "error", err)
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.w == nil {
		return
	}
	if _, err := t.w.Write(append(text, '\n')); err != nil {
		t.log.Warn("qmp transcript is incomplete", "error", err)
		t.w = nil
	}
}

// mask replaces secrets in a message by "***": passwords, and the data of secret
// objects.
func mask(line []byte) []byte {
	lower := bytes.ToLower(line)
	if !bytes.Contains(lower, []byte("passw")) && !bytes.Contains(lower, []byte("secret")) {
		return line
	}
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return []byte(`"***"`)
	}
	masked, err := json.Marshal(maskValue(v))
	if err != nil {
		return []byte(`"***"`)
	}
	return masked
}

func maskValue(v any) any {
	switch v := v.(type) {
	case []any:
		for i := range v {
			v[i] = maskValue(v[i])
		}
	case map[string]any:
		kind, _ := v["qom-type"].(string)
		for k := range v {
			s, isString := v[k].(string)
			switch {
			case isString && k == "command-line" && isSecret(s):
				word, _, _ := strings.Cut(s, " ")
				v[k] = word + " ***"
			case isString && (isSecret(k) && k != "password-secret" || k == "data" && strings.HasPrefix(kind, "secret")):
				v[k] = "***"
			default:
				v[k] = maskValue(v[k])
			}
		}
	}
	return v
}

func isSecret(word string) bool {
	word = strings.ToLower(word)
	return strings.Contains(word, "passw") || strings.Contains(word, "secret")
}
