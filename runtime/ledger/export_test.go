// SPDX-License-Identifier: Apache-2.0

package ledger

// FailSync makes all syncs of the file fail with err, until undo.
func (l *Ledger) FailSync(err error) (undo func()) {
	works := l.sync
	l.sync = func() error { return err }
	return func() { l.sync = works }
}
