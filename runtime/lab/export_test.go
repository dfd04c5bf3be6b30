// SPDX-License-Identifier: Apache-2.0

package lab

import (
	"context"
	"errors"
	"os"
)

// ChooseSubnet is for tests.
var ChooseSubnet = chooseSubnet

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
