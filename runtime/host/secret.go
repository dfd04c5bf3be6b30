// SPDX-License-Identifier: Apache-2.0

package host

import "log/slog"

// Secret is a string that is shown as *** wherever it is printed, logged or
// marshalled.
type Secret string

// Reveal returns the secret itself.
func (s Secret) Reveal() string { return string(s) }

// String returns ***, or nothing for the empty secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "***"
}

// GoString returns what String does, for %#v.
func (s Secret) GoString() string { return s.String() }

// LogValue returns what String does, for slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText returns what String does, for JSON and the like.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
