// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"os"
	"time"
)

// ChooseSubnet is for tests.
var ChooseSubnet = chooseSubnet

// SetEndGrace sets how long the process of a kept lab may take to end, until undo.
func SetEndGrace(d time.Duration) (undo func()) {
	before := endGrace
	endGrace = d
	return func() { endGrace = before }
}

// ClaimAndRemove makes and locks the folder of a lab, as [Start] does first, and removes it.
func ClaimAndRemove(ctx context.Context, dir string) error {
	id, err := newID()
	if err != nil {
		return err
	}
	l := &Lab{state: &State{ID: id, Dir: dir, PID: os.Getpid()}}
	if err := l.claim(ctx); err != nil {
		return err
	}
	err = l.state.save()
	return errors.Join(err, os.RemoveAll(dir), l.lock.Close())
}
