// SPDX-License-Identifier: Apache-2.0

package printable

import (
	"bytes"
	"encoding/json"
	"io"
)

// WriteJSON writes x as indented JSON, in which unsafe characters are escaped as by
// [JSON].
func WriteJSON(w io.Writer, x any) error { return encodeJSON(w, x, "  ") }

// WriteJSONLine is WriteJSON on one line.
func WriteJSONLine(w io.Writer, x any) error { return encodeJSON(w, x, "") }

func encodeJSON(w io.Writer, x any, indent string) error {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", indent)
	if err := encoder.Encode(x); err != nil {
		return err
	}
	for line := range bytes.Lines(b.Bytes()) {
		if _, err := w.Write(append(JSON(bytes.TrimSuffix(line, []byte("\n"))), '\n')); err != nil {
			return err
		}
	}
	return nil
}
