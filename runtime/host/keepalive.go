// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"time"
)

// errSilent is why a connection is lost on which nothing arrives any more.
var errSilent = errors.New("no answer to keepalives")

// keepalive finds out that a host is lost: count questions in a row were not
// answered, and nothing else came, for count intervals since the last sign of
// life. The questions are spread over that time so that the last one, too, has
// as long to be answered as the others.
//
// A host is not to blame for time in which this process did not run, because it
// was stopped or its machine slept: answers may lie unread. When the process
// comes late to look, it starts anew.
type keepalive struct {
	interval time.Duration
	count    int
	lastRead func() time.Time // when the last sign of life came
	send     func()           // sends a question; must not block
}

// watch blocks until the host is lost, and returns errSilent, or until ctx ends,
// and returns nil.
func (k keepalive) watch(ctx context.Context) error {
	wait := k.interval * time.Duration(k.count) / time.Duration(k.count+1) // with one question
	unanswered := 0
	since := time.Now() // of the last question or sign of life
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		now, lastRead := time.Now(), k.lastRead()
		late := now.Sub(since) > wait*3/2
		switch {
		case lastRead.After(since):
			unanswered, since = 0, lastRead
		case unanswered == k.count && !late:
			return errSilent
		case late:
			unanswered = 0
			fallthrough
		default:
			unanswered, since = unanswered+1, now
			k.send()
		}
		timer.Reset(time.Until(since.Add(wait)))
	}
}
